//! The requests and bytes that each source cost the legacy API.
//!
//! Owns the counting. Must not know: what the answers say.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, Method, header, request};
use serde_json::{Value, json};

/// Where a request came from, as far as the legacy API can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The proxy's poller: its User-Agent says so.
    Pollcast,
    /// An ordinary poll.
    ShortPoll,
    /// A push form that reached this API, which cannot answer it as one.
    LongPoll,
    /// A request for an event stream.
    Sse,
    /// A request to upgrade to WebSocket.
    WebSocket,
    /// Chat messages and document edits.
    Write,
    /// The page itself: files, counters, the crowd's switch.
    Page,
}

const SOURCES_COUNT: usize = 7;

impl Source {
    /// Reads the source off a request's head; `api` tells resources from the page's own paths.
    pub fn of(head: &request::Parts, api: bool) -> Source {
        let value = |name| head.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
        if value(header::USER_AGENT).is_some_and(|agent| agent.starts_with("pollcast/")) {
            Source::Pollcast
        } else if !api {
            Source::Page
        } else if head.method != Method::GET && head.method != Method::HEAD {
            Source::Write
        } else if value(header::UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case("websocket")) {
            Source::WebSocket
        } else if value(header::ACCEPT).is_some_and(|accept| accept.contains("text/event-stream")) {
            Source::Sse
        } else if head.headers.contains_key("prefer") {
            Source::LongPoll
        } else {
            Source::ShortPoll
        }
    }
}

/// Whether a path is one of the API's resources, and none of the page's own.
pub fn is_api(path: &str) -> bool {
    ["/auction/", "/direct/", "/chat/", "/document"].iter().any(|own| path.starts_with(own))
}

#[derive(Debug, Default)]
struct Tally {
    requests: AtomicU64,
    header_bytes: AtomicU64,
    body_bytes: AtomicU64,
}

impl Tally {
    fn json(&self) -> Value {
        json!({
            "requests": self.requests.load(Ordering::Relaxed),
            "header_bytes": self.header_bytes.load(Ordering::Relaxed),
            "body_bytes": self.body_bytes.load(Ordering::Relaxed),
        })
    }
}

/// Counters since the start, one set a source.
#[derive(Debug, Default)]
pub struct Ledger {
    tallies: [Tally; SOURCES_COUNT],
}

impl Ledger {
    /// Counts one exchange; both numbers are request plus response.
    pub fn record(&self, source: Source, header_bytes: usize, body_bytes: usize) {
        let tally = self.tally(source);
        tally.requests.fetch_add(1, Ordering::Relaxed);
        tally.header_bytes.fetch_add(header_bytes as u64, Ordering::Relaxed);
        tally.body_bytes.fetch_add(body_bytes as u64, Ordering::Relaxed);
    }

    /// `{pollcast, direct: {short_poll, …}, page}`, each with requests and bytes.
    pub fn json(&self) -> Value {
        let of = |source| self.tally(source).json();
        json!({
            "pollcast": of(Source::Pollcast),
            "direct": {
                "short_poll": of(Source::ShortPoll),
                "long_poll": of(Source::LongPoll),
                "sse": of(Source::Sse),
                "websocket": of(Source::WebSocket),
                "write": of(Source::Write),
            },
            "page": of(Source::Page),
        })
    }

    fn tally(&self, source: Source) -> &Tally {
        &self.tallies[source as usize]
    }
}

/// Bytes of a header block on the wire: `name: value` and a line end each.
pub fn header_block_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// Bytes of a request's head on the wire, the blank line included.
pub fn request_head_bytes(head: &request::Parts) -> usize {
    let target = head.uri.path_and_query().map_or(1, |target| target.as_str().len());
    head.method.as_str().len() + 1 + target + " HTTP/1.1\r\n".len() + header_block_bytes(&head.headers) + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(api: bool, method: &str, headers: &[(&str, &str)]) -> Source {
        let mut request = http::Request::builder().method(method).uri("/auction/1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Source::of(&request.body(()).expect("a request").into_parts().0, api)
    }

    #[test]
    fn a_source_is_read_off_the_request() {
        assert_eq!(source(true, "GET", &[("user-agent", "pollcast/0.1.0")]), Source::Pollcast);
        assert_eq!(source(true, "GET", &[("user-agent", "curl/8 pollcast/1")]), Source::ShortPoll);
        assert_eq!(source(true, "GET", &[("prefer", "wait=30")]), Source::LongPoll);
        assert_eq!(source(true, "GET", &[("accept", "text/event-stream")]), Source::Sse);
        assert_eq!(source(true, "GET", &[("upgrade", "WebSocket")]), Source::WebSocket);
        assert_eq!(source(true, "POST", &[]), Source::Write);
        assert_eq!(source(false, "GET", &[]), Source::Page);
    }

    #[test]
    fn a_request_head_is_counted_to_the_byte() {
        let head = "GET /a?b=c HTTP/1.1\r\nhost: x\r\naccept: */*\r\n\r\n";
        let request = http::Request::get("/a?b=c").header("host", "x").header("accept", "*/*");
        let parts = request.body(()).expect("a request").into_parts().0;
        assert_eq!(request_head_bytes(&parts), head.len());
    }

    #[test]
    fn sources_are_counted_apart() {
        let ledger = Ledger::default();
        ledger.record(Source::Pollcast, 100, 10);
        ledger.record(Source::Pollcast, 100, 10);
        ledger.record(Source::ShortPoll, 1, 2);
        let counted = ledger.json();
        assert_eq!(counted["pollcast"]["requests"], 2);
        assert_eq!(counted["pollcast"]["header_bytes"], 200);
        assert_eq!(counted["direct"]["short_poll"]["body_bytes"], 2);
        assert_eq!(counted["direct"]["sse"]["requests"], 0);
    }
}
