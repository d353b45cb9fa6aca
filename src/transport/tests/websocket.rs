//! What a WebSocket says, and which frames it refuses.

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
    let codes = [1008, 4401, 1012, 1008, 4404, 1012, 1012, 1012];
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
