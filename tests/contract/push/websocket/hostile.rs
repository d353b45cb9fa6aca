//! Contract §6: frames that a client must not send, and clients that do not read.

use super::{A, B, stand};
use crate::contract::{FAST, ONCE, Stand, narrow};
use crate::support::client::Ws;
use crate::support::frames::{BINARY, CLOSE, CONTINUATION, Frame, PING, TEXT};
use crate::support::legacy::Reply;

/// What a client must not send, and the close code for it.
fn hostile() -> Vec<(&'static str, Vec<u8>, u16)> {
    let masked = |frame: Frame| frame.encode(Some([1, 2, 3, 4]));
    let partial = |opcode, payload: &[u8]| Frame { fin: false, ..Frame::new(opcode, payload) };
    let raw = |first: u8, second: u8| vec![first, second, 1, 2, 3, 4];
    vec![
        ("unmasked", Frame::new(TEXT, "x").encode(None), 1002),
        ("rsv1", masked(Frame { rsv1: true, ..Frame::new(TEXT, "x") }), 1002),
        ("rsv2", raw(0xa1, 0x80), 1002),
        ("reserved data opcode", raw(0x83, 0x80), 1002),
        ("reserved control opcode", raw(0x8b, 0x80), 1002),
        ("fragmented ping", masked(partial(PING, b"")), 1002),
        ("long ping", masked(Frame::new(PING, vec![0; 126])), 1002),
        ("continuation of nothing", masked(Frame::new(CONTINUATION, "x")), 1002),
        (
            "message inside a message",
            [masked(partial(TEXT, b"a")), masked(Frame::new(TEXT, "b"))].concat(),
            1002,
        ),
        ("half a close code", masked(Frame::new(CLOSE, vec![3])), 1002),
        ("close code 1005", masked(Frame::new(CLOSE, 1005u16.to_be_bytes())), 1002),
        ("close code 999", masked(Frame::new(CLOSE, 999u16.to_be_bytes())), 1002),
        ("text that is not UTF-8", masked(Frame::new(TEXT, vec![0xff])), 1007),
        (
            "UTF-8 broken over fragments",
            [masked(partial(TEXT, &[0xc3])), masked(Frame::new(CONTINUATION, "x"))].concat(),
            1007,
        ),
        ("reason that is not UTF-8", masked(Frame::new(CLOSE, vec![3, 232, 0xff])), 1007),
        ("big message", masked(Frame::new(BINARY, vec![0; 70_000])), 1009),
        ("huge length", vec![0x82, 0xff, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 1009),
        (
            "big by fragments",
            [masked(partial(BINARY, &[0; 40_000])), masked(Frame::new(CONTINUATION, vec![0; 40_000]))]
                .concat(),
            1009,
        ),
    ]
}

#[tokio::test]
async fn every_hostile_frame_gets_its_close_code() {
    let stand = stand(ONCE);
    for (name, bytes, code) in hostile() {
        let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
        ws.next_text().await;
        ws.send_raw_frame(&bytes).await;
        let (closed, _) = ws.next_close().await;
        assert_eq!(closed, code, "{name}");
        ws.expect_closed().await;
    }
    stand.clients("websocket", 0).await;
}

#[tokio::test]
async fn a_hostile_client_that_reads_nothing_stops_no_other() {
    let stand = Stand::with(FAST, "limits: {stall_timeout: 2s}\nthreads: {front: 1, shards: 1}");
    stand.legacy.set("/prices/BIG", Reply::text("x".repeat(900_000)));
    stand.legacy.set("/prices/A", Reply::json(A));
    let mut good = Ws::open(stand.address(), "/prices/A", &[]).await;
    good.next_text().await;
    let mut streams = Vec::new();
    for (_, bytes, _) in hostile() {
        let stream = narrow(stand.address()).await;
        let mut ws = Ws::over(stream, "localhost", "/prices/BIG", &[]).await.expect("a WebSocket");
        ws.send_raw_frame(&bytes).await;
        streams.push(ws);
    }
    for body in [B, A, B] {
        stand.legacy.set("/prices/A", Reply::json(body));
        assert_eq!(good.next_text().await, body);
    }
    // They had their time.
    stand.clients("websocket", 1).await;
}
