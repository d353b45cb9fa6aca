//! Clients that follow many resources on one stream, and what they see: steps back, states that were lost, lags.
//! Must not know: which node holds what.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::lag::Lag;

/// What all clients see.
pub struct Board {
    began: Instant,
    /// The newest state, by node and resource.
    last: Vec<Vec<AtomicU64>>,
    left: Vec<AtomicBool>,
    counts: Mutex<Counts>,
}

/// What is counted since the last time that it was taken.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub states: u64,
    pub steps_back: u64,
    pub lost: u64,
    /// From the API's answer to a client of the node that polled, and to one of another node.
    pub own: Lag,
    pub other: Lag,
}

impl Board {
    pub fn new(nodes: usize, resources: usize, began: Instant) -> Self {
        let of_node = || (0..resources).map(|_| AtomicU64::new(0)).collect();
        let left = (0..nodes).map(|_| AtomicBool::new(false)).collect();
        Self { began, last: (0..nodes).map(|_| of_node()).collect(), left, counts: Mutex::default() }
    }

    /// Takes what was counted.
    pub fn take(&self) -> Counts {
        std::mem::take(&mut self.counts.lock())
    }

    /// The clients of a node do not come back.
    pub fn leave(&self, node: usize) {
        self.left[node].store(true, Ordering::SeqCst);
    }

    fn has_left(&self, node: usize) -> bool {
        self.left[node].load(Ordering::SeqCst)
    }

    /// Whether each client has a state of each resource.
    pub fn is_full(&self) -> bool {
        let mut nodes = self.last.iter().enumerate().filter(|(node, _)| !self.has_left(*node));
        nodes.all(|(_, last)| last.iter().all(|last| last.load(Ordering::Relaxed) > 0))
    }

    /// Whether the clients of a node have a state of each resource.
    pub fn is_full_on(&self, node: usize) -> bool {
        self.last[node].iter().all(|last| last.load(Ordering::Relaxed) > 0)
    }

    /// How many states are missing, for messages.
    pub fn missing(&self) -> String {
        let missing = |last: &Vec<AtomicU64>| last.iter().filter(|n| n.load(Ordering::Relaxed) == 0).count();
        format!("states are missing: {:?}", self.last.iter().map(missing).collect::<Vec<_>>())
    }

    fn told(&self, node: usize, resource: usize, data: &str) {
        let now = self.began.elapsed();
        let Some(number) = field(data, "\"n\":") else { return };
        let before = self.last[node][resource].swap(number, Ordering::Relaxed);
        let mut counts = self.counts.lock();
        counts.states += 1;
        if before > number {
            counts.steps_back += 1;
        } else if before > 0 {
            counts.lost += number.saturating_sub(before + 1);
        }
        let (at, by) = (field(data, "\"at\":").unwrap_or_default(), field(data, "\"node\":"));
        if at > 0 {
            let now = u64::try_from(now.as_micros()).unwrap_or_default();
            let lag = if by == Some(node as u64) { &mut counts.own } else { &mut counts.other };
            lag.add(now.saturating_sub(at));
        }
    }
}

fn field(data: &str, name: &str) -> Option<u64> {
    let (_, rest) = data.split_once(name)?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Follows resources on a node until that one ends, and once more where a connection could not be made.
pub async fn follow(board: Arc<Board>, node: usize, port: u16, resources: Vec<usize>) {
    let mut failures = 0;
    while !board.has_left(node) && failures < 3 {
        // A node that ends takes its clients with it: whoever replaces it brings clients of its own.
        if stream(&board, node, port, &resources).await.is_ok() {
            return;
        }
        failures += 1;
        sleep(Duration::from_millis(50)).await;
    }
}

async fn stream(board: &Board, node: usize, port: u16, resources: &[usize]) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let names: Vec<String> = resources.iter().map(|resource| format!("resource=/r/{resource}")).collect();
    // HTTP/1.0: the stream has no chunks and ends with the connection.
    let request = format!(
        "GET /-/pollcast/events?{} HTTP/1.0\r\nHost: bench.test\r\nAccept: text/event-stream\r\n\r\n",
        names.join("&")
    );
    stream.write_all(request.as_bytes()).await?;
    let (mut pending, mut event) = (Vec::with_capacity(64 << 10), String::new());
    loop {
        if stream.read_buf(&mut pending).await? == 0 {
            return Ok(());
        }
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { continue };
        let text = String::from_utf8_lossy(&pending[..end]).into_owned();
        pending.drain(..=end);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut event);
            } else if let (Some(data), Some(number)) =
                (line.strip_prefix("data: "), event.strip_prefix("/r/"))
            {
                if let Ok(resource) = number.parse::<usize>() {
                    board.told(node, resource, data);
                }
            } else if line.is_empty() {
                event.clear();
            }
        }
    }
}

/// The answer to an ordinary request on a connection of its own: how long it took, its status, entity tag and bytes of body.
pub async fn ask(stream: &mut TcpStream, path: &str, known: Option<&str>) -> std::io::Result<Answer> {
    let known = known.map(|tag| format!("If-None-Match: {tag}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\n{known}\r\n");
    let began = Instant::now();
    stream.write_all(request.as_bytes()).await?;
    let mut pending = Vec::with_capacity(4096);
    let end = loop {
        if let Some(at) = pending.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut pending).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let took = began.elapsed();
    let head = String::from_utf8_lossy(&pending[..end]).into_owned();
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
        line.map(|line| line[name.len()..].trim().to_owned())
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let length = match status {
        304 => 0,
        _ => field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0),
    };
    while pending.len() < end + length {
        if stream.read_buf(&mut pending).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Answer { took, status, tag: field("etag:").unwrap_or_default(), body: pending.len() - end })
}

/// See [`ask`].
#[derive(Debug)]
pub struct Answer {
    pub took: Duration,
    pub status: u16,
    pub tag: String,
    pub body: usize,
}
