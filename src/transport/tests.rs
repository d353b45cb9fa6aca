//! Tables of what each protocol does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::answer::{self, CacheStatus};
use super::*;
use crate::config::Route;
use crate::frame::{Condition, Frame, Rules, State};
use crate::hub::tests::route::{SECOND, key, private_key, route};
use crate::hub::{Attend, Hub};
use crate::resource::{Snapshot, Validators, Version, VersionNamer};

fn version(body: &[u8]) -> Version {
    VersionNamer::new(None).name(200, None, body)
}

fn snapshot(body: &'static [u8]) -> Snapshot {
    let mut headers = HeaderMap::new();
    headers.insert("x-total", HeaderValue::from_static("7"));
    headers.insert(header::LINK, HeaderValue::from_static("</next>; rel=next"));
    Snapshot::new(
        version(body),
        StatusCode::OK,
        Some(HeaderValue::from_static("application/json")),
        headers,
        Validators::default(),
        Vec::new(),
        Bytes::from_static(body),
    )
}

fn frame(body: &'static [u8]) -> Delivery {
    let frame = Frame::new(1, Arc::new(snapshot(body)), Arc::new(Rules::default()));
    Delivery::Frame(Arc::new(frame))
}

fn condition(state: State) -> Delivery {
    Delivery::Condition(Arc::new(Condition::new(1, state)))
}

fn stale() -> Delivery {
    condition(State::Stale {
        since: std::time::SystemTime::UNIX_EPOCH,
        status: None,
        reason: "down".into(),
        next_poll_ms: 5,
    })
}

/// A view in which nothing happened yet.
fn view() -> Arc<View> {
    let hub = Hub::new(Vec::new(), 1, 1 << 20);
    let mut publisher = None;
    let attendance = hub.attend(&key("/a"), &Arc::new(route()), Attend::Visit, |given| {
        publisher = Some(given);
    });
    attendance.expect("room").topic().view()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.first[..], &output.second[..]].concat()).into_owned()
}

/// A step in words: what happens, with what reason, what is written.
fn told(step: Step) -> (&'static str, &'static str, String) {
    match step {
        Step::Wait => ("wait", "", String::new()),
        Step::Write(output) => ("write", "", text(&output)),
        Step::Forward(bytes) => ("forward", "", String::from_utf8_lossy(&bytes).into_owned()),
        Step::Finish(output, reason) => ("finish", reason, text(&output)),
        Step::GiveBack(output, reason) => ("give-back", reason, text(&output)),
    }
}

const CLOSINGS: [Closing; 6] = [
    Closing::NotShareable,
    Closing::Credentials,
    Closing::SessionRotated,
    Closing::SessionIdle,
    Closing::Gone,
    Closing::Internal,
];

mod sse {
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
}

mod websocket {
    use super::*;

    const MASK: [u8; 4] = [7, 1, 9, 3];

    fn websocket(rate: u32, now: Instant) -> Transport {
        Transport::WebSocket(WebSocket::new(25 * SECOND, 10 * SECOND, 1000, rate, now))
    }

    fn from_client(first: u8, payload: &[u8]) -> Vec<u8> {
        let masked = payload.iter().zip(MASK.iter().cycle()).map(|(b, k)| b ^ k);
        let mut frame = vec![first, 0x80 | payload.len() as u8];
        frame.extend(MASK);
        frame.extend(masked);
        frame
    }

    fn written(step: Step) -> Vec<u8> {
        match step {
            Step::Write(output) | Step::Finish(output, _) => output.first.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    /// The close code and the reason of a step that ends the connection.
    fn code_of(step: Step) -> (u16, String, &'static str) {
        let Step::Finish(output, reason) = step else {
            panic!("{step:?}");
        };
        let bytes = &output.first;
        assert_eq!(bytes[0], 0x88);
        let text = String::from_utf8_lossy(&bytes[4..]).into_owned();
        (u16::from_be_bytes([bytes[2], bytes[3]]), text, reason)
    }

    #[test]
    fn each_state_is_one_message_and_conditions_are_not() {
        let now = Instant::now();
        let mut websocket = websocket(0, now);
        let text = websocket.deliver(&frame(b"{}"), &view(), now);
        assert_eq!(written(text), b"\x81\x02{}");
        let bytes = websocket.deliver(&frame(b"\xff\xfd"), &view(), now);
        assert_eq!(written(bytes), b"\x82\x02\xff\xfd");
        assert_eq!(websocket.deliver(&stale(), &view(), now), Step::Wait);
    }

    #[test]
    fn a_silent_client_is_pinged_and_has_ten_seconds_to_answer() {
        let begin = Instant::now();
        let mut websocket = websocket(0, begin);
        assert_eq!(websocket.deadline(), Some(begin + 25 * SECOND));
        assert_eq!(websocket.expired(begin + 24 * SECOND, None), Step::Wait);
        let pinged = begin + 25 * SECOND;
        assert_eq!(written(websocket.expired(pinged, None)), b"\x89\x00");
        assert_eq!(websocket.deadline(), Some(pinged + 10 * SECOND));
        // What is written to it does not prove that it is there.
        websocket.deliver(&frame(b"{}"), &view(), pinged + SECOND);
        assert_eq!(websocket.deadline(), Some(pinged + 10 * SECOND));
        let answered = pinged + 9 * SECOND;
        assert_eq!(websocket.receive(&from_client(0x8a, b""), answered), Step::Wait);
        assert_eq!(websocket.deadline(), Some(answered + 25 * SECOND));
        let again = answered + 25 * SECOND;
        websocket.expired(again, None);
        let dead = websocket.expired(again + 10 * SECOND, None);
        assert_eq!(dead, Step::Finish(Output::default(), "no-pong"));
    }

    #[test]
    fn pings_are_answered_with_their_payload_one_step_each() {
        let now = Instant::now();
        let mut websocket = websocket(0, now);
        let both = [from_client(0x89, b"a"), from_client(0x89, b"b")].concat();
        assert_eq!(written(websocket.receive(&both, now)), b"\x8a\x01a");
        assert_eq!(written(websocket.receive(&[], now)), b"\x8a\x01b");
        assert_eq!(websocket.receive(&[], now), Step::Wait);
    }

    #[test]
    fn a_close_is_echoed() {
        let now = Instant::now();
        for (payload, wanted) in [(&[][..], 1000), (&[0x03, 0xe9][..], 1001), (&[0x0f, 0xa1][..], 4001)] {
            let (code, _, reason) = code_of(websocket(0, now).receive(&from_client(0x88, payload), now));
            assert_eq!((code, reason), (wanted, "client-closed"));
        }
    }

    #[test]
    fn each_closing_has_its_code() {
        let codes = [1008, 4401, 1012, 1008, 4404, 1012];
        assert_eq!(codes.len(), CLOSINGS.len());
        for (closing, wanted) in CLOSINGS.into_iter().zip(codes) {
            let now = Instant::now();
            let step = websocket(0, now).deliver(&Delivery::Closing(closing), &view(), now);
            let reason = closing.reason();
            assert_eq!(code_of(step), (wanted, reason.to_owned(), reason));
        }
        let aged = websocket(0, Instant::now()).end(End::MaxAge, None);
        assert_eq!(code_of(aged), (1001, "max-age".into(), "max-age"));
        let drain = End::Drain { retry: SECOND };
        assert_eq!(code_of(websocket(0, Instant::now()).end(drain, None)), (1001, "drain".into(), "drain"));
    }

    #[test]
    fn faults_end_with_the_code_of_the_rfc() {
        let now = Instant::now();
        let cases = [
            (vec![0x81, 1, b'x'], 1002),
            (from_client(0x81, b"\xff"), 1007),
            ([&[0x82, 0xfe, 0x03, 0xe9][..], &MASK].concat(), 1009),
        ];
        for (bytes, wanted) in cases {
            let (code, _, reason) = code_of(websocket(0, now).receive(&bytes, now));
            assert_eq!((code, reason), (wanted, "protocol"));
        }
    }

    #[test]
    fn messages_are_forwarded_up_to_their_rate_and_else_ignored() {
        let now = Instant::now();
        let message = from_client(0x81, b"hi");
        assert_eq!(websocket(0, now).receive(&message, now), Step::Wait);
        let mut sending = websocket(2, now);
        let forward = || Step::Forward(Bytes::from_static(b"hi"));
        assert_eq!(sending.receive(&message, now), forward());
        assert_eq!(sending.receive(&message, now + SECOND / 2), forward());
        let next = now + SECOND;
        assert_eq!(sending.receive(&message.repeat(3), next), forward());
        assert_eq!(sending.receive(&[], next), forward());
        let (code, _, reason) = code_of(sending.receive(&[], next));
        assert_eq!((code, reason), (4429, "rate"));
    }
}

mod long_poll {
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
}

mod head {
    use super::*;

    fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
        headers[name].to_str().expect("text")
    }

    #[test]
    fn a_200_has_the_upstreams_fields_and_ours() {
        let age = Duration::from_millis(3999);
        let hit = Some(CacheStatus::Hit { ttl: 4 });
        let headers = answer::full(&snapshot(b"{}"), &key("/a"), &route(), age, hit, None);
        assert_eq!(field(&headers, "age"), "3");
        assert_eq!(field(&headers, "cache-status"), "pollcast; hit; ttl=4");
        assert_eq!(field(&headers, "x-total"), "7");
        assert_eq!(field(&headers, "content-type"), "application/json");
        assert!(headers.contains_key("date"));
        let links: Vec<_> = headers.get_all("link").iter().collect();
        assert_eq!(links.len(), 2, "ours is added to the upstream's");
    }

    #[test]
    fn a_304_repeats_what_its_200_says() {
        let (key, route) = (private_key("/a"), route());
        let snapshot = snapshot(b"{}");
        let status = Some(CacheStatus::Stale);
        let full = answer::full(&snapshot, &key, &route, Duration::ZERO, None, None);
        let headers = answer::not_modified(&snapshot, &key, &route, Duration::ZERO, status, false);
        for name in ["etag", "vary", "cache-control", "age", "x-total"] {
            assert_eq!(headers[name], full[name], "{name}");
        }
        assert!(field(&headers, "link").contains("event-stream"));
        assert_eq!(field(&headers, "cache-status"), "pollcast; fwd=stale");
        for name in ["content-length", "content-type"] {
            assert!(!headers.contains_key(name), "{name}");
        }
    }

    #[test]
    fn cache_control_says_who_may_keep_the_answer() {
        let mut no_store = snapshot(b"{}");
        no_store.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let overridden = Route { downstream_cache: Some(HeaderValue::from_static("max-age=5")), ..route() };
        let cases = [
            (snapshot(b"{}"), key("/a"), route(), "no-cache"),
            (snapshot(b"{}"), private_key("/a"), route(), "private, no-cache"),
            (snapshot(b"{}"), key("/a"), overridden.clone(), "max-age=5"),
            (no_store, key("/a"), overridden, "no-store"),
        ];
        for (snapshot, key, route, wanted) in cases {
            let headers = answer::full(&snapshot, &key, &route, Duration::ZERO, None, None);
            assert_eq!(field(&headers, "cache-control"), wanted);
            assert_eq!(headers.get_all("cache-control").iter().count(), 1);
        }
    }

    #[test]
    fn vary_names_what_the_answer_depends_on() {
        let mut parts = private_key("/a").parts().clone();
        parts.vary = vec![(HeaderName::from_static("accept-language"), None)];
        let key = crate::resource::ResourceKey::new(parts);
        let headers = answer::unchanged(version(b"{}"), &key, &route(), false);
        assert_eq!(field(&headers, "vary"), "Accept, Prefer, cookie, accept-language");
    }

    #[test]
    fn a_tag_is_weak_where_members_are_ignored() {
        let mut route = route();
        let tag = |route: &Route| {
            field(&answer::unchanged(version(b"{}"), &key("/a"), route, false), "etag").to_owned()
        };
        let strong = tag(&route);
        route.change.ignore = vec![crate::config::Members::Pointer("/at".into())];
        assert_eq!(tag(&route), format!("W/{strong}"));
    }

    #[test]
    fn the_link_names_the_same_resource_and_can_be_switched_off() {
        let headers = answer::unchanged(version(b"{}"), &key("/a>,<b"), &route(), false);
        let wanted = "</a%3E,%3Cb>; rel=\"alternate\"; type=\"text/event-stream\"";
        assert_eq!(field(&headers, "link"), wanted);
        let off = Route { link: false, ..route() };
        assert!(!answer::unchanged(version(b"{}"), &key("/a"), &off, false).contains_key("link"));
    }

    #[test]
    fn nothing_has_no_length() {
        let mut empty = snapshot(b"");
        empty.status = StatusCode::NO_CONTENT;
        let headers = answer::full(&empty, &key("/a"), &route(), Duration::ZERO, None, None);
        assert!(!headers.contains_key("content-length"));
    }

    #[test]
    fn a_head_is_bytes_of_http_1() {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-note", HeaderValue::from_static("a"));
        let head = answer::head_bytes(StatusCode::OK, &headers, b"Extra: b\r\n", true);
        assert_eq!(head, "HTTP/1.0 200 OK\r\nX-Request-Note: a\r\nExtra: b\r\n\r\n");
        let odd = StatusCode::from_u16(499).expect("a status");
        let head = answer::head_bytes(odd, &HeaderMap::new(), b"", false);
        assert_eq!(head, "HTTP/1.1 499 Unknown\r\n\r\n");
    }
}
