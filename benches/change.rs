//! How long it takes to see a change, to say it as a patch and to encode it, beside parsing alone.
//!
//! `cargo bench --bench change` prints medians in microseconds for lists of prices of 1 KB, 50 KB and
//! 1 MB in which one price of a hundred changes, and fails where a megabyte costs much more for each
//! byte than 50 KB. Must not know: polls, followers.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pollcast::change::{Detector, Rules, json_patch, merge_patch};
use pollcast::config::{ArrayKey, Change, Members};
use pollcast::frame::{Patch, PatchKind, sse};
use pollcast::resource::{Content, Snapshot, Validators, VersionNamer};
use serde_json_path::JsonPath;

const SIZES: [(&str, usize); 3] = [("1 KB", 1 << 10), ("50 KB", 50 << 10), ("1 MB", 1 << 20)];

/// A megabyte may cost this much more for each byte than 50 KB: caches are smaller than that.
const WORSE: f64 = 4.0;

fn main() {
    let rows = SIZES.map(|(_, size)| measured(size));
    println!("| microseconds, median | {} |", SIZES.map(|(name, _)| name).join(" | "));
    println!("|---|{}", "--:|".repeat(SIZES.len()));
    let mut uneven = Vec::new();
    for (at, (what, _)) in rows[0].iter().enumerate() {
        let times = rows.each_ref().map(|row| row[at].1);
        let cells = times.map(|time| format!("{:.1}", time.as_secs_f64() * 1e6));
        println!("| {what} | {} |", cells.join(" | "));
        let of_a_byte = |column: usize| times[column].as_secs_f64() / SIZES[column].1 as f64;
        if of_a_byte(2) > WORSE * of_a_byte(1) {
            uneven.push(*what);
        }
    }
    assert!(uneven.is_empty(), "not linear in the body: {uneven:?}");
}

/// Everything for one size: what, and its median.
fn measured(size: usize) -> Vec<(&'static str, Duration)> {
    let (old, new) = (body(size, 0), body(size, 1));
    let namer = VersionNamer::new(None);
    let rules = |change: &Change| Rules::new(change);
    let take = |rules: &Rules, body: &Bytes, before: Option<&Snapshot>| {
        rules.snapshot(content(body), before, &namer).unwrap_or_else(|unfit| panic!("{}", unfit.reason))
    };
    let plain = rules(&Change::default());
    let base = take(&plain, &old, None);
    // What was published has been read when it came.
    assert!(base.json().is_some());
    let mut rows = vec![(
        "parsing alone (serde_json)",
        median(|| {
            black_box(serde_json::from_slice::<serde_json::Value>(&new).ok());
        }),
    )];
    let mut row = |what, work: &mut dyn FnMut()| rows.push((what, median(work)));
    row("the same bytes", &mut || drop(black_box(take(&plain, &old, Some(&base)))));
    row("other bytes", &mut || drop(black_box(take(&plain, &new, Some(&base)))));
    let canonical = rules(&Change { canonical: true, ..Change::default() });
    row("canonical JSON", &mut || drop(black_box(take(&canonical, &new, None))));
    for (what, change) in [("all rules, pointers", ruled(false)), ("all rules, JSONPath", ruled(true))] {
        let rules = rules(&change);
        let before = take(&rules, &old, None);
        assert!(before.json().is_some());
        row(what, &mut || drop(black_box(take(&rules, &new, Some(&before)))));
    }
    let mut detector = Detector::new(&ruled(true));
    let seen = detector.snapshot(content(&old), None, &namer).ok();
    row("all rules, the same bytes", &mut || {
        black_box(detector.snapshot(content(&old), seen.as_ref(), &namer).ok());
    });
    row("JSON Patch, reading included", &mut || {
        let target = unread(&new, &namer);
        black_box(json_patch(&base, &target, usize::MAX));
    });
    row("Merge Patch, reading included", &mut || {
        let target = unread(&new, &namer);
        black_box(merge_patch(&base, &target, usize::MAX));
    });
    let target = take(&plain, &new, Some(&base));
    let patch = json_patch(&base, &target, usize::MAX).unwrap_or_default();
    row("encoding the patch (SSE)", &mut || {
        black_box(Patch::new(PatchKind::Json, base.version, target.version, patch.clone()));
    });
    row("encoding the body (SSE)", &mut || {
        let fresh = unread(&new, &namer);
        black_box(sse::snapshot(&fresh, &Default::default()).ok());
    });
    row("detect + patch + encode", &mut || {
        let target = take(&plain, &new, Some(&base));
        let patch = json_patch(&base, &target, usize::MAX).unwrap_or_default();
        black_box(Patch::new(PatchKind::Json, base.version, target.version, patch));
        black_box(sse::snapshot(&target, &Default::default()).ok());
    });
    rows
}

/// The median of enough runs.
fn median(mut work: impl FnMut()) -> Duration {
    const ENOUGH: Duration = Duration::from_millis(400);
    let started = Instant::now();
    let mut times = Vec::new();
    while times.len() < 11 || (started.elapsed() < ENOUGH && times.len() < 10_001) {
        let run = Instant::now();
        work();
        times.push(run.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// A price list of this size; `state` moves one price of a hundred, at least one.
fn body(size: usize, state: u32) -> Bytes {
    let mut text = format!("{{\"generated_at\":\"2026-03-02T10:15:{state:02}Z\",\"prices\":[");
    for row in 0_u32.. {
        if row > 0 {
            text.push(',');
        }
        let moved = if row % 100 == 7 { f64::from(state) } else { 0.0 };
        let price = f64::from(row % 977) + 0.25 + moved;
        text.push_str(&format!(
            "{{\"id\":{},\"name\":\"Instrument number {row}\",\"price\":{price:.2},\"open\":true,\"seen\":{row}}}",
            9_007_199_254_740_993_u64 + u64::from(row)
        ));
        if text.len() + 2 >= size {
            break;
        }
    }
    text.push_str("]}");
    Bytes::from(text)
}

fn ruled(paths: bool) -> Change {
    let members = |pointer: &str, path: &str| match JsonPath::parse(path) {
        Ok(path) if paths => Members::Path(Box::new(path)),
        _ => Members::Pointer(pointer.to_owned()),
    };
    Change {
        ignore: vec![members("/generated_at", "$..seen")],
        tolerance: vec![(members("/prices", "$.prices[*].price"), 0.01)],
        array_keys: vec![ArrayKey { of: Some(members("/prices", "$.prices")), key: "/id".to_owned() }],
        ..Change::default()
    }
}

fn content(body: &Bytes) -> Content {
    Content {
        status: StatusCode::OK,
        content_type: Some(HeaderValue::from_static("application/json")),
        headers: HeaderMap::new(),
        validators: Validators::default(),
        vary: Vec::new(),
        body: body.clone(),
    }
}

/// A snapshot of which nothing has been read yet.
fn unread(body: &Bytes, namer: &VersionNamer) -> Snapshot {
    content(body).into_snapshot(namer.name(200, None, b""))
}
