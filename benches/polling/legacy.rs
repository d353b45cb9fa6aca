//! The role `legacy`: an API of many resources that knows only polling, on real sockets, counting
//! what goes through them; and the handle of the bench on it.
//!
//! Every resource changes by its own seeded clock, so two runs of the role have the same changes. Must not know: the
//! clients.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::wire::{Stamp, now_ns, tag};

/// Bytes of one body.
const BODY_BYTES: usize = 1024;

/// Longest request head that is read.
const LONGEST_HEAD: usize = 16 * 1024;

/// Where resource number `index` is.
pub fn path(index: usize) -> String {
    format!("/r/{index}")
}

/// What went through the sockets since the start: bytes of HTTP, heads included; TCP and IP add
/// their own.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Counts {
    pub requests: u64,
    pub not_modified: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub changes: u64,
}

impl Counts {
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests - earlier.requests,
            not_modified: self.not_modified - earlier.not_modified,
            bytes_in: self.bytes_in - earlier.bytes_in,
            bytes_out: self.bytes_out - earlier.bytes_out,
            changes: self.changes - earlier.changes,
        }
    }
}

/// One resource: its state, and when it changes next (ns of the monotonic clock).
struct Resource {
    stamp: Stamp,
    next: u64,
    mean: u64,
    rng: fastrand::Rng,
}

impl Resource {
    /// Changes every half to one and a half of `mean`, first at a random moment of one.
    fn new(seed: u64, mean: Duration) -> Self {
        let (now, mean) = (now_ns(), mean.as_nanos() as u64);
        let mut rng = fastrand::Rng::with_seed(seed);
        let next = now + rng.u64(0..mean.max(1));
        Self { stamp: Stamp { n: 1, at: now }, next, mean, rng }
    }

    /// The state now. Its stamp says when it came to be, not when it was first asked for.
    fn now(&mut self) -> Stamp {
        let now = now_ns();
        while self.next <= now {
            self.stamp = Stamp { n: self.stamp.n + 1, at: self.next };
            self.next += self.rng.u64(self.mean / 2..=self.mean + self.mean / 2).max(1);
        }
        self.stamp
    }
}

#[derive(Default)]
struct Counters {
    requests: AtomicU64,
    not_modified: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

struct Api {
    resources: Vec<Mutex<Resource>>,
    counters: Counters,
}

impl Api {
    fn counts(&self) -> Counts {
        let now = |mutex: &Mutex<Resource>| mutex.lock().unwrap_or_else(PoisonError::into_inner).now().n - 1;
        Counts {
            requests: self.counters.requests.load(Ordering::Relaxed),
            not_modified: self.counters.not_modified.load(Ordering::Relaxed),
            bytes_in: self.counters.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.counters.bytes_out.load(Ordering::Relaxed),
            changes: self.resources.iter().map(now).sum(),
        }
    }

    fn answer(&self, target: &str, known: Option<&str>) -> Vec<u8> {
        let number = self.counters.requests.fetch_add(1, Ordering::Relaxed);
        let resource = target.strip_prefix("/r/").and_then(|index| index.parse::<usize>().ok());
        let Some(resource) = resource.and_then(|index| self.resources.get(index)) else {
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
        };
        let stamp = resource.lock().unwrap_or_else(PoisonError::into_inner).now();
        let tag = tag(stamp.n);
        if known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag)) {
            self.counters.not_modified.fetch_add(1, Ordering::Relaxed);
            return head("304 Not Modified", number, &tag, "").into_bytes();
        }
        let body = stamp.body(BODY_BYTES);
        let length =
            format!("Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n", body.len());
        let mut answer = head("200 OK", number, &tag, &length).into_bytes();
        answer.extend_from_slice(&body);
        answer
    }
}

/// What an API behind a framework and a CDN says on every answer.
fn head(status: &str, number: u64, tag: &str, content: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nDate: Sat, 21 Nov 2026 04:20:00 GMT\r\nServer: nginx/1.24.0\r\n\
         Connection: keep-alive\r\n{content}ETag: {tag}\r\nCache-Control: no-cache\r\n\
         Vary: Accept-Encoding\r\nX-Request-Id: 7f3c1a52-98d4-4b1e-a6c0-{number:012x}\r\n\
         X-Runtime: 0.014233\r\nX-Powered-By: Express\r\nX-Frame-Options: SAMEORIGIN\r\n\
         X-Content-Type-Options: nosniff\r\nX-XSS-Protection: 0\r\nX-DNS-Prefetch-Control: off\r\n\
         X-Download-Options: noopen\r\nX-Permitted-Cross-Domain-Policies: none\r\n\
         Referrer-Policy: strict-origin-when-cross-origin\r\n\
         Strict-Transport-Security: max-age=63072000; includeSubDomains; preload\r\n\
         Content-Security-Policy: default-src 'self'; base-uri 'self'; font-src 'self' https: data:; \
         form-action 'self'; frame-ancestors 'self'; img-src 'self' data:; object-src 'none'; \
         script-src 'self'; script-src-attr 'none'; style-src 'self' https: 'unsafe-inline'\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-site\r\n\
         Via: 1.1 cache-fra-7\r\nX-Cache: MISS\r\n\r\n"
    )
}

/// Runs the role: `legacy <resources> <mean seconds between changes>`. Says its port, then
/// [`Counts`] for every line it is told.
pub fn run(resources: usize, mean: Duration) -> Result<(), String> {
    let resources = (0..resources).map(|index| Mutex::new(Resource::new(index as u64, mean))).collect();
    let api = Arc::new(Api { resources, counters: Counters::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| format!("legacy: {e}"))?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).map_err(|e| format!("legacy: {e}"))?;
    println!("{}", listener.local_addr().map_err(|e| format!("legacy: {e}"))?.port());
    let asked = api.clone();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lines().map_while(Result::ok) {
            if let Ok(line) = serde_json::to_string(&asked.counts()) {
                println!("{line}");
            }
        }
        // The bench is gone.
        std::process::exit(0)
    });
    runtime.block_on(async {
        loop {
            let (stream, _) = listener.accept().await.map_err(|e| format!("legacy: {e}"))?;
            let api = api.clone();
            // A broken connection is the client's matter: it fails the run if it was needed.
            tokio::spawn(async move { serve(stream, &api).await });
        }
    })
}

/// Answers the requests of one connection, one after the other, until it ends.
async fn serve(mut stream: TcpStream, api: &Api) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut pending = Vec::new();
    loop {
        if stream.read_buf(&mut pending).await? == 0 || pending.len() > LONGEST_HEAD {
            return Ok(());
        }
        while let Some(end) = pending.windows(4).position(|four| four == b"\r\n\r\n") {
            let request: Vec<u8> = pending.drain(..end + 4).collect();
            api.counters.bytes_in.fetch_add(request.len() as u64, Ordering::Relaxed);
            let mut headers = [httparse::EMPTY_HEADER; 48];
            let mut head = httparse::Request::new(&mut headers);
            head.parse(&request).map_err(std::io::Error::other)?;
            let known = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("if-none-match"));
            let known = known.and_then(|field| std::str::from_utf8(field.value).ok());
            let answer = api.answer(head.path.unwrap_or_default(), known);
            stream.write_all(&answer).await?;
            api.counters.bytes_out.fetch_add(answer.len() as u64, Ordering::Relaxed);
        }
    }
}

/// A running role.
pub struct Legacy {
    child: Child,
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
    pub port: u16,
}

impl Legacy {
    pub fn start(resources: usize, mean: Duration) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
        let mut child = Command::new(program)
            .args(["role", "legacy", &resources.to_string(), &mean.as_secs_f64().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("legacy: {e}"))?;
        let (Some(commands), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("legacy: no pipes".to_owned());
        };
        let mut legacy = Self { child, commands, replies: BufReader::new(output), port: 0 };
        let said = legacy.line()?;
        legacy.port =
            said.trim().parse().map_err(|e| format!("legacy: a port was wanted, got {said:?}: {e}"))?;
        Ok(legacy)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn counts(&mut self) -> Result<Counts, String> {
        writeln!(self.commands, "counts").map_err(|e| format!("legacy: {e}"))?;
        let said = self.line()?;
        serde_json::from_str(&said).map_err(|e| format!("legacy: {said:?}: {e}"))
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        match self.replies.read_line(&mut line) {
            Ok(0) => Err("legacy: ended early".to_owned()),
            Ok(_) => Ok(line),
            Err(e) => Err(format!("legacy: {e}")),
        }
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
