//! The own answers of a covered URL: heads for a snapshot, a 304, a problem (contract §3, §4).
//!
//! One place decides the fields, whether Pingora writes them (ordinary polls) or a shard
//! (long-poll). Must not know: connections.

use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::config::{ClassValue, Compress, Route, Share};
use crate::frame::PatchKind;
use crate::hub::View;
use crate::resource::{ResourceKey, Snapshot, Version};
use crate::upstream::fields::is_digest;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// How a snapshot came to be the answer (RFC 9211).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// The snapshot is young enough.
    Hit {
        /// Seconds for which the state stays young.
        ttl: u64,
    },
    /// This request made the poll, or waited for one that another request made.
    Miss,
    /// The upstream fails, and this is its last good answer.
    Stale,
}

impl CacheStatus {
    /// The value of `Cache-Status` (RFC 9211).
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

/// The head of a 304 for a client's version of which nothing else is known any more: ETag, Vary, Cache-Control,
/// Link and Date.
///
/// `coded`: the 200 would be compressed.
pub fn unchanged(version: Version, key: &ResourceKey, route: &Route, coded: bool) -> HeaderMap {
    let mut headers = own(version, key, route, coded);
    headers.insert(header::CACHE_CONTROL, cache_control(key, route, None));
    headers.insert(header::VARY, vary(key, route, None));
    headers
}

/// The head of a 304 for a client's version: what the 200 of that version would say, if `view` still has it.
pub fn unchanged_in(
    view: Option<&View>,
    version: Version,
    key: &ResourceKey,
    route: &Route,
    coded: bool,
) -> HeaderMap {
    let held = view.and_then(|view| Some((view, view.frame.as_ref().filter(|f| f.version() == version)?)));
    let Some((view, frame)) = held else { return unchanged(version, key, route, coded) };
    let age = view.upstream_age + view.confirmed_at().map_or(Duration::ZERO, |at| at.elapsed());
    not_modified(&frame.snapshot, key, route, age, None, coded)
}

/// The fields that are the same whatever the upstream says.
fn own(version: Version, key: &ResourceKey, route: &Route, coded: bool) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(24);
    if let Ok(etag) = HeaderValue::try_from(etag(version, route, coded)) {
        headers.insert(header::ETAG, etag);
    }
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

/// Weak where members or lines are ignored, as their values may differ under one version, and for compressed
/// bodies, whose bytes are not the version's.
fn etag(version: Version, route: &Route, coded: bool) -> String {
    let strong = route.change.ignore.is_empty() && route.change.ignore_lines.is_empty() && !coded;
    if strong { version.etag() } else { format!("W/{}", version.etag()) }
}

/// Whether answers of a resource are compressed for clients that take that. By default an answer that is one user's is
/// not: see [`Compress`].
pub fn is_compressed(key: &ResourceKey, route: &Route) -> bool {
    match route.compress {
        Compress::Shared => is_everybodys(key, route),
        Compress::Always => true,
        Compress::Never => false,
    }
}

/// Whether any client may read a resource.
pub fn is_everybodys(key: &ResourceKey, route: &Route) -> bool {
    !key.is_private() && route.authenticate.is_none() && route.share != Share::Authorize
}

/// Whether answering with this snapshot would change content that the upstream forbids to change: a rule of the
/// route rewrote it, or a coding was undone that this client takes.
pub fn is_transformed(snapshot: &Snapshot, route: &Route, accept_encoding: Option<&HeaderValue>) -> bool {
    if !snapshot.forbids_transformation() {
        return false;
    }
    let taken = |coding: &HeaderValue| {
        let accepted = accept_encoding.map(|accepted| accepted.as_bytes().to_ascii_lowercase());
        let coding = coding.as_bytes().to_ascii_lowercase();
        accepted.is_some_and(|accepted| {
            accepted.contains(&b'*') || accepted.windows(coding.len().max(1)).any(|part| part == coding)
        })
    };
    route.change.has_rules() || snapshot.headers.get(header::CONTENT_ENCODING).is_some_and(taken)
}

/// All fields of a 200 with this snapshot but those that describe its content (`Content-*`).
fn common(snapshot: &Snapshot, key: &ResourceKey, route: &Route, coded: bool) -> HeaderMap {
    let mut headers = own(snapshot.version, key, route, coded);
    for (name, value) in &snapshot.headers {
        let is_digest = || coded && is_digest(name);
        if !matches!(*name, header::CACHE_CONTROL | header::VARY)
            && !name.as_str().starts_with("content-")
            && !is_digest()
        {
            // pollcast's own link stands first, the upstream's links follow.
            headers.append(name.clone(), value.clone());
        }
    }
    let kept = snapshot.headers.get(header::CACHE_CONTROL);
    headers.insert(header::CACHE_CONTROL, cache_control(key, route, kept));
    headers.insert(header::VARY, vary(key, route, Some(snapshot)));
    headers
}

/// `kept` is what goes on of the upstream's own field.
fn cache_control(key: &ResourceKey, route: &Route, kept: Option<&HeaderValue>) -> HeaderValue {
    let ours = match &route.downstream_cache {
        Some(said) => said.clone(),
        None if is_everybodys(key, route) => HeaderValue::from_static("no-cache"),
        None => HeaderValue::from_static("private, no-cache"),
    };
    let Some(kept) = kept else { return ours };
    // No setting of the operator overrides `no-store`.
    if kept.as_bytes().starts_with(b"no-store") {
        return kept.clone();
    }
    HeaderValue::from_bytes(&[ours.as_bytes(), b", ", kept.as_bytes()].concat()).unwrap_or(ours)
}

/// What the answer depends on: what the upstream's own `Vary` names, what chooses the form, and what is in the key or
/// would be for another client.
fn vary(key: &ResourceKey, route: &Route, snapshot: Option<&Snapshot>) -> HeaderValue {
    let parts = key.parts();
    let mut names: Vec<&str> = Vec::with_capacity(8);
    let mut add = |name| {
        if !names.iter().any(|told: &&str| told.eq_ignore_ascii_case(name)) {
            names.push(name);
        }
    };
    for line in snapshot.iter().flat_map(|snapshot| snapshot.headers.get_all(header::VARY)) {
        let members = line.to_str().unwrap_or_default().split(',').map(str::trim);
        members.filter(|name| !name.is_empty()).for_each(&mut add);
    }
    ["Accept", "Prefer"].into_iter().for_each(&mut add);
    if is_compressed(key, route) {
        add("Accept-Encoding");
    }
    if let Share::By(values) = &route.share {
        values.iter().for_each(|value| match value {
            ClassValue::Header(name) => add(name.as_str()),
            ClassValue::Cookie(_) => add("cookie"),
            // The identity is read from what `authenticate` reads, and the answer is private.
            ClassValue::Identity { .. } => {}
        });
    }
    route.headers.vary.iter().for_each(|name| add(name.as_str()));
    parts.class.iter().for_each(|(name, _)| add(name.as_str()));
    parts.vary.iter().for_each(|(name, _)| add(name.as_str()));
    snapshot.iter().flat_map(|snapshot| &snapshot.vary).for_each(|name| add(name.as_str()));
    HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("*"))
}

/// The head of a 200 with this snapshot. `age` is the upstream's age plus the time since the state was confirmed.
/// `gzip` is the compressed body, if that is sent.
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
        let describes_content = name.as_str().starts_with("content-") && *name != header::CONTENT_ENCODING;
        if describes_content && !(gzip.is_some() && is_digest(name)) {
            headers.append(name.clone(), value.clone());
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
/// `last` is the item to come back with, `reset` says why the client has to read the page again.
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
    headers.insert(header::CACHE_CONTROL, cache_control(key, route, None));
    headers.insert(header::VARY, vary(key, route, None));
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

/// The head of a 304: what the 200 would say, but `Content-*` (RFC 9110 §15.4.5).
pub fn not_modified(
    snapshot: &Snapshot,
    key: &ResourceKey,
    route: &Route,
    age: Duration,
    status: Option<CacheStatus>,
    coded: bool,
) -> HeaderMap {
    let mut headers = common(snapshot, key, route, coded);
    headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
    if let Some(status) = status {
        headers.insert(CACHE_STATUS, status.value());
    }
    headers
}

/// The fields that keep a browser from treating an own document as more than text, and from showing it in another
/// site's page.
pub const GUARDS: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
];

/// The fields of every event stream (contract §5).
pub fn event_stream() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Prefer"));
    headers
}

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

/// A head as bytes of an HTTP/1 connection. `http10` chooses the version of the status line.
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

/// Writes `etag` as `Etag`: case means nothing in HTTP/1, but people read it so more easily.
fn put_title(head: &mut BytesMut, name: &str) {
    let mut start = true;
    for byte in name.bytes() {
        head.put_u8(if start { byte.to_ascii_uppercase() } else { byte });
        start = byte == b'-';
    }
}
