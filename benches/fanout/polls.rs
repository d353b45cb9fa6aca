//! What a poll of an own resource costs, beside a bare loop that asks the same of the same API over one connection.
//!
//! Three kinds of answers: an API that says 304, one that says the same once more, and one that says something new, which is
//! then sent to the one event stream that follows the resource. Must not know: rounds, rows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::measure::Cpu;
use crate::process::configuration;
use crate::server::Pollcast;
use crate::wire::Wire;

/// Bytes of a body.
const BODY_BYTES: usize = 1024;

/// Bytes of a body besides what fills it.
const BODY_FRAME_BYTES: usize = 28;

/// Resources that are followed, by one event stream each.
const RESOURCES: usize = 100;

/// The time from one poll of a resource to the next.
const INTERVAL: Duration = Duration::from_millis(100);

/// The tag of all answers of an API that says 304.
const TAG: &str = "\"bench\"";

/// What the API answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    NotModified,
    Same,
    Changed,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::NotModified, Kind::Same, Kind::Changed];

    /// Its words in the report, and the most microseconds that a poll is to take.
    pub fn told(self) -> (&'static str, f64) {
        match self {
            Kind::NotModified => ("unchanged, 304", 35.0),
            Kind::Same => ("unchanged, 200", 40.0),
            Kind::Changed => ("changed, 1 KB", 60.0),
        }
    }
}

/// What polls of one kind cost.
#[derive(Debug, Clone, Serialize)]
pub struct PollCost {
    pub kind: Kind,
    pub polls: u64,
    /// CPU microseconds of the server, all its threads.
    pub us: f64,
    /// The same of a thread that sends what a poll sends, as often, and reads the answer.
    pub bare_us: f64,
}

/// Measures all kinds, each with a fresh server, for so long each.
pub fn measure(program: &Path, time: Duration) -> Result<Vec<PollCost>, String> {
    Kind::ALL.into_iter().map(|kind| measure_kind(program, kind, time)).collect()
}

fn measure_kind(program: &Path, kind: Kind, time: Duration) -> Result<PollCost, String> {
    let failed = |e: std::io::Error| format!("polls: {e}");
    let api = Api::start(kind).map_err(failed)?;
    let pollcast = Pollcast::start(program, "polls", |port, admin| {
        configuration((port, admin, api.port), INTERVAL, false)
    })?;
    let streams: Result<Vec<TcpStream>, _> = (0..RESOURCES).map(|n| follow(pollcast.port, n)).collect();
    let _streams = streams.map_err(failed)?;
    // Until every resource is polled at its pace, over connections that are there.
    std::thread::sleep(INTERVAL * 10);
    let (before, asked) = (Cpu::of(pollcast.pid())?, api.requests());
    std::thread::sleep(time);
    let (us, _) = Cpu::of(pollcast.pid())?.since(before);
    let polls = api.requests() - asked;
    if polls == 0 {
        return Err("polls: the API was not asked".to_owned());
    }
    drop(pollcast);
    let bare_us = bare(api.port, kind, time).map_err(failed)?;
    Ok(PollCost { kind, polls, us: us / polls as f64, bare_us })
}

/// Opens an event stream, which a thread reads to its end.
fn follow(port: u16, n: usize) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    (&stream).write_all(Wire::Sse.request(&format!("/r/{n}"), None).as_bytes())?;
    let mut reader = stream.try_clone()?;
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while reader.read(&mut bytes).is_ok_and(|length| length > 0) {}
    });
    Ok(stream)
}

/// Asks as often as pollcast has, over one connection. Gives the CPU of a request in microseconds.
fn bare(port: u16, kind: Kind, time: Duration) -> std::io::Result<f64> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    let known = if kind == Kind::NotModified { format!("If-None-Match: {TAG}\r\n") } else { String::new() };
    let request = format!("GET /r/0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{known}\r\n");
    let spacing = INTERVAL / RESOURCES as u32;
    let (mut answer, mut asked, before) = (vec![0; 2 * BODY_BYTES], 0_u32, thread_ns()?);
    let began = Instant::now();
    while began.elapsed() < time {
        (&stream).write_all(request.as_bytes())?;
        // The API writes an answer at once.
        if (&stream).read(&mut answer)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        asked += 1;
        std::thread::sleep((began + spacing * asked).saturating_duration_since(Instant::now()));
    }
    Ok((thread_ns()? - before) as f64 / 1e3 / f64::from(asked.max(1)))
}

/// CPU time of this thread.
fn thread_ns() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = text.split(' ').next().and_then(|ns| ns.parse().ok());
    first.ok_or_else(|| std::io::Error::other(format!("/proc/thread-self/schedstat: {text:?}")))
}

/// An API that is polled, in this process: one blocking thread a connection.
struct Api {
    port: u16,
    requests: Arc<AtomicU64>,
}

impl Api {
    fn start(kind: Kind) -> std::io::Result<Api> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (port, requests) = (listener.local_addr()?.port(), Arc::new(AtomicU64::new(0)));
        let counted = requests.clone();
        // It ends with the process; a broken connection is the asking side's matter.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = counted.clone();
                std::thread::spawn(move || serve(&stream, kind, &counted));
            }
        });
        Ok(Api { port, requests })
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Answers the requests of one connection, one after the other, until it ends.
fn serve(stream: &TcpStream, kind: Kind, requests: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut lines, mut answers) = (BufReader::new(stream), stream);
    let mut line = String::new();
    loop {
        let mut knows = false;
        loop {
            line.clear();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            knows |= line.to_ascii_lowercase().starts_with("if-none-match:");
            if line == "\r\n" {
                break;
            }
        }
        let n = requests.fetch_add(1, Ordering::Relaxed);
        answers.write_all(&answer(kind, knows, n))?;
    }
}

fn answer(kind: Kind, knows: bool, n: u64) -> Vec<u8> {
    let tag = if kind == Kind::NotModified { format!("ETag: {TAG}\r\n") } else { String::new() };
    if kind == Kind::NotModified && knows {
        return format!("HTTP/1.1 304 Not Modified\r\n{tag}\r\n").into_bytes();
    }
    let n = if kind == Kind::Changed { n } else { 0 };
    let body = format!("{{\"n\":\"{n:010}\",\"fill\":\"{}\"}}", "x".repeat(BODY_BYTES - BODY_FRAME_BYTES));
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    format!("{head}{tag}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
