//! WebSocket messages as bytes (RFC 6455 §5). Server frames are never masked, so one encoding
//! serves every client.
//!
//! Must not know: connections, handshakes.

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::deflate::{Coded, Tail};
use crate::resource::Snapshot;

/// The content of a snapshot's message, and its kind: text, or binary if it is not UTF-8 after conversion.
pub(super) fn content(snapshot: &Snapshot) -> (Data, &[u8]) {
    match snapshot.text() {
        Some(text) => (Data::Text, text),
        None => (Data::Binary, &snapshot.body),
    }
}

/// A snapshot as one message.
pub fn snapshot(snapshot: &Snapshot) -> Bytes {
    let (kind, content) = content(snapshot);
    message(OpCode::Data(kind), content)
}

/// A compressed message, the same for every client (RFC 7692).
#[derive(Debug)]
pub struct Deflated {
    coded: Coded<Bytes>,
    /// Bytes of the message; of the longest one if there are several.
    length: usize,
}

/// The bytes that every sync flush ends with, and that RFC 7692 §7.2.1 leaves out.
const FLUSH: &[u8] = &[0, 0, 0xff, 0xff];

impl Deflated {
    /// `before` is the message that most clients got last, and its content.
    pub(super) fn new(snapshot: &Snapshot, before: Option<(&Deflated, &Snapshot)>) -> Option<Deflated> {
        let (kind, text) = content(snapshot);
        let before = before.map(|(message, snapshot)| (&message.coded, content(snapshot).1));
        let coded = Coded::new(text, before, |bytes| deflated(kind, &bytes))?;
        Some(Deflated { coded, length: text.len() })
    }

    /// One message for each item, in one piece; those smaller than `least` are not compressed.
    pub(super) fn of_items<'a>(
        items: impl Iterator<Item = &'a [u8]> + Clone,
        least: usize,
    ) -> Option<Deflated> {
        let length = items.clone().map(<[u8]>::len).max().filter(|length| *length >= least)?;
        let mut all = BytesMut::new();
        for text in items {
            match Coded::new(text, None, |bytes| deflated(Data::Text, &bytes)).filter(|_| text.len() >= least)
            {
                Some(coded) => all.put_slice(coded.independent()),
                None => all.put_slice(&message(OpCode::Data(Data::Text), text)),
            }
        }
        Some(Deflated { coded: Coded::independently(all.freeze()), length })
    }

    /// The frame for a client. `window`: the base-two logarithm of the largest window that its decoder has,
    /// as it said. Returns `None` if the message is longer than that, and goes out as it is.
    ///
    /// The caller must write it whole. `tail` is the compressed message that the client got last.
    pub fn after(&self, tail: &mut Tail, window: u8) -> Option<&Bytes> {
        // A distance is never longer than the message.
        if self.length > 1 << window {
            return None;
        }
        Some(self.coded.after(tail))
    }

    /// Bytes it holds.
    pub(super) fn weight(&self) -> usize {
        self.coded.forms().map(Bytes::len).sum()
    }
}

/// A message of one compressed frame.
fn deflated(kind: Data, fragment: &[u8]) -> Bytes {
    let payload = fragment.strip_suffix(FLUSH).unwrap_or(fragment);
    framed(FrameHeader { rsv1: true, ..header(OpCode::Data(kind)) }, payload)
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
    framed(header(opcode), payload)
}

fn header(opcode: OpCode) -> FrameHeader {
    FrameHeader { is_final: true, opcode, ..FrameHeader::default() }
}

fn framed(header: FrameHeader, payload: &[u8]) -> Bytes {
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
