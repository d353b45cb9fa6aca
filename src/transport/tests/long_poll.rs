//! How a held poll is answered.

use super::*;

const EXTRA: &[u8] = b"Preference-Applied: wait=30\r\nConnection: keep-alive\r\n";

fn held(http10: bool, keep: bool, deadline: Instant) -> Transport {
    let common = Common {
        key: key("/a"),
        route: Arc::new(route()),
        extra: Bytes::from_static(EXTRA),
        http10,
        gzip: false,
        keep,
    };
    Transport::LongPoll(LongPoll::new(Held {
        deadline: deadline.into(),
        common: Arc::new(common),
        have: Have::Version(version(b"old")),
        coded: false,
        wait_ms: 30_000,
        repeat: None,
    }))
}

#[test]
fn an_answer_can_be_made_the_last_of_its_connection() {
    let now = Instant::now();
    let lives_on = held(false, true, now + SECOND).deliver(&frame(b"{}"), &view(), now);
    let Step::GiveBack(output, _) = lives_on else { panic!("{lives_on:?}") };
    let (before, after) = (text(&output), text(&output.closing()));
    let status_line = "HTTP/1.1 200 OK\r\n";
    let rest = before.strip_prefix(status_line).expect("a status line");
    assert_eq!(after, format!("{status_line}Connection: close\r\n{rest}"));
}

#[test]
fn a_change_is_a_200_and_the_connection_lives_on() {
    let now = Instant::now();
    let step = held(false, true, now + SECOND).deliver(&frame(b"{}"), &view(), now);
    let (what, reason, text) = told(step);
    assert_eq!((what, reason), ("give-back", "answered"));
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert_eq!(body, "{}");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    for line in [
        format!("Etag: \"{}\"", version(b"{}")),
        "Content-Type: application/json".into(),
        "Content-Length: 2".into(),
        "Cache-Control: no-cache".into(),
        "Vary: Accept, Prefer, Accept-Encoding".into(),
        "Age: 0".into(),
        "X-Total: 7".into(),
        "Preference-Applied: wait=30".into(),
        "Link: </a>; rel=\"alternate\"; type=\"text/event-stream\"".into(),
        "Link: </next>; rel=next".into(),
    ] {
        assert!(head.lines().any(|l| l == line), "{line} is not in {head}");
    }
    assert!(!head.contains("Cache-Status"), "{head}");
}

#[test]
fn no_change_until_the_deadline_is_a_304_with_the_clients_version() {
    let now = Instant::now();
    let mut held = held(false, true, now + SECOND);
    assert_eq!(held.deadline(), Some(now + SECOND));
    assert_eq!(held.expired(now, None), Step::Wait);
    assert_eq!(held.deliver(&stale(), &view(), now), Step::Wait);
    assert_eq!(held.deliver(&condition(State::Fresh), &view(), now), Step::Wait);
    let (what, reason, text) = told(held.expired(now + SECOND, None));
    assert_eq!((what, reason), ("give-back", "timeout"));
    assert!(text.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{text}");
    let etag = format!("\r\nEtag: \"{}\"\r\n", version(b"old"));
    assert!(text.contains(&etag) && text.contains("Preference-Applied: wait=30"), "{text}");
    assert!(text.ends_with("\r\n\r\n") && !text.contains("Content-Length"), "{text}");
}

#[test]
fn http_1_0_ends_with_its_answer() {
    let now = Instant::now();
    for keep in [true, false] {
        let (what, _, text) = told(held(true, keep, now).expired(now, None));
        assert_eq!(what, "finish");
        assert!(text.starts_with("HTTP/1.0 304 "), "{text}");
    }
    let (what, _, text) = told(held(true, true, now).deliver(&frame(b"{}"), &view(), now));
    assert_eq!(what, "finish");
    assert!(text.contains("Content-Length: 2\r\n"), "{text}");
    let (what, ..) = told(held(false, false, now).expired(now, None));
    assert_eq!(what, "finish");
}

#[test]
fn a_drain_closes_the_connection_and_gives_nothing_back() {
    let ends = [End::Drain { retry: SECOND }, End::Topic(Closing::Internal)];
    for end in ends {
        let (what, reason, text) = told(held(false, true, Instant::now()).end(end, None));
        assert_eq!((what, reason), ("finish", end.reason()));
        assert!(text.starts_with("HTTP/1.1 304 "), "{text}");
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        assert!(!text.contains("keep-alive") && text.contains("Preference-Applied"), "{text}");
    }
}

#[test]
fn ends_that_the_client_has_to_know_are_statuses() {
    let now = Instant::now();
    let gone = condition(State::Gone { status: StatusCode::NOT_FOUND });
    let cases = [
        (gone, "404 Not Found", "gone"),
        (Delivery::Closing(Closing::NotShareable), "403 Forbidden", "not-shareable"),
        (Delivery::Closing(Closing::Credentials), "401 Unauthorized", "credentials"),
        (Delivery::Closing(Closing::Gone), "410 Gone", "gone"),
    ];
    for (delivery, status, wanted) in cases {
        let (what, reason, text) = told(held(false, true, now).deliver(&delivery, &view(), now));
        assert_eq!((what, reason), ("give-back", wanted));
        assert!(text.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{text}");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.contains("Content-Type: application/problem+json"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(problem["status"].to_string(), status[..3]);
    }
}
