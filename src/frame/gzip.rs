//! A gzip stream of events (RFC 1952) that is put together of shared fragments. Text of one client alone is stored
//! uncompressed between them, and each client has its own trailer.
//!
//! Must not know: HTTP, what the events say.

use bytes::Bytes;
use flate2::Crc;

use super::deflate::{Coded, Tail};
use super::sse::{self, SseBytes};

/// How every stream begins: no name, no time, unknown system.
pub const HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Most bytes of one stored block (RFC 1951 §3.2.4).
const STORED_BYTES_MAX: usize = 0xffff;

/// A checksum of some bytes that can be joined to the checksum of the bytes before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sum {
    crc: u32,
    length: u32,
    /// x^(8 · length) modulo the polynomial: moves a checksum past these bytes.
    shift: u32,
}

/// The polynomial of CRC-32 with its bits reversed, as all of this is: x^0 is the highest bit.
const POLYNOMIAL: u32 = 0xedb8_8320;

/// Product of two polynomials modulo the one of CRC-32.
fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for bit in (0..32).rev() {
        product ^= b & 0_u32.wrapping_sub(a >> bit & 1);
        b = (b >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(b & 1));
    }
    product
}

/// x^(8 · length).
fn shift(mut length: u32) -> u32 {
    let (mut result, mut power) = (1 << 31, 1 << 23);
    while length > 0 {
        if length & 1 == 1 {
            result = multiply(result, power);
        }
        power = multiply(power, power);
        length >>= 1;
    }
    result
}

impl Sum {
    fn of(plain: &[u8]) -> Sum {
        let mut crc = Crc::new();
        crc.update(plain);
        // Bodies are bounded far below 4 GiB (`max_body`).
        let length = plain.len() as u32;
        Sum { crc: crc.sum(), length, shift: shift(length) }
    }
}

/// One event of such a stream.
#[derive(Debug)]
pub struct GzipEvent {
    coded: Coded<SseBytes>,
    sum: Sum,
}

impl GzipEvent {
    /// Compresses an event. `before` is the event that most clients got last, with its plain form.
    pub(super) fn new(plain: &SseBytes, before: Option<(&GzipEvent, &SseBytes)>) -> Option<GzipEvent> {
        let text = plain.payload();
        let last = before.map(|(event, plain)| (event, plain.payload()));
        let last = last.as_ref().map(|(event, text)| (&event.coded, &text[..]));
        let coded = Coded::new(&text, last, |bytes| sse::coded(&bytes))?;
        Some(GzipEvent { coded, sum: Sum::of(&text) })
    }

    /// Bytes it holds.
    pub(super) fn weight(&self) -> usize {
        self.coded.forms().map(|form| form.chunk().len()).sum()
    }
}

/// Where one client's stream stands.
#[derive(Debug, Clone, Copy)]
pub struct GzipStream {
    tail: Tail,
    crc: u32,
    /// Modulo 2^32, as the trailer has it.
    length: u32,
}

impl Default for GzipStream {
    fn default() -> Self {
        GzipStream { tail: Tail::UNKNOWN, crc: 0, length: 0 }
    }
}

impl GzipStream {
    fn add(&mut self, sum: &Sum) {
        self.crc = multiply(sum.shift, self.crc) ^ sum.crc;
        self.length = self.length.wrapping_add(sum.length);
    }

    /// Returns the bytes of an event for this client. The caller must write them whole, before anything else.
    pub fn event<'a>(&mut self, event: &'a GzipEvent) -> &'a SseBytes {
        self.add(&event.sum);
        event.coded.after(&mut self.tail)
    }

    /// Text of this client alone, as stored blocks.
    pub fn stored(&mut self, text: &[u8]) -> Vec<u8> {
        self.tail = Tail::UNKNOWN;
        self.add(&Sum::of(text));
        let mut blocks = Vec::with_capacity(text.len() + 5 * (text.len() / STORED_BYTES_MAX + 1));
        for block in text.chunks(STORED_BYTES_MAX) {
            let length = block.len() as u16;
            blocks.push(0);
            blocks.extend_from_slice(&length.to_le_bytes());
            blocks.extend_from_slice(&(!length).to_le_bytes());
            blocks.extend_from_slice(block);
        }
        blocks
    }

    /// Returns the end of the stream: an empty last block, and the trailer over everything that was written.
    pub fn end(&self) -> Bytes {
        let mut end = vec![3, 0];
        end.extend_from_slice(&self.crc.to_le_bytes());
        end.extend_from_slice(&self.length.to_le_bytes());
        end.into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A strict gunzip confirms every byte and the trailer of a stream with joins, gaps and own text in between.
        #[test]
        fn a_strict_reader_confirms_any_stream(
            sizes in proptest::collection::vec(1usize..3000, 1..20),
            turns in proptest::collection::vec(0u8..5, 20),
        ) {
            let plain: Vec<SseBytes> = sizes
                .iter()
                .enumerate()
                .map(|(n, size)| sse::coded(format!("id: {n}\ndata: {}\n\n", "abc".repeat(*size)).as_bytes()))
                .collect();
            let mut events: Vec<GzipEvent> = Vec::new();
            for (n, text) in plain.iter().enumerate() {
                let before = n.checked_sub(1).map(|last| (&events[last], &plain[last]));
                events.push(GzipEvent::new(text, before).unwrap());
            }
            let (mut stream, mut wire, mut meant) = (GzipStream::default(), HEADER.to_vec(), Vec::new());
            for ((event, text), turn) in events.iter().zip(&plain).zip(turns) {
                if turn == 0 {
                    continue;
                }
                if turn == 1 {
                    let own = "x".repeat(usize::from(turn) * 70_000);
                    wire.extend(stream.stored(own.as_bytes()));
                    meant.extend_from_slice(own.as_bytes());
                }
                wire.extend_from_slice(&stream.event(event).payload());
                meant.extend_from_slice(&text.payload());
            }
            wire.extend_from_slice(&stream.end());
            let mut read = Vec::new();
            GzDecoder::new(&wire[..]).read_to_end(&mut read).unwrap();
            prop_assert_eq!(read, meant);
        }

        #[test]
        fn sums_are_joined_as_if_the_bytes_were(one in any::<Vec<u8>>(), two in any::<Vec<u8>>()) {
            let mut stream = GzipStream::default();
            stream.add(&Sum::of(&one));
            stream.add(&Sum::of(&two));
            let whole = Sum::of(&[one, two].concat());
            prop_assert_eq!((stream.crc, stream.length), (whole.crc, whole.length));
        }
    }
}
