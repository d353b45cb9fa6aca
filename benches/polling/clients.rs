//! The clients: those that poll for themselves and those that follow an event stream. Each says
//! when a change reached it, and how old it was then.
//! Must not know: which server it talks to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::lag::Lag;
use crate::legacy;
use crate::reader::{Found, Reader};
use crate::wire::{Stamp, Wire, now_ns};

/// What all clients of a phase saw.
#[derive(Default)]
pub struct Seen {
    /// Clients with a first state.
    primed: AtomicUsize,
    /// Whether changes count now.
    pub counting: AtomicBool,
    pub tally: Mutex<Tally>,
}

#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Changes that reached a client.
    pub arrived: u64,
    /// States that no client could have seen between two it saw.
    pub skipped: u64,
    /// How old a state was when it reached a client.
    pub age: Lag,
}

impl Seen {
    pub fn primed(&self) -> usize {
        self.primed.load(Ordering::Relaxed)
    }

    fn note(&self, last: &mut Option<u64>, stamp: Stamp) {
        match last.replace(stamp.n) {
            None => {
                self.primed.fetch_add(1, Ordering::Relaxed);
            }
            Some(before) if before < stamp.n && self.counting.load(Ordering::Relaxed) => {
                let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
                tally.arrived += 1;
                tally.skipped += stamp.n - before - 1;
                tally.age.add(now_ns().saturating_sub(stamp.at) / 1000);
            }
            Some(_) => {}
        }
    }
}

/// What a browser says about itself on every request.
const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://shop.example.com/board\r\nConnection: keep-alive\r\nSec-Fetch-Dest: empty\r\n\
    Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\n";

/// How a client comes by changes.
#[derive(Debug, Clone, Copy)]
pub enum Habit {
    /// Asks again and again; `conditional`: with the ETag it knows.
    Poll { every: Duration, conditional: bool },
    /// Follows an event stream.
    Follow,
}

/// One client of resource `index`; ends only with what went wrong.
pub async fn client(port: u16, index: usize, habit: Habit, seen: Arc<Seen>) -> String {
    let outcome = match habit {
        Habit::Poll { every, conditional } => poll(port, index, every, conditional, &seen).await,
        Habit::Follow => follow(port, index, &seen).await,
    };
    outcome.err().unwrap_or_else(|| "ended".to_owned())
}

async fn connect(port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|e| format!("connect: {e}"))?;
    stream.set_nodelay(true).map_err(|e| format!("nodelay: {e}"))?;
    Ok(stream)
}

async fn poll(
    port: u16,
    index: usize,
    every: Duration,
    conditional: bool,
    seen: &Seen,
) -> Result<(), String> {
    // Real clients do not start in step.
    sleep(every.mul_f64(fastrand::f64())).await;
    let mut stream = connect(port).await?;
    let mut reader = Reader::new(Wire::LongPoll, 1);
    let (mut last, mut known) = (None, None);
    let mut turns = interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let condition = match &known {
            Some(tag) if conditional => format!("If-None-Match: {tag}\r\n"),
            _ => String::new(),
        };
        let request = request(index, "application/json", &condition);
        stream.write_all(request.as_bytes()).await.map_err(|e| format!("write: {e}"))?;
        let mut found = Vec::new();
        while !matches!(found.last(), Some(Found::Answer { .. })) {
            read(&mut stream, &mut reader, &mut found).await?;
        }
        for one in found {
            match one {
                Found::State(_, stamp) => seen.note(&mut last, stamp),
                Found::Answer { tag } => known = Some(tag),
                Found::Opened | Found::Asks(_) | Found::Control => {}
            }
        }
    }
}

async fn follow(port: u16, index: usize, seen: &Seen) -> Result<(), String> {
    let mut stream = connect(port).await?;
    let request = request(index, "text/event-stream", "Cache-Control: no-cache\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|e| format!("write: {e}"))?;
    let mut reader = Reader::new(Wire::Sse, 1);
    let mut last = None;
    loop {
        let mut found = Vec::new();
        read(&mut stream, &mut reader, &mut found).await?;
        for one in found {
            if let Found::State(_, stamp) = one {
                seen.note(&mut last, stamp);
            }
        }
    }
}

fn request(index: usize, accept: &str, more: &str) -> String {
    let path = legacy::path(index);
    format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\nAccept: {accept}\r\n{BROWSER}{more}\r\n")
}

async fn read(stream: &mut TcpStream, reader: &mut Reader, found: &mut Vec<Found>) -> Result<(), String> {
    let mut buffer = [0; 8 * 1024];
    match stream.read(&mut buffer).await {
        Ok(0) => Err("the server closed the connection".to_owned()),
        Ok(length) => reader.read(&buffer[..length], found),
        Err(e) => Err(format!("read: {e}")),
    }
}
