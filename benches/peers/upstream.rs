//! The API behind every server, inside the bench's own process: it knows only polling, and changes
//! when told. One blocking thread a connection. Towards pushpin, which asks it once for every client,
//! it says what that proxy needs to hold the connection (GRIP).
//!
//! `/r/<n>` is a body of n bytes. Must not know: clients.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::wire::{Stamp, tag};

/// What pushpin's clients hear on.
pub const CHANNEL: &str = "resource";

pub struct Upstream {
    shared: Arc<Shared>,
    pub port: u16,
}

struct Shared {
    stamp: Mutex<Stamp>,
    requests: AtomicU64,
}

impl Upstream {
    pub fn start() -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("upstream: {e}");
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let shared = Arc::new(Shared { stamp: Mutex::new(Stamp::new(1)), requests: AtomicU64::new(0) });
        let own = shared.clone();
        // Both end with the process; a broken connection is the asking side's matter.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Ok(Self { shared: own, port })
    }

    /// The state from now on, as it is answered from now on.
    pub fn change(&self) -> Stamp {
        let mut stamp = self.shared.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        *stamp = Stamp::new(stamp.n + 1);
        *stamp
    }

    pub fn state(&self) -> Stamp {
        *self.shared.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it was asked so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

/// Answers the requests of one connection, one after the other, until it ends.
fn serve(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut requests, mut answers) = (BufReader::new(stream), stream);
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let size = line.split(' ').nth(1).and_then(|path| path.strip_prefix("/r/")?.parse().ok());
        let (mut known, mut is_grip) = (None, false);
        while line.trim_end() != "" {
            line.clear();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "if-none-match" => known = Some(value.trim().to_owned()),
                "grip-sig" => is_grip = true,
                _ => {}
            }
        }
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let stamp = *shared.stamp.lock().unwrap_or_else(PoisonError::into_inner);
        answers.write_all(&answer(stamp, size, known.as_deref(), is_grip))?;
    }
}

fn answer(stamp: Stamp, size: Option<usize>, known: Option<&str>, is_grip: bool) -> Vec<u8> {
    let Some(size) = size else {
        return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
    };
    let (tag, mut body) = (tag(stamp.n), stamp.body(size));
    let head = if is_grip {
        body = [b"data: ", &body[..], b"\n\n"].concat();
        format!("Content-Type: text/event-stream\r\nGrip-Hold: stream\r\nGrip-Channel: {CHANNEL}\r\n")
    } else if known == Some(&tag) {
        return format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n").into_bytes();
    } else {
        format!("Content-Type: application/json\r\nETag: {tag}\r\n")
    };
    let mut answer = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend_from_slice(&body);
    answer
}
