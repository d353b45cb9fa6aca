//! The role `origin`: a tiny legacy API that knows only polling. One blocking thread a connection.
//!
//! It changes when it is asked after a tick has passed, so the stamp in a body is the moment in
//! which that body first left the API, and a poll never hides a change.
//! Must not know: clients.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::process::{Reply, obey, say};
use crate::wire::Stamp;

/// The API's state: what it answers now, and how it will change.
struct Feed {
    size: usize,
    stamp: Stamp,
    /// Changes still to come.
    left: u64,
    tick: Duration,
    due: Instant,
    /// Requests per path.
    counts: BTreeMap<String, u64>,
}

impl Feed {
    /// The body for a request that comes now.
    fn answer(&mut self, path: &str) -> Vec<u8> {
        *self.counts.entry(path.to_owned()).or_default() += 1;
        if self.left > 0 && Instant::now() >= self.due {
            self.left -= 1;
            self.due += self.tick;
            self.stamp = Stamp::new(self.stamp.n + 1);
        }
        self.stamp.body(self.size)
    }
}

/// Runs the role: `origin <body size>`. Commands: `events <count> <tick ms>`, `counts`.
pub fn run(size: usize) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("origin: {e}"))?;
    let port = listener.local_addr().map_err(|e| format!("origin: {e}"))?.port();
    let feed = Arc::new(Mutex::new(Feed {
        size,
        stamp: Stamp::new(1),
        left: 0,
        tick: Duration::ZERO,
        due: Instant::now(),
        counts: BTreeMap::new(),
    }));
    let shared = Arc::clone(&feed);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let feed = Arc::clone(&shared);
            // A broken connection is the poller's matter: it opens another.
            std::thread::spawn(move || serve(stream, &feed));
        }
    });
    say(&Reply::Listening(port));
    obey(|words| match words {
        ["events", count, tick] => {
            let mut feed = lock(&feed);
            feed.left = count.parse().unwrap_or(0);
            feed.tick = Duration::from_millis(tick.parse().unwrap_or(400));
            feed.due = Instant::now() + feed.tick;
        }
        ["counts"] => say(&Reply::Counts(lock(&feed).counts.clone())),
        _ => say(&Reply::Failed(format!("unknown command {words:?}"))),
    })
}

fn lock(feed: &Mutex<Feed>) -> MutexGuard<'_, Feed> {
    feed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the requests of one connection, one after the other, until it ends.
fn serve(stream: TcpStream, feed: &Mutex<Feed>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if requests.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("").to_owned();
        while line.trim_end() != "" {
            line.clear();
            if requests.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        let body = lock(feed).answer(&path);
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        stream.write_all(&answer)?;
    }
}
