//! WebSocket frames (RFC 6455 §5.2) as bytes, for both sides of a test.
//!
//! Must not know: handshakes, sockets, what a frame means.

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub fin: bool,
    /// With permessage-deflate: the message is compressed.
    pub rsv1: bool,
    pub opcode: u8,
    pub masked: bool,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Frame {
        Frame { fin: true, rsv1: false, opcode, masked: false, payload: payload.into() }
    }

    /// The bytes of the frame, masked with `mask` as a client must.
    pub fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let first = u8::from(self.fin) << 7 | u8::from(self.rsv1) << 6 | self.opcode;
        let mask_bit = u8::from(mask.is_some()) << 7;
        let mut bytes = vec![first];
        match self.payload.len() {
            n @ 0..=125 => bytes.push(mask_bit | n as u8),
            n @ 126..=65535 => {
                bytes.push(mask_bit | 126);
                bytes.extend((n as u16).to_be_bytes());
            }
            n => {
                bytes.push(mask_bit | 127);
                bytes.extend((n as u64).to_be_bytes());
            }
        }
        bytes.extend(mask.into_iter().flatten());
        let key = mask.unwrap_or_default();
        bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k));
        bytes
    }

    /// The first frame of `bytes` and its length; `None` while it is incomplete.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Frame, usize)>, String> {
        let [first, second, ..] = *bytes else {
            return Ok(None);
        };
        if first & 0x30 != 0 {
            return Err(format!("reserved bits are set in {first:#010b}"));
        }
        let (length_bytes, short) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            n => (0, n as usize),
        };
        let masked = second & 0x80 != 0;
        let start = 2 + length_bytes + if masked { 4 } else { 0 };
        if bytes.len() < start {
            return Ok(None);
        }
        let long = bytes[2..2 + length_bytes].iter().fold(0usize, |n, &b| n << 8 | b as usize);
        let len = short + long;
        if len > 64 << 20 {
            return Err(format!("a frame of {len} bytes"));
        }
        let Some(payload) = bytes.get(start..start + len) else {
            return Ok(None);
        };
        let key = if masked { &bytes[start - 4..start] } else { &[0; 4][..] };
        let frame = Frame {
            fin: first & 0x80 != 0,
            rsv1: first & 0x40 != 0,
            opcode: first & 0x0f,
            masked,
            payload: payload.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k).collect(),
        };
        Ok(Some((frame, start + len)))
    }
}
