//! How much the client of an HTTP/2 connection lets be sent on each of its streams (RFC 9113 §5.2): a stream that may
//! send nothing keeps all that its answer needs, for nothing.
//!
//! The library that speaks HTTP/2 does not tell, so what comes and goes is read along. Must not know: requests.

use std::collections::HashMap;
use std::io::IoSlice;

use parking_lot::Mutex;

/// Bytes of what a client says before its first frame.
pub(super) const PREFACE_BYTES: u32 = 24;

/// Bytes of a frame before its payload.
pub(super) const FRAME_HEAD_BYTES: usize = 9;

/// What a window is without anything said (RFC 9113 §6.9.2).
const INITIAL_WINDOW_BYTES: i64 = 65_535;

const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;

/// Of DATA and HEADERS; of SETTINGS it says that they are acknowledged.
const END_STREAM: u8 = 1;

const INITIAL_WINDOW_SIZE: u16 = 4;

/// A smaller window lets next to nothing be sent: the answer waits in memory as it does without a window.
const NARROW_WINDOW_BYTES: i64 = 1024;

/// Once so many streams of a connection are blocked, further requests are taken one by one: each takes the memory
/// of a whole request, and a client that lets nothing be sent asks for next to nothing.
const BLOCKED_STREAMS_MAX: usize = 8;

/// The same on a connection whose streams begin with a narrow window.
const NARROW_STREAMS_MAX: usize = 4;

/// The windows of one connection.
#[derive(Debug)]
pub(super) struct Windows(Mutex<State>);

#[derive(Debug)]
struct State {
    from_client: Reader,
    to_client: Reader,
    initial: i64,
    connection: i64,
    /// Of the streams whose answers are not over; as many as may be open (`limits.http2_streams`).
    streams: HashMap<u32, i64>,
    /// The newest stream.
    last: u32,
    /// One more request may come although too many are blocked.
    takes_one_more: bool,
}

impl Windows {
    pub(super) fn new() -> Windows {
        Windows(Mutex::new(State {
            from_client: Reader::new(PREFACE_BYTES),
            to_client: Reader::new(0),
            initial: INITIAL_WINDOW_BYTES,
            connection: INITIAL_WINDOW_BYTES,
            streams: HashMap::new(),
            last: 0,
            takes_one_more: false,
        }))
    }

    /// These bytes came.
    pub(super) fn came(&self, bytes: &[u8]) {
        let mut state = self.0.lock();
        let mut reader = std::mem::take(&mut state.from_client);
        reader.read(bytes, |frame| state.came(frame));
        state.from_client = reader;
    }

    /// So many bytes of these pieces went out.
    pub(super) fn went(&self, pieces: &[IoSlice<'_>], mut count: usize) {
        let mut state = self.0.lock();
        let mut reader = std::mem::take(&mut state.to_client);
        for piece in pieces {
            let piece = &piece[..piece.len().min(count)];
            count -= piece.len();
            reader.read(piece, |frame| state.went(frame));
        }
        state.to_client = reader;
    }

    /// Streams on which next to nothing may be sent for now.
    pub(super) fn blocked(&self) -> usize {
        self.0.lock().blocked()
    }

    /// Whether so many streams are blocked that further requests wait.
    pub(super) fn are_used_up(&self) -> bool {
        self.0.lock().is_used_up()
    }

    /// With so many blocked streams further requests wait.
    pub(super) fn blocked_max(&self) -> usize {
        self.0.lock().blocked_max()
    }

    /// Says whether the next request may come although too many are blocked.
    pub(super) fn take_one_more(&self, takes: bool) {
        self.0.lock().takes_one_more = takes;
    }

    /// Whether a request may come now.
    pub(super) fn let_in(&self) -> bool {
        let mut state = self.0.lock();
        !state.is_used_up() || std::mem::take(&mut state.takes_one_more)
    }

    /// Whether streams may send next to nothing from the start, and some still may not.
    pub(super) fn begin_closed(&self) -> bool {
        let state = self.0.lock();
        state.begins_narrow() && state.blocked() > 0
    }
}

impl State {
    fn begins_narrow(&self) -> bool {
        self.initial < NARROW_WINDOW_BYTES
    }

    fn blocked_max(&self) -> usize {
        if self.begins_narrow() { NARROW_STREAMS_MAX } else { BLOCKED_STREAMS_MAX }
    }

    fn is_used_up(&self) -> bool {
        self.blocked() >= self.blocked_max()
    }

    fn blocked(&self) -> usize {
        if self.connection < NARROW_WINDOW_BYTES {
            return self.streams.len();
        }
        self.streams.values().filter(|window| **window < NARROW_WINDOW_BYTES).count()
    }

    fn came(&mut self, frame: Frame) {
        match frame {
            Frame::Head { kind: HEADERS, stream, .. } if stream > self.last => {
                self.last = stream;
                self.streams.insert(stream, self.initial);
            }
            Frame::Head { kind: RST_STREAM, stream, .. } => drop(self.streams.remove(&stream)),
            Frame::Setting(INITIAL_WINDOW_SIZE, value) => {
                let by = i64::from(value) - self.initial;
                self.initial += by;
                self.streams.values_mut().for_each(|window| *window += by);
            }
            Frame::Increment(0, by) => self.connection += i64::from(by),
            Frame::Increment(stream, by) => {
                if let Some(window) = self.streams.get_mut(&stream) {
                    *window += i64::from(by);
                }
            }
            Frame::Head { .. } | Frame::Setting(..) => {}
        }
    }

    fn went(&mut self, frame: Frame) {
        let Frame::Head { kind, flags, stream, length } = frame else { return };
        if kind == DATA {
            self.connection -= i64::from(length);
            if let Some(window) = self.streams.get_mut(&stream) {
                *window -= i64::from(length);
            }
        }
        let ends = matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
        if ends || kind == RST_STREAM {
            self.streams.remove(&stream);
        }
    }
}

/// What of a frame matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frame {
    Head { kind: u8, flags: u8, stream: u32, length: u32 },
    Setting(u16, u32),
    Increment(u32, u32),
}

/// Reads frames along, whatever the pieces they come in.
#[derive(Debug, Default)]
struct Reader {
    /// Bytes to go past.
    skip: u32,
    /// Bytes of the frame that are still to come behind its head.
    rest: u32,
    kind: u8,
    flags: u8,
    stream: u32,
    /// The head, or the part of the payload that is read now.
    piece: [u8; FRAME_HEAD_BYTES],
    have: usize,
    in_payload: bool,
}

impl Reader {
    fn new(skip: u32) -> Reader {
        Reader { skip, ..Reader::default() }
    }

    fn read(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = bytes.len().min(self.skip as usize);
                bytes = &bytes[skipped..];
                // At most `skip`.
                self.skip -= skipped as u32;
                continue;
            }
            let wanted = self.wanted();
            let taken = bytes.len().min(wanted - self.have);
            self.piece[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.have += taken;
            if self.have == wanted {
                self.have = 0;
                tell(self.frame());
                self.go_on();
            }
        }
    }

    /// Bytes of what is read now.
    fn wanted(&self) -> usize {
        match (self.in_payload, self.kind) {
            (false, _) => FRAME_HEAD_BYTES,
            (true, SETTINGS) => 6,
            (true, _) => 4,
        }
    }

    fn frame(&mut self) -> Frame {
        let word = |at: usize| {
            u32::from_be_bytes([self.piece[at], self.piece[at + 1], self.piece[at + 2], self.piece[at + 3]])
        };
        if self.in_payload {
            let frame = match self.kind {
                SETTINGS => Frame::Setting(u16::from_be_bytes([self.piece[0], self.piece[1]]), word(2)),
                _ => Frame::Increment(self.stream, word(0) & 0x7fff_ffff),
            };
            self.rest -= self.wanted() as u32;
            return frame;
        }
        let length = u32::from_be_bytes([0, self.piece[0], self.piece[1], self.piece[2]]);
        let (kind, flags, stream) = (self.piece[3], self.piece[4], word(5) & 0x7fff_ffff);
        (self.rest, self.kind, self.flags, self.stream) = (length, kind, flags, stream);
        Frame::Head { kind, flags, stream, length }
    }

    /// What is read next: a part of the payload that matters, or what is behind it.
    fn go_on(&mut self) {
        let part = match self.kind {
            SETTINGS if self.flags & END_STREAM == 0 => 6,
            WINDOW_UPDATE => 4,
            _ => u32::MAX,
        };
        self.in_payload = self.rest >= part;
        if !self.in_payload {
            self.skip = std::mem::take(&mut self.rest);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in crate::listener) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    fn window(size: u32) -> Vec<u8> {
        let other = [&3u16.to_be_bytes()[..], &7u32.to_be_bytes()].concat();
        frame(SETTINGS, 0, 0, &[&other[..], &4u16.to_be_bytes(), &size.to_be_bytes()].concat())
    }

    fn open(stream: u32) -> Vec<u8> {
        frame(HEADERS, 5, stream, b"head")
    }

    fn update(stream: u32, by: u32) -> Vec<u8> {
        frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
    }

    fn data(stream: u32, flags: u8, length: usize) -> Vec<u8> {
        frame(DATA, flags, stream, &vec![7; length])
    }

    fn said(frames: &[Vec<u8>]) -> Windows {
        let windows = Windows::new();
        windows.came(&[vec![0; PREFACE_BYTES as usize], frames.concat()].concat());
        windows
    }

    fn went(windows: &Windows, frame: &[u8]) {
        windows.went(&[IoSlice::new(frame)], frame.len());
    }

    #[test]
    fn a_stream_waits_while_its_window_is_used_up_and_until_its_answer_is_over() {
        let windows = said(&[window(5000), open(1), open(3)]);
        assert_eq!(windows.blocked(), 0);
        went(&windows, &data(1, 0, 5000));
        assert_eq!((windows.blocked(), windows.begin_closed()), (1, false));
        windows.came(&update(1, 2000));
        assert_eq!(windows.blocked(), 0);
        went(&windows, &data(1, 0, 2000));
        went(&windows, &data(3, END_STREAM, 5000));
        assert_eq!(windows.blocked(), 1, "the other one is over");
        windows.came(&frame(RST_STREAM, 0, 1, &[0; 4]));
        assert_eq!(windows.blocked(), 0);
    }

    #[test]
    fn a_window_of_zero_holds_streams_from_the_start_and_settings_reach_those_that_are_open() {
        let windows = said(&[window(0), open(1), open(3)]);
        assert_eq!((windows.blocked(), windows.begin_closed()), (2, true));
        windows.came(&update(3, 5000));
        assert_eq!(windows.blocked(), 1);
        windows.came(&window(1500));
        assert_eq!((windows.blocked(), windows.begin_closed()), (0, false));
    }

    #[test]
    fn a_few_bytes_of_a_window_are_as_good_as_none() {
        for size in [0, 1, 90, NARROW_WINDOW_BYTES as u32 - 1] {
            let windows = said(&[window(size), open(1), open(3)]);
            assert_eq!((windows.blocked(), windows.begin_closed()), (2, true), "{size}");
            windows.came(&[open(5), open(7)].concat());
            assert!(windows.are_used_up(), "{size}");
            windows.came(&update(5, 1));
            assert_eq!(windows.blocked(), if size < 1023 { 4 } else { 3 }, "{size}");
        }
        let windows = said(&[window(NARROW_WINDOW_BYTES as u32), open(1)]);
        assert_eq!((windows.blocked(), windows.begin_closed()), (0, false));
        went(&windows, &data(1, 0, 1));
        assert_eq!((windows.blocked(), windows.begin_closed()), (1, false), "it began with more");
    }

    #[test]
    fn a_connection_without_a_window_holds_all_its_streams() {
        let windows = said(&[window(1 << 20), open(1), open(3)]);
        went(&windows, &data(1, 0, 65_535));
        assert_eq!(windows.blocked(), 2);
        windows.came(&update(0, 1));
        assert_eq!(windows.blocked(), 2, "one byte for both");
        windows.came(&update(0, 5000));
        assert_eq!(windows.blocked(), 0);
    }

    proptest! {
        #[test]
        fn pieces_mean_nothing(piece in 1..40usize) {
            let frames = [vec![0; PREFACE_BYTES as usize], window(3), open(1), frame(HEADERS, 4, 1, b"trailers"), open(3),
                data(3, 1, 30), update(3, 9), frame(9, 4, 3, b"x"), open(5), update(0, 1), open(7)].concat();
            let windows = Windows::new();
            frames.chunks(piece).for_each(|piece| windows.came(piece));
            prop_assert_eq!(windows.0.lock().streams.len(), 4);
            let answers = [data(1, 0, 3), data(5, 1, 2), data(3, 0, 12), frame(HEADERS, 5, 7, b"head")].concat();
            answers.chunks(piece).for_each(|piece| went(&windows, piece));
            let state = windows.0.lock();
            prop_assert_eq!(state.streams.iter().map(|(s, w)| (*s, *w)).collect::<std::collections::BTreeMap<_, _>>(),
                [(1, 0), (3, 0)].into());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), piece in 1..50usize) {
            let windows = Windows::new();
            bytes.chunks(piece).for_each(|piece| windows.came(piece));
            bytes.chunks(piece).for_each(|piece| went(&windows, piece));
            windows.blocked();
        }
    }
}
