//! A WebSocket client (RFC 6455) that shows every frame.
//!
//! Must not know: what messages mean.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Buf;
use flate2::{Decompress, FlushDecompress};

use super::client::{Response, connect};
use super::frames::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT};
use super::wire::{GUARD, Io, Wire, within};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Text(String),
    Binary(Vec<u8>),
}

pub struct Ws {
    wire: Wire,
    /// The server's 101.
    pub head: Response,
    /// Whether pings are answered (they are, unless the test says otherwise).
    pub answers_pings: bool,
    /// Payloads of the pings so far.
    pub pings: Vec<Vec<u8>>,
    /// Payloads of the pongs so far.
    pub pongs: Vec<Vec<u8>>,
    /// Messages so far that came compressed, and their bytes.
    pub compressed: usize,
    pub compressed_bytes: usize,
    inflater: Decompress,
}

impl Ws {
    /// Opens a WebSocket; fails the test if the server refuses.
    pub async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Ws {
        Ws::try_open(address, path, headers)
            .await
            .unwrap_or_else(|refused| panic!("GET {path}: not a WebSocket: {refused:?}"))
    }

    /// Opens a WebSocket, or gives the head that refused it (its body is not read).
    pub async fn try_open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Ws, Response> {
        Ws::over(connect(address).await, &address.to_string(), path, headers).await
    }

    /// Over any stream of bytes.
    pub async fn over(
        stream: impl Io + 'static,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<Ws, Response> {
        let opened = within("the answer to a handshake", Ws::attempt(stream, host, path, headers)).await;
        opened.unwrap_or_else(|error| panic!("no answer to a handshake: {error}"))
    }

    /// The same over a connection that may break. Waits as long as it takes.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn attempt(
        stream: impl Io + 'static,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> std::io::Result<Result<Ws, Response>> {
        let mut wire = Wire::over(stream);
        let key = STANDARD.encode(std::array::from_fn::<u8, 16, _>(|_| fastrand::u8(..)));
        let mut request = format!("GET {path} HTTP/1.1\r\n");
        if !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("host")) {
            request += &format!("Host: {host}\r\n");
        }
        request += &format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key}\r\n"
        );
        headers.iter().for_each(|(n, v)| request += &format!("{n}: {v}\r\n"));
        wire.write((request + "\r\n").as_bytes()).await?;
        let head = Response::parse(&wire.head().await?.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        if head.status != 101 {
            return Ok(Err(head));
        }
        assert!(head.names("upgrade", "websocket"), "101 without Upgrade: websocket: {head:?}");
        assert!(head.names("connection", "upgrade"), "101 without Connection: upgrade: {head:?}");
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        assert_eq!(head.header("sec-websocket-accept"), Some(accept.as_str()), "{head:?}");
        Ok(Ok(Ws {
            wire,
            head,
            answers_pings: true,
            pings: vec![],
            pongs: vec![],
            compressed: 0,
            compressed_bytes: 0,
            inflater: Decompress::new(false),
        }))
    }

    /// Sends a text message over a connection that may break.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn attempt_text(&mut self, text: &str) -> std::io::Result<()> {
        let mask = std::array::from_fn(|_| fastrand::u8(..));
        self.wire.write(&Frame::new(TEXT, text).encode(Some(mask))).await
    }

    /// The next text message in one frame, over a connection that may break; pings are answered. Returns `None` if the
    /// server closed. Waits as long as it takes.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn text(&mut self) -> std::io::Result<Option<String>> {
        loop {
            let Some((frame, bytes)) = Frame::parse(&self.wire.buffer).expect("a frame") else {
                match self.wire.fill().await? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    _ => continue,
                }
            };
            self.wire.buffer.advance(bytes);
            match frame.opcode {
                TEXT => return Ok(Some(String::from_utf8(frame.payload).expect("a text message is UTF-8"))),
                CLOSE => return Ok(None),
                PING => {
                    let mask = std::array::from_fn(|_| fastrand::u8(..));
                    self.wire.write(&Frame::new(PONG, frame.payload).encode(Some(mask))).await?;
                }
                _ => {}
            }
        }
    }

    pub async fn send_text(&mut self, text: &str) {
        self.send_frame(Frame::new(TEXT, text)).await;
    }

    pub async fn send_ping(&mut self, payload: &[u8]) {
        self.send_frame(Frame::new(PING, payload)).await;
    }

    pub async fn send_close(&mut self, code: u16, reason: &str) {
        let payload = [&code.to_be_bytes()[..], reason.as_bytes()].concat();
        self.send_frame(Frame::new(CLOSE, payload)).await;
    }

    /// Masks and sends a frame as a client should.
    pub async fn send_frame(&mut self, frame: Frame) {
        let mask = std::array::from_fn(|_| fastrand::u8(..));
        self.send_raw_frame(&frame.encode(Some(mask))).await;
    }

    /// Sends these bytes, whether they are a frame or not.
    pub async fn send_raw_frame(&mut self, bytes: &[u8]) {
        let written = within("the peer to accept a frame", self.wire.write(bytes)).await;
        written.unwrap_or_else(|e| panic!("cannot send a frame: {e}"));
    }

    /// The next frame, whatever it is; answers nothing.
    pub async fn next_frame(&mut self) -> Frame {
        match tokio::time::timeout(GUARD, self.frame()).await {
            Ok(frame) => frame,
            Err(_) => panic!("no frame within {GUARD:?}; so far {}", self.wire.unread()),
        }
    }

    async fn frame(&mut self) -> Frame {
        loop {
            match Frame::parse(&self.wire.buffer) {
                Ok(Some((frame, len))) => {
                    self.wire.buffer.advance(len);
                    assert!(!frame.masked, "a server must not mask: {frame:?}");
                    return frame;
                }
                Ok(None) => match self.wire.fill().await {
                    Ok(1..) => {}
                    other => panic!("no frame but {other:?}; so far {}", self.wire.unread()),
                },
                Err(error) => panic!("not a frame: {error}; so far {}", self.wire.unread()),
            }
        }
    }

    /// The next frame that is neither ping nor pong; those are noted, and pings answered.
    async fn next_essential(&mut self) -> Frame {
        loop {
            let frame = self.next_frame().await;
            match frame.opcode {
                PING => self.note_ping(frame.payload).await,
                PONG => self.pongs.push(frame.payload),
                _ => return frame,
            }
        }
    }

    async fn note_ping(&mut self, payload: Vec<u8>) {
        if self.answers_pings {
            self.send_frame(Frame::new(PONG, payload.clone())).await;
        }
        self.pings.push(payload);
    }

    /// Waits for a ping; a message before it fails the test.
    pub async fn next_ping(&mut self) -> Vec<u8> {
        let frame = self.next_frame().await;
        assert_eq!(frame.opcode, PING, "not a ping: {frame:?}");
        self.note_ping(frame.payload.clone()).await;
        frame.payload
    }

    /// The next message, put together and inflated.
    pub async fn next_message(&mut self) -> Message {
        let first = self.next_essential().await;
        assert!(matches!(first.opcode, TEXT | BINARY), "not the start of a message: {first:?}");
        let (mut payload, mut fin) = (first.payload, first.fin);
        while !fin {
            let next = self.next_essential().await;
            assert_eq!(next.opcode, CONTINUATION, "not a continuation: {next:?}");
            payload.extend(next.payload);
            fin = next.fin;
        }
        if first.rsv1 {
            payload = self.inflated(&payload);
        }
        match first.opcode {
            TEXT => Message::Text(String::from_utf8(payload).expect("a text message is UTF-8")),
            _ => Message::Binary(payload),
        }
    }

    /// The next message, which must be text.
    pub async fn next_text(&mut self) -> String {
        match self.next_message().await {
            Message::Text(text) => text,
            other => panic!("not a text message: {other:?}"),
        }
    }

    /// The next message, which must be text in one frame; or the frame that came instead, a close among others.
    pub async fn next_text_or_frame(&mut self) -> Result<String, Frame> {
        let mut frame = self.next_essential().await;
        if frame.opcode != TEXT || !frame.fin {
            return Err(frame);
        }
        if frame.rsv1 {
            frame.payload = self.inflated(&frame.payload);
        }
        Ok(String::from_utf8(frame.payload).expect("a text message is UTF-8"))
    }

    /// A message that came compressed.
    fn inflated(&mut self, payload: &[u8]) -> Vec<u8> {
        let agreed = self.head.header("sec-websocket-extensions").unwrap_or_default();
        assert!(agreed.contains("permessage-deflate"), "compressed, but that was not agreed");
        self.compressed += 1;
        self.compressed_bytes += payload.len();
        if agreed.contains("server_no_context_takeover") {
            self.inflater.reset(false);
        }
        inflate(&mut self.inflater, payload)
    }

    /// The peer's close; a message before it fails the test. The close is answered.
    pub async fn next_close(&mut self) -> (u16, String) {
        let frame = self.next_essential().await;
        assert_eq!(frame.opcode, CLOSE, "not a close: {frame:?}");
        // The peer may be gone already: that its answer gets lost is no failure.
        let _ = self.wire.write(&Frame::new(CLOSE, frame.payload.clone()).encode(Some([1, 2, 3, 4]))).await;
        match frame.payload.as_slice() {
            [] => (1005, String::new()),
            [high, low, reason @ ..] => {
                let reason = std::str::from_utf8(reason).expect("a close reason is UTF-8");
                (u16::from_be_bytes([*high, *low]), reason.to_owned())
            }
            [_] => panic!("a close frame of one byte"),
        }
    }

    /// The connection ends, in whatever way, without another byte.
    pub async fn expect_closed(&mut self) {
        assert!(self.wire.buffer.is_empty(), "instead of the end there is {}", self.wire.unread());
        let read = within("the end of the connection", self.wire.fill()).await;
        assert!(matches!(read, Ok(0) | Err(_)), "instead of the end came {}", self.wire.unread());
    }

    /// No frame and no end for `duration`.
    pub async fn expect_silence(&mut self, duration: std::time::Duration) {
        if let Ok(frame) = tokio::time::timeout(duration, self.frame()).await {
            panic!("instead of silence came {frame:?}");
        }
    }
}

/// One message of permessage-deflate (RFC 7692 §7.2.2).
fn inflate(inflater: &mut Decompress, message: &[u8]) -> Vec<u8> {
    let input = [message, &[0, 0, 0xff, 0xff]].concat();
    let start = inflater.total_in();
    let mut output = Vec::new();
    loop {
        output.reserve(64 << 10);
        let before = (inflater.total_in(), inflater.total_out());
        let rest = &input[(inflater.total_in() - start) as usize..];
        inflater.decompress_vec(rest, &mut output, FlushDecompress::Sync).expect("a deflated message");
        if before == (inflater.total_in(), inflater.total_out()) {
            return output;
        }
    }
}
