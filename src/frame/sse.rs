//! Server-sent events as bytes (contract §5, the HTML standard's event stream format).
//!
//! Everything that reaches a line goes through here, so that no body, id or reason can end a line early: other files
//! hold whole events, or [`Tail`]s of them, and only this file makes them of text. Must not know: connections.

use std::ops::Range;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};

use super::Rules;
use super::item::Item;
use crate::resource::{Snapshot, Version, fitted};

/// An event with its HTTP/1.1 chunk framing around it, in one piece of shared memory.
#[derive(Debug, Clone)]
pub struct SseBytes {
    chunk: Bytes,
    payload: Range<u32>,
}

impl SseBytes {
    /// Frames a payload as one chunk.
    fn framed(payload: &[u8]) -> SseBytes {
        let head = format!("{:x}\r\n", payload.len());
        let mut chunk = BytesMut::with_capacity(head.len() + payload.len() + 2);
        chunk.put_slice(head.as_bytes());
        chunk.put_slice(payload);
        chunk.put_slice(b"\r\n");
        // Bodies are bounded far below 4 GiB (`max_body`).
        let start = head.len() as u32;
        SseBytes { chunk: chunk.freeze(), payload: start..start + payload.len() as u32 }
    }

    /// For HTTP/1.1: the event as one chunk.
    pub fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// For HTTP/1.0 and HTTP/2: the event alone.
    pub fn payload(&self) -> Bytes {
        self.chunk.slice(self.payload.start as usize..self.payload.end as usize)
    }
}

/// A snapshot as an event: `id:` its version, the body as `data:` lines.
pub fn snapshot(snapshot: &Snapshot, rules: &Rules) -> Result<SseBytes, NotText> {
    state(snapshot, rules, rules.event_name.as_deref())
}

/// The same on a stream of patches, where it is named.
pub fn whole(snapshot: &Snapshot, rules: &Rules) -> Result<SseBytes, NotText> {
    state(snapshot, rules, Some("snapshot"))
}

fn state(snapshot: &Snapshot, rules: &Rules, name: Option<&str>) -> Result<SseBytes, NotText> {
    let mut event = BytesMut::with_capacity(snapshot.body.len() + 64);
    if let Some(name) = name {
        put_field(&mut event, "event", name.as_bytes());
    }
    put_field(&mut event, "id", snapshot.version.to_string().as_bytes());
    put_body(&mut event, snapshot, rules)?;
    event.put_u8(b'\n');
    Ok(SseBytes::framed(&event))
}

fn put_body(event: &mut BytesMut, snapshot: &Snapshot, rules: &Rules) -> Result<(), NotText> {
    match (snapshot.text(), rules.base64) {
        (Some(text), false) => put_data(event, text),
        (_, true) => put_data(event, STANDARD.encode(&snapshot.body).as_bytes()),
        (None, false) => return Err(NotText),
    }
    Ok(())
}

/// A patch as an event: `id:` the version it makes.
pub fn patch(target: Version, text: &[u8]) -> SseBytes {
    let mut event = BytesMut::with_capacity(text.len() + 64);
    put_field(&mut event, "event", b"patch");
    put_field(&mut event, "id", target.to_string().as_bytes());
    put_data(&mut event, text);
    event.put_u8(b'\n');
    SseBytes::framed(&event)
}

/// Items of a feed, one event for each, in one piece. `name` is the events' name.
pub fn items(items: &[Arc<Item>], name: &str) -> SseBytes {
    let mut events = BytesMut::with_capacity(items.iter().map(|item| item.text.len() + 64).sum());
    for item in items {
        put_field(&mut events, "event", name.as_bytes());
        put_field(&mut events, "id", item.id.as_bytes());
        put_data(&mut events, &item.text);
        events.put_u8(b'\n');
    }
    SseBytes::framed(&events)
}

/// The rest of an event, behind the line that names it: whole `data:` lines, and the empty one.
#[derive(Debug, Clone)]
pub struct Tail(Bytes);

impl Tail {
    /// Bytes it holds.
    pub fn weight(&self) -> usize {
        self.0.len()
    }
}

/// On a stream of many resources: what follows the line that names the resource.
pub fn named(snapshot: &Snapshot, rules: &Rules) -> Result<Tail, NotText> {
    let mut event = BytesMut::with_capacity(snapshot.body.len() + 16);
    put_body(&mut event, snapshot, rules)?;
    event.put_u8(b'\n');
    Ok(Tail(fitted(event)))
}

/// `data:` lines and the end of the event.
pub fn data(text: &[u8]) -> Tail {
    let mut event = BytesMut::with_capacity(text.len() + 16);
    put_data(&mut event, text);
    event.put_u8(b'\n');
    Tail(fitted(event))
}

/// Events of one name.
pub fn of_name(name: &str, tails: &[Tail]) -> SseBytes {
    let mut line = BytesMut::with_capacity(name.len() + 8);
    put_field(&mut line, "event", name.as_bytes());
    let mut events = BytesMut::with_capacity(tails.iter().map(|tail| line.len() + tail.weight()).sum());
    for Tail(tail) in tails {
        events.put_slice(&line);
        events.put_slice(tail);
    }
    SseBytes::framed(&events)
}

/// A control event: named, one line of JSON, never an id.
pub fn control(name: &str, data: &serde_json::Value) -> SseBytes {
    let mut event = BytesMut::new();
    put_field(&mut event, "event", name.as_bytes());
    put_data(&mut event, data.to_string().as_bytes());
    event.put_u8(b'\n');
    SseBytes::framed(&event)
}

/// A control event that also sets the reader's reconnect delay, milliseconds.
pub fn control_with_retry(name: &str, data: &serde_json::Value, retry_ms: u64) -> SseBytes {
    let event = control(name, data);
    let mut payload = format!("retry: {retry_ms}\n").into_bytes();
    payload.extend_from_slice(&event.payload());
    SseBytes::framed(&payload)
}

/// Frames bytes that a coding made of events.
pub fn coded(bytes: &[u8]) -> SseBytes {
    SseBytes::framed(bytes)
}

/// The comment of a silent stream.
pub fn heartbeat() -> SseBytes {
    SseBytes::framed(HEARTBEAT)
}

/// The event that names all states of a stream of many resources.
pub fn sync(id: &str) -> SseBytes {
    let mut event = BytesMut::new();
    put_field(&mut event, "id", id.as_bytes());
    put_field(&mut event, "event", b"sync");
    put_data(&mut event, b"{}");
    event.put_u8(b'\n');
    SseBytes::framed(&event)
}

/// The beginning of a stream: `retry:` in milliseconds, and a comment so that intermediaries flush. There is no empty
/// line behind them, as some libraries take what it ends for an event.
pub fn opening(retry_ms: u64) -> SseBytes {
    SseBytes::framed(format!("retry: {retry_ms}\n: pollcast\n").as_bytes())
}

/// The comment of a silent stream, without an empty line behind it, as in [`opening`].
pub const HEARTBEAT_CHUNK: &[u8] = b"2\r\n:\n\r\n";
/// The same without chunk framing.
pub const HEARTBEAT: &[u8] = b":\n";
/// The last chunk: the proper end of a chunked stream.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// One field on one line. Line ends in the value are dropped: they would end the field.
fn put_field(event: &mut BytesMut, name: &str, value: &[u8]) {
    event.put_slice(name.as_bytes());
    event.put_slice(b": ");
    for byte in value.iter().filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)) {
        event.put_u8(*byte);
    }
    event.put_u8(b'\n');
}

/// The body as `data:` lines: LF, CRLF and CR all end a line in this format, so each is split.
fn put_data(event: &mut BytesMut, text: &[u8]) {
    let mut rest = text;
    loop {
        let end = memchr::memchr2(b'\r', b'\n', rest);
        event.put_slice(b"data: ");
        event.put_slice(&rest[..end.unwrap_or(rest.len())]);
        event.put_u8(b'\n');
        let Some(end) = end else { return };
        let crlf = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + if crlf { 2 } else { 1 }..];
    }
}

/// A body that cannot be written in a text format, on a route that does not say `base64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Validators, VersionNamer};
    use http::{HeaderMap, HeaderValue, StatusCode};
    use proptest::prelude::*;

    fn of(body: &[u8]) -> Snapshot {
        Snapshot::new(
            VersionNamer::new(None).name(200, None, body),
            StatusCode::OK,
            Some(HeaderValue::from_static("text/plain")),
            HeaderMap::new(),
            Validators::default(),
            Vec::new(),
            Bytes::copy_from_slice(body),
        )
    }

    /// Reads an event stream as the standard says, reduced to what is written here.
    fn read(stream: &str) -> Vec<(Option<String>, String)> {
        let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut id, mut data) = (Vec::new(), None, Vec::new());
        for line in lines.split('\n') {
            match line.split_once(':') {
                _ if line.is_empty() && data.is_empty() => {}
                _ if line.is_empty() => events.push((id.take(), std::mem::take(&mut data).join("\n"))),
                Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value).to_owned()),
                Some(("id", value)) => id = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        events
    }

    #[test]
    fn a_snapshot_is_one_unnamed_event() {
        let snapshot = of(b"{\"a\":1}");
        let event = super::snapshot(&snapshot, &Rules::default()).unwrap();
        let text = String::from_utf8(event.payload().to_vec()).unwrap();
        assert_eq!(text, format!("id: {}\ndata: {{\"a\":1}}\n\n", snapshot.version));
        let chunk = format!("{:x}\r\n{text}\r\n", text.len());
        assert_eq!(event.chunk(), chunk.as_bytes());
    }

    #[test]
    fn bytes_need_base64() {
        assert_eq!(super::snapshot(&of(b"\xff"), &Rules::default()).unwrap_err(), NotText);
        let rules = Rules { base64: true, event_name: Some("state\nx".into()), ..Rules::default() };
        let event = super::snapshot(&of(b"\xff"), &rules).unwrap();
        let text = String::from_utf8(event.payload().to_vec()).unwrap();
        assert!(text.starts_with("event: statex\nid: "), "{text}");
        assert!(text.ends_with("\ndata: /w==\n\n"), "{text}");
    }

    proptest! {
        #[test]
        fn a_reader_gets_the_body_back(body in "[a:{}\r\n\0\u{feff}é ]{0,40}(\r\ndata: x)?") {
            let event = super::snapshot(&of(body.as_bytes()), &Rules::default()).unwrap();
            let text = String::from_utf8(event.payload().to_vec()).unwrap();
            let events = read(&text);
            prop_assert_eq!(events.len(), 1);
            // A byte order mark is no part of the text.
            let text = body.strip_prefix('\u{feff}').unwrap_or(&body);
            let lines = text.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(&events[0].1, &lines);
            prop_assert_eq!(events[0].0.clone().map(|id| id.len()), Some(22));
        }
    }
}
