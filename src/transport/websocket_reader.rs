//! What a WebSocket client sends, as events (RFC 6455 §5): headers are parsed by tungstenite, the
//! rules about them are here.
//!
//! Keeps nothing between whole frames, so an idle client costs no buffer. Must not know: answers.

use std::io::Cursor;

use bytes::{Buf, Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use super::close_code as code;

/// A whole message or control frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Ping(Bytes),
    Pong,
    Message(Bytes),
    /// With the client's code, if it gave one.
    Close(Option<u16>),
}

/// The client broke the protocol or a limit: the close code and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

fn fault(reason: &'static str) -> Fault {
    Fault { code: code::PROTOCOL, reason }
}

/// The reader. Small while nothing is half read.
#[derive(Debug)]
pub(super) struct Inbound {
    max_message: u32,
    /// Binary messages are a fault.
    text_only: bool,
    /// Messages may be compressed (RFC 7692), each by itself.
    deflate: bool,
    /// Most frames of one message.
    max_fragments: u16,
    /// Frames that came since they were asked for.
    frames: u16,
    partial: Option<Box<Partial>>,
}

/// A frame or message that is not whole yet.
#[derive(Debug, Default)]
struct Partial {
    /// Bytes not yet parsed.
    bytes: BytesMut,
    /// Data frames of a message whose last frame is to come.
    message: Option<(Kind, BytesMut)>,
    /// How many frames of it there are.
    fragments: u16,
}

/// What a message's first frame says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    data: Data,
    compressed: bool,
}

impl Inbound {
    pub(super) fn new(max_message: usize) -> Inbound {
        Inbound {
            max_message: max_message.min(u32::MAX as usize) as u32,
            text_only: false,
            deflate: false,
            max_fragments: u16::MAX,
            frames: 0,
            partial: None,
        }
    }

    pub(super) fn of_fragments(self, most: u16) -> Inbound {
        Inbound { max_fragments: most, ..self }
    }

    /// Frames of any kind that came since the last call.
    pub(super) fn take_frames(&mut self) -> u32 {
        u32::from(std::mem::take(&mut self.frames))
    }

    pub(super) fn of_text(self) -> Inbound {
        Inbound { text_only: true, ..self }
    }

    pub(super) fn of_deflate(self) -> Inbound {
        Inbound { deflate: true, ..self }
    }

    /// Returns the next event in what was received. The caller calls it again without bytes until it returns none.
    pub(super) fn next(&mut self, received: &[u8]) -> Result<Option<Event>, Fault> {
        let (max_message, text_only) = (self.max_message as usize, self.text_only);
        let deflate = self.deflate;
        if received.is_empty() && self.partial.is_none() {
            return Ok(None);
        }
        let partial = self.partial.get_or_insert_default();
        partial.bytes.extend_from_slice(received);
        let event = loop {
            match partial.frame(max_message, deflate)? {
                None => break None,
                Some((header, _)) if text_only && header.opcode == OpCode::Data(Data::Binary) => {
                    return Err(Fault { code: code::UNSUPPORTED, reason: "only text is understood" });
                }
                Some((header, payload)) => {
                    self.frames = self.frames.saturating_add(1);
                    if partial.is_minced(&header, self.max_fragments) {
                        return Err(Fault { code: code::POLICY, reason: "a message in too many pieces" });
                    }
                    if let Some(event) = partial.event(&header, payload, max_message)? {
                        break Some(event);
                    }
                }
            }
        };
        if partial.bytes.is_empty() && partial.message.is_none() {
            self.partial = None;
        }
        Ok(event)
    }
}

impl Partial {
    /// Takes one whole frame, unmasked.
    fn frame(&mut self, max_message: usize, deflate: bool) -> Result<Option<(FrameHeader, BytesMut)>, Fault> {
        let mut cursor = Cursor::new(&self.bytes);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|_| fault("bad frame header"))?;
        let Some((header, length)) = parsed else {
            return Ok(None);
        };
        let start = cursor.position() as usize;
        let compressible = deflate && matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        if (header.rsv1 && !compressible) || header.rsv2 || header.rsv3 {
            return Err(fault("reserved bits are set, and no extension was agreed on"));
        }
        let Some(mask) = header.mask else {
            return Err(fault("client frames must be masked"));
        };
        if let OpCode::Control(_) = header.opcode
            && (!header.is_final || length > 125)
        {
            return Err(fault("control frames are whole and at most 125 bytes long"));
        }
        let have = self.message.as_ref().map_or(0, |(_, message)| message.len() as u64);
        let is_data = matches!(header.opcode, OpCode::Data(_));
        if is_data && length.saturating_add(have) > max_message as u64 {
            return Err(Fault { code: code::TOO_BIG, reason: "message too big" });
        }
        // The frame fits in memory: it has at most `max_message` bytes, or 125 as a control frame.
        let length = length as usize;
        if self.bytes.len() < start + length {
            return Ok(None);
        }
        self.bytes.advance(start);
        let mut payload = self.bytes.split_to(length);
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        Ok(Some((header, payload)))
    }

    /// Whether a message has more frames than it may have.
    fn is_minced(&mut self, header: &FrameHeader, most: u16) -> bool {
        match header.opcode {
            OpCode::Data(Data::Continue) => self.fragments = self.fragments.saturating_add(1),
            OpCode::Data(_) => self.fragments = 1,
            OpCode::Control(_) => {}
        }
        self.fragments > most
    }

    fn event(
        &mut self,
        header: &FrameHeader,
        payload: BytesMut,
        max_message: usize,
    ) -> Result<Option<Event>, Fault> {
        match header.opcode {
            OpCode::Control(Control::Ping) => Ok(Some(Event::Ping(payload.freeze()))),
            OpCode::Control(Control::Pong) => Ok(Some(Event::Pong)),
            OpCode::Control(Control::Close) => close(&payload).map(|code| Some(Event::Close(code))),
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
                Err(fault("reserved opcode"))
            }
            OpCode::Data(Data::Continue) => {
                let Some((kind, mut message)) = self.message.take() else {
                    return Err(fault("a continuation without a beginning"));
                };
                debug_assert!(message.len() + payload.len() <= max_message);
                message.extend_from_slice(&payload);
                self.data(header.is_final, kind, message, max_message)
            }
            OpCode::Data(_) if self.message.is_some() => Err(fault("a message inside a message")),
            OpCode::Data(data) => {
                let kind = Kind { data, compressed: header.rsv1 };
                self.data(header.is_final, kind, payload, max_message)
            }
        }
    }

    fn data(
        &mut self,
        is_final: bool,
        kind: Kind,
        message: BytesMut,
        max_message: usize,
    ) -> Result<Option<Event>, Fault> {
        if !is_final {
            self.message = Some((kind, message));
            return Ok(None);
        }
        let message = if kind.compressed { inflate(message, max_message)? } else { message.freeze() };
        if kind.data == Data::Text && std::str::from_utf8(&message).is_err() {
            return Err(Fault { code: code::INVALID_DATA, reason: "text is not UTF-8" });
        }
        Ok(Some(Event::Message(message)))
    }
}

/// Decompresses a message that refers to none before it (RFC 7692 §7.2.2).
fn inflate(mut message: BytesMut, most: usize) -> Result<Bytes, Fault> {
    message.extend_from_slice(&[0, 0, 0xff, 0xff]);
    let mut decoder = Decompress::new(false);
    let mut plain = Vec::with_capacity((message.len() * 4).min(most + 1));
    loop {
        let taken = decoder.total_in() as usize;
        let status = decoder
            .decompress_vec(&message[taken..], &mut plain, FlushDecompress::Sync)
            .map_err(|_| Fault { code: code::INVALID_DATA, reason: "the message cannot be decompressed" })?;
        if plain.len() > most {
            return Err(Fault { code: code::TOO_BIG, reason: "message too big" });
        }
        // Room left over means that nothing more comes.
        if plain.len() < plain.capacity() || status == Status::StreamEnd {
            return Ok(plain.into());
        }
        plain.reserve((plain.len() + 64).min(most + 1 - plain.len()).max(1));
    }
}

/// Reads a close frame's payload.
fn close(payload: &[u8]) -> Result<Option<u16>, Fault> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !CloseCode::from(code).is_allowed() {
                return Err(fault("bad close code"));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(Fault { code: code::INVALID_DATA, reason: "close reason is not UTF-8" });
            }
            Ok(Some(code))
        }
        [_] => Err(fault("half a close code")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader {
            is_final: first & 0x80 != 0,
            rsv1: first & 0x40 != 0,
            opcode: OpCode::from(first & 15),
            mask: Some([1, 2, 3, 4]),
            ..FrameHeader::default()
        };
        let mut bytes = Vec::new();
        header.format(payload.len() as u64, &mut bytes).unwrap();
        bytes.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(b, k)| b ^ k));
        bytes
    }

    #[test]
    fn a_message_has_so_many_pieces() {
        let pieces = |count: usize| {
            let mut frames = vec![frame(0x01, b"x")];
            frames.resize(count - 1, frame(0x00, b"x"));
            frames.push(frame(0x80, b"x"));
            // What comes in between is no piece of it.
            frames.insert(1, frame(0x89, b""));
            frames.concat()
        };
        let outcome = |bytes: &[u8]| {
            let mut inbound = Inbound::new(1000).of_fragments(5);
            let (mut bytes, mut messages) = (bytes, 0);
            loop {
                match inbound.next(std::mem::take(&mut bytes)) {
                    Ok(Some(event)) => messages += usize::from(matches!(event, Event::Message(_))),
                    Ok(None) => return Ok((messages, inbound.take_frames())),
                    Err(fault) => return Err(fault.code),
                }
            }
        };
        assert_eq!(outcome(&pieces(5).repeat(3)), Ok((3, 18)));
        assert_eq!(outcome(&pieces(6)), Err(1008));
    }

    fn read(bytes: &[u8], piece: usize) -> Result<Vec<Event>, Fault> {
        let mut inbound = Inbound::new(1000);
        let mut events = Vec::new();
        for piece in bytes.chunks(piece.max(1)) {
            let mut rest = piece;
            while let Some(event) = inbound.next(rest)? {
                events.push(event);
                rest = &[];
            }
        }
        Ok(events)
    }

    #[test]
    fn fragments_become_one_message_and_control_frames_come_between() {
        let bytes = [frame(0x01, b"he"), frame(0x89, b"p"), frame(0x80, b"y")].concat();
        let wanted = vec![Event::Ping(Bytes::from_static(b"p")), Event::Message(Bytes::from_static(b"hey"))];
        for piece in 1..bytes.len() {
            assert_eq!(read(&bytes, piece), Ok(wanted.clone()), "in pieces of {piece}");
        }
    }

    #[test]
    fn an_idle_client_costs_no_buffer() {
        let mut inbound = Inbound::new(1000);
        assert_eq!(inbound.next(&frame(0x81, b"x")), Ok(Some(Event::Message(Bytes::from_static(b"x")))));
        assert_eq!(inbound.next(&[]), Ok(None));
        assert!(inbound.partial.is_none());
    }

    #[test]
    fn hostile_frames_are_answered_by_the_rfc() {
        let unmasked = vec![0x81, 1, b'x'];
        let cases: Vec<(&str, Vec<u8>, u16)> = vec![
            ("unmasked", unmasked, 1002),
            ("reserved bit", frame(0xc1, b"x"), 1002),
            ("reserved opcode", frame(0x83, b"x"), 1002),
            ("reserved control opcode", frame(0x8b, b"x"), 1002),
            ("fragmented ping", frame(0x09, b"x"), 1002),
            ("long ping", frame(0x89, &[0; 126]), 1002),
            ("continuation of nothing", frame(0x80, b"x"), 1002),
            ("message in a message", [frame(0x01, b"a"), frame(0x81, b"b")].concat(), 1002),
            ("not UTF-8", frame(0x81, b"\xff"), 1007),
            ("half a code", frame(0x88, b"\x03"), 1002),
            ("code 1005", frame(0x88, &1005u16.to_be_bytes()), 1002),
            ("code 0", frame(0x88, &0u16.to_be_bytes()), 1002),
            ("close reason not UTF-8", frame(0x88, b"\x03\xe8\xff"), 1007),
            ("too big", frame(0x82, &[0; 1001]), 1009),
            ("too big in pieces", [frame(0x02, &[0; 600]), frame(0x80, &[0; 600])].concat(), 1009),
            (
                "announced absurdly big",
                vec![0x82, 0xff, 0xff, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0],
                1009,
            ),
        ];
        for (claim, bytes, code) in cases {
            assert_eq!(read(&bytes, 7).map_err(|fault| fault.code), Err(code), "{claim}");
        }
    }

    #[test]
    fn a_close_gives_its_code() {
        assert_eq!(read(&frame(0x88, &1000u16.to_be_bytes()), 99), Ok(vec![Event::Close(Some(1000))]));
        assert_eq!(read(&frame(0x88, &4999u16.to_be_bytes()), 99), Ok(vec![Event::Close(Some(4999))]));
        assert_eq!(read(&frame(0x88, b""), 99), Ok(vec![Event::Close(None)]));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_memory_stays_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..400),
                                                   piece in 1..50usize) {
            let mut inbound = Inbound::new(100);
            for piece in bytes.chunks(piece) {
                let mut rest = piece;
                while let Ok(Some(_)) = inbound.next(rest) { rest = &[]; }
                let held = inbound.partial.as_ref().map_or(0, |p| {
                    p.message.as_ref().map_or(0, |(_, m)| m.len())
                });
                prop_assert!(held <= 100);
            }
        }

        #[test]
        fn any_message_survives_any_cut(body in proptest::collection::vec(any::<u8>(), 0..300), piece in 1..50usize) {
            let read = read(&frame(0x82, &body), piece);
            prop_assert_eq!(read, Ok(vec![Event::Message(Bytes::from(body))]));
        }
    }
}
