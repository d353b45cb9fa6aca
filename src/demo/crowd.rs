//! The crowd of the demo: many real SSE clients of the proxy, opened from this process.
//!
//! Owns their number, its bound and what they received. Must not know: the legacy API or what the
//! messages say. The clients are written on bare sockets, so that two thousand of them weigh little.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Most clients of a crowd.
pub const CROWD_CLIENTS_MAX: usize = 2_000;

/// Connections being opened at once, so that a listener's backlog is not overrun.
const OPENING_CONNECTIONS_MAX: usize = 32;
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest response head a client reads, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const READ_BYTES: usize = 2 * 1024;
/// File descriptors left to everything else in the process.
const RESERVED_FILES_MIN: usize = 200;

/// Every snapshot event has one `id:` line, and control events and heartbeats have none.
const EVENT_MARK: &[u8] = b"\nid:";

/// The crowd was asked for before it was known where the proxy listens.
#[derive(Debug, PartialEq, Eq)]
pub struct NoEntrance;

impl std::fmt::Display for NoEntrance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the crowd does not know yet where the proxy listens")
    }
}

impl std::error::Error for NoEntrance {}

/// A number of SSE clients that can be changed at any time. Dropped, all of them leave.
#[derive(Debug)]
pub struct Crowd {
    path: &'static str,
    entrance: OnceLock<SocketAddr>,
    limit: usize,
    members: Mutex<Vec<AbortHandle>>,
    tally: Arc<Tally>,
}

#[derive(Debug)]
struct Tally {
    opening: Semaphore,
    connected: AtomicUsize,
    failures: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    last_failure: Mutex<Option<String>>,
}

impl Crowd {
    /// An empty crowd whose members will follow `path`.
    pub fn of(path: &'static str) -> Crowd {
        Crowd {
            path,
            entrance: OnceLock::new(),
            limit: crowd_limit(std::fs::read_to_string("/proc/self/limits").ok().as_deref()),
            members: Mutex::new(Vec::new()),
            tally: Arc::new(Tally {
                opening: Semaphore::new(OPENING_CONNECTIONS_MAX),
                connected: AtomicUsize::new(0),
                failures: AtomicU64::new(0),
                messages: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                last_failure: Mutex::new(None),
            }),
        }
    }

    /// Says where the proxy listens; the first word counts.
    pub fn point_at(&self, entrance: SocketAddr) {
        let _ = self.entrance.set(entrance);
    }

    /// Makes the crowd `wanted` strong, at most its limit, and returns its new strength.
    ///
    /// Must be called on a tokio runtime, where the clients then run.
    pub fn resize(&self, wanted: usize) -> Result<usize, NoEntrance> {
        let entrance = *self.entrance.get().ok_or(NoEntrance)?;
        let wanted = wanted.min(self.limit);
        let mut members = self.members.lock();
        while members.len() > wanted {
            if let Some(member) = members.pop() {
                member.abort();
            }
        }
        while members.len() < wanted {
            members.push(tokio::spawn(follow(entrance, self.path, Arc::clone(&self.tally))).abort_handle());
        }
        Ok(members.len())
    }

    /// `{asked, connected, limit, failures, last_failure, messages, bytes}`.
    pub fn json(&self) -> Value {
        json!({
            "asked": self.members.lock().len(),
            "connected": self.tally.connected.load(Ordering::Relaxed),
            "limit": self.limit,
            "failures": self.tally.failures.load(Ordering::Relaxed),
            "last_failure": self.tally.last_failure.lock().clone(),
            "messages": self.tally.messages.load(Ordering::Relaxed),
            "bytes": self.tally.bytes.load(Ordering::Relaxed),
        })
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for member in self.members.get_mut() {
            member.abort();
        }
    }
}

/// Both ends of every connection are files of this process, so the system's limit of open files
/// (`/proc/self/limits`, where there is one) may allow fewer clients than [`CROWD_CLIENTS_MAX`].
fn crowd_limit(process_limits: Option<&str>) -> usize {
    let open_files = process_limits
        .and_then(|limits| limits.lines().find_map(|line| line.strip_prefix("Max open files")))
        .and_then(|columns| columns.split_whitespace().next()?.parse::<usize>().ok());
    match open_files {
        Some(files) => (files.saturating_sub(RESERVED_FILES_MIN) / 2).min(CROWD_CLIENTS_MAX),
        None => CROWD_CLIENTS_MAX,
    }
}

/// Counts a client as connected for as long as it lives, however it ends.
struct Counted<'a>(&'a Tally);

impl<'a> Counted<'a> {
    fn take(tally: &'a Tally) -> Counted<'a> {
        tally.connected.fetch_add(1, Ordering::Relaxed);
        Counted(tally)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One client: connects again, some seconds later, whenever its stream ends.
async fn follow(entrance: SocketAddr, path: &'static str, tally: Arc<Tally>) {
    loop {
        if let Err(failure) = attend(entrance, path, &tally).await {
            tally.failures.fetch_add(1, Ordering::Relaxed);
            *tally.last_failure.lock() = Some(failure.to_string());
        }
        sleep(Duration::from_millis(fastrand::u64(1_000..4_000))).await;
    }
}

async fn attend(entrance: SocketAddr, path: &str, tally: &Tally) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    let opening = async {
        let _turn = tally.opening.acquire().await;
        timeout(OPENING_TIMEOUT, open(entrance, path, &mut buffer)).await
    };
    let mut stream = opening.await.map_err(|_| {
        std::io::Error::new(std::io::ErrorKind::TimedOut, format!("{entrance} gave no answer in 10 s"))
    })??;
    let _counted = Counted::take(tally);
    let mut marks = MarkCounter::default();
    loop {
        tally.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        tally.messages.fetch_add(marks.count(&buffer), Ordering::Relaxed);
        buffer.clear();
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Asks for the stream and leaves what follows the response head in `buffer`.
async fn open(entrance: SocketAddr, path: &str, buffer: &mut Vec<u8>) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(entrance).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {entrance}\r\nAccept: text/event-stream\r\nUser-Agent: crowd/1\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let body = loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                format!("{entrance} closed the connection before it had answered"),
            ));
        }
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if buffer.len() > HEAD_BYTES_MAX {
            return Err(std::io::Error::other(format!("{entrance} sent a head over {HEAD_BYTES_MAX} bytes")));
        }
    };
    if !buffer.starts_with(b"HTTP/1.1 200") {
        let line = buffer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        return Err(std::io::Error::other(format!(
            "{entrance} answered {:?} instead of a stream",
            String::from_utf8_lossy(line)
        )));
    }
    buffer.drain(..body);
    Ok(stream)
}

/// Counts [`EVENT_MARK`] in a stream that arrives in pieces of any size.
#[derive(Debug, Default)]
struct MarkCounter {
    matched: usize,
}

impl MarkCounter {
    fn count(&mut self, piece: &[u8]) -> u64 {
        let mut found = 0;
        for byte in piece {
            if *byte == EVENT_MARK[self.matched] {
                self.matched += 1;
            } else {
                self.matched = usize::from(*byte == EVENT_MARK[0]);
            }
            if self.matched == EVENT_MARK.len() {
                found += 1;
                self.matched = 0;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn until(crowd: &Crowd, connected: usize) {
        let reached = async {
            while crowd.json()["connected"] != connected {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), reached).await.expect("the crowd reaches its strength");
    }

    /// A stand-in for the proxy: one event to each client, then silence.
    async fn stage() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut audience = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = b"HTTP/1.1 200 OK\r\n\r\n:\n\nid: v1\ndata: {}\n\n";
                stream.write_all(answer).await.expect("room for one event");
                audience.push(stream);
            }
        });
        address
    }

    #[tokio::test]
    async fn a_crowd_is_bounded() {
        let mut crowd = Crowd::of("/auction/1");
        crowd.limit = 5;
        crowd.point_at(stage().await);
        assert_eq!(crowd.resize(1_000_000), Ok(5));
        until(&crowd, 5).await;
    }

    #[tokio::test]
    async fn a_crowd_grows_receives_and_leaves() {
        let crowd = Crowd::of("/auction/1");
        crowd.point_at(stage().await);
        assert_eq!(crowd.resize(12), Ok(12));
        until(&crowd, 12).await;
        while crowd.json()["messages"] != 12 {
            tokio::task::yield_now().await;
        }
        assert_eq!(crowd.resize(3), Ok(3));
        until(&crowd, 3).await;
        assert_eq!(crowd.resize(0), Ok(0));
        until(&crowd, 0).await;
        assert_eq!(crowd.json()["failures"], 0);
    }

    #[tokio::test]
    async fn a_refused_client_is_counted_with_the_reason() {
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = closed.local_addr().expect("bound");
        drop(closed);
        let crowd = Crowd::of("/auction/1");
        crowd.point_at(address);
        assert_eq!(crowd.resize(1), Ok(1));
        while crowd.json()["failures"] == 0 {
            tokio::task::yield_now().await;
        }
        assert!(crowd.json()["last_failure"].is_string());
    }

    #[test]
    fn a_crowd_without_an_entrance_stays_empty() {
        assert_eq!(Crowd::of("/auction/1").resize(10), Err(NoEntrance));
    }

    #[test]
    fn open_files_bound_the_crowd() {
        let limits =
            |soft: &str| format!("Limit  Soft  Hard  Units\nMax open files     {soft}    4096   files\n");
        assert_eq!(crowd_limit(Some(&limits("1024"))), 412);
        assert_eq!(crowd_limit(Some(&limits("1048576"))), CROWD_CLIENTS_MAX);
        assert_eq!(crowd_limit(Some(&limits("unlimited"))), CROWD_CLIENTS_MAX);
        assert_eq!(crowd_limit(None), CROWD_CLIENTS_MAX);
    }

    #[test]
    fn events_are_counted_wherever_the_stream_is_cut() {
        let stream = b"retry: 3000\n\nid: a\ndata: {\"id:\":1}\n\n: still here\n\n\nid: b\ndata: 1\n\n";
        for cut in 0..stream.len() {
            let mut marks = MarkCounter::default();
            assert_eq!(marks.count(&stream[..cut]) + marks.count(&stream[cut..]), 2, "cut at {cut}");
        }
    }
}
