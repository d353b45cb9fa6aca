//! Contract §5 and §7: server-sent events, end to end.

use std::time::{Duration, Instant};

use crate::contract::{FAST, FAST_FAILING, ONCE, Stand, TlsStand, narrow, version_of};
use crate::support::client::{Http, Sse, SseItem};
use crate::support::h2::H2;
use crate::support::legacy::{Gate, Reply};
use crate::support::wire::within;

const A: &str = r#"{"price":1}"#;
const B: &str = r#"{"price":2}"#;
const C: &str = r#"{"price":3}"#;

/// A little longer than what the shortest interval needs for several polls.
const SEVERAL_POLLS: Duration = Duration::from_millis(400);

async fn stand(route: &str) -> Stand {
    let stand = Stand::start(route);
    stand.legacy.set("/prices/A", Reply::json(A));
    stand
}

#[tokio::test]
async fn a_stream_gets_the_state_and_then_each_change() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let first = sse.next_event().await;
    assert_eq!((first.event.as_str(), first.data.as_str()), ("message", A));
    stand.legacy.set("/prices/A", Reply::json(B));
    let second = sse.next_event().await;
    assert_eq!(second.data, B);
    assert_ne!(first.id, second.id);
}

#[tokio::test]
async fn the_id_of_an_event_is_the_etag_of_the_same_state() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let id = sse.next_event().await.id.expect("an id");
    let answer = stand.http().await.get("/prices/A", &[]).await.expect(200);
    assert_eq!(answer.etag(), format!("\"{id}\""));
}

#[tokio::test]
async fn the_head_keeps_intermediaries_from_buffering() {
    let stand = stand(FAST).await;
    let sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let head = &sse.head;
    assert_eq!(head.version, 1);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-store, no-transform"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert!(head.names("vary", "accept") && head.names("vary", "prefer"), "{head:?}");
    assert!(head.names("transfer-encoding", "chunked"), "{head:?}");
    assert_eq!(head.header("etag"), None);
}

#[tokio::test]
async fn a_stream_begins_with_retry_and_a_comment_before_any_state() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let SseItem::Retry(retry) = sse.next_item().await else {
        panic!("no retry first");
    };
    assert!((2000..=8000).contains(&retry), "{retry}");
    assert!(matches!(sse.next_item().await, SseItem::Comment(_)));
    assert!(matches!(sse.next_item().await, SseItem::Event { .. }));
}

/// Libraries that dispatch on any field see an event at each empty line: there is one behind an event, and no other.
#[tokio::test]
async fn an_empty_line_ends_an_event_and_nothing_else() {
    let stand = stand("poll: {interval: 100ms}, heartbeat: 1s").await;
    for path in ["/prices/A", "/-/pollcast/events?resource=/prices/A"] {
        let mut http = stand.http().await;
        http.send("GET", path, &[("accept", "text/event-stream")], b"").await;
        http.read_head().await.expect(200);
        let mut text = String::new();
        while !text.ends_with("\n:\n") {
            let chunk =
                within("a chunk", http.wire.chunk()).await.expect("a chunk").expect("the stream goes on");
            text += std::str::from_utf8(&chunk).expect("text");
        }
        assert!(text.starts_with("retry: ") && text.contains("\n: pollcast\n"), "{path}: {text:?}");
        let blocks: Vec<&str> = text.split("\n\n").collect();
        for block in &blocks[..blocks.len() - 1] {
            assert!(block.lines().any(|line| line.starts_with("data: ")), "{path}: {block:?} in {text:?}");
        }
        assert!(!text.ends_with("\n\n"), "{path}: {text:?}");
    }
}

#[tokio::test]
async fn a_silent_stream_gets_heartbeats() {
    let stand = stand("poll: {interval: 100ms}, heartbeat: 1s").await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    let began = Instant::now();
    for beat in 1..=2u32 {
        assert!(matches!(sse.next_item().await, SseItem::Comment(_)));
        let elapsed = began.elapsed();
        assert!(elapsed >= Duration::from_millis(850) * beat, "{elapsed:?}");
        assert!(elapsed <= Duration::from_millis(1700) * beat, "{elapsed:?}");
    }
}

#[tokio::test]
async fn who_comes_back_with_the_current_version_gets_only_a_comment() {
    let stand = stand(FAST).await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    let id = first.next_event().await.id.expect("an id");
    let by_header = Sse::open(stand.address(), "/prices/A", &[("last-event-id", &id)]).await;
    let snake = format!("/prices/A?last_event_id={id}");
    let camel = format!("/prices/A?lastEventId={id}");
    let by_snake = Sse::open(stand.address(), &snake, &[]).await;
    let by_camel = Sse::open(stand.address(), &camel, &[]).await;
    let mut streams = [by_header, by_snake, by_camel];
    for sse in &mut streams {
        sse.expect_no_event(Duration::from_millis(200)).await;
        let is_comment = |item: &SseItem| matches!(item, SseItem::Comment(_));
        assert!(sse.passed.iter().any(is_comment));
    }
    stand.legacy.set("/prices/A", Reply::json(B));
    for sse in &mut streams {
        assert_eq!(sse.next_event().await.data, B);
    }
}

#[tokio::test]
async fn the_header_wins_over_the_query_when_resuming() {
    let stand = stand(FAST).await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    let id = first.next_event().await.id.expect("an id");
    let path = "/prices/A?last_event_id=AAAAAAAAAAAAAAAAAAAAAA";
    let mut sse = Sse::open(stand.address(), path, &[("last-event-id", &id)]).await;
    sse.expect_no_event(Duration::from_millis(250)).await;
}

#[tokio::test]
async fn who_comes_back_with_an_older_version_gets_the_latest_at_once() {
    let stand = stand(FAST).await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    let id = first.next_event().await.id.expect("an id");
    for body in [B, C] {
        stand.legacy.set("/prices/A", Reply::json(body));
        assert_eq!(first.next_event().await.data, body);
    }
    let mut sse = Sse::open(stand.address(), "/prices/A", &[("last-event-id", &id)]).await;
    assert_eq!(sse.next_event().await.data, C);
    sse.expect_no_event(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn an_unknown_version_waits_for_a_confirming_poll() {
    let stand = stand("poll: {interval: 1s}").await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(first.next_event().await.data, A);
    // This process still holds A. A client that has seen something newer elsewhere must not be
    // sent back in time.
    stand.legacy.set("/prices/A", Reply::json(B));
    let unknown = [("last-event-id", "AAAAAAAAAAAAAAAAAAAAAA")];
    let mut sse = Sse::open(stand.address(), "/prices/A", &unknown).await;
    assert_eq!(sse.next_event().await.data, B);
}

#[tokio::test]
async fn an_unknown_version_that_the_confirming_poll_finds_gets_nothing() {
    let stand = stand("poll: {interval: 1s}").await;
    let newer = version_of(&stand, B).await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(first.next_event().await.data, A);
    stand.legacy.set("/prices/A", Reply::json(B));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[("last-event-id", &newer)]).await;
    assert_eq!(first.next_event().await.data, B);
    sse.expect_no_event(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn unknown_versions_cost_one_extra_poll_together() {
    let stand = stand("poll: {interval: 2s}").await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    first.next_event().await;
    let began = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..20 {
        let unknown = [("last-event-id", "AAAAAAAAAAAAAAAAAAAAAA")];
        streams.push(Sse::open(stand.address(), "/prices/A", &unknown).await);
    }
    for sse in &mut streams {
        assert_eq!(sse.next_event().await.data, A);
    }
    assert_eq!(stand.legacy.count("/prices/A"), 2);
    // Half an interval after the first poll, not a whole one.
    assert!(began.elapsed() < Duration::from_millis(1600), "{:?}", began.elapsed());
}

#[tokio::test]
async fn after_a_restart_the_first_poll_confirms_by_itself() {
    let stand = stand(ONCE).await;
    let unknown = [("last-event-id", "AAAAAAAAAAAAAAAAAAAAAA")];
    let mut sse = Sse::open(stand.address(), "/prices/A", &unknown).await;
    assert_eq!(sse.next_event().await.data, A);
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn http10_gets_no_chunks_and_its_end_is_the_connections() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open_http10(stand.address(), "/prices/A", &[]).await;
    assert_eq!(sse.head.header("transfer-encoding"), None);
    assert!(sse.head.names("connection", "close"), "{:?}", sse.head);
    assert_eq!(sse.next_event().await.data, A);
    stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(sse.next_event().await.data, B);
    stand.app.stop();
    assert_eq!(sse.next_named("bye").await.id, None);
    sse.expect_end().await;
}

#[tokio::test]
async fn a_stream_ends_with_bye_and_its_last_chunk() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.app.stop();
    let bye = sse.next_named("bye").await;
    let data: serde_json::Value = serde_json::from_str(&bye.data).expect("JSON");
    assert_eq!(data["reason"], "drain");
    assert_eq!(data["reconnect"], true);
    assert!(data["retry_ms"].is_u64());
    sse.expect_end().await;
    sse.expect_eof().await;
}

#[tokio::test]
async fn cold_with_the_upstream_down_it_says_stale_and_then_the_state() {
    let stand = stand(&format!("{FAST_FAILING}, first_answer: 200ms")).await;
    stand.legacy.stop().await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let stale = sse.next_named("stale").await;
    assert_eq!(stale.id, None);
    let data: serde_json::Value = serde_json::from_str(&stale.data).expect("JSON");
    for field in ["since", "status", "reason", "next_poll_ms"] {
        assert!(data.get(field).is_some(), "no {field} in {data}");
    }
    stand.legacy.start_again();
    assert_eq!(sse.next_named("fresh").await.id, None);
    assert_eq!(sse.next_event().await.data, A);
}

#[tokio::test]
async fn a_cold_upstream_that_hangs_holds_the_head_back_no_longer_than_first_answer() {
    let stand = stand("poll: {interval: 100ms}, first_answer: 300ms").await;
    let gate = Gate::closed();
    stand.legacy.once("/prices/A", Reply::json(A).behind(&gate));
    let began = Instant::now();
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let elapsed = began.elapsed();
    assert!(elapsed >= Duration::from_millis(280), "{elapsed:?}");
    assert!(elapsed < Duration::from_millis(1500), "{elapsed:?}");
    assert!(matches!(sse.next_item().await, SseItem::Retry(_)));
    gate.open();
    assert_eq!(sse.next_event().await.data, A);
}

#[tokio::test]
async fn cold_refusals_are_relayed_as_statuses() {
    let stand = stand(FAST).await;
    for status in [401, 403, 404, 410] {
        let path = format!("/prices/{status}");
        let reply = Reply::text("no").status(status).header("www-authenticate", "Basic");
        stand.legacy.set(&path, reply);
        let mut http = stand.http().await;
        let answer = http.get(&path, &[("accept", "text/event-stream")]).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, "no"));
        assert_eq!(answer.header("www-authenticate"), Some("Basic"));
        // The connection is as good as after any other answer.
        assert_eq!(http.get(&path, &[]).await.status, status);
    }
}

#[tokio::test]
async fn a_remembered_refusal_is_relayed_at_once() {
    let stand = stand("poll: {interval: 5s, backoff: {min: 5s, max: 5s}}").await;
    stand.legacy.set("/prices/A", Reply::text("no").status(404));
    let began = Instant::now();
    for _ in 0..3 {
        let refused = Sse::try_open(stand.address(), "/prices/A", &[]).await;
        assert_eq!(refused.err().map(|head| head.status), Some(404));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn other_cold_failures_are_streams_that_say_stale() {
    let stand = stand(FAST_FAILING).await;
    for status in [302, 429, 500, 503] {
        let path = format!("/prices/{status}");
        stand.legacy.set(&path, Reply::text("no").status(status));
        let mut sse = Sse::open(stand.address(), &path, &[]).await;
        let stale = sse.next_named("stale").await;
        let data: serde_json::Value = serde_json::from_str(&stale.data).expect("JSON");
        assert_eq!(data["status"], status);
        stand.legacy.set(&path, Reply::json(A));
        sse.next_named("fresh").await;
        assert_eq!(sse.next_event().await.data, A);
    }
}

#[tokio::test]
async fn a_failing_upstream_is_stale_once_and_fresh_on_recovery() {
    let stand = stand(FAST_FAILING).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.set("/prices/A", Reply::text("oops").status(500));
    sse.next_named("stale").await;
    sse.expect_no_event(SEVERAL_POLLS).await;
    stand.legacy.set("/prices/A", Reply::json(A));
    sse.next_named("fresh").await;
    // The state is the one the client has.
    sse.expect_no_event(Duration::from_millis(200)).await;
}

#[tokio::test]
async fn who_joins_a_stale_resource_gets_the_state_and_hears_of_it() {
    let stand = stand(FAST_FAILING).await;
    let mut first = Sse::open(stand.address(), "/prices/A", &[]).await;
    first.next_event().await;
    stand.legacy.set("/prices/A", Reply::text("oops").status(500));
    first.next_named("stale").await;
    let mut second = Sse::open(stand.address(), "/prices/A", &[]).await;
    let mut events = [second.next_event().await.event, second.next_event().await.event];
    events.sort();
    assert_eq!(events, ["message", "stale"]);
}

#[tokio::test]
async fn gone_is_said_once_and_a_comeback_sends_the_state() {
    let stand = stand("poll: {interval: 100ms, backoff: {min: 100ms, max: 300ms}}").await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.set("/prices/A", Reply::text("no").status(404));
    let gone = sse.next_named("gone").await;
    assert_eq!((gone.id, gone.data.as_str()), (None, r#"{"status":404}"#));
    sse.expect_no_event(Duration::from_millis(700)).await;
    stand.legacy.set("/prices/A", Reply::json(A));
    sse.next_named("fresh").await;
    assert_eq!(sse.next_event().await.data, A);
}

#[tokio::test]
async fn gone_after_ends_the_stream_and_the_reconnect_gets_204() {
    let route = "poll: {interval: 100ms, backoff: {min: 100ms, max: 100ms}}, gone_after: 1s";
    let stand = stand(route).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.set("/prices/A", Reply::text("no").status(410));
    sse.next_named("gone").await;
    let bye = sse.next_named("bye").await;
    assert!(bye.data.contains("\"reconnect\":false"), "{}", bye.data);
    sse.expect_end().await;
    let mut http = stand.http().await;
    let again = http.get("/prices/A", &[("accept", "text/event-stream")]).await;
    assert_eq!(again.status, 204);
    assert_eq!(again.header("content-length"), None, "{again:?}");
}

#[tokio::test]
async fn every_body_reaches_the_reader_whole() {
    let stand = stand(FAST).await;
    let bodies = [
        ("lf", "a\nb", "a\nb"),
        ("crlf", "a\r\nb", "a\nb"),
        ("cr", "a\rb", "a\nb"),
        ("ends", "a\r\n\n\r", "a\n\n\n"),
        ("field", "data: x\nid: 7\nevent: y\nretry: 1\n: z", "data: x\nid: 7\nevent: y\nretry: 1\n: z"),
        ("bom", "\u{feff}a", "a"),
        ("nul", "a\0b", "a\0b"),
        ("space", " a ", " a "),
        ("empty", "", ""),
    ];
    for (name, body, wanted) in bodies {
        let path = format!("/prices/{name}");
        stand.legacy.set(&path, Reply::text(body));
        let mut sse = Sse::open(stand.address(), &path, &[]).await;
        let event = sse.next_event().await;
        assert_eq!(event.data, wanted, "{name}");
        assert_eq!(event.event, "message", "{name}");
        assert_eq!(event.id.map(|id| id.len()), Some(22), "{name}");
    }
}

#[tokio::test]
async fn a_declared_charset_is_converted() {
    let stand = stand(FAST).await;
    let reply = Reply::new("text/plain; charset=iso-8859-1", &b"caf\xe9"[..]);
    stand.legacy.set("/prices/A", reply);
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(sse.next_event().await.data, "café");
}

#[tokio::test]
async fn what_is_no_text_is_406_or_base64() {
    let stand = stand(FAST).await;
    stand.legacy.set("/prices/A", Reply::new("image/png", &b"\x89PNG\xff"[..]));
    let refused = Sse::try_open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(refused.err().map(|head| head.status), Some(406));

    let coded = Stand::start("poll: {interval: 100ms}, encoding: base64");
    coded.legacy.set("/prices/A", Reply::new("image/png", &b"\x89PNG\xff"[..]));
    let mut sse = Sse::open(coded.address(), "/prices/A", &[]).await;
    assert_eq!(sse.next_event().await.data, "iVBOR/8=");
}

#[tokio::test]
async fn event_name_names_the_states() {
    let stand = stand("poll: {interval: 100ms}, event_name: price").await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(sse.next_named("price").await.data, A);
}

#[tokio::test]
async fn push_sse_chooses_a_stream_without_the_header() {
    let stand = stand(FAST).await;
    let accept = [("accept", "*/*")];
    let mut sse = Sse::open(stand.address(), "/prices/A?_push=sse&x=1", &accept).await;
    assert_eq!(sse.next_event().await.data, A);
    assert_eq!(stand.legacy.seen("/prices/A")[0].target, "/prices/A?x=1");
}

#[tokio::test]
async fn a_wildcard_never_means_a_stream() {
    let stand = stand(FAST).await;
    for accept in ["*/*", "text/*", "application/json", "application/json, text/event-stream;q=0.9"] {
        let answer = stand.http().await.get("/prices/A", &[("accept", accept)]).await;
        assert_ne!(answer.header("content-type"), Some("text/event-stream"), "{accept}");
    }
}

#[tokio::test]
async fn the_best_type_is_judged_by_what_the_resource_is() {
    let stand = stand(FAST).await;
    stand.legacy.set("/prices/A", Reply::text("hello"));
    stand.http().await.get("/prices/A", &[]).await.expect(200);
    let accept = [("accept", "text/plain, text/event-stream;q=0.5")];
    let answer = stand.http().await.get("/prices/A", &accept).await.expect(200);
    assert_eq!(answer.text(), "hello");
}

#[tokio::test]
async fn a_route_without_streams_answers_406_or_in_another_form() {
    let stand = stand("poll: {interval: 100ms}, transports: [poll, long_poll]").await;
    let mut http = stand.http().await;
    let only = http.get("/prices/A", &[("accept", "text/event-stream")]).await;
    assert_eq!(only.status, 406);
    let only = http.get("/prices/A?_push=sse", &[("accept", "text/event-stream")]).await;
    assert_eq!(only.status, 406);
    let other = http.get("/prices/A", &[("accept", "text/event-stream, */*;q=0.1")]).await;
    assert_eq!((other.status, other.text().as_str()), (200, A));
    assert_eq!(other.header("link"), None, "a stream that is not there is offered");
}

#[tokio::test]
async fn credentials_without_a_share_get_403_that_names_the_choices() {
    let stand = stand(FAST).await;
    let mut http = stand.http().await;
    let headers = [("accept", "text/event-stream"), ("authorization", "Bearer x")];
    let answer = http.get("/prices/A", &headers).await.expect(403);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("share: public") && detail.contains("by:"), "{detail}");
}

#[tokio::test]
async fn an_answer_of_one_user_ends_running_streams_and_refuses_new_ones() {
    let stand = stand(FAST).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.set("/prices/A", Reply::json(B).header("cache-control", "private"));
    let bye = sse.next_named("bye").await;
    assert!(bye.data.contains("not-shareable"), "{}", bye.data);
    assert!(bye.data.contains("\"reconnect\":false"), "{}", bye.data);
    sse.expect_end().await;
    let refused = Sse::try_open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(refused.err().map(|head| head.status), Some(403));
    let plain = stand.http().await.get("/prices/A", &[]).await.expect(200);
    let passed = Some("pollcast; fwd=bypass; detail=not-shareable");
    assert_eq!((plain.text().as_str(), plain.header("cache-status")), (B, passed));
}

#[tokio::test]
async fn when_all_seats_are_taken_browsers_are_refused_softly_and_others_with_503() {
    let stand = Stand::with(FAST, "limits: {clients: 1}");
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut taken = Sse::open(stand.address(), "/prices/A", &[]).await;
    taken.next_event().await;

    let mut other = stand.http().await;
    let refused = other.get("/prices/A", &[("accept", "text/event-stream")]).await.expect(503);
    assert!(refused.header("retry-after").is_some(), "{refused:?}");

    let browser = [("accept", "text/event-stream"), ("user-agent", "Mozilla/5.0")];
    let began = Instant::now();
    let mut soft = Sse::open(stand.address(), "/prices/A", &browser).await;
    let SseItem::Retry(retry) = soft.next_item().await else {
        panic!("no retry first");
    };
    assert!((5000..=60_000).contains(&retry), "{retry}");
    assert!(began.elapsed() < Duration::from_secs(1), "the retry was held back");
    let bye = soft.next_named("bye").await;
    assert!(bye.data.contains("\"reason\":\"clients\""), "{}", bye.data);
    // Held, so that a client that takes no `retry` does not come back at once.
    let held = began.elapsed();
    assert!(held >= Duration::from_secs(2), "{held:?}");
    assert!(held < Duration::from_secs(6), "{held:?}");
    soft.expect_end().await;

    // A seat is free again when its client is gone.
    drop(taken);
    stand.clients("sse", 0).await;
    Sse::open(stand.address(), "/prices/A", &[]).await.next_event().await;
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed_within_a_second_and_without_a_write() {
    let stand = stand(ONCE).await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.clients("sse", 1).await;
    let began = Instant::now();
    drop(sse);
    stand.clients("sse", 0).await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn two_resources_do_not_mix() {
    let stand = stand(FAST).await;
    stand.legacy.set("/prices/B", Reply::json(r#"{"b":0}"#));
    let mut a = Sse::open(stand.address(), "/prices/A", &[]).await;
    let mut b = Sse::open(stand.address(), "/prices/B", &[]).await;
    a.next_event().await;
    b.next_event().await;
    stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(a.next_event().await.data, B);
    b.expect_no_event(Duration::from_millis(300)).await;
    stand.legacy.set("/prices/B", Reply::json(r#"{"b":1}"#));
    assert_eq!(b.next_event().await.data, r#"{"b":1}"#);
    a.expect_no_event(Duration::from_millis(100)).await;
}

#[tokio::test]
async fn conditional_polls_without_news_make_no_events() {
    let stand = stand(FAST).await;
    stand.legacy.set("/prices/A", Reply::json(A).with_etag());
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.wait_count("/prices/A", 4).await;
    let seen = stand.legacy.seen("/prices/A");
    assert_eq!(seen[0].header("if-none-match"), None);
    assert!(seen[1..].iter().all(|poll| poll.header("if-none-match").is_some()));
    sse.expect_no_event(Duration::from_millis(100)).await;
    stand.legacy.set("/prices/A", Reply::json(B).with_etag());
    assert_eq!(sse.next_event().await.data, B);
}

#[tokio::test]
async fn a_slow_reader_gets_the_latest_next() {
    let stand = Stand::with(FAST, "limits: {stall_timeout: 60s}");
    let big = |n: u32| Reply::json(format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(400_000)));
    stand.legacy.set("/prices/A", big(0));
    let slow = narrow(stand.address()).await;
    let host = stand.address().to_string();
    let mut slow = Sse::over(slow, &host, "HTTP/1.1", "/prices/A", &[]).await.expect("a stream");
    let mut quick = Sse::open(stand.address(), "/prices/A", &[]).await;
    quick.next_event().await;
    for n in 1..=15 {
        stand.legacy.set("/prices/A", big(n));
        assert!(quick.next_event().await.data.starts_with(&format!("{{\"n\":{n},")));
    }
    let mut events = 0;
    loop {
        events += 1;
        if slow.next_event().await.data.starts_with("{\"n\":15,") {
            break;
        }
    }
    // What was half written, and the latest; perhaps one that the kernel had taken.
    assert!(events <= 3, "{events} events queued for a slow reader");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_closed_after_stall_timeout() {
    let stand = Stand::with(FAST, "limits: {stall_timeout: 1s}");
    stand.legacy.set("/prices/A", Reply::json(format!("\"{}\"", "x".repeat(900_000))));
    let slow = narrow(stand.address()).await;
    let host = stand.address().to_string();
    let _slow = Sse::over(slow, &host, "HTTP/1.1", "/prices/A", &[]).await.expect("a stream");
    stand.clients("sse", 1).await;
    stand.clients("sse", 0).await;
    stand.metric_becomes("pollcast_slow_closes_total", "sse", 1.0).await;
}

#[tokio::test]
async fn bytes_after_the_request_are_ignored() {
    let stand = stand(FAST).await;
    let mut http = stand.http().await;
    http.send_raw(
        b"GET /prices/A HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n\
          GET /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n",
    )
    .await;
    let mut sse = Sse::answered(http.into_wire()).await.expect("a stream");
    assert_eq!(sse.next_event().await.data, A);
    stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(sse.next_event().await.data, B);
    assert_eq!(stand.legacy.count("/elsewhere"), 0);
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_said_and_not_sent() {
    let stand = stand("poll: {interval: 100ms, max_body: 1KiB}, stale_after: 0s").await;
    stand.legacy.set("/prices/A", Reply::json(format!("\"{}\"", "x".repeat(5000))));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let stale = sse.next_named("stale").await;
    assert!(stale.data.contains("1024"), "{}", stale.data);
}

#[tokio::test]
async fn a_stream_over_tls_ends_with_close_notify() {
    let tls = TlsStand::start(FAST);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let stream = tls.connect(&[]).await;
    let mut sse = Sse::over(stream, "localhost", "HTTP/1.1", "/prices/A", &[]).await.expect("a stream");
    assert_eq!(sse.next_event().await.data, A);
    tls.stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(sse.next_event().await.data, B);
    tls.stand.app.drain().await;
    sse.next_named("bye").await;
    sse.expect_end().await;
    // Without close_notify this would be an error.
    sse.expect_eof().await;
}

#[tokio::test]
async fn large_states_over_tls_arrive_whole() {
    let tls = TlsStand::start(FAST);
    let body = |n: u32| format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(900_000));
    tls.stand.legacy.set("/prices/A", Reply::json(body(0)));
    let stream = tls.connect(&[]).await;
    let mut sse = Sse::over(stream, "localhost", "HTTP/1.1", "/prices/A", &[]).await.expect("a stream");
    for n in 0..3 {
        assert_eq!(sse.next_event().await.data, body(n));
        tls.stand.legacy.set("/prices/A", Reply::json(body(n + 1)));
    }
}

#[tokio::test]
async fn a_vanished_tls_client_is_noticed() {
    let tls = TlsStand::start(ONCE);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let stream = tls.connect(&[]).await;
    let mut sse = Sse::over(stream, "localhost", "HTTP/1.1", "/prices/A", &[]).await.expect("a stream");
    sse.next_event().await;
    let began = Instant::now();
    drop(sse);
    tls.stand.clients("sse", 0).await;
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_stream_over_http2_gets_the_state_and_each_change() {
    let tls = TlsStand::start(FAST);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let accept = [("accept", "text/event-stream")];
    let (head, mut sse) = h2.open("GET", "/prices/A", &accept).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert!(matches!(sse.next_item().await, SseItem::Retry(_)));
    assert!(matches!(sse.next_item().await, SseItem::Comment(_)));
    let first = sse.next_event().await;
    assert_eq!(first.data, A);
    tls.stand.legacy.set("/prices/A", Reply::json(B));
    assert_eq!(sse.next_event().await.data, B);

    // Many streams on one connection, and plain answers beside them.
    let (_, mut second) = h2.open("GET", "/prices/A", &accept).await;
    assert_eq!(second.next_event().await.data, B);
    assert_eq!(h2.get("/prices/A", &[]).await.text(), B);
    tls.stand.clients("sse", 2).await;
    drop(second);
    tls.stand.clients("sse", 1).await;
    h2.cut();
    tls.stand.clients("sse", 0).await;
}

#[tokio::test]
async fn a_stream_over_http2_ends_properly_in_a_drain() {
    let tls = TlsStand::start(FAST);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let (_, mut sse) = h2.open("GET", "/prices/A", &[("accept", "text/event-stream")]).await;
    sse.next_event().await;
    let ends = async {
        assert_eq!(sse.next_event().await.event, "bye");
        sse.expect_end().await;
    };
    tokio::join!(ends, tls.stand.app.drain());
}

#[tokio::test]
async fn cold_refusals_over_http2_are_relayed() {
    let tls = TlsStand::start(FAST);
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let answer = h2.get("/prices/A", &[("accept", "text/event-stream")]).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn an_own_origin_is_allowed_on_every_answer() {
    let stand = stand("poll: {interval: 100ms}, cors: {origins: ['https://shop.example']}").await;
    let origin = [("origin", "https://shop.example")];
    let sse = Sse::open(stand.address(), "/prices/A", &origin).await;
    let allow = "access-control-allow-origin";
    assert_eq!(sse.head.header(allow), Some("https://shop.example"));
    assert!(sse.head.headers("vary").iter().any(|v| v.contains("Origin")));
    let mut http = Http::connect(stand.address()).await;
    let plain = http.get("/prices/A", &origin).await.expect(200);
    assert_eq!(plain.header(allow), Some("https://shop.example"));
    let tag = plain.etag().to_owned();
    let headers = [("origin", "https://shop.example"), ("if-none-match", tag.as_str())];
    assert_eq!(http.get("/prices/A", &headers).await.expect(304).header(allow), Some("https://shop.example"));
    let other = http.get("/prices/A", &[("origin", "https://evil.example")]).await;
    assert_eq!(other.header(allow), None);
}

#[tokio::test]
async fn a_soft_refusal_over_http2_ends_its_stream_alone() {
    let tls = TlsStand::with("poll: {interval: 1h}, soft_refusal: always", "limits: {clients: 1}");
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let accept = [("accept", "text/event-stream")];
    let (_, mut first) = h2.open("GET", "/prices/A", &accept).await;
    first.next_event().await;
    let (head, mut refused) = h2.open("GET", "/prices/A", &accept).await;
    assert_eq!(head.status, 200);
    assert_eq!(refused.next_event().await.event, "bye");
    refused.expect_end().await;
    tls.stand.clients("sse", 1).await;
}

#[tokio::test]
async fn an_http2_reader_that_takes_nothing_is_closed_after_stall_timeout() {
    let tls = TlsStand::with(FAST, "limits: {stall_timeout: 1s}");
    let body = format!("\"{}\"", "x".repeat(900_000));
    tls.stand.legacy.set("/prices/A", Reply::json(body));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let (_, slow) = h2.open("GET", "/prices/A", &[("accept", "text/event-stream")]).await;
    tls.stand.clients("sse", 1).await;
    tls.stand.clients("sse", 0).await;
    assert_eq!(tls.stand.metric("pollcast_slow_closes_total", "sse").await, 1.0);
    // What it left unread takes up the connection's window; without it all is as before.
    drop(slow);
    assert_eq!(h2.get("/prices/404", &[]).await.status, 404);
}
