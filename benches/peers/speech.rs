//! What a client says and hears: requests for the next change, and answers of whichever server.
//! Strict, so that a damaged stream is a failure of the run and not a good number.
//! Must not know: sockets, counting.

use crate::wire::Stamp;

/// How a client asks for changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// An event stream.
    Events,
    /// Held by `Prefer: wait`, from an ETag.
    Prefer,
    /// nchan's long-poll: held from an ETag and a date, which together name a message.
    Nchan,
}

impl Speech {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Events, "events"), (Self::Prefer, "prefer"), (Self::Nchan, "nchan")];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(speech, _)| *speech == self).map_or("", |(_, name)| name)
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, own)| *own == name).map(|(speech, _)| *speech)
    }

    /// The request head; without `known` the one that learns the state.
    pub fn request(self, path: &str, known: Option<&Known>) -> String {
        let rest = match (self, known) {
            (Self::Events, None) => "Accept: text/event-stream\r\nCache-Control: no-cache\r\n".to_owned(),
            (Self::Events, Some(known)) => format!(
                "Accept: text/event-stream\r\nCache-Control: no-cache\r\nLast-Event-ID: {}\r\n",
                known.tag
            ),
            (_, None) => "Accept: application/json\r\n".to_owned(),
            (Self::Prefer, Some(known)) => {
                format!("Accept: application/json\r\nIf-None-Match: {}\r\nPrefer: wait=50\r\n", known.tag)
            }
            (Self::Nchan, Some(known)) => format!(
                "Accept: application/json\r\nIf-None-Match: {}\r\nIf-Modified-Since: {}\r\n",
                known.tag, known.date
            ),
        };
        format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\n{rest}\r\n")
    }
}

/// What a client brings when it asks again.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The ETag of an answer, or the id of an event.
    pub tag: String,
    /// Its `Last-Modified`, if it had one.
    pub date: String,
}

/// One complete thing that a server said.
#[derive(Debug)]
pub enum Heard {
    /// The head of a stream.
    Head,
    /// A state, and the id of its event.
    State(Stamp, String),
    /// The end of one answer, and what to ask with next.
    Answer(Known),
    /// An event that is no state (`stale`, `bye`, …).
    Control,
}

/// How a stream's end is marked.
#[derive(Debug, Clone, Copy)]
enum Framing {
    Chunks,
    Close,
}

/// The hearing half of one connection.
pub struct Hearing {
    speech: Speech,
    /// None before the head of a stream.
    framing: Option<Framing>,
    /// Bytes of something not complete yet.
    pending: Vec<u8>,
    /// Event text without chunks, up to the end of the last complete event.
    text: Vec<u8>,
}

impl Hearing {
    pub fn new(speech: Speech) -> Self {
        Self { speech, framing: None, pending: Vec::new(), text: Vec::new() }
    }

    /// Takes what arrived; appends what became complete to `heard`.
    pub fn read(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Result<(), String> {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(bytes);
        let mut used = 0;
        while let Some(step) = self.step(&pending[used..], heard)? {
            used += step;
        }
        pending.drain(..used);
        self.pending = pending;
        Ok(())
    }

    /// Takes one complete unit from the front of `bytes` and says how long it was.
    fn step(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Result<Option<usize>, String> {
        if bytes.is_empty() {
            return Ok(None);
        }
        match (self.speech, self.framing) {
            (Speech::Prefer | Speech::Nchan, _) => answer(bytes, heard),
            (Speech::Events, None) => {
                let Some((length, framing)) = stream_head(bytes)? else { return Ok(None) };
                self.framing = Some(framing);
                heard.push(Heard::Head);
                Ok(Some(length))
            }
            (Speech::Events, Some(Framing::Chunks)) => self.chunk(bytes, heard),
            (Speech::Events, Some(Framing::Close)) => {
                self.text.extend_from_slice(bytes);
                self.events(heard)?;
                Ok(Some(bytes.len()))
            }
        }
    }

    fn chunk(&mut self, bytes: &[u8], heard: &mut Vec<Heard>) -> Result<Option<usize>, String> {
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
        self.text.extend_from_slice(&bytes[start..end]);
        self.events(heard)?;
        Ok(Some(end + 2))
    }

    /// Takes the complete events out of the text.
    fn events(&mut self, heard: &mut Vec<Heard>) -> Result<(), String> {
        let mut start = 0;
        while let Some(length) = self.text[start..].windows(2).position(|pair| pair == b"\n\n") {
            event(&self.text[start..start + length], heard)?;
            start += length + 2;
        }
        self.text.drain(..start);
        Ok(())
    }
}

fn event(text: &[u8], heard: &mut Vec<Heard>) -> Result<(), String> {
    let (mut named, mut id, mut data) = (false, String::new(), None);
    for line in text.split(|byte| *byte == b'\n') {
        let value = |prefix: &[u8]| line.strip_prefix(prefix).map(|rest| rest.trim_ascii_start());
        if value(b"event:").is_some() {
            named = true;
        } else if let Some(value) = value(b"id:") {
            id = String::from_utf8_lossy(value).into_owned();
        } else if let Some(value) = value(b"data:") {
            data = Some(value);
        }
    }
    match (named, data) {
        (true, _) => heard.push(Heard::Control),
        (false, Some(data)) => heard.push(Heard::State(stamp(data)?, id)),
        (false, None) => {}
    }
    Ok(())
}

fn stamp(body: &[u8]) -> Result<Stamp, String> {
    Stamp::parse(body).ok_or_else(|| {
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
        format!("not a body of the upstream: {shown:?} ({} bytes)", body.len())
    })
}

/// The head of a stream: its length and framing, once it is complete.
fn stream_head(bytes: &[u8]) -> Result<Option<(usize, Framing)>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(|e| format!("answer head: {e}"))?
    else {
        return Ok(None);
    };
    let is_stream =
        header(&head, "content-type").is_some_and(|media_type| media_type.starts_with("text/event-stream"));
    if head.code != Some(200) || !is_stream {
        let shown = String::from_utf8_lossy(&bytes[..length.min(300)]);
        return Err(format!("wanted 200 with text/event-stream, got {shown:?}"));
    }
    let is_chunked = header(&head, "transfer-encoding") == Some("chunked");
    Ok(Some((length, if is_chunked { Framing::Chunks } else { Framing::Close })))
}

/// One whole answer to a long-poll: 200 with a state, or 304.
fn answer(bytes: &[u8], heard: &mut Vec<Heard>) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(|e| format!("answer head: {e}"))?
    else {
        return Ok(None);
    };
    let failed = |what: &str| format!("{what}: {:?}", String::from_utf8_lossy(&bytes[..length.min(300)]));
    let tag = header(&head, "etag").ok_or_else(|| failed("an answer without ETag"))?.to_owned();
    let date = header(&head, "last-modified").unwrap_or_default().to_owned();
    let size = match head.code {
        Some(304) => 0,
        Some(200) => {
            let size = header(&head, "content-length").and_then(|size| size.parse::<usize>().ok());
            size.ok_or_else(|| failed("an answer without Content-Length"))?
        }
        _ => return Err(failed("wanted 200 or 304")),
    };
    let total = length + size;
    if bytes.len() < total {
        return Ok(None);
    }
    if size > 0 {
        heard.push(Heard::State(stamp(&bytes[length..total])?, String::new()));
    }
    heard.push(Heard::Answer(Known { tag, date }));
    Ok(Some(total))
}

/// One whole answer to a plain poll.
pub struct Whole {
    pub length: usize,
    /// A 304 of some servers names none.
    pub tag: Option<String>,
    pub is_unchanged: bool,
}

/// The answer to a plain poll at the front of `bytes`, once it is whole.
pub fn polled(bytes: &[u8]) -> Result<Option<Whole>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 48];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).map_err(|e| format!("answer head: {e}"))?
    else {
        return Ok(None);
    };
    let failed = |what: &str| format!("{what}: {:?}", String::from_utf8_lossy(&bytes[..length.min(300)]));
    let tag = header(&head, "etag").map(str::to_owned);
    let total = match head.code {
        Some(304) => length,
        Some(200) => {
            let size = header(&head, "content-length").and_then(|size| size.parse::<usize>().ok());
            length + size.ok_or_else(|| failed("an answer without Content-Length"))?
        }
        _ => return Err(failed("wanted 200 or 304")),
    };
    if bytes.len() < total {
        return Ok(None);
    }
    if total > length {
        stamp(&bytes[length..total])?;
    }
    Ok(Some(Whole { length: total, tag, is_unchanged: total == length }))
}

fn header<'h>(head: &httparse::Response<'_, 'h>, name: &str) -> Option<&'h str> {
    let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(header.value).ok().map(str::trim)
}
