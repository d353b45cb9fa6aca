//! The API behind the nodes: it listens once for each of them, so that it knows which one asks, and notes every poll.
//! Must not know: pollcast.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A longer request head is nobody's.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How the states of resources follow each other.
#[derive(Debug, Clone, Copy)]
pub enum Plot {
    /// Each poll brings a new state.
    EachPoll,
    /// Each state lasts this long.
    Lasting(Duration),
    /// The state is the same until [`Upstream::change`].
    Still,
}

/// One poll.
#[derive(Debug, Clone, Copy)]
pub struct Poll {
    pub at: Instant,
    /// The node that asked.
    pub node: usize,
}

/// The API.
pub struct Upstream {
    shared: Arc<Shared>,
    pub ports: Vec<u16>,
    _serving: JoinSet<()>,
}

struct Shared {
    plot: Plot,
    /// Bytes of a state beside its numbers.
    padding: String,
    began: Instant,
    resources: Vec<Resource>,
}

#[derive(Default)]
struct Resource {
    number: AtomicU64,
    polls: Mutex<Vec<Poll>>,
}

impl Upstream {
    /// Listens for so many nodes. `bytes`: about how long a state is.
    pub async fn start(nodes: usize, resources: usize, plot: Plot, bytes: usize) -> Result<Self, String> {
        let resources =
            (0..resources).map(|_| Resource { number: AtomicU64::new(1), polls: Mutex::default() });
        let shared = Arc::new(Shared {
            plot,
            padding: "x".repeat(bytes.saturating_sub(60)),
            began: Instant::now(),
            resources: resources.collect(),
        });
        let (mut ports, mut serving) = (Vec::new(), JoinSet::new());
        for node in 0..nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| format!("a port: {e}"))?;
            ports.push(listener.local_addr().map_err(|e| format!("a port: {e}"))?.port());
            let shared = shared.clone();
            serving.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let shared = shared.clone();
                    // A connection that breaks is its client's matter.
                    tokio::spawn(async move { serve(stream, &shared, node).await });
                }
            });
        }
        Ok(Self { shared, ports, _serving: serving })
    }

    /// When its clock began, by which states say when they were made.
    pub fn began(&self) -> Instant {
        self.shared.began
    }

    /// The polls of each resource since a moment.
    pub fn polls_since(&self, since: Instant) -> Vec<Vec<Poll>> {
        let since = |resource: &Resource| {
            resource.polls.lock().iter().copied().filter(|poll| poll.at >= since).collect()
        };
        self.shared.resources.iter().map(since).collect()
    }

    /// All resources have another state.
    pub fn change(&self) {
        for resource in &self.shared.resources {
            resource.number.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Shared {
    /// The answer to a poll.
    fn answer(&self, place: usize, node: usize, known: Option<&str>) -> Vec<u8> {
        let Some(resource) = self.resources.get(place) else {
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
        };
        let now = Instant::now();
        resource.polls.lock().push(Poll { at: now, node });
        let mut at = now.duration_since(self.began);
        let number = match self.plot {
            Plot::EachPoll => resource.number.fetch_add(1, Ordering::SeqCst),
            Plot::Still => {
                at = Duration::ZERO;
                resource.number.load(Ordering::SeqCst)
            }
            Plot::Lasting(time) => {
                // Resources change at different moments.
                let shift = time.mul_f64(place as f64 / self.resources.len() as f64);
                let number = (at + shift).as_micros() / time.as_micros().max(1);
                at = Duration::ZERO;
                u64::try_from(number).unwrap_or_default() + 1
            }
        };
        let tag = format!("\"{number}\"");
        if known == Some(&tag) {
            return format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n").into_bytes();
        }
        let body = format!(
            "{{\"n\":{number},\"at\":{},\"node\":{node},\"text\":\"{}\"}}",
            at.as_micros(),
            self.padding
        );
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: {tag}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        [head.into_bytes(), body.into_bytes()].concat()
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared, node: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut pending = Vec::new();
    loop {
        if stream.read_buf(&mut pending).await? == 0 || pending.len() > HEAD_BYTES_MAX {
            return Ok(());
        }
        while let Some(end) = pending.windows(4).position(|four| four == b"\r\n\r\n") {
            let request: Vec<u8> = pending.drain(..end + 4).collect();
            let mut headers = [httparse::EMPTY_HEADER; 48];
            let mut head = httparse::Request::new(&mut headers);
            head.parse(&request).map_err(std::io::Error::other)?;
            let known = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("if-none-match"));
            let known = known.and_then(|field| std::str::from_utf8(field.value).ok());
            let place = head.path.and_then(|path| path.rsplit('/').next()?.parse().ok());
            let answer = shared.answer(place.unwrap_or(usize::MAX), node, known);
            stream.write_all(&answer).await?;
        }
    }
}
