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

/// One resource: what it answers now, and how it will change.
struct Feed {
    stamp: Stamp,
    /// Changes still to come.
    left: u64,
    tick: Duration,
    due: Instant,
    requests: u64,
}

impl Feed {
    fn new() -> Self {
        Self { stamp: Stamp::new(1), left: 0, tick: Duration::ZERO, due: Instant::now(), requests: 0 }
    }

    /// The state for a request that comes now.
    fn answer(&mut self) -> Stamp {
        self.requests += 1;
        if self.left > 0 && Instant::now() >= self.due {
            self.left -= 1;
            self.due += self.tick;
            self.stamp = Stamp::new(self.stamp.n + 1);
        }
        self.stamp
    }
}

/// All resources, by path: the first request for one makes it.
struct Api {
    size: usize,
    feeds: Mutex<BTreeMap<String, Feed>>,
}

/// Runs the role: `origin <body size>`. Commands: `events <count> <tick ms>` (of each resource), `counts`.
pub fn run(size: usize) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("origin: {e}"))?;
    let port = listener.local_addr().map_err(|e| format!("origin: {e}"))?.port();
    let api = Arc::new(Api { size, feeds: Mutex::default() });
    let shared = Arc::clone(&api);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let api = Arc::clone(&shared);
            // A broken connection is the poller's matter: it opens another.
            std::thread::spawn(move || serve(stream, &api));
        }
    });
    say(&Reply::Listening(port));
    obey(|words| match words {
        ["events", count, tick] => {
            let (count, tick) = (count.parse().unwrap_or(0), tick.parse().unwrap_or(400));
            for feed in api.feeds().values_mut() {
                feed.left = count;
                feed.tick = Duration::from_millis(tick);
                feed.due = Instant::now() + feed.tick;
            }
        }
        ["counts"] => say(&Reply::Requests(api.feeds().values().map(|feed| feed.requests).sum())),
        _ => say(&Reply::Failed(format!("unknown command {words:?}"))),
    })
}

impl Api {
    fn feeds(&self) -> MutexGuard<'_, BTreeMap<String, Feed>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, path: String) -> Vec<u8> {
        let stamp = self.feeds().entry(path).or_insert_with(Feed::new).answer();
        stamp.body(self.size)
    }
}

/// Answers the requests of one connection, one after the other, until it ends.
fn serve(stream: TcpStream, api: &Api) -> std::io::Result<()> {
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
        let body = api.answer(path);
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        stream.write_all(&answer)?;
    }
}
