//! The own answers of a covered URL: heads for a snapshot, a 304, a problem (contract §3, §4).
//!
//! One place decides the fields, whether Pingora writes them (ordinary polls) or a shard
//! (long-poll). Must not know: connections.

use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::config::{Compress, Route, Share};
use crate::frame::PatchKind;
use crate::resource::{ResourceKey, Snapshot, Version};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// How a snapshot came to be the answer (RFC 9211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// Young enough; seconds it stays so.
    Hit { ttl: u64 },
    /// This request, or one it shares, made the poll.
    Miss,
    /// The upstream fails; this is the last good one.
    Stale,
}

impl CacheStatus {
    pub fn value(self) -> HeaderValue {
        let text = match self {
            CacheStatus::Hit { ttl } => format!("pollcast; hit; ttl={ttl}"),
            CacheStatus::Miss => "pollcast; fwd=miss".to_owned(),
            CacheStatus::Stale => "pollcast; fwd=stale".to_owned(),
        };
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("pollcast"))
    }

    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            CacheStatus::Hit { .. } => "hit",
            CacheStatus::Miss => "miss",
            CacheStatus::Stale => "stale",
        }
    }
}

/// The head of a 304 for a client's version when nothing newer is known: the fields that it
/// shares with a 200 are ETag, Vary, Cache-Control, Link and Date.
///
/// `coded`: the 200 would be compressed.
pub fn unchanged(version: Version, key: &ResourceKey, route: &Route, coded: bool) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(16);
    if let Ok(etag) = HeaderValue::try_from(etag(version, route, coded)) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::CACHE_CONTROL, cache_control(key, route));
    headers.insert(header::VARY, vary(key, route, &[]));
    if route.link && route.transports.sse {
        // A target may hold `>`, which would end the reference (RFC 8288 §3), and quotes, which some readers
        // look for first.
        let target = key.target().replace('<', "%3C").replace('>', "%3E").replace('"', "%22");
        let link = format!("<{target}>; rel=\"alternate\"; type=\"text/event-stream\"");
        if let Ok(link) = HeaderValue::try_from(link) {
            headers.insert(header::LINK, link);
        }
    }
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())) {
        headers.insert(header::DATE, date);
    }
    headers
}

/// Weak where members are ignored, as their values may differ under one version, and for compressed
/// bodies, whose bytes are not the version's.
fn etag(version: Version, route: &Route, coded: bool) -> String {
    let strong = route.change.ignore.is_empty() && !coded;
    if strong { version.etag() } else { format!("W/{}", version.etag()) }
}

/// Whether answers of a resource are compressed for clients that take that. By default not what is one
/// user's: see [`Compress`].
pub fn is_compressed(key: &ResourceKey, route: &Route) -> bool {
    match route.compress {
        Compress::Shared => is_everybodys(key, route),
        Compress::Always => true,
        Compress::Never => false,
    }
}

/// Whether anybody may read a resource, whoever they are.
pub fn is_everybodys(key: &ResourceKey, route: &Route) -> bool {
    !key.is_private() && route.authenticate.is_none() && route.share != Share::Authorize
}

/// The shared fields for a snapshot; the upstream's `no-store` is kept.
fn common(snapshot: &Snapshot, key: &ResourceKey, route: &Route, coded: bool) -> HeaderMap {
    let mut headers = unchanged(snapshot.version, key, route, coded);
    if let Some(no_store) = snapshot.headers.get(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, no_store.clone());
    }
    headers.insert(header::VARY, vary(key, route, &snapshot.vary));
    headers
}

fn cache_control(key: &ResourceKey, route: &Route) -> HeaderValue {
    if let Some(said) = &route.downstream_cache {
        return said.clone();
    }
    HeaderValue::from_static(if is_everybodys(key, route) { "no-cache" } else { "private, no-cache" })
}

/// `upstream`: what the upstream's own `Vary` names, whether or not this client sent it.
fn vary(key: &ResourceKey, route: &Route, upstream: &[HeaderName]) -> HeaderValue {
    let parts = key.parts();
    let mut names = vec!["Accept", "Prefer"];
    if is_compressed(key, route) {
        names.push("Accept-Encoding");
    }
    names.extend(parts.class.iter().map(|(name, _)| name.as_str()));
    names.extend(parts.vary.iter().map(|(name, _)| name.as_str()));
    let untold = upstream.iter().filter(|name| parts.vary.iter().all(|(told, _)| told != *name));
    names.extend(untold.map(HeaderName::as_str));
    HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("*"))
}

/// The head of a 200 with this snapshot. `age`: the upstream's plus the time since confirmed. `gzip`: the
/// body, when that is what is sent.
pub fn full(
    snapshot: &Snapshot,
    key: &ResourceKey,
    route: &Route,
    age: Duration,
    status: Option<CacheStatus>,
    gzip: Option<&Bytes>,
) -> HeaderMap {
    let mut headers = common(snapshot, key, route, gzip.is_some());
    for (name, value) in &snapshot.headers {
        match *name {
            header::CACHE_CONTROL => {}
            // Ours stands first, the upstream's links follow.
            _ => drop(headers.append(name.clone(), value.clone())),
        }
    }
    if let Some(content_type) = &snapshot.content_type {
        headers.insert(header::CONTENT_TYPE, content_type.clone());
    }
    if gzip.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if snapshot.status != StatusCode::NO_CONTENT {
        let length = gzip.unwrap_or(&snapshot.body).len();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
    if let Some(status) = status {
        headers.insert(CACHE_STATUS, status.value());
    }
    headers
}

/// The head of a 226 whose body is a JSON patch from `base` to this snapshot (RFC 3229 §10.4.1).
pub fn patched(
    snapshot: &Snapshot,
    key: &ResourceKey,
    route: &Route,
    base: Version,
    length: usize,
) -> HeaderMap {
    let mut headers = common(snapshot, key, route, false);
    headers.insert("im", HeaderValue::from_static(PatchKind::Json.word()));
    if let Ok(base) = HeaderValue::try_from(etag(base, route, false)) {
        headers.insert("delta-base", base);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PatchKind::Json.media_type()));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    // Caches between here and the client seldom know 226.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.append(header::VARY, HeaderValue::from_static("A-IM, If-None-Match"));
    headers
}

/// The head of a 200 whose body are the items of a feed since a client's cursor (contract §4).
///
/// `last`: the item to come back with. `reset`: why the client has to read the page again.
pub fn items(
    key: &ResourceKey,
    route: &Route,
    length: usize,
    last: Option<&str>,
    reset: Option<&str>,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CACHE_CONTROL, cache_control(key, route));
    headers.insert(header::VARY, vary(key, route, &[]));
    for (name, value) in [("last-event-id", last), ("pollcast-reset", reset)] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())) {
        headers.insert(header::DATE, date);
    }
    headers
}

/// The head of a 304 (RFC 9110 §15.4.5).
pub fn not_modified(
    snapshot: &Snapshot,
    key: &ResourceKey,
    route: &Route,
    status: Option<CacheStatus>,
    coded: bool,
) -> HeaderMap {
    let mut headers = common(snapshot, key, route, coded);
    if let Some(status) = status {
        headers.insert(CACHE_STATUS, status.value());
    }
    headers
}

/// What keeps a browser from making more of an own document than text, or showing it in another site's page.
pub const GUARDS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// A problem+json body (RFC 9457) and its head.
#[must_use]
pub fn problem(status: StatusCode, title: &str, detail: &str) -> (HeaderMap, Bytes) {
    let body = serde_json::json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
    });
    let body = Bytes::from(format!("{body}\n"));
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.extend(GUARDS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(SystemTime::now())) {
        headers.insert(header::DATE, date);
    }
    (headers, body)
}

/// A head as bytes of an HTTP/1 connection. `http10`: the version of the status line.
pub fn head_bytes(status: StatusCode, headers: &HeaderMap, extra: &[u8], http10: bool) -> BytesMut {
    let mut head = BytesMut::with_capacity(64 + headers.len() * 48 + extra.len());
    head.put_slice(if http10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    head.put_slice(status.as_str().as_bytes());
    head.put_u8(b' ');
    head.put_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    head.put_slice(b"\r\n");
    put_lines(&mut head, headers);
    head.put_slice(extra);
    head.put_slice(b"\r\n");
    head
}

/// Fields as lines of an HTTP/1 head.
pub fn lines(headers: &HeaderMap) -> Bytes {
    let mut lines = BytesMut::new();
    put_lines(&mut lines, headers);
    lines.freeze()
}

fn put_lines(head: &mut BytesMut, headers: &HeaderMap) {
    for (name, value) in headers {
        put_title(head, name.as_str());
        head.put_slice(b": ");
        head.put_slice(value.as_bytes());
        head.put_slice(b"\r\n");
    }
}

/// `etag` as `Etag`: HTTP/1 names do not care about case, but people who read them do.
fn put_title(head: &mut BytesMut, name: &str) {
    let mut start = true;
    for byte in name.bytes() {
        head.put_u8(if start { byte.to_ascii_uppercase() } else { byte });
        start = byte == b'-';
    }
}
