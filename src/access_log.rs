//! The access log: which of its lines are written, and in which form.
//!
//! Each request pays for its line, so a line is made in a buffer that its thread keeps, without the machinery of other
//! log lines; it looks as they do. Must not know: how lines reach their reader (`log_writer`).

use std::cell::RefCell;
use std::io::Write;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::config::AccessLines;
use crate::log_writer::LogWriter;
use crate::resource::push_address;

/// The first status that tells of an error (RFC 9110 §15.5).
const ERROR_STATUS_MIN: u16 = 400;

/// Ends of streams that are errors: the client was too slow or sent what it must not, or pollcast is at fault.
const ERROR_ENDS: &[&str] = &["client-noise", "internal", "stalled"];

/// Most bytes that a thread keeps for its next line.
const KEPT_BYTES_MAX: usize = 4096;

/// Where lines go. A process has one log, whatever runs in it.
static LOG: OnceLock<Log> = OnceLock::new();

/// The share of lines without an error that are written, as the bits of an `f64`; below 0: no line at all.
static SHARE_BITS: AtomicU64 = AtomicU64::new(NO_LINE_BITS);

/// A share below 0.
const NO_LINE_BITS: u64 = (-1.0_f64).to_bits();

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log {
    writer: LogWriter,
    json: bool,
}

/// What has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A request with its answer.
    Request {
        /// The status of the answer; 0 if there was none.
        status: u16,
        /// Whether it was broken off: then it is an error whatever the status.
        broken: bool,
    },
    /// An event stream, a WebSocket or a held long-poll.
    Stream,
}

/// What a line says.
#[derive(Debug)]
pub struct Line<'a> {
    /// What has ended.
    pub ended: Ended,
    /// How it was answered.
    pub transport: &'a str,
    /// The request's method; for a stream it is not said.
    pub method: &'a str,
    /// The path without the query: keys of APIs live there.
    pub path: &'a str,
    /// The address of the client, if it is known.
    pub peer: Option<IpAddr>,
    /// The path of the route; empty if there is none.
    pub route: &'a str,
    /// Time since the request came.
    pub duration: Duration,
    /// Bytes of the answer's body, or written to the stream.
    pub bytes: u64,
    /// Events, messages or answers written.
    pub events: u32,
    /// Why it ended.
    pub reason: &'a str,
}

/// Has lines written from now on. The first call counts: a process has one log.
pub fn start(writer: LogWriter, json: bool) {
    let _ = LOG.set(Log { writer, json });
}

/// Chooses which lines are written from now on (`log.access`).
pub fn choose(lines: AccessLines) {
    let bits = match lines {
        AccessLines::None => NO_LINE_BITS,
        AccessLines::ErrorsAnd(share) => share.to_bits(),
    };
    SHARE_BITS.store(bits, Ordering::Relaxed);
}

impl Line<'_> {
    /// Writes the line, if such lines are wanted.
    pub fn write(&self) {
        let share = f64::from_bits(SHARE_BITS.load(Ordering::Relaxed));
        let Some(log) = LOG.get() else { return };
        if share < 0.0 || (share < 1.0 && !self.is_error() && fastrand::f64() >= share) {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            match log.json {
                true => self.write_json(SystemTime::now(), line),
                false => self.write_text(SystemTime::now(), line),
            }
            log.writer.push(line);
            if line.capacity() > KEPT_BYTES_MAX {
                *line = Vec::new();
            }
        });
    }

    fn is_error(&self) -> bool {
        match self.ended {
            Ended::Request { status, broken } => broken || !(1..ERROR_STATUS_MIN).contains(&status),
            Ended::Stream => ERROR_ENDS.contains(&self.reason),
        }
    }

    fn message(&self) -> &'static str {
        match self.ended {
            Ended::Request { .. } => "request ended",
            Ended::Stream => "stream ended",
        }
    }

    fn write_text(&self, now: SystemTime, line: &mut Vec<u8>) {
        append(line, format_args!("{}  INFO access: ", humantime::format_rfc3339_micros(now)));
        line.extend_from_slice(self.message().as_bytes());
        self.write_fields(line, &mut |line, name, value| {
            line.push(b' ');
            line.extend_from_slice(name.as_bytes());
            line.push(b'=');
            match value {
                Value::Text(text) if is_plain(text) => quote(line, text),
                Value::Text(text) => append(line, format_args!("{text:?}")),
                Value::Word(word) => line.extend_from_slice(word.as_bytes()),
                Value::Peer(peer) => write_peer(line, peer),
                Value::Number(number) => append(line, format_args!("{number}")),
            }
        });
        line.push(b'\n');
    }

    fn write_json(&self, now: SystemTime, line: &mut Vec<u8>) {
        let time = humantime::format_rfc3339_micros(now);
        append(line, format_args!("{{\"timestamp\":\"{time}\",\"level\":\"INFO\",\"fields\":{{\"message\":"));
        quote(line, self.message());
        self.write_fields(line, &mut |line, name, value| {
            line.push(b',');
            quote(line, name);
            line.push(b':');
            match value {
                Value::Text(text) | Value::Word(text) if is_plain(text) => quote(line, text),
                Value::Text(text) | Value::Word(text) => {
                    serde_json::to_writer(line, text).expect("a text can be written to memory");
                }
                Value::Peer(peer) => write_peer(line, peer),
                Value::Number(number) => append(line, format_args!("{number}")),
            }
        });
        line.extend_from_slice(b"},\"target\":\"access\"}\n");
    }

    fn write_fields(&self, line: &mut Vec<u8>, write: &mut dyn FnMut(&mut Vec<u8>, &str, Value<'_>)) {
        write(line, "transport", Value::Text(self.transport));
        if !self.method.is_empty() {
            write(line, "method", Value::Word(self.method));
        }
        write(line, "path", Value::Text(self.path));
        write(line, "peer", Value::Peer(self.peer));
        write(line, "route", Value::Text(self.route));
        if let Ended::Request { status, .. } = self.ended {
            write(line, "status", Value::Number(status.into()));
        }
        write(line, "duration_ms", Value::Number(self.duration.as_millis() as u64));
        write(line, "bytes", Value::Number(self.bytes));
        write(line, "events", Value::Number(self.events.into()));
        write(line, "reason", Value::Text(self.reason));
    }
}

enum Value<'a> {
    /// Stands in quotation marks.
    Text(&'a str),
    /// Stands in quotation marks in JSON alone.
    Word(&'a str),
    Peer(Option<IpAddr>),
    Number(u64),
}

/// Returns whether the text stands in a line as it is, in text and in JSON.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}

fn quote(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
}

fn write_peer(line: &mut Vec<u8>, peer: Option<IpAddr>) {
    match peer {
        Some(peer) => {
            line.push(b'"');
            push_address(line, peer);
            line.push(b'"');
        }
        None => quote(line, ""),
    }
}

fn append(line: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("memory takes what is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(path: &'a str, status: u16) -> Line<'a> {
        Line {
            ended: Ended::Request { status, broken: false },
            transport: "passthrough",
            method: "GET",
            path,
            peer: Some("192.0.2.1".parse().expect("an address")),
            route: "/api/{*rest}",
            duration: Duration::from_micros(7900),
            bytes: 5,
            events: 0,
            reason: "done",
        }
    }

    fn at() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_223_449_713_310)
    }

    #[test]
    fn a_line_of_text_looks_as_other_lines_do() {
        let mut line = Vec::new();
        request("/a", 200).write_text(at(), &mut line);
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "2026-11-21T01:10:49.713310Z  INFO access: request ended transport=\"passthrough\" method=GET path=\"/a\" \
             peer=\"192.0.2.1\" route=\"/api/{*rest}\" status=200 duration_ms=7 bytes=5 events=0 reason=\"done\"\n"
        );
    }

    #[test]
    fn a_line_of_json_holds_any_text_as_one_line() {
        for path in ["/a", "/\"\\", "/\n\r\u{1}", "/ä\u{2028}\u{7f}"] {
            let mut line = Vec::new();
            request(path, 404).write_json(at(), &mut line);
            let text = String::from_utf8(line).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read["timestamp"], "2026-11-21T01:10:49.713310Z");
            assert_eq!((&read["level"], &read["target"]), (&"INFO".into(), &"access".into()));
            let fields = &read["fields"];
            assert_eq!((&fields["path"], &fields["status"]), (&path.into(), &404.into()));
            let mut line = Vec::new();
            request(path, 404).write_text(at(), &mut line);
            assert_eq!(line.iter().filter(|byte| **byte < b' ').count(), 1, "{line:?}");
        }
    }

    #[test]
    fn errors_are_those_of_the_request_and_of_the_stream() {
        let is_error = |ended, reason| Line { ended, reason, ..request("/", 0) }.is_error();
        let of_status = |status| is_error(Ended::Request { status, broken: false }, "done");
        assert!(!of_status(200) && !of_status(304) && of_status(404) && of_status(503) && of_status(0));
        assert!(is_error(Ended::Request { status: 200, broken: true }, "ReadError"));
        assert!(is_error(Ended::Stream, "stalled") && !is_error(Ended::Stream, "client-gone"));
    }
}
