//! One client of one lane: a connection that is kept, heads read as leniently as the usual clients do, failures as
//! values.
//!
//! Must not know: what is compared.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::body::decoded;
use crate::support::wire::{Fields, Wire, field, names_token};

/// How long a client waits for one exchange before it calls it a failure.
const EXCHANGE_WAIT_MAX: Duration = Duration::from_secs(12);

/// How long a client waits for the next piece of a body that may have no end.
const PIECE_WAIT_MAX: Duration = Duration::from_millis(1500);

#[derive(Debug, Clone)]
pub struct Request {
    pub method: &'static str,
    pub target: String,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub enough: Enough,
}

/// How much of a body a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enough {
    All,
    Bytes(usize),
    /// Of an event stream the first event; of anything else all.
    Event,
}

/// An answer as a client has it.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub fields: Fields,
    /// Without the transfer coding.
    pub raw: Vec<u8>,
    /// Without content codings; an error if the client cannot read them.
    pub body: Result<Vec<u8>, String>,
    /// Until the head was there.
    pub head_after: Duration,
    /// Until the end of the body, or of what was enough of it.
    pub took: Duration,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// All values of a field, in one line.
    pub fn line(&self, name: &str) -> Option<String> {
        let same = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let values: Vec<&str> = same.map(|(_, value)| value.trim()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// What a client has in the end: an answer, or why there is none.
pub type Outcome = Result<Answer, String>;

/// A connection to one address.
pub struct Client {
    address: SocketAddr,
    wire: Option<Wire>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Client {
        Client { address, wire: None }
    }

    pub async fn ask(&mut self, request: &Request) -> Outcome {
        match tokio::time::timeout(EXCHANGE_WAIT_MAX, self.exchange(request)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.wire = None;
                Err(format!("no answer within {EXCHANGE_WAIT_MAX:?}"))
            }
        }
    }

    async fn exchange(&mut self, request: &Request) -> Outcome {
        let was_kept = self.wire.is_some();
        let first = self.once(request).await;
        match first {
            // The server closed a kept connection just then: every client asks again.
            Err(error) if was_kept && error == CLOSED => self.once(request).await,
            outcome => outcome,
        }
    }

    async fn once(&mut self, request: &Request) -> Outcome {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => {
                let stream = TcpStream::connect(self.address).await.map_err(|e| e.to_string())?;
                let _ = stream.set_nodelay(true);
                Wire::over(stream)
            }
        };
        let began = Instant::now();
        if wire.write(&request.bytes()).await.is_err() {
            return Err(CLOSED.to_owned());
        }
        let (mut answer, version) = loop {
            let head = read_head(&mut wire).await?;
            let (answer, version) = parsed(&head)?;
            if !(100..200).contains(&answer.status) || answer.status == 101 {
                break (answer, version);
            }
        };
        answer.head_after = began.elapsed();
        let mut is_kept = version == 1 && !names_token(&answer.fields, "connection", "close");
        let is_stream = answer.field("content-type").is_some_and(|t| t.starts_with("text/event-stream"));
        let is_enough: Option<fn(usize, &[u8]) -> bool> = match request.enough {
            Enough::Bytes(_) => Some(|bytes, body| body.len() >= bytes),
            Enough::Event if is_stream => Some(|_, body| has_event(body)),
            Enough::Event | Enough::All => None,
        };
        if let Some(is_enough) = is_enough {
            let bytes = if let Enough::Bytes(bytes) = request.enough { bytes } else { 0 };
            answer.raw = some_of(&mut wire, &answer, |body| is_enough(bytes, body)).await;
            if bytes > 0 {
                answer.raw.truncate(bytes);
            }
            is_kept = false;
        } else {
            let (raw, was_framed) =
                whole(&mut wire, request, &answer).await.map_err(|e| format!("body: {e}"))?;
            is_kept &= was_framed;
            answer.raw = raw;
        }
        answer.took = began.elapsed();
        let coding = answer.line("content-encoding").unwrap_or_default();
        answer.body = decoded(&coding, &answer.raw);
        self.wire = is_kept.then_some(wire);
        Ok(answer)
    }
}

const CLOSED: &str = "the connection was closed before an answer";

impl Request {
    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        if !matches!(self.method, "GET" | "HEAD" | "DELETE") {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }

    pub fn is_read(&self) -> bool {
        matches!(self.method, "GET" | "HEAD")
    }
}

/// The bytes up to the empty line, whichever line ends they have.
async fn read_head(wire: &mut Wire) -> Result<Vec<u8>, String> {
    loop {
        let buffer = &wire.buffer;
        let end = (0..buffer.len()).find_map(|at| match &buffer[at..] {
            [b'\n', b'\n', ..] => Some(at + 2),
            [b'\n', b'\r', b'\n', ..] => Some(at + 3),
            _ => None,
        });
        if let Some(end) = end {
            return Ok(wire.buffer.split_to(end).to_vec());
        }
        match wire.fill().await {
            Ok(0) if wire.buffer.is_empty() => return Err(CLOSED.to_owned()),
            Ok(0) => return Err("the head has no end".to_owned()),
            Ok(_) => {}
            Err(_) if wire.buffer.is_empty() => return Err(CLOSED.to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Folded lines are joined, a space before the colon is nothing, lines without a colon are dropped.
fn parsed(head: &[u8]) -> Result<(Answer, u8), String> {
    let text: String = head.iter().map(|&b| b as char).collect();
    let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
    let first = lines.next().unwrap_or_default();
    let mut words = first.splitn(3, ' ');
    let version = match words.next() {
        Some("HTTP/1.1") => 1,
        Some("HTTP/1.0") => 0,
        _ => return Err(format!("not an HTTP answer: {first:?}")),
    };
    let status = words.next().and_then(|s| s.parse().ok()).ok_or_else(|| format!("no status: {first:?}"))?;
    let mut fields = Fields::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                *value = format!("{value} {}", line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            let name = name.trim_end();
            if !name.contains(' ') {
                fields.push((name.to_owned(), value.trim().to_owned()));
            }
        }
    }
    let (raw, body) = (Vec::new(), Ok(Vec::new()));
    Ok((Answer { status, fields, raw, body, head_after: Duration::ZERO, took: Duration::ZERO }, version))
}

/// The whole body, and whether its end was told other than by the end of the connection.
async fn whole(wire: &mut Wire, request: &Request, head: &Answer) -> std::io::Result<(Vec<u8>, bool)> {
    if request.method == "HEAD" || matches!(head.status, 101 | 204 | 304) {
        return Ok((Vec::new(), head.status != 101));
    }
    if names_token(&head.fields, "transfer-encoding", "chunked") {
        let mut body = Vec::new();
        while let Some(chunk) = wire.chunk().await? {
            body.extend_from_slice(&chunk);
        }
        return Ok((body, true));
    }
    match head.field("content-length").and_then(|v| v.trim().parse().ok()) {
        Some(length) => Ok((wire.exactly(length).await?.to_vec(), true)),
        None => Ok((wire.rest().await?.to_vec(), false)),
    }
}

/// The first bytes of a body that may have no end.
async fn some_of(wire: &mut Wire, head: &Answer, is_enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let is_chunked = names_token(&head.fields, "transfer-encoding", "chunked");
    let mut body = Vec::new();
    while !is_enough(&body) {
        let more = async {
            match is_chunked {
                true => wire.chunk().await.ok().flatten().map(|chunk| chunk.to_vec()),
                false if wire.buffer.is_empty() && wire.fill().await.unwrap_or(0) == 0 => None,
                false => Some(wire.buffer.split().to_vec()),
            }
        };
        match tokio::time::timeout(PIECE_WAIT_MAX, more).await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            _ => break,
        }
    }
    body
}

/// Whether there is a whole event with data.
fn has_event(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
    whole.lines().any(|line| line.starts_with("data:"))
}
