//! WebSocket messages as bytes (RFC 6455 §5). Server frames are never masked, so one encoding
//! serves every client.
//!
//! Must not know: connections, handshakes.

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::resource::Snapshot;

/// A snapshot as one message: text, or binary when it is not UTF-8 after conversion.
pub fn snapshot(snapshot: &Snapshot) -> Bytes {
    match snapshot.text() {
        Some(text) => message(OpCode::Data(Data::Text), text),
        None => message(OpCode::Data(Data::Binary), &snapshot.body),
    }
}

/// A text message.
pub fn text(text: &str) -> Bytes {
    message(OpCode::Data(Data::Text), text.as_bytes())
}

/// A text message whose end is shared: its frame header with its own beginning. The tail follows as it
/// is.
pub fn beginning(head: &str, tail: usize) -> Bytes {
    let header = FrameHeader { is_final: true, opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    let mut frame = BytesMut::with_capacity(head.len() + 10).writer();
    // Writing into memory cannot fail.
    let _ = header.format((head.len() + tail) as u64, &mut frame);
    let mut frame = frame.into_inner();
    frame.put_slice(head.as_bytes());
    frame.freeze()
}

/// A ping without payload.
pub fn ping() -> Bytes {
    message(OpCode::Control(Control::Ping), b"")
}

/// The answer to a ping (RFC 6455 §5.5.3).
pub fn pong(payload: &[u8]) -> Bytes {
    message(OpCode::Control(Control::Pong), payload)
}

/// A close frame; the reason is cut at 123 bytes, the most that fits (RFC 6455 §5.5).
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let mut payload = Vec::with_capacity(2 + end);
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    message(OpCode::Control(Control::Close), &payload)
}

fn message(opcode: OpCode, payload: &[u8]) -> Bytes {
    let header = FrameHeader { is_final: true, opcode, ..FrameHeader::default() };
    let mut frame = BytesMut::with_capacity(payload.len() + 10).writer();
    // Writing into memory cannot fail.
    let _ = header.format(payload.len() as u64, &mut frame);
    let mut frame = frame.into_inner();
    frame.put_slice(payload);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_unmasked_frame() {
        assert_eq!(&text("hi")[..], b"\x81\x02hi");
        assert_eq!(&ping()[..], b"\x89\x00");
        assert_eq!(text(&"x".repeat(300))[..4], [0x81, 126, 1, 44]);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let frame = close(1008, &"é".repeat(100));
        assert!(frame.len() <= 127);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
