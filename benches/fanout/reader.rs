//! What a client reads: bytes in, complete deliveries out. Strict, so that a damaged stream is
//! a failure of the run and not a good number.
//! Must not know: sockets, counting.

use crate::http2::{self, Said};
use crate::wire::{Stamp, WEBSOCKET_ACCEPT, Wire};

/// One complete thing that a server said.
#[derive(Debug)]
pub enum Found {
    /// The head of a stream: it is open.
    Opened,
    /// A state, and the stream it came on.
    State(usize, Stamp),
    /// The end of one answer to a long-poll; the ETag to ask with next.
    Answer { tag: String },
    /// Something that is to be answered with these bytes.
    Asks(Vec<u8>),
    /// A named SSE event that carries no state (`stale`, `bye`, …).
    Control,
}

/// The reading half of one connection.
pub struct Reader {
    wire: Wire,
    head_seen: bool,
    /// Bytes of something not complete yet.
    pending: Vec<u8>,
    /// SSE text of each stream, up to the end of the last complete event.
    texts: Vec<Vec<u8>>,
    /// The last event id.
    last_id: Vec<u8>,
}

impl Reader {
    /// Of a connection with so many streams.
    pub fn new(wire: Wire, streams: usize) -> Self {
        let texts = vec![Vec::new(); streams];
        Self { wire, head_seen: false, pending: Vec::new(), texts, last_id: Vec::new() }
    }

    /// The last event id; `None` if no event had one.
    pub fn last_id(&self) -> Option<&str> {
        std::str::from_utf8(&self.last_id).ok().filter(|id| !id.is_empty())
    }

    /// Takes what arrived; appends what became complete to `found`.
    pub fn read(&mut self, bytes: &[u8], found: &mut Vec<Found>) -> Result<(), String> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(step) = self.step(&pending[used..], found)? {
            used += step;
        }
        pending.drain(..used);
        self.pending = pending;
        Ok(())
    }

    /// Takes one complete unit from the front of `bytes` and says how long it was.
    fn step(&mut self, bytes: &[u8], found: &mut Vec<Found>) -> Result<Option<usize>, String> {
        if bytes.is_empty() {
            return Ok(None);
        }
        match self.wire {
            Wire::LongPoll => answer(bytes, found),
            Wire::Http2 => self.frame(bytes, found),
            _ if !self.head_seen => {
                let length = stream_head(self.wire, bytes)?;
                self.head_seen = length.is_some();
                found.extend(length.map(|_| Found::Opened));
                Ok(length)
            }
            Wire::Sse | Wire::SseTls => self.chunk(bytes, found),
            Wire::Websocket => message(bytes, found),
        }
    }

    fn chunk(&mut self, bytes: &[u8], found: &mut Vec<Found>) -> Result<Option<usize>, String> {
        let Some(line) = bytes.iter().take(20).position(|byte| *byte == b'\n') else {
            return if bytes.len() < 20 { Ok(None) } else { Err("a chunk without a size line".to_owned()) };
        };
        let size = std::str::from_utf8(&bytes[..line]).ok().map(str::trim_end);
        let size = size.and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let size = size.ok_or_else(|| format!("not a chunk size: {:?}", &bytes[..line]))?;
        if size == 0 {
            return Err("the server ended the stream".to_owned());
        }
        let (start, end) = (line + 1, line + 1 + size);
        if bytes.len() < end + 2 {
            return Ok(None);
        }
        if &bytes[end..end + 2] != b"\r\n" {
            return Err("a chunk is longer than its size".to_owned());
        }
        self.events(0, &bytes[start..end], found)?;
        Ok(Some(end + 2))
    }

    /// One frame of HTTP/2.
    fn frame(&mut self, bytes: &[u8], found: &mut Vec<Found>) -> Result<Option<usize>, String> {
        let Some((length, said)) = http2::frame(bytes)? else { return Ok(None) };
        match said {
            Said::Fields(_, fields) if http2::is_ok(fields) => found.push(Found::Opened),
            Said::Fields(stream, fields) => {
                return Err(format!("stream {stream}: wanted :status 200, got fields {fields:?}"));
            }
            Said::Data(stream, data) => self.events(http2::stream_index(stream), data, found)?,
            Said::Asks(bytes) => found.push(Found::Asks(bytes)),
            Said::Nothing => {}
        }
        Ok(Some(length))
    }

    /// Adds to a stream's text, and takes the complete SSE events out of it.
    fn events(&mut self, stream: usize, bytes: &[u8], found: &mut Vec<Found>) -> Result<(), String> {
        let text = self.texts.get_mut(stream).ok_or_else(|| format!("no stream {stream}"))?;
        text.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = end_of_event(&text[start..]) {
            let event = event(&text[start..start + length])?;
            if let Some(id) = event.id {
                self.last_id.clear();
                self.last_id.extend_from_slice(id);
            }
            match (event.named, event.stamp) {
                (true, _) => found.push(Found::Control),
                (false, Some(stamp)) => found.push(Found::State(stream, stamp)),
                (false, None) => {}
            }
            start += length + 2;
        }
        text.drain(..start);
        if text.is_empty() {
            // Ten thousand clients of 4 KB: nothing is kept between two events.
            *text = Vec::new();
        }
        Ok(())
    }
}

fn end_of_event(text: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, b"\n\n")
}

struct Event<'t> {
    named: bool,
    id: Option<&'t [u8]>,
    stamp: Option<Stamp>,
}

fn event(text: &[u8]) -> Result<Event<'_>, String> {
    let mut event = Event { named: false, id: None, stamp: None };
    for line in text.split(|byte| *byte == b'\n') {
        if line.starts_with(b"event:") {
            event.named = true;
        } else if let Some(id) = line.strip_prefix(b"id: ") {
            event.id = Some(id);
        } else if let Some(value) = line.strip_prefix(b"data:")
            && !event.named
        {
            event.stamp = Some(stamp(value.strip_prefix(b" ").unwrap_or(value))?);
        }
    }
    Ok(event)
}

fn stamp(body: &[u8]) -> Result<Stamp, String> {
    Stamp::parse(body).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
        format!("not a body of the origin: {shown:?} ({} bytes)", body.len())
    })
}

/// The head of a stream: its length, once it is complete and says what this wire promises.
fn stream_head(wire: Wire, bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(|e| format!("answer head: {e}"))?
    else {
        return Ok(None);
    };
    let (status, proof, wanted) = match wire {
        Wire::Websocket => (101, "sec-websocket-accept", WEBSOCKET_ACCEPT),
        _ => (200, "transfer-encoding", "chunked"),
    };
    if head.code != Some(status) || header(&head, proof) != Some(wanted) {
        let shown = String::from_utf8_lossy(&bytes[..length.min(300)]);
        return Err(format!("wanted {status} with {proof}: {wanted}, got {shown:?}"));
    }
    Ok(Some(length))
}

/// One whole answer to a long-poll: 200 with a state, or 304.
fn answer(bytes: &[u8], found: &mut Vec<Found>) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(|e| format!("answer head: {e}"))?
    else {
        return Ok(None);
    };
    let shown = || String::from_utf8_lossy(&bytes[..length.min(300)]);
    let tag = header(&head, "etag").ok_or_else(|| format!("an answer without ETag: {:?}", shown()))?;
    let total = match head.code {
        Some(304) => length,
        Some(200) => {
            let size = header(&head, "content-length").and_then(|size| size.parse::<usize>().ok());
            length + size.ok_or_else(|| format!("an answer without Content-Length: {:?}", shown()))?
        }
        _ => return Err(format!("wanted 200 or 304, got {:?}", shown())),
    };
    if bytes.len() < total {
        return Ok(None);
    }
    if total > length {
        found.push(Found::State(0, stamp(&bytes[length..total])?));
    }
    found.push(Found::Answer { tag: tag.to_owned() });
    Ok(Some(total))
}

fn header<'h>(head: &httparse::Response<'_, 'h>, name: &str) -> Option<&'h str> {
    let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok().map(str::trim)
}

/// One WebSocket frame of a server.
fn message(bytes: &[u8], found: &mut Vec<Found>) -> Result<Option<usize>, String> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    let (start, length) = match (second, rest) {
        (0..=125, _) => (2, usize::from(second)),
        (126, &[a, b, ..]) => (4, usize::from(u16::from_be_bytes([a, b]))),
        (127, &[0, 0, 0, 0, a, b, c, d, ..]) => (10, u32::from_be_bytes([a, b, c, d]) as usize),
        (126 | 127, _) if rest.len() < 8 => return Ok(None),
        _ => return Err(format!("a masked or oversized frame ({first:#x} {second:#x})")),
    };
    let end = start + length;
    if bytes.len() < end {
        return Ok(None);
    }
    let payload = &bytes[start..end];
    match first {
        0x81 | 0x82 => found.push(Found::State(0, stamp(payload)?)),
        0x89 => found.push(Found::Asks(pong(payload))),
        0x8a => {}
        0x88 => {
            return Err(format!("the server closed: {:?}", String::from_utf8_lossy(payload)));
        }
        _ => return Err(format!("an unexpected frame ({first:#x})")),
    }
    Ok(Some(end))
}

/// The answer to a ping: masked with zeros, as the mask's value is of no interest here.
fn pong(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x8a, 0x80 | payload.len().min(125) as u8, 0, 0, 0, 0];
    bytes.extend_from_slice(&payload[..payload.len().min(125)]);
    bytes
}
