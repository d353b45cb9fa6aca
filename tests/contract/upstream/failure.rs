//! Contract §3, §5, §10: what clients see while the upstream misbehaves.

use std::time::Duration;

use crate::contract::edge::support::{Extra, http, start_with};
use crate::support::client::{Sse, Ws};
use crate::support::legacy::{Gate, Legacy, Reply};

/// Everything is impatient, so that failures show at once.
const HASTY: Extra<'static> = Extra {
    listener: "",
    upstream: ", first_byte_timeout: 200ms, total_timeout: 500ms, connect_timeout: 200ms",
    route: ", stale_after: 0s, poll: {timeout: 400ms, max_body: 1KiB}",
    top: "",
};

/// What goes wrong, by name.
fn failures() -> Vec<(&'static str, Reply)> {
    let body = r#"{"a":"never seen"}"#;
    vec![
        ("silence", Reply::silence()),
        ("hanging body", Reply::json(body).hang_after(3)),
        ("truncated length", Reply::json(body).cut_after(3)),
        ("truncated chunks", Reply::json(body).chunked().cut_after(3)),
        ("reset", Reply::reset()),
        ("reset in the body", Reply::json(body).reset_after(3)),
        ("closed", Reply::close()),
        ("garbage", Reply::garbage()),
        ("400", Reply::json(body).status(400)),
        ("401", Reply::json(body).status(401)),
        ("403", Reply::json(body).status(403)),
        ("429", Reply::json(body).status(429)),
        ("500", Reply::json(body).status(500)),
        ("503", Reply::json(body).status(503)),
        ("302", Reply::empty(302).header("location", "/login")),
        ("206", Reply::json(body).status(206)),
        ("a login page", Reply::new("text/html", "<p>never seen</p>")),
        ("broken JSON", Reply::new("application/json", "{\"a\":")),
        ("empty JSON", Reply::new("application/json", "")),
        ("no length", Reply::new("application/json", "{\"a\":").until_close()),
    ]
}

#[tokio::test]
async fn subscribers_keep_their_stream_and_hear_stale_and_fresh() {
    let legacy = Legacy::start();
    let app = start_with(&legacy, HASTY);
    let mut cases = Vec::new();
    for (number, (what, reply)) in failures().into_iter().enumerate() {
        let path = format!("/r/{number}");
        legacy.set(&path, Reply::json("1").etag("\"u1\""));
        let mut sse = Sse::open(app.addresses()[0], &path, &[]).await;
        assert_eq!(sse.next_event().await.data, "1");
        legacy.set(&path, reply);
        cases.push((what, path, sse));
    }
    for (what, path, mut sse) in cases {
        let stale = sse.next_event().await;
        assert_eq!((stale.event.as_str(), stale.id), ("stale", None), "{what}: {}", stale.data);
        let data: serde_json::Value = serde_json::from_str(&stale.data).expect("JSON");
        for member in ["since", "reason", "next_poll_ms", "status"] {
            assert!(data.get(member).is_some(), "{what}: {data}");
        }
        if let Ok(status) = what.parse::<u16>() {
            assert_eq!(data["status"], status, "{what}: {data}");
        }
        // Ordinary polls get the last good state, and are told; what an upstream that is well says instead counts at
        // once.
        let answer = http(&app).await.get(&path, &[]).await;
        let status = answer.header("cache-status").unwrap_or_default();
        if ["302", "400", "401", "403"].contains(&what) {
            assert_eq!(answer.status.to_string(), what);
            assert!(!status.contains("fwd=stale"), "{what}: {answer:?}");
        } else {
            assert_eq!((answer.status, answer.text().as_str()), (200, "1"), "{what}");
            assert!(status.contains("fwd=stale"), "{what}: {answer:?}");
        }
        // A newcomer gets the last good state and hears that it is old.
        let mut late = Sse::open(app.addresses()[0], &path, &[]).await;
        let events = [late.next_event().await, late.next_event().await];
        assert!(events.iter().any(|e| e.data == "1"), "{what}: {events:?}");
        assert!(events.iter().any(|e| e.event == "stale"), "{what}: {events:?}");
        legacy.set(&path, Reply::json("2"));
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let event = sse.next_event().await;
            // A failure with another reason may still be told.
            if event.event != "stale" {
                seen.push(if event.event == "message" { event.data } else { event.event });
            }
        }
        seen.sort();
        assert_eq!(seen, ["2", "fresh"], "{what}");
        let answer = http(&app).await.get(&path, &[]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "2"), "{what}");
        let status = answer.header("cache-status").unwrap_or_default();
        assert!(!status.contains("bypass"), "{what}: answered here again: {answer:?}");
    }
}

#[tokio::test]
async fn an_unchanged_recovery_is_fresh_without_a_repeat() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start_with(&legacy, HASTY);
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &[]).await;
    sse.next_event().await;
    legacy.set("/r/a", Reply::empty(500));
    sse.next_named("stale").await;
    legacy.set("/r/a", Reply::json("1"));
    sse.next_named("fresh").await;
    sse.expect_no_event(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn a_cold_failure_names_the_upstream_and_why() {
    for (what, reply, status) in [
        ("silence", Reply::silence(), 504),
        ("hanging body", Reply::json("12345").hang_after(3), 504),
        ("truncated", Reply::json("12345").cut_after(3), 502),
        ("reset", Reply::reset(), 502),
        ("garbage", Reply::garbage(), 502),
    ] {
        let legacy = Legacy::start();
        legacy.set("/r/a", reply);
        let app = start_with(&legacy, HASTY);
        let answer = http(&app).await.get("/r/a", &[]).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{what}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("\"legacy\"") && detail.len() > 20, "{what}: {detail}");
    }
    let legacy = Legacy::start();
    legacy.stop().await;
    let app = start_with(&legacy, HASTY);
    let problem = http(&app).await.get("/r/a", &[]).await.expect(502).json();
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("\"legacy\"") && detail.contains("refused"), "{detail}");
}

#[tokio::test]
async fn a_cold_refusal_is_relayed_as_it_is() {
    let legacy = Legacy::start();
    let app = start_with(&legacy, HASTY);
    let mut http = http(&app).await;
    for status in [301, 400, 401, 403, 404, 410, 429] {
        let path = format!("/r/{status}");
        let reply = Reply::text("theirs")
            .status(status)
            .header("location", "/x")
            .header("www-authenticate", "Basic x");
        legacy.set(&path, reply);
        let answer = http.get(&path, &[]).await.expect(status);
        assert_eq!(answer.text(), "theirs");
        assert_eq!(answer.header("www-authenticate"), Some("Basic x"), "{status}");
    }
}

#[tokio::test]
async fn after_stale_if_error_the_failure_shows() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start_with(&legacy, Extra { route: ", stale_if_error: 500ms, stale_after: 0s", ..HASTY });
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &[]).await;
    sse.next_event().await;
    legacy.set("/r/a", Reply::text("their own words").status(503).header("x-request-id", "7"));
    sse.next_named("stale").await;
    let mut http = http(&app).await;
    let mut statuses = Vec::new();
    loop {
        let answer = http.get("/r/a", &[]).await;
        statuses.push(answer.status);
        if answer.status != 200 {
            assert_eq!((answer.status, answer.text().as_str()), (503, "their own words"));
            assert_eq!(answer.header("x-request-id"), Some("7"));
            break;
        }
        legacy.wait_count("/r/a", legacy.count("/r/a") + 1).await;
    }
    assert!(statuses.len() > 1, "the last good answer was never served: {statuses:?}");
    legacy.set("/r/a", Reply::json("2"));
    sse.next_named("fresh").await;
    assert_eq!(http.get("/r/a", &[]).await.expect(200).text(), "2");
}

#[tokio::test]
async fn an_upstream_that_goes_down_and_comes_back_is_found_again() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start_with(&legacy, HASTY);
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &[]).await;
    let mut ws = Ws::open(app.addresses()[0], "/r/a", &[]).await;
    sse.next_event().await;
    assert_eq!(ws.next_text().await, "1");
    legacy.stop().await;
    let stale = sse.next_named("stale").await;
    assert!(stale.data.contains("legacy"), "{stale:?}");
    legacy.set("/r/a", Reply::json("2"));
    legacy.start_again();
    sse.next_named("fresh").await;
    assert_eq!(sse.next_event().await.data, "2");
    assert_eq!(ws.next_text().await, "2");
}

#[tokio::test]
async fn a_cold_stream_is_opened_while_the_upstream_is_down() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    legacy.stop().await;
    let app = start_with(&legacy, HASTY);
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &[]).await;
    sse.next_named("stale").await;
    legacy.start_again();
    let mut events = vec![sse.next_event().await];
    while events.last().is_some_and(|e| e.event != "message") {
        events.push(sse.next_event().await);
    }
    assert_eq!(events.last().map(|e| e.data.as_str()), Some("1"), "{events:?}");
}

#[tokio::test]
async fn a_cold_stream_of_what_is_not_there_gets_the_status() {
    let legacy = Legacy::start();
    let app = start_with(&legacy, HASTY);
    for status in [401, 403, 404, 410] {
        let path = format!("/r/{status}");
        legacy.set(&path, Reply::text("no").status(status));
        match Sse::try_open(app.addresses()[0], &path, &[]).await {
            Ok(stream) => panic!("{status}: a stream: {:?}", stream.head),
            Err(head) => assert_eq!(head.status, status),
        }
    }
    legacy.set("/r/500", Reply::empty(500));
    Sse::open(app.addresses()[0], "/r/500", &[]).await.next_named("stale").await;
}

#[tokio::test]
async fn gone_is_told_once_and_the_stream_stays() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start_with(&legacy, HASTY);
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &[]).await;
    sse.next_event().await;
    legacy.set("/r/a", Reply::empty(404));
    let gone = sse.next_named("gone").await;
    assert!(gone.data.contains("404") && gone.id.is_none(), "{gone:?}");
    http(&app).await.get("/r/a", &[]).await.expect(404);
    legacy.wait_count("/r/a", legacy.count("/r/a") + 3).await;
    legacy.set("/r/a", Reply::json("2"));
    let events = [sse.next_event().await, sse.next_event().await];
    let names: Vec<&str> = events.iter().map(|e| e.event.as_str()).collect();
    assert_eq!(names, ["fresh", "message"], "{events:?}");
    assert_eq!(events[1].data, "2");
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start_with(&legacy, HASTY);
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &[]).await;
    sse.next_event().await;
    legacy.set("/r/a", Reply::empty(429).header("retry-after", "2"));
    sse.next_named("stale").await;
    let refused = legacy.count("/r/a");
    legacy.wait_count("/r/a", refused + 1).await;
    let seen = legacy.seen("/r/a");
    let waited = seen[refused].at - seen[refused - 1].at;
    assert!(waited >= Duration::from_millis(1_900), "asked again after {waited:?}");
}

#[tokio::test]
async fn polls_of_a_failing_upstream_become_rare() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start_with(
        &legacy,
        Extra { route: ", stale_after: 0s, poll: {backoff: {min: 1s, max: 1m}}", ..HASTY },
    );
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &[]).await;
    sse.next_event().await;
    legacy.set("/r/a", Reply::empty(500));
    sse.next_named("stale").await;
    let before = legacy.count("/r/a");
    sse.expect_no_event(Duration::from_secs(2)).await;
    let polls = legacy.count("/r/a") - before;
    assert!(polls <= 6, "{polls} polls in two seconds: there is no backoff");
}

#[tokio::test]
async fn a_slow_upstream_gets_one_poll_at_a_time_and_its_clients_one_answer() {
    let legacy = Legacy::start();
    let gate = Gate::closed();
    legacy.set("/r/a", Reply::json("1").behind(&gate));
    let app = start_with(&legacy, Extra::default());
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut http = http(&app).await;
        clients.spawn(async move { http.get("/r/a", &[]).await.expect(200).text() });
    }
    legacy.wait_count("/r/a", 1).await;
    gate.open();
    for text in clients.join_all().await {
        assert_eq!(text, "1");
    }
    assert_eq!(legacy.max_in_flight("/r/a"), 1);
}

#[tokio::test]
async fn one_hanging_resource_does_not_delay_another() {
    let legacy = Legacy::start();
    legacy.set("/r/hangs", Reply::silence());
    legacy.set("/r/a", Reply::json("1"));
    let app = start_with(&legacy, Extra::default());
    let mut hanging = http(&app).await;
    hanging.send("GET", "/r/hangs", &[], b"").await;
    legacy.wait_in_flight("/r/hangs", 1).await;
    assert_eq!(http(&app).await.get("/r/a", &[]).await.expect(200).text(), "1");
    legacy.wait_count("/r/a", 1).await;
}

#[tokio::test]
async fn too_large_is_told_and_passes_through() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start_with(&legacy, HASTY);
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &[]).await;
    sse.next_event().await;
    let large = format!("\"{}\"", "x".repeat(2 << 10));
    legacy.set("/r/a", Reply::json(large.clone()));
    let stale = sse.next_named("stale").await;
    assert!(stale.data.contains("large") || stale.data.contains("max_body"), "{stale:?}");
    assert_eq!(http(&app).await.get("/r/a", &[]).await.expect(200).text(), large);
}
