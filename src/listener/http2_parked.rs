//! Requests of an HTTP/2 connection that wait while its client lets nothing be sent: as the bytes that they came in. The
//! library that speaks HTTP/2 makes kilobytes of a request whose fields were a byte each.
//!
//! What opens a window goes past them, so that a client can end their wait. The order of heads stays, as each is read by
//! what those before have said (RFC 7541 §2.2), and so does the order of what belongs to one stream. Must not know: what
//! a request asks for, how many may be served.

use bytes::{Buf, BytesMut};
use prometheus::IntCounter;

use super::http2_windows::{FRAME_HEAD_BYTES, HEADERS, PREFACE_BYTES, Windows};

/// Most bytes that wait. With more the connection is not read: its client waits with them.
const PARKED_BYTES_MAX: usize = 64 * 1024;

/// The requests of one connection that wait, and where its bytes are between frames.
#[derive(Debug)]
pub(super) struct Parked {
    /// Bytes of the preface that are to come.
    preface: u32,
    head: [u8; FRAME_HEAD_BYTES],
    /// Bytes of the head of a frame that are there.
    have: usize,
    /// They were given out before it was known what they are.
    is_head_out: bool,
    /// Bytes of a frame that are to come behind its head, and whether they wait.
    left: usize,
    parks: bool,
    frames: BytesMut,
    /// The streams that they belong to.
    streams: Vec<u32>,
    /// The newest stream that was let in.
    newest: u32,
    /// Counts requests that had to wait.
    parked: IntCounter,
}

impl Parked {
    /// Of a connection that has said nothing. `parked` counts its requests that have to wait.
    pub(super) fn new(parked: IntCounter) -> Parked {
        Parked {
            preface: PREFACE_BYTES,
            head: [0; FRAME_HEAD_BYTES],
            have: 0,
            is_head_out: false,
            left: 0,
            parks: false,
            frames: BytesMut::new(),
            streams: Vec::new(),
            newest: 0,
            parked,
        }
    }

    /// Whether so much waits that nothing more is to be read.
    pub(super) fn is_full(&self) -> bool {
        self.frames.len() > PARKED_BYTES_MAX && !self.is_inside()
    }

    /// Whether a frame that does not wait is read in part.
    fn is_inside(&self) -> bool {
        self.preface > 0 || self.is_head_out || (self.left > 0 && !self.parks)
    }

    /// Takes out of what came the requests that have to wait. Returns what is left, or `None` if that is all.
    pub(super) fn sort(&mut self, bytes: &[u8], windows: &Windows) -> Option<BytesMut> {
        let is_held = !self.frames.is_empty() || (self.have > 0 && !self.is_head_out);
        let mut left: Option<BytesMut> = is_held.then(BytesMut::new);
        let (mut at, mut told) = (0, 0);
        while at < bytes.len() {
            let rest = &bytes[at..];
            if self.preface > 0 || self.left > 0 {
                at += self.take(rest, &mut left);
                continue;
            }
            let taken = rest.len().min(FRAME_HEAD_BYTES - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&rest[..taken]);
            self.have += taken;
            let (start, is_out) = (at, self.is_head_out);
            at += taken;
            if self.have < FRAME_HEAD_BYTES {
                if !is_out && left.is_none() {
                    windows.came(&bytes[told..start]);
                    told = start;
                    // It may be the head of a request.
                    left = windows.are_used_up().then(|| BytesMut::from(&bytes[..start]));
                }
                self.is_head_out = left.is_none();
                continue;
            }
            (self.have, self.is_head_out) = (0, false);
            let (length, kind, stream) = read_head(&self.head);
            if kind == HEADERS && stream > self.newest {
                // What was said before may have opened a window.
                let known = left.as_deref().unwrap_or(&bytes[..start]);
                windows.came(&known[told..]);
                told = known.len();
            }
            self.left = length;
            self.parks = !is_out && self.has_to_wait(kind, stream, windows);
            if self.parks {
                self.park(stream);
                left.get_or_insert_with(|| BytesMut::from(&bytes[..start]));
                continue;
            }
            if kind == HEADERS {
                self.newest = self.newest.max(stream);
            }
            if let Some(left) = left.as_mut().filter(|_| !is_out) {
                left.extend_from_slice(&self.head);
            }
        }
        let known = left.as_deref().unwrap_or(bytes);
        windows.came(&known[told..]);
        left
    }

    /// Whether a frame waits: a request without room, and what follows it.
    fn has_to_wait(&self, kind: u8, stream: u32, windows: &Windows) -> bool {
        match self.frames.is_empty() {
            true => kind == HEADERS && stream > self.newest && !windows.let_in(),
            false => kind == HEADERS || self.streams.contains(&stream),
        }
    }

    /// Has the frame wait whose head was read.
    fn park(&mut self, stream: u32) {
        self.frames.extend_from_slice(&self.head);
        if !self.streams.contains(&stream) {
            self.streams.push(stream);
            self.parked.inc();
        }
    }

    /// Takes the rest of the preface or of a frame, as far as it came. Returns how much that was.
    fn take(&mut self, rest: &[u8], left: &mut Option<BytesMut>) -> usize {
        let taken = match self.preface {
            0 => rest.len().min(self.left),
            preface => rest.len().min(preface as usize),
        };
        match self.preface {
            0 => self.left -= taken,
            // At most what it is.
            _ => self.preface -= taken as u32,
        }
        self.put(&rest[..taken], left);
        taken
    }

    fn put(&mut self, bytes: &[u8], left: &mut Option<BytesMut>) {
        match (self.parks, left) {
            (true, _) => self.frames.extend_from_slice(bytes),
            (false, Some(left)) => left.extend_from_slice(bytes),
            (false, None) => {}
        }
    }

    /// What may be read now of what waits.
    pub(super) fn let_in(&mut self, windows: &Windows) -> BytesMut {
        let mut out = BytesMut::new();
        if self.is_inside() {
            // The rest of the frame that is being read comes first.
            return out;
        }
        while let Some(head) = self.frames.first_chunk::<FRAME_HEAD_BYTES>() {
            let (length, kind, stream) = read_head(head);
            if self.frames.len() < FRAME_HEAD_BYTES + length {
                break;
            }
            if kind == HEADERS && stream > self.newest {
                if !windows.let_in() {
                    break;
                }
                self.newest = stream;
            }
            let known = out.len();
            out.extend_from_slice(&self.frames[..FRAME_HEAD_BYTES + length]);
            self.frames.advance(FRAME_HEAD_BYTES + length);
            if kind == HEADERS {
                self.draw(stream, &mut out);
            }
            windows.came(&out[known..]);
        }
        if self.frames.is_empty() {
            (self.frames, self.streams) = (BytesMut::new(), Vec::new());
        }
        out
    }

    /// Takes what belongs to a stream that was let in out of what waits, up to its next head: it may open the window that
    /// others wait for.
    fn draw(&mut self, stream: u32, out: &mut BytesMut) {
        let waiting = std::mem::take(&mut self.frames);
        let (mut rest, mut is_left) = (&waiting[..], false);
        while let Some(head) = rest.first_chunk::<FRAME_HEAD_BYTES>() {
            let (length, kind, of) = read_head(head);
            let is_whole = rest.len() >= FRAME_HEAD_BYTES + length;
            let (frame, behind) = rest.split_at(rest.len().min(FRAME_HEAD_BYTES + length));
            if of == stream && kind != HEADERS && is_whole && !is_left {
                out.extend_from_slice(frame);
            } else {
                is_left |= of == stream;
                self.frames.extend_from_slice(frame);
            }
            rest = behind;
        }
        if !is_left {
            self.streams.retain(|other| *other != stream);
        }
    }
}

/// Length, kind and stream of a frame.
fn read_head(head: &[u8; FRAME_HEAD_BYTES]) -> (usize, u8, u32) {
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    (length as usize, head[3], stream)
}

#[cfg(test)]
mod tests {
    use super::super::http2_windows::tests::frame;
    use super::*;
    use proptest::prelude::*;

    fn window(size: u32) -> Vec<u8> {
        frame(4, 0, 0, &[&4u16.to_be_bytes()[..], &size.to_be_bytes()].concat())
    }

    fn parked() -> Parked {
        Parked::new(IntCounter::new("parked", "parked").unwrap())
    }

    fn open(stream: u32) -> Vec<u8> {
        frame(HEADERS, 5, stream, format!("head of {stream}").as_bytes())
    }

    fn preface() -> Vec<u8> {
        vec![b'P'; PREFACE_BYTES as usize]
    }

    /// What the library reads of these bytes in such pieces.
    fn read(parked: &mut Parked, windows: &Windows, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut all = Vec::new();
        for piece in bytes.chunks(piece) {
            all.extend(parked.let_in(windows));
            match parked.sort(piece, windows) {
                Some(left) => all.extend(left),
                None => all.extend_from_slice(piece),
            }
        }
        all.extend(parked.let_in(windows));
        all
    }

    #[test]
    fn requests_wait_behind_four_that_are_blocked_until_a_window_opens() {
        for piece in [1, 7, 9, 20, 10_000] {
            let (mut parked, windows) = (parked(), Windows::new());
            let first: Vec<u8> = (0..4).flat_map(|n| open(2 * n + 1)).collect();
            let more: Vec<u8> = (4..20).flat_map(|n| open(2 * n + 1)).collect();
            let body = frame(0, 1, 37, b"body");
            let ping = frame(6, 0, 0, &[0; 8]);
            let begun = [preface(), window(0), first].concat();
            let all = [&begun[..], &more, &body, &ping].concat();
            let had = read(&mut parked, &windows, &all, piece);
            assert_eq!(had, [&begun[..], &ping].concat(), "{piece}");
            assert_eq!((windows.blocked(), parked.parked.get()), (4, 16));
            windows.take_one_more(true);
            assert_eq!(read(&mut parked, &windows, &[], 1), open(9), "one by one");
            assert_eq!(read(&mut parked, &windows, &[], 1), b"");
            let had = read(&mut parked, &windows, &window(2000), piece);
            let rest: Vec<u8> = (5..19).flat_map(|n| open(2 * n + 1)).collect();
            assert_eq!(had, [window(2000), rest, body, open(39)].concat());
            assert!(parked.frames.is_empty() && parked.streams.is_empty());
            let later = [open(41), frame(0, 1, 41, b"x")].concat();
            assert_eq!(read(&mut parked, &windows, &later, piece), later);
        }
    }

    #[test]
    fn a_window_for_each_stream_counts_although_it_comes_behind_all_requests() {
        let update = |n: u32| frame(8, 0, 2 * n + 1, &2000u32.to_be_bytes());
        let requests: Vec<u8> = (0..20).flat_map(|n| open(2 * n + 1)).collect();
        let updates: Vec<u8> = (0..20).flat_map(update).collect();
        let all = [preface(), window(0), requests, updates].concat();
        for piece in [1, 9, 50, 10_000] {
            let (mut parked, windows) = (parked(), Windows::new());
            let had = read(&mut parked, &windows, &all, piece);
            assert_eq!((had.len(), windows.blocked()), (all.len(), 0), "{piece}");
            assert!(parked.frames.is_empty());
        }
    }

    proptest! {
        #[test]
        fn each_stream_says_what_it_said_whatever_the_pieces(
            frames in proptest::collection::vec((prop_oneof![Just(HEADERS), 0..10u8], 0..60u32, 0..20usize), 0..80),
            piece in 1..60usize,
        ) {
            let (mut parked, windows) = (parked(), Windows::new());
            let mut newest = 0;
            let frames: Vec<(u32, Vec<u8>)> = frames.into_iter().map(|(kind, stream, length)| {
                // Settings say nothing here, and new streams come in their order.
                let (kind, stream) = match kind {
                    4 => (6, 0),
                    HEADERS => { newest += 2; (HEADERS, newest - 1) }
                    kind => (kind, stream.min(newest)),
                };
                (stream, frame(kind, 0, stream, &vec![kind; length]))
            }).collect();
            let begun = [preface(), window(0)].concat();
            let bytes: Vec<u8> = frames.iter().flat_map(|(_, frame)| frame.clone()).collect();
            let mut had = read(&mut parked, &windows, &[&begun[..], &bytes].concat(), piece);
            had.extend(read(&mut parked, &windows, &window(1 << 20), piece));
            prop_assert!(had.starts_with(&begun));
            let mut said = std::collections::BTreeMap::<u32, Vec<u8>>::new();
            for (stream, frame) in frames.iter().filter(|(_, frame)| frame[3] != 8) {
                said.entry(*stream).or_default().extend(frame);
            }
            let mut read = std::collections::BTreeMap::<u32, Vec<u8>>::new();
            let mut rest = &had[begun.len()..];
            while let Some(head) = rest.first_chunk::<FRAME_HEAD_BYTES>() {
                let (length, kind, stream) = read_head(head);
                if kind != 8 && kind != 4 {
                    read.entry(stream).or_default().extend_from_slice(&rest[..FRAME_HEAD_BYTES + length]);
                }
                rest = &rest[FRAME_HEAD_BYTES + length..];
            }
            prop_assert_eq!(said, read);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1..50usize) {
            let (mut parked, windows) = (parked(), Windows::new());
            read(&mut parked, &windows, &bytes, piece);
        }
    }
}
