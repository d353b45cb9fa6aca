//! Recorded bodies of the usual kinds of APIs (`tests/bodies/`), each in the states of successive
//! polls: what changes, and how small it is as a patch.
//!
//! `cargo test --test pollcast bodies -- --nocapture` prints the table.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pollcast::change::{Rules, json_patch, merge_patch};
use pollcast::config::{ArrayKey, Change, Members};
use pollcast::frame::{Coding, Format, Frame, GzipStream, Rules as FrameRules};
use pollcast::resource::{Content, Snapshot, Validators, VersionNamer};
use serde_json::Value;

/// The states of one body, oldest first.
fn states(name: &str) -> Vec<Content> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bodies").join(name);
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect(name).map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    let state = |path: &std::path::PathBuf| Content {
        status: StatusCode::OK,
        content_type: Some(HeaderValue::from_static(match path.extension().and_then(|e| e.to_str()) {
            Some("json") => "application/json",
            _ => "application/rss+xml",
        })),
        headers: HeaderMap::new(),
        validators: Validators::default(),
        vary: Vec::new(),
        body: Bytes::from(fs::read(path).expect("readable")),
    };
    files.iter().map(state).collect()
}

/// What is published state by state.
fn published(name: &str, change: &Change) -> Vec<Snapshot> {
    let (rules, namer) = (Rules::new(change), VersionNamer::new(None));
    let mut snapshots: Vec<Snapshot> = Vec::new();
    for content in states(name) {
        let snapshot = rules.snapshot(content, snapshots.last(), &namer).expect(name);
        snapshots.push(snapshot);
    }
    snapshots
}

/// Sizes of the patches from state to state, each of them applied by an independent implementation.
/// An element is `None` where no patch was made.
fn patches(name: &str, change: &Change) -> Vec<Option<usize>> {
    let snapshots = published(name, change);
    let pairs = snapshots.windows(2).enumerate();
    let sizes = pairs.map(|(at, pair)| {
        let (base, target) = (&pair[0], &pair[1]);
        let patch = json_patch(base, target, usize::MAX);
        let merge = merge_patch(base, target, usize::MAX);
        let size = |patch: &Option<Bytes>| {
            patch
                .as_ref()
                .map_or("none".to_owned(), |p| format!("{} B ({:.1} %)", p.len(), percent(p.len(), target)))
        };
        let changed = if base.version == target.version { "unchanged" } else { "changed" };
        println!(
            "{name:15} {} → {}: {changed:9} body {:5} B, JSON Patch {:16} Merge Patch {}",
            at + 1,
            at + 2,
            target.body.len(),
            size(&patch),
            size(&merge)
        );
        let patch = patch?;
        let value = |snapshot: &Snapshot| serde_json::from_slice::<Value>(&snapshot.body).expect("JSON");
        let (mut one, mut other) = (value(base), value(base));
        json_patch::patch(&mut one, &serde_json::from_slice::<json_patch::Patch>(&patch).expect("RFC 6902"))
            .expect("it applies");
        assert!(one == value(target), "{name}: the JSON Patch gives something else");
        if let Some(merge) = merge {
            json_patch::merge(&mut other, &serde_json::from_slice(&merge).expect("RFC 7396"));
            assert!(other == value(target), "{name}: the Merge Patch gives something else");
        }
        Some(patch.len())
    });
    sizes.collect()
}

fn percent(size: usize, target: &Snapshot) -> f64 {
    size as f64 * 100.0 / target.body.len() as f64
}

/// The patch sizes in percent of the body.
fn shares(name: &str, change: &Change) -> Vec<f64> {
    let targets = published(name, change);
    let sizes = patches(name, change);
    sizes.iter().zip(&targets[1..]).map(|(size, target)| percent(size.expect(name), target)).collect()
}

fn pointer(text: &str) -> Members {
    Members::Pointer(text.into())
}

#[test]
fn a_price_list_is_its_changed_rows() {
    let shares = shares("price_list", &Change::default());
    assert!(shares[0] < 15.0 && shares[1] < 25.0 && shares[2] < 2.0, "{shares:?}");
    let ignoring = Change { ignore: vec![pointer("/generated_at")], ..Change::default() };
    let versions: Vec<_> = published("price_list", &ignoring).iter().map(|s| s.version).collect();
    assert!(versions[0] != versions[1] && versions[1] != versions[2]);
    assert_eq!(versions[2], versions[3], "only the time of the answer changed");
    let keyed = ArrayKey { of: Some(pointer("/prices")), key: "/symbol".into() };
    let shares = self::shares("price_list", &Change { array_keys: vec![keyed], ..Change::default() });
    assert!(shares[0] < 15.0 && shares[1] < 25.0, "{shares:?}");
}

#[test]
fn identifiers_beyond_doubles_stay_whole() {
    let canonical = Change { canonical: true, ..Change::default() };
    let body = published("price_list", &canonical).remove(0).body;
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("\"instrument_id\":9007199254740993,"), "{text}");
}

#[test]
fn a_weather_report_changes_where_the_weather_does() {
    let shares = shares("weather_report", &Change::default());
    // A noisy member alone; the current weather; the hours move on by one.
    assert!(shares[0] < 4.0 && shares[1] < 12.0 && shares[2] < 35.0, "{shares:?}");
    let quiet = Change { ignore: vec![pointer("/generationtime_ms")], ..Change::default() };
    let versions: Vec<_> = published("weather_report", &quiet).iter().map(|s| s.version).collect();
    assert_eq!(versions[0], versions[1]);
    assert_ne!(versions[1], versions[2]);
    let selected = Change { select: Some("/current".into()), ..Change::default() };
    let current = published("weather_report", &selected);
    assert_eq!(current[0].version, current[1].version);
    assert!(current[0].body.starts_with(b"{\"time\":") && current[0].body.len() < 200);
}

#[test]
fn a_list_of_runs_is_its_news() {
    let shares = shares("ci_status", &Change::default());
    // A job ends; a run is new and the oldest leaves the page; two runs go on.
    assert!(shares[0] < 3.0 && shares[1] < 12.0 && shares[2] < 6.0, "{shares:?}");
}

#[test]
fn a_new_message_is_little_more_than_itself() {
    let shares = shares("chat_page", &Change::default());
    assert!(shares[0] < 6.0 && shares[1] < 5.0 && shares[2] < 12.0, "{shares:?}");
}

#[test]
fn a_feed_in_xml_is_sent_whole() {
    assert_eq!(patches("rss_feed", &Change::default()), [None]);
    let snapshots = published("rss_feed", &Change::default());
    assert_ne!(snapshots[0].version, snapshots[1].version);
    let ruled = Rules::new(&Change { canonical: true, ..Change::default() });
    let unfit = ruled.snapshot(states("rss_feed").remove(0), None, &VersionNamer::new(None)).unwrap_err();
    assert_eq!(unfit.class, "not-json");
}

/// Bytes of each change on an event stream: plain, compressed by itself, and for a client that got the one
/// before.
#[test]
fn compressed_events_are_a_fraction_and_the_next_one_a_fraction_of_that() {
    let rules = Arc::new(FrameRules::default());
    for name in ["chat_page", "ci_status", "price_list", "weather_report", "rss_feed"] {
        let snapshots = published(name, &Change::default());
        let frames: Vec<Frame> =
            (1..).zip(snapshots).map(|(seq, s)| Frame::new(seq, Arc::new(s), rules.clone())).collect();
        let gzip = Format::Sse(Coding::Deflated);
        frames[0].encode(gzip, None);
        for pair in frames.windows(2) {
            let (before, frame) = (&pair[0], &pair[1]);
            frame.encode(gzip, Some(before));
            let event = frame.sse_gzip().expect("it was made");
            let plain = frame.sse().expect("text").chunk().len();
            let alone = GzipStream::default().event(event).chunk().len();
            let mut steady = GzipStream::default();
            steady.event(before.sse_gzip().expect("it was made"));
            let after = steady.event(event).chunk().len();
            let share = |bytes: usize| bytes as f64 * 100.0 / plain as f64;
            println!(
                "{name:15} event {plain:5} B, gzip {alone:5} B ({:.1} %), after the one before {after:4} B ({:.1} %)",
                share(alone),
                share(after)
            );
            assert!(alone * 10 < plain * 6 && after < alone, "{name}");
        }
    }
}
