//! Contract §12: requests that HTTP/2 can say and HTTP/1 cannot. What becomes a head upstream is one head.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{Range, clean};
use crate::support::client::{Http, connect};
use crate::support::wire::{Wire, within};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field that no table knows (RFC 7541 §6.2.2), its text as it is.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let bytes = super::latin1(text);
        // Longer ones would need a second byte of length.
        assert!(bytes.len() < 127, "{text:?}");
        [&[bytes.len() as u8][..], &bytes].concat()
    };
    [&[0][..], &text(name), &text(value)].concat()
}

/// What became of stream 1.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// By a frame, its error code.
    Reset(u32),
    GoAway(u32),
    Closed,
    /// An answer; the status where the static table has it.
    Status(Option<u16>),
}

async fn ask(address: SocketAddr, fields: &[(&str, &str)], body: Option<&[u8]>) -> End {
    let mut wire = Wire::over(connect(address).await);
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
    let flags = END_HEADERS | if body.is_none() { END_STREAM } else { 0 };
    let mut sent = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(HEADERS, flags, 1, &block)].concat();
    if let Some(body) = body {
        sent.extend(frame(DATA, END_STREAM, 1, body));
    }
    let _ = wire.write(&sent).await;
    within("the end of an HTTP/2 stream", end(&mut wire)).await
}

async fn end(wire: &mut Wire) -> End {
    loop {
        let Ok(head) = wire.exactly(9).await else { return End::Closed };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Ok(payload) = wire.exactly(length).await else { return End::Closed };
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four bytes"));
        match head[3] {
            RST_STREAM => return End::Reset(code(0)),
            GOAWAY => return End::GoAway(code(4)),
            HEADERS => {
                let known = [200, 204, 206, 304, 400, 404, 500];
                let index =
                    payload.iter().find(|byte| *byte & 0x80 != 0).map(|byte| usize::from(byte & 0x7f));
                let at = index.and_then(|index| index.checked_sub(8));
                return End::Status(at.and_then(|at| known.get(at).copied()));
            }
            _ => {}
        }
    }
}

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/x")];

/// The usual request with one pseudo-header said otherwise; `None`: left out.
fn with<'a>(name: &str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let of = |(own, usual): (&'static str, &'static str)| match value {
        _ if own != name => Some((own, usual)),
        Some(value) => Some((own, value)),
        None => None,
    };
    GET.into_iter().filter_map(of).collect()
}

fn and<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    GET.into_iter().chain(more.iter().copied()).collect()
}

/// The fields of a request, and its body.
type Case = (Vec<(&'static str, &'static str)>, Option<&'static [u8]>);

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for field in [
        ("X-Upper", "a"),
        ("connection", "close"),
        ("connection", "x-a"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("", "a"),
        ("x y", "a"),
        ("x:y", "a"),
        ("x\r\ny", "a"),
        ("x\0", "a"),
        ("x", "a\r\nHost: b"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("x", "a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("host", "b"),
        ("host", "a@b"),
        (":path", "/y"),
        (":method", "POST"),
        (":authority", "b"),
        (":status", "200"),
        (":x", "a"),
        ("content-length", "5"),
        ("content-length", "-1"),
        ("content-length", "+0"),
        ("content-length", "0, 0"),
        ("content-length", "x"),
    ] {
        cases.push((and(&[field]), None));
    }
    cases.push((and(&[("x", "a"), (":path", "/y")]), None));
    cases.push((and(&[("content-length", "0"), ("content-length", "5")]), None));
    cases.push(([("x", "a")].into_iter().chain(GET).collect(), None));
    for (name, value) in [
        (":path", None),
        (":path", Some("")),
        (":path", Some("x")),
        (":path", Some("*")),
        (":path", Some("?x")),
        (":path", Some("?/x")),
        (":path", Some("http://b/x")),
        (":path", Some("/x y")),
        (":path", Some("/x\r\nHost: b")),
        (":path", Some("/x HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled")),
        (":path", Some("/x\0")),
        (":method", None),
        (":method", Some("")),
        (":method", Some("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET")),
        (":method", Some("G T")),
        (":scheme", None),
        (":scheme", Some("http://b/x?")),
        (":authority", None),
        (":authority", Some("")),
        (":authority", Some("a@b")),
        (":authority", Some("a/b")),
        (":authority", Some("a b")),
        (":authority", Some("a,b")),
        (":authority", Some("a:x")),
        (":authority", Some("a\r\nX: y")),
    ] {
        cases.push((with(name, value), None));
    }
    for (length, body) in
        [("4", &b"12345"[..]), ("6", b"12345"), ("0", b"12345"), ("00", b"12345"), ("5x", b"12345")]
    {
        let mut fields = with(":method", Some("POST"));
        fields.push(("content-length", length));
        cases.push((fields, Some(body)));
    }
    cases.push((vec![(":method", "CONNECT"), (":authority", "a:443")], None));
    cases
}

#[tokio::test]
async fn what_http2_says_wrongly_never_becomes_a_request_upstream() {
    let range = Range::with(", http2: true", "");
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for (fields, body) in cases() {
        range.legacy.forget();
        let end = ask(range.address(), &fields, body).await;
        *ends.entry(format!("{end:?}")).or_default() += 1;
        let seen: Vec<String> = range.legacy.all_seen().into_iter().map(|seen| seen.target).collect();
        if end == End::Status(Some(200)) || !seen.is_empty() {
            faults.push(format!("{fields:?}: {end:?}, the upstream saw {seen:?}"));
        }
        // The connections to the upstream are in step.
        let after = Http::connect(range.address()).await.get("/after", &[]).await;
        assert_eq!(after.text(), "after", "{fields:?}");
    }
    println!("hostile cases, HTTP/2: {}: {ends:?}", cases().len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Its head alone is a whole request of HTTP/1; whether it is one of HTTP/2 says its end.
#[tokio::test]
async fn a_request_without_a_body_and_without_an_end_is_none() {
    let range = Range::with(", http2: true", "limits: {header_timeout: 200ms}");
    for length in ["0", "00"] {
        let mut fields = with(":method", Some("POST"));
        fields.push(("content-length", length));
        range.legacy.forget();
        // An end with no byte before it.
        assert_eq!(ask(range.address(), &fields, Some(b"")).await, End::Status(Some(200)), "{length}");
        assert_eq!(range.legacy.all_seen().len(), 1, "{length}");
        range.legacy.forget();
        let mut wire = Wire::over(connect(range.address()).await);
        let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
        let head = frame(HEADERS, END_HEADERS, 1, &block);
        wire.write(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &head].concat()).await.expect("a connection");
        // 408 is in no table.
        assert_eq!(within("a refusal", end(&mut wire)).await, End::Status(None), "{length}");
        assert_eq!(range.legacy.all_seen().len(), 0, "{length}");
    }
}

#[tokio::test]
async fn what_http2_says_rightly_is_one_clean_request_upstream() {
    let range = Range::with(", http2: true", "");
    for (fields, target) in [
        (GET.to_vec(), "/x"),
        (and(&[("host", "a")]), "/x"),
        (and(&[("te", "trailers")]), "/x"),
        (and(&[("cookie", "a=1"), ("cookie", "b=2")]), "/x"),
        (and(&[("x", "")]), "/x"),
        // Which scheme it is says the listener.
        (with(":scheme", Some("")), "/x"),
        (with(":scheme", Some("https")), "/x"),
        (with(":path", Some("/open/%61?b")), "/open/a?b"),
        (with(":path", Some("/open//a")), "/open//a"),
        (with(":path", Some("//a/../b")), "//a/../b"),
        (with(":path", Some("/x?a=http://b/")), "/x?a=http://b/"),
    ] {
        range.legacy.forget();
        assert_eq!(ask(range.address(), &fields, None).await, End::Status(Some(200)), "{fields:?}");
        let seen = range.legacy.all_seen();
        let targets: Vec<&str> = seen.iter().map(|seen| seen.target.as_str()).collect();
        assert_eq!(targets, [target], "{fields:?}");
        clean(&seen[0].head).unwrap_or_else(|fault| panic!("{fields:?}: {fault}"));
    }
    for spelling in ["/guarded//a", "/x/../guarded/a", "/%2567uarded/a", "/guarded;x/a"] {
        range.legacy.forget();
        let end = ask(range.address(), &with(":path", Some(spelling)), None).await;
        assert_eq!(end, End::Status(Some(400)), "{spelling}");
        assert_eq!(range.legacy.all_seen().len(), 0, "{spelling}");
    }
}
