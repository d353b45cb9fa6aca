//! The log lines that wait to be written: a bounded buffer, and a thread of its own that empties it.
//!
//! A reader of the log that hangs holds up that thread alone. What does not fit is dropped and counted, and so is what
//! cannot be written. Must not know: what a line says.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

use crate::metrics::{LogLoss, log_lines_lost};

/// The buffer holds so many bytes for each line that may wait: long lines leave less room for others.
const LINE_BYTES: usize = 1024;

/// Most memory that the empty buffers keep, bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// The end of the process waits this long for what is left to be written.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

/// After a pause so long are lines gathered before they are written: one wake-up and one write for many requests.
const GATHER_TIME: Duration = Duration::from_millis(5);

/// Wait before a descriptor that does not block and takes nothing is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(10);

/// Takes lines without ever waiting for their reader.
#[derive(Clone)]
pub struct LogWriter(Arc<Queue>);

/// Has what is left written when it is dropped, as far as the reader takes it within a second.
pub struct Flush(Arc<Queue>);

struct Queue {
    state: Mutex<State>,
    /// There is something to write, or the end has come.
    work: Condvar,
    /// The thread has ended.
    end: Condvar,
    lines_max: usize,
}

#[derive(Default)]
struct State {
    /// Whole lines, one after the other.
    waiting: Vec<u8>,
    lines: usize,
    /// Lines that the thread is writing.
    lines_in_hand: usize,
    ends: bool,
    has_ended: bool,
}

impl LogWriter {
    /// Starts the thread that writes to `target`. `lines_max`: lines that may wait for it.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(target: File, lines_max: usize) -> io::Result<(LogWriter, Flush)> {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            work: Condvar::new(),
            end: Condvar::new(),
            lines_max: lines_max.max(1),
        });
        let own = queue.clone();
        std::thread::Builder::new().name("log".into()).spawn(move || own.write_to(target))?;
        Ok((LogWriter(queue.clone()), Flush(queue)))
    }

    /// Takes one line, or counts it as lost.
    pub fn push(&self, line: &[u8]) {
        self.0.push(line);
    }
}

impl Queue {
    fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        let has_room = state.lines + state.lines_in_hand < self.lines_max
            && state.waiting.len() + line.len() <= self.lines_max.saturating_mul(LINE_BYTES);
        if !has_room {
            drop(state);
            return log_lines_lost(LogLoss::Full, 1);
        }
        state.waiting.extend_from_slice(line);
        state.lines += 1;
        let is_first = state.lines == 1;
        // Half full: no more is gathered.
        let is_much = state.lines == self.lines_max / 2;
        drop(state);
        if is_first || is_much {
            self.work.notify_one();
        }
    }

    /// Writes what comes until the end.
    fn write_to(&self, mut target: File) {
        let mut buffer = Vec::new();
        loop {
            let mut state = self.state.lock();
            state.lines_in_hand = 0;
            let mut paused = false;
            while state.lines == 0 && !state.ends {
                self.work.wait(&mut state);
                paused = true;
            }
            if paused && state.lines < self.lines_max / 2 && !state.ends {
                self.work.wait_for(&mut state, GATHER_TIME);
            }
            if state.lines == 0 {
                state.has_ended = true;
                self.end.notify_all();
                return;
            }
            std::mem::swap(&mut state.waiting, &mut buffer);
            state.lines_in_hand = std::mem::take(&mut state.lines);
            let lines = state.lines_in_hand;
            drop(state);
            if write_all(&mut target, &buffer).is_err() {
                // The reader is gone, or the disk is full: the next lines are tried all the same.
                log_lines_lost(LogLoss::Unwritten, lines);
            }
            buffer.clear();
            buffer.shrink_to(KEPT_BYTES);
        }
    }
}

/// As `Write::write_all`, even to a descriptor that another program has set to non-blocking.
#[expect(
    clippy::disallowed_methods,
    reason = "the thread is the writer's own, and a file has no event to wait for"
)]
fn write_all(target: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match target.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY_DELAY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Drop for Flush {
    fn drop(&mut self) {
        let until = Instant::now() + FLUSH_TIME_MAX;
        let mut state = self.0.state.lock();
        state.ends = true;
        self.0.work.notify_one();
        while !state.has_ended {
            if self.0.end.wait_until(&mut state, until).timed_out() {
                return;
            }
        }
    }
}

/// One line of the log: a single write makes it.
pub struct Line<'a>(&'a Queue);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;

    use super::*;

    fn pipe() -> (io::PipeReader, File) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, File::from(OwnedFd::from(writer)))
    }

    #[test]
    fn what_is_buffered_is_written_in_order_at_the_end() {
        let (mut reader, target) = pipe();
        let (log, flush) = LogWriter::start(target, 1000).unwrap();
        (0..1000).for_each(|line| log.push(format!("{line}\n").as_bytes()));
        drop((log, flush));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, (0..1000).map(|line| format!("{line}\n")).collect::<String>());
    }

    #[test]
    fn a_reader_that_hangs_holds_up_no_writer_and_memory_is_bounded() {
        let (reader, target) = pipe();
        let (log, flush) = LogWriter::start(target, 100).unwrap();
        let line = [b'x'; 500];
        (0..10_000).for_each(|_| log.push(&line));
        let held = log.0.state.lock().waiting.len();
        assert!(held <= 100 * line.len(), "{held}");
        // Its end does not wait for the reader for ever.
        drop(flush);
        drop(reader);
    }

    #[test]
    fn long_lines_count_by_their_bytes() {
        let (reader, target) = pipe();
        let (log, flush) = LogWriter::start(target, 10).unwrap();
        let line = vec![b'x'; 4 * LINE_BYTES];
        (0..1000).for_each(|_| log.push(&line));
        assert!(log.0.state.lock().waiting.len() <= 10 * LINE_BYTES);
        log.push(&vec![b'x'; 11 * LINE_BYTES]);
        drop(reader);
        drop(flush);
    }

    #[test]
    fn what_cannot_be_written_is_no_end() {
        let (reader, target) = pipe();
        drop(reader);
        let (log, flush) = LogWriter::start(target, 10).unwrap();
        for _ in 0..100 {
            log.push(b"a line\n");
            std::thread::yield_now();
        }
        let until = Instant::now() + FLUSH_TIME_MAX / 2;
        drop(flush);
        assert!(log.0.state.lock().has_ended || Instant::now() > until);
    }
}
