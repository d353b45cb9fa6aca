//! What an event stream says.

use super::*;

fn sse(framing: Framing, now: Instant) -> Transport {
    Transport::Sse(Sse::new(framing, 20 * SECOND, 3 * SECOND, now))
}

fn chunk(payload: &str) -> String {
    format!("{:x}\r\n{payload}\r\n", payload.len())
}

#[test]
fn a_stream_opens_with_its_retry_and_a_comment() {
    let opening = "retry: 3000\n: pollcast\n";
    let now = Instant::now();
    let chunked = Sse::new(Framing::Chunked, SECOND, 3 * SECOND, now).opening();
    assert_eq!(chunked, chunk(opening));
    assert_eq!(Sse::new(Framing::Bare, SECOND, 3 * SECOND, now).opening(), opening);
}

#[test]
fn every_delivery_is_one_event_in_the_connections_framing() {
    let now = Instant::now();
    let event = format!("id: {}\ndata: {{}}\n\n", version(b"{}"));
    let gone = condition(State::Gone { status: StatusCode::GONE });
    let cases = [
        (frame(b"{}"), event),
        (
            stale(),
            "event: stale\ndata: {\"since\":\"1970-01-01T00:00:00.000Z\",\"status\":null,\
             \"reason\":\"down\",\"next_poll_ms\":5}\n\n"
                .to_owned(),
        ),
        (condition(State::Fresh), "event: fresh\ndata: {}\n\n".to_owned()),
        (gone, "event: gone\ndata: {\"status\":410}\n\n".to_owned()),
    ];
    for (delivery, wanted) in cases {
        let bare = sse(Framing::Bare, now).deliver(&delivery, &view(), now);
        assert_eq!(told(bare), ("write", "", wanted.clone()));
        let chunked = sse(Framing::Chunked, now).deliver(&delivery, &view(), now);
        assert_eq!(told(chunked), ("write", "", chunk(&wanted)));
    }
}

#[test]
fn a_silent_stream_gets_a_comment() {
    for (framing, comment) in [(Framing::Bare, ":\n"), (Framing::Chunked, "2\r\n:\n\r\n")] {
        let begin = Instant::now();
        let mut sse = sse(framing, begin);
        assert_eq!(sse.deadline(), Some(begin + 20 * SECOND));
        assert_eq!(sse.expired(begin + 19 * SECOND, None), Step::Wait);
        let later = begin + 10 * SECOND;
        sse.deliver(&frame(b"{}"), &view(), later);
        assert_eq!(sse.expired(begin + 20 * SECOND, None), Step::Wait);
        assert_eq!(told(sse.expired(later + 20 * SECOND, None)), ("write", "", comment.into()));
        assert_eq!(sse.deadline(), Some(later + 40 * SECOND));
    }
}

#[test]
fn a_stream_ends_with_bye_and_the_last_chunk() {
    for closing in CLOSINGS {
        let reconnect = !matches!(closing, Closing::NotShareable | Closing::Gone | Closing::SessionIdle);
        let reason = closing.reason();
        let bye = format!(
            "retry: 3000\nevent: bye\ndata: {{\"reason\":\"{reason}\",\"retry_ms\":3000,\
             \"reconnect\":{reconnect}}}\n\n"
        );
        let now = Instant::now();
        let delivery = Delivery::Closing(closing);
        let bare = sse(Framing::Bare, now).deliver(&delivery, &view(), now);
        assert_eq!(told(bare), ("finish", reason, bye.clone()));
        let chunked = sse(Framing::Chunked, now).deliver(&delivery, &view(), now);
        assert_eq!(told(chunked), ("finish", reason, chunk(&bye) + "0\r\n\r\n"));
    }
}

#[test]
fn a_stream_of_max_age_says_to_come_back() {
    let (what, reason, text) = told(sse(Framing::Bare, Instant::now()).end(End::MaxAge, None));
    assert_eq!((what, reason), ("finish", "max-age"));
    assert!(text.starts_with("retry: 3000\n") && text.contains("\"reconnect\":true"), "{text}");
}

#[test]
fn a_drain_spreads_the_reconnects() {
    let retry = Duration::from_millis(4321);
    let ended = sse(Framing::Bare, Instant::now()).end(End::Drain { retry }, None);
    let (what, reason, text) = told(ended);
    assert_eq!((what, reason), ("finish", "drain"));
    assert!(text.starts_with("retry: 4321\n") && text.contains("\"retry_ms\":4321"), "{text}");
    assert!(text.contains("\"reconnect\":true"), "{text}");
}

#[test]
fn what_stops_being_text_ends_the_stream() {
    let now = Instant::now();
    let (what, reason, text) = told(sse(Framing::Chunked, now).deliver(&frame(b"\xff"), &view(), now));
    assert_eq!((what, reason), ("finish", "not-text"));
    assert!(text.contains("\"reconnect\":false") && text.ends_with("0\r\n\r\n"), "{text}");
}

#[test]
fn what_a_reader_sends_means_nothing() {
    let now = Instant::now();
    assert_eq!(sse(Framing::Bare, now).receive(b"GET / HTTP/1.1\r\n", now), Step::Wait);
}
