//! Every byte that a client ever got, and what it says once chunks, compression and frames are taken away.
//!
//! Must not know: what was asked. It is lenient: what cannot be read is looked through as it is.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use flate2::{Decompress, FlushDecompress};
use memchr::memmem::Finder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::people::{Person, USERS};
use crate::support::frames::Frame;
use crate::support::wire::Io;

/// Connections of all cases.
pub static CONNECTIONS: AtomicUsize = AtomicUsize::new(0);

/// Nothing of an honest case takes longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What somebody got by doing something.
#[derive(Clone)]
pub struct Recording {
    pub who: Person,
    pub act: &'static str,
    pub bytes: Vec<u8>,
}

impl Recording {
    /// As it came, and as it is read.
    pub fn plain(&self) -> Vec<u8> {
        [self.bytes.clone(), responses(&self.bytes).concat()].concat()
    }
}

/// What must not be seen, with its spellings.
struct Needle {
    of: Person,
    text: String,
    spellings: Vec<Finder<'static>>,
}

static NEEDLES: LazyLock<Vec<Needle>> = LazyLock::new(|| {
    let own = |of: Person| {
        let texts = of.credentials().into_iter().chain([of.mark().to_owned()]);
        texts.map(move |text| {
            let spellings = spellings(&text).iter().map(|form| Finder::new(form).into_owned()).collect();
            Needle { of, text, spellings }
        })
    };
    USERS.into_iter().flat_map(own).collect()
});

/// The first thing in plain bytes that is none of this one's.
pub fn leak(who: Person, plain: &[u8]) -> Option<String> {
    let others = NEEDLES.iter().filter(|needle| needle.of != who);
    others.into_iter().find_map(|Needle { text, spellings, .. }| {
        let at = spellings.iter().find_map(|form| form.find(plain))?;
        let around = &plain[at.saturating_sub(200)..(at + 200).min(plain.len())];
        Some(format!("{text}: …{}…", String::from_utf8_lossy(around)))
    })
}

/// A text, and what base64 makes of it wherever it begins.
fn spellings(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned()];
    for before in 0..3 {
        let bytes = [&vec![0; before][..], text.as_bytes()].concat();
        // Characters that no neighbouring byte has a bit in.
        let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        forms.extend(
            [STANDARD.encode(&bytes), URL_SAFE.encode(&bytes)].map(|all| all[first..last].to_owned()),
        );
    }
    forms
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}

/// What a client does with its connection.
#[derive(Debug, Clone)]
pub enum Step {
    Send(Vec<u8>),
    /// Waits for the head of the answer.
    Head,
    /// Reads for so long.
    Listen(Duration),
    /// Reads one whole answer to anything but HEAD.
    Answer,
}

/// Does this on one connection; what came after each step began.
pub async fn talk(address: SocketAddr, steps: &[Step]) -> Vec<Vec<u8>> {
    talk_over(TcpStream::connect(address).await.expect("a connection"), steps).await
}

/// The same on this connection.
pub async fn talk_over(mut stream: impl Io, steps: &[Step]) -> Vec<Vec<u8>> {
    CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let mut got = vec![Vec::new()];
    for step in steps {
        let (limit, done): (Duration, fn(&[u8]) -> bool) = match step {
            Step::Send(bytes) => {
                // It may be over already: what came until then counts.
                let _ = stream.write_all(bytes).await;
                got.push(Vec::new());
                continue;
            }
            Step::Head => (PATIENCE, |bytes| find(bytes, b"\r\n\r\n").is_some()),
            Step::Answer => (PATIENCE, |bytes| first(bytes).is_some_and(|(_, whole, _)| whole)),
            Step::Listen(time) => (*time, |_| false),
        };
        let until = Instant::now() + limit;
        let now = got.last_mut().expect("there is one");
        while !done(now) {
            match timeout_at(until, stream.read_buf(now)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return got,
                Err(_) if matches!(step, Step::Listen(_)) => break,
                // What comes later would pass for the answer to the next request, which may be another's.
                Err(_) => return got,
            }
        }
    }
    got
}

/// The answers in a connection's bytes, each as its head and its plain body.
pub fn responses(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((response, _, rest)) = first(bytes) {
        found.push(response);
        bytes = rest;
    }
    found
}

/// The first answer, whether it is whole, and the rest.
fn first(bytes: &[u8]) -> Option<(Vec<u8>, bool, &[u8])> {
    let at = find(bytes, b"\r\n\r\n")? + 4;
    let (raw, rest) = bytes.split_at(at);
    let head = String::from_utf8_lossy(raw).to_ascii_lowercase();
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    let status = head.split(' ').nth(1).unwrap_or_default();
    let (body, whole, rest) = match status {
        "101" => (messages(rest), false, &rest[rest.len()..]),
        "204" | "304" | "100" | "103" => (Vec::new(), true, rest),
        _ if field("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) => unchunked(rest),
        _ => match field("content-length").and_then(|length| length.parse::<usize>().ok()) {
            Some(length) => {
                let end = length.min(rest.len());
                (rest[..end].to_vec(), rest.len() >= length, &rest[end..])
            }
            None => (rest.to_vec(), false, &rest[rest.len()..]),
        },
    };
    let body = match field("content-encoding") {
        Some("gzip") => inflated(&mut Decompress::new(false), body.get(10..).unwrap_or_default()),
        _ => body,
    };
    Some(([raw, &body[..]].concat(), whole, rest))
}

/// The chunks that are there, whether the last one is among them, and the rest.
fn unchunked(mut bytes: &[u8]) -> (Vec<u8>, bool, &[u8]) {
    let mut body = Vec::new();
    while let Some(at) = find(bytes, b"\r\n") {
        let size = String::from_utf8_lossy(&bytes[..at]);
        let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16) else {
            break;
        };
        let data = &bytes[at + 2..];
        body.extend_from_slice(&data[..size.min(data.len())]);
        if data.len() < size + 2 {
            bytes = &[];
            break;
        }
        bytes = &data[size + 2..];
        if size == 0 {
            return (body, true, bytes);
        }
    }
    (body, false, &bytes[bytes.len()..])
}

/// The payloads of a server's frames, one after the other.
fn messages(mut bytes: &[u8]) -> Vec<u8> {
    let (mut plain, mut inflater) = (Vec::new(), Decompress::new(false));
    let mut deflated = false;
    while let Ok(Some((frame, length))) = Frame::parse(bytes) {
        bytes = &bytes[length..];
        deflated = frame.rsv1 || (deflated && frame.opcode == 0);
        match deflated {
            true => {
                let end: &[u8] = if frame.fin { &[0, 0, 0xff, 0xff] } else { &[] };
                plain.extend(inflated(&mut inflater, &[&frame.payload[..], end].concat()));
            }
            false => plain.extend(&frame.payload),
        }
        plain.push(b'\n');
    }
    plain
}

/// As much as can be read.
fn inflated(inflater: &mut Decompress, mut coded: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        plain.reserve(64 << 10);
        let before = (inflater.total_in(), plain.len());
        let result = inflater.decompress_vec(coded, &mut plain, FlushDecompress::Sync);
        let read = (inflater.total_in() - before.0) as usize;
        coded = &coded[read..];
        if result.is_err() || (read == 0 && plain.len() == before.1) {
            return plain;
        }
    }
}
