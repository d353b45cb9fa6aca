//! What snapshots and histories hold is charged when it is made, and free again with it (contract §10).

use super::*;
use crate::frame::PatchKind;

const GZIPPED: Format = Format::SseDelta(PatchKind::Json, Coding::Deflated);

/// As JSON, in which one member of many is another.
fn rows(number: usize) -> Arc<Snapshot> {
    let rows: Vec<String> =
        (0..200).map(|n| format!("\"row {n}\":{}", if n == 7 { number } else { n })).collect();
    let body = format!("{{{}}}", rows.join(","));
    Arc::new(Snapshot::new(
        version(&body),
        StatusCode::OK,
        Some(HeaderValue::from_static("application/json")),
        HeaderMap::new(),
        Validators::default(),
        Vec::new(),
        Bytes::from(body),
    ))
}

fn follow(stage: &Stage, format: Format) -> Subscription {
    let (attendance, _) = stage.attend("/a", Attend::Follow);
    Subscription::new(attendance, Some(0), format, Resume::Start)
}

#[tokio::test]
async fn a_form_is_charged_with_the_follower_that_it_is_made_for() {
    let stage = Stage::new(10);
    let (attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut publisher = publisher.unwrap();
    let number = publisher.start_poll();
    publisher.publish(number, rows(1), Duration::ZERO);
    let body = publisher.topic().view().frame.as_ref().unwrap().snapshot.body.len();
    let mut held = stage.hub.snapshot_bytes();
    assert!((body..2 * body).contains(&held), "{held}");
    let mut followers = Vec::new();
    for format in [
        Format::Sse(Coding::Plain),
        Format::WebSocket(Coding::Plain),
        Format::Named,
        Format::Envelope(None),
        Format::SseDelta(PatchKind::Json, Coding::Plain),
    ] {
        followers.push(follow(&stage, format));
        let now = stage.hub.snapshot_bytes();
        assert!(now >= held + body, "{format:?}: {held}, then {now}");
        held = now;
    }
    followers.push(follow(&stage, Format::Sse(Coding::Deflated)));
    assert!(stage.hub.snapshot_bytes() > held, "compressed forms, too");
    drop((followers, attendance));
    assert!(publisher.retire().is_ok());
    assert_eq!(stage.hub.snapshot_bytes(), 0);
}

#[tokio::test]
async fn a_form_that_is_made_already_needs_no_room_and_another_one_does() {
    let stage = Stage::new(10);
    let (_attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut publisher = publisher.unwrap();
    let number = publisher.start_poll();
    publisher.publish(number, rows(1), Duration::ZERO);
    let _sse = follow(&stage, Format::Sse(Coding::Plain));
    stage.hub.bound_snapshots(stage.hub.snapshot_bytes() + 100);
    let view = publisher.topic().view();
    for format in [Format::Sse(Coding::Plain), Format::Sse(Coding::Deflated), Format::Body(Coding::Plain)] {
        assert!(stage.hub.has_room_to_read(&view, format), "{format:?}");
    }
    for format in [Format::Named, Format::WebSocket(Coding::Plain), Format::Envelope(None)] {
        assert!(!stage.hub.has_room_to_read(&view, format), "{format:?}");
    }
}

#[tokio::test]
async fn room_that_is_reserved_for_a_form_is_used_by_it() {
    let stage = Stage::new(10);
    let (attendance, publisher) = stage.attend("/a", Attend::Follow);
    let publisher = publisher.unwrap();
    let draft = publisher.draft(rows(1), None);
    let alone = stage.hub.snapshot_bytes();
    draft.reserve_form();
    let reserved = stage.hub.snapshot_bytes();
    assert!(reserved > alone + 2000, "{alone}, {reserved}");
    let mut publisher = publisher;
    let number = publisher.start_poll();
    publisher.publish_draft(number, draft, Duration::ZERO);
    let _follower = Subscription::new(attendance, Some(0), Format::Named, Resume::Start);
    let made = stage.hub.snapshot_bytes();
    assert!(made < reserved + 100, "{reserved}, {made}");
}

#[tokio::test]
async fn what_is_made_of_a_patch_later_does_not_upset_the_account_of_the_history() {
    let mut stage = Stage::new(10);
    let mut route = route::route();
    route.history_versions = 2;
    stage.route = Arc::new(route);
    let (attendance, publisher) = stage.attend("/a", Attend::Visit);
    let mut publisher = publisher.unwrap();
    let first = follow(&stage, Format::SseDelta(PatchKind::Json, Coding::Plain));
    for number in 0..20 {
        let poll = publisher.start_poll();
        publisher.publish(poll, rows(1000 + number), Duration::ZERO);
        // Its patch was made without a compressed form, which comes now.
        drop(follow(&stage, GZIPPED));
        let held = stage.hub.history_bytes();
        assert!((1..100_000).contains(&held), "{held} after {number}");
    }
    drop((first, attendance));
    assert!(publisher.retire().is_ok());
    assert_eq!(stage.hub.history_bytes(), 0);
}

#[tokio::test]
async fn fields_of_a_snapshot_keep_nothing_else_of_the_head_in_memory() {
    let head = Bytes::from(vec![b'x'; 60_000]);
    let value = HeaderValue::from_maybe_shared(head.slice(..20)).unwrap();
    let validators = Validators { etag: Some(value.clone()), last_modified: Some(value.clone()) };
    let headers = [(http::header::CONTENT_LANGUAGE, value.clone())].into_iter().collect();
    let kept = Snapshot::new(
        version("x"),
        StatusCode::OK,
        Some(value.clone()),
        headers,
        validators,
        Vec::new(),
        Bytes::from_static(b"x"),
    );
    drop(value);
    assert!(head.is_unique(), "something of the head is kept");
    assert_eq!(kept.validators.etag.unwrap(), "x".repeat(20).as_str());
}
