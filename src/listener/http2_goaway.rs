//! How an HTTP/2 connection is ended by the library that speaks it: nothing else tells of it but the GOAWAY
//! that goes out, so what goes out is read along.
//!
//! Must not know: why, beyond the word of the frame.

use std::io::IoSlice;

const FRAME_HEAD_BYTES: usize = 9;

/// With the last stream and the error code.
const GOAWAY_BYTES: usize = FRAME_HEAD_BYTES + 8;

const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 0xb;

/// Reads along, for frames of one kind.
#[derive(Debug)]
pub(super) struct Farewell {
    /// Bytes until the next head.
    skip: u32,
    frame: [u8; GOAWAY_BYTES],
    /// Bytes of it that are there.
    have: usize,
    said: bool,
}

impl Farewell {
    /// From the first byte on.
    pub(super) fn new() -> Farewell {
        Farewell { skip: 0, frame: [0; GOAWAY_BYTES], have: 0, said: false }
    }

    /// So many bytes of these pieces went out. Gives, once a connection, why it ends, as the metric says it,
    /// or `None` if it goes on, or ends without a fault.
    pub(super) fn written(&mut self, pieces: &[IoSlice<'_>], mut count: usize) -> Option<&'static str> {
        let mut reason = None;
        for piece in pieces {
            let piece = &piece[..piece.len().min(count)];
            count -= piece.len();
            reason = reason.or(self.read(piece));
        }
        reason
    }

    fn read(&mut self, mut bytes: &[u8]) -> Option<&'static str> {
        let mut reason = None;
        while !bytes.is_empty() {
            let skipped = bytes.len().min(self.skip as usize);
            bytes = &bytes[skipped..];
            // At most `skip`.
            self.skip -= skipped as u32;
            let wanted = self.wanted();
            let taken = bytes.len().min(wanted - self.have);
            self.frame[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.have += taken;
            // A GOAWAY says more than its head.
            if self.have < FRAME_HEAD_BYTES || self.have < self.wanted() {
                continue;
            }
            reason = reason.or(self.reason());
            self.skip = self.length() - (self.have - FRAME_HEAD_BYTES) as u32;
            self.have = 0;
        }
        reason
    }

    fn length(&self) -> u32 {
        u32::from_be_bytes([0, self.frame[0], self.frame[1], self.frame[2]])
    }

    /// Bytes of this frame to be looked at.
    fn wanted(&self) -> usize {
        let is_goaway = self.have >= FRAME_HEAD_BYTES && self.frame[3] == GOAWAY;
        if is_goaway && self.length() as usize >= GOAWAY_BYTES - FRAME_HEAD_BYTES {
            GOAWAY_BYTES
        } else {
            FRAME_HEAD_BYTES
        }
    }

    fn reason(&mut self) -> Option<&'static str> {
        let code = match self.have {
            GOAWAY_BYTES => {
                u32::from_be_bytes([self.frame[13], self.frame[14], self.frame[15], self.frame[16]])
            }
            _ => return None,
        };
        if code == 0 || std::mem::replace(&mut self.said, true) {
            return None;
        }
        Some(if code == ENHANCE_YOUR_CALM { "http2-flood" } else { "http2-protocol" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 0], payload].concat()
    }

    fn goaway(code: u8) -> Vec<u8> {
        frame(GOAWAY, &[&[0, 0, 0, 9, 0, 0, 0, code][..], b"too_many_resets"].concat())
    }

    /// What is told of these bytes, written piece by piece.
    fn told(bytes: &[u8], piece: usize) -> Vec<&'static str> {
        let mut farewell = Farewell::new();
        bytes
            .chunks(piece)
            .filter_map(|piece| farewell.written(&[IoSlice::new(piece)], piece.len()))
            .collect()
    }

    #[test]
    fn only_a_goaway_with_an_error_is_told_and_that_once() {
        let before = [frame(4, &[]), frame(1, &[7; 30]), frame(0, &goaway(0xb)), frame(8, &[0; 4])].concat();
        for piece in [1, 2, 8, 9, 10, 16, 17, 18, 1000] {
            assert_eq!(told(&before, piece), [""; 0], "nothing in pieces of {piece}");
            for (code, wanted) in
                [(0, &[][..]), (0xb, &["http2-flood"]), (1, &["http2-protocol"]), (9, &["http2-protocol"])]
            {
                let bytes =
                    [&before[..], &goaway(0), &goaway(code), &frame(0, &[1; 9]), &goaway(code)].concat();
                assert_eq!(told(&bytes, piece), wanted, "{code} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_was_not_written_is_not_told() {
        let (end, mut farewell) = (goaway(0xb), Farewell::new());
        let pieces = [IoSlice::new(&end[..10]), IoSlice::new(&end[10..])];
        assert_eq!(farewell.written(&pieces, 12), None);
        assert_eq!(farewell.written(&[IoSlice::new(&end[12..])], 4), None);
        assert_eq!(farewell.written(&[IoSlice::new(&end[16..])], 1), Some("http2-flood"));
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1..50usize) {
            told(&bytes, piece);
        }
    }
}
