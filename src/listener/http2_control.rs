//! Frames of an HTTP/2 connection that carry neither a request nor an answer: each costs its sender nine
//! bytes, and us work and often an answer (RFC 9113 §10.5). So many a second are bearable, more end it.
//!
//! Must not know: what frames mean beyond that.

use std::time::Instant;

use super::accept_rate::Turnstile;

/// Bytes of what a client says before its first frame.
const PREFACE_BYTES: u32 = 24;

const FRAME_HEAD_BYTES: usize = 9;

/// Reads along, for the heads of the frames alone.
#[derive(Debug)]
pub(super) struct Control {
    /// Bytes until the next head.
    skip: u32,
    head: [u8; FRAME_HEAD_BYTES],
    /// Bytes of it that are there.
    have: usize,
    rate: Turnstile,
}

impl Control {
    /// `rate`: frames a second. From the preface on.
    pub(super) fn new(rate: u32, now: Instant) -> Control {
        Control { skip: PREFACE_BYTES, head: [0; FRAME_HEAD_BYTES], have: 0, rate: Turnstile::new(rate, now) }
    }

    /// Whether what was read is within the rate.
    pub(super) fn bears(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let skipped = bytes.len().min(self.skip as usize);
            bytes = &bytes[skipped..];
            // At most `skip`.
            self.skip -= skipped as u32;
            let taken = bytes.len().min(FRAME_HEAD_BYTES - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.have += taken;
            if self.have < FRAME_HEAD_BYTES {
                return true;
            }
            self.have = 0;
            self.skip = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]);
            if carries_nothing(&self.head) && !self.rate.lets_in(Instant::now()) {
                return false;
            }
        }
    }
}

/// Whether neither request nor body is in a frame with this head. Window updates are not among them:
/// a client that reads much sends many.
fn carries_nothing(head: &[u8; FRAME_HEAD_BYTES]) -> bool {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const WINDOW_UPDATE: u8 = 8;
    const END_STREAM: u8 = 1;
    match head[3] {
        DATA => head[..3] == [0, 0, 0] && head[4] & END_STREAM == 0,
        HEADERS | WINDOW_UPDATE => false,
        _ => true,
    }
}

/// What such a connection is told: GOAWAY with ENHANCE_YOUR_CALM. Which of its streams were looked at is
/// not known here: perhaps all.
pub(super) const GOAWAY: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0xb];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = (length as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.resize(FRAME_HEAD_BYTES + length, 6);
        frame
    }

    fn bears(frames: &[Vec<u8>], piece: usize) -> bool {
        let mut control = Control::new(10, Instant::now());
        let bytes = [vec![0; PREFACE_BYTES as usize], frames.concat()].concat();
        bytes.chunks(piece).all(|piece| control.bears(piece))
    }

    #[test]
    fn only_frames_that_carry_nothing_are_counted() {
        // Kind, flags, length, whether a hundred are borne.
        let cases = [
            (0, 0, 10, true),
            (0, 1, 0, true),
            (0, 0, 0, false),
            (1, 5, 20, true),
            (2, 0, 5, false),
            (3, 0, 4, false),
            (4, 0, 6, false),
            (6, 0, 8, false),
            (8, 0, 4, true),
            (9, 0, 50, false),
            (77, 0, 0, false),
        ];
        for (kind, flags, length, wanted) in cases {
            for piece in [1, 7, 9, 100, 10_000] {
                let frames = vec![frame(kind, flags, length); 100];
                assert_eq!(bears(&frames, piece), wanted, "kind {kind} in pieces of {piece}");
            }
        }
        assert!(bears(&vec![frame(6, 0, 8); 10], 100), "within the rate");
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1..50usize) {
            let mut control = Control::new(10, Instant::now());
            for piece in bytes.chunks(piece) {
                control.bears(piece);
            }
        }
    }
}
