//! The legacy API of the demo: a small HTTP/1.1 server that can only be polled.
//!
//! Owns the paths, the slowness and the talkative headers that such an API is known for, and serves the
//! demo's page. Must not know: how the proxy works; it sees requests, and counts who sent them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::auction::{LOT_COUNT, Lot, UnixMs};
use super::crowd::Crowd;
use super::ledger::{Ledger, Source, header_block_bytes, request_head_bytes};
use super::page;
use super::room::{Chat, Document, Posting};

/// Longest request body, bytes.
const BODY_BYTES: usize = 32 * 1024;
/// Connections served at once; more wait in the backlog.
const CONNECTIONS: usize = 512;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// What the HTTP library adds to an answer's head by itself.
const DATE_LINE_BYTES: usize = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len();

/// Headers as they gather over the years around such an API. No `max-age` above zero and no rate limits:
/// a proxy rightly obeys those, and the demo wants its default interval.
const HABITS: [(&str, &str); 17] = [
    (
        "cache-control",
        "max-age=0, must-revalidate, proxy-revalidate, stale-while-revalidate=0, stale-if-error=0",
    ),
    ("pragma", "no-cache"),
    ("expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("content-language", "en"),
    (
        "content-security-policy",
        "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; img-src 'self' data:; report-uri /csp-report",
    ),
    (
        "permissions-policy",
        "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()",
    ),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("strict-transport-security", "max-age=63072000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("x-permitted-cross-domain-policies", "none"),
    (
        "x-powered-by",
        "SalesroomServlet/2.4 (build 20090317-1142; rev 88213)",
    ),
    (
        "x-application-context",
        "salesroom-api:production,eu-west,blue:8080",
    ),
    (
        "x-feature-flags",
        "new-catalogue=off; autobid=on; buyers-premium-v2=on; currency-widget=off; legacy-paddles=on",
    ),
    ("x-backend-server", "app07.salesroom.internal"),
    ("x-content-source", "primary; region=eu-west; shard=4"),
    ("x-api-deprecation", "none planned"),
];

/// How slow the API is, and the seed of everything random in it.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Milliseconds before every answer of a resource.
    pub latency_ms: RangeInclusive<u64>,
    pub seed: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace {
            latency_ms: 40..=120,
            seed: 1884,
        }
    }
}

/// A running legacy API; it ends when this is dropped.
#[derive(Debug)]
pub struct LegacyHandle {
    address: SocketAddr,
    legacy: Arc<Legacy>,
    server: JoinHandle<()>,
}

impl LegacyHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the crowd where the proxy listens; before that, `POST /crowd` answers 503.
    pub fn point_crowd_at(&self, proxy: SocketAddr) {
        self.legacy.crowd.point_at(proxy);
    }

    /// What `GET /stats` says.
    pub fn stats(&self) -> Value {
        self.legacy.stats()
    }
}

impl Drop for LegacyHandle {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Binds `listen` and serves the legacy API and the page on the current tokio runtime.
///
/// Fails when the address cannot be bound.
pub async fn serve_legacy(listen: SocketAddr, pace: Pace) -> std::io::Result<LegacyHandle> {
    let listener = TcpListener::bind(listen).await.map_err(|error| {
        std::io::Error::new(
            error.kind(),
            format!("the demo's legacy API cannot listen on {listen}: {error}"),
        )
    })?;
    let address = listener.local_addr()?;
    let legacy = Arc::new(Legacy::open(pace, unix_ms()));
    let server = tokio::spawn(accept(listener, Arc::clone(&legacy)));
    Ok(LegacyHandle {
        address,
        legacy,
        server,
    })
}

async fn accept(listener: TcpListener, legacy: Arc<Legacy>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(TokioIo::new(stream), Arc::clone(&legacy)));
                }
                // Out of file descriptors: they come back, and a tight loop would not help.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TokioIo<tokio::net::TcpStream>, legacy: Arc<Legacy>) {
    let service = service_fn(move |request| {
        let legacy = Arc::clone(&legacy);
        async move { Ok::<_, Infallible>(legacy.exchange(request).await) }
    });
    // A connection that broke has nobody left to tell.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(stream, service)
        .await;
}

#[derive(Debug)]
struct Legacy {
    pace: Pace,
    chance: Mutex<fastrand::Rng>,
    lots: Mutex<Vec<Lot>>,
    chat: Mutex<Chat>,
    document: Mutex<Document>,
    ledger: Ledger,
    crowd: Crowd,
}

impl Legacy {
    fn open(pace: Pace, now_ms: UnixMs) -> Legacy {
        Legacy {
            chance: Mutex::new(fastrand::Rng::with_seed(pace.seed)),
            lots: Mutex::new(
                (1..=LOT_COUNT)
                    .filter_map(|number| Lot::open(number, pace.seed, now_ms))
                    .collect(),
            ),
            chat: Mutex::new(Chat::open(now_ms)),
            document: Mutex::new(Document::open(now_ms)),
            ledger: Ledger::default(),
            crowd: Crowd::of("/auction/1"),
            pace,
        }
    }

    /// One request: read, answer, count.
    async fn exchange(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let api = ["/auction/", "/direct/", "/chat/", "/document"]
            .iter()
            .any(|own| path.starts_with(own));
        let (sent, response) = match Limited::new(body, BODY_BYTES).collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                if api {
                    sleep(self.latency()).await;
                }
                (body.len(), self.answer(&head, &body))
            }
            Err(_) => (
                0,
                problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 32 KiB"),
            ),
        };
        let status_line = 13 + response.status().canonical_reason().map_or(0, str::len) + "\r\n\r\n".len();
        let answered_head = status_line + header_block_bytes(response.headers()) + DATE_LINE_BYTES;
        let answered = if head.method == Method::HEAD {
            0
        } else {
            body_bytes(&response)
        };
        self.ledger.record(
            Source::of(&head, api),
            request_head_bytes(&head) + answered_head,
            sent + answered,
        );
        response
    }

    fn answer(&self, head: &request::Parts, body: &[u8]) -> Response<Full<Bytes>> {
        let reading = head.method == Method::GET || head.method == Method::HEAD;
        if !reading && is_foreign(&head.headers) {
            return problem(StatusCode::FORBIDDEN, "writes are for pages of this origin");
        }
        let path: Vec<&str> = head.uri.path().trim_start_matches('/').split('/').collect();
        match (head.method.as_str(), path.as_slice()) {
            ("GET" | "HEAD", ["auction", lot] | ["direct", "auction", lot]) => self.lot(head, lot),
            ("GET" | "HEAD", ["chat", "messages"]) => self.resource(head, &self.chat.lock().json()),
            ("POST", ["chat", "messages"]) => self.post_message(body),
            ("GET" | "HEAD", ["document"]) => self.resource(head, &self.document.lock().json()),
            ("PUT", ["document"]) => self.put_document(body),
            ("GET" | "HEAD", ["stats"]) => plain_json(StatusCode::OK, &self.stats()),
            ("GET" | "HEAD", ["echo"]) => plain_json(
                StatusCode::OK,
                &json!({ "request_head_bytes": request_head_bytes(head) }),
            ),
            ("POST", ["crowd"]) => self.resize_crowd(head),
            ("GET" | "HEAD", _) => page::file(head.uri.path())
                .unwrap_or_else(|| problem(StatusCode::NOT_FOUND, "there is nothing at this path")),
            _ => problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not know that method",
            ),
        }
    }

    fn lot(&self, head: &request::Parts, number: &str) -> Response<Full<Bytes>> {
        let index = number
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_sub(1));
        let mut lots = self.lots.lock();
        match index.and_then(|index| lots.get_mut(index)) {
            Some(lot) => {
                let state = json!(lot.at(unix_ms()));
                self.resource(head, &state)
            }
            None => problem(StatusCode::NOT_FOUND, "lots are numbered from 1 to 8"),
        }
    }

    fn post_message(&self, body: &[u8]) -> Response<Full<Bytes>> {
        match Posting::read(body) {
            Some(posting) => {
                let id = self.chat.lock().add(posting, unix_ms());
                self.written(StatusCode::CREATED, &json!({ "id": id }))
            }
            None => problem(
                StatusCode::BAD_REQUEST,
                "wanted {\"from\", \"text\"} or a plain text",
            ),
        }
    }

    fn put_document(&self, body: &[u8]) -> Response<Full<Bytes>> {
        match std::str::from_utf8(body) {
            Ok(text) => {
                let revision = self.document.lock().replace(text, unix_ms());
                self.written(StatusCode::OK, &json!({ "revision": revision }))
            }
            Err(_) => problem(StatusCode::BAD_REQUEST, "the document is not UTF-8"),
        }
    }

    fn resize_crowd(&self, head: &request::Parts) -> Response<Full<Bytes>> {
        let wanted = head.uri.query().unwrap_or_default().split('&');
        let wanted = wanted.filter_map(|pair| pair.strip_prefix("clients=")).next();
        let Some(wanted) = wanted.and_then(|number| number.parse::<usize>().ok()) else {
            return problem(StatusCode::BAD_REQUEST, "wanted ?clients= and a number");
        };
        match self.crowd.resize(wanted) {
            Ok(_) => plain_json(StatusCode::OK, &self.crowd.json()),
            Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    fn stats(&self) -> Value {
        let mut stats = self.ledger.json();
        stats["now_ms"] = json!(unix_ms());
        stats["crowd"] = self.crowd.json();
        stats
    }

    /// A resource as this API answers it: a strong validator and all its habits.
    fn resource(&self, head: &request::Parts, state: &Value) -> Response<Full<Bytes>> {
        let body = Bytes::from(state.to_string());
        let tag = format!("\"{}\"", &blake3::hash(&body).to_hex()[..32]);
        let mut response = if tag_matches(&head.headers, &tag) {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            json_response(StatusCode::OK, body)
        };
        self.add_habits(response.headers_mut());
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }

    fn written(&self, status: StatusCode, answer: &Value) -> Response<Full<Bytes>> {
        let mut response = json_response(status, Bytes::from(answer.to_string()));
        self.add_habits(response.headers_mut());
        response
    }

    fn add_habits(&self, headers: &mut HeaderMap) {
        for (name, value) in HABITS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let (trace, span) = {
            let mut chance = self.chance.lock();
            (chance.u128(..), chance.u64(..))
        };
        for (name, value) in [
            ("x-request-id", format!("{trace:032x}")),
            (
                "x-trace",
                format!("root={trace:032x}; span={span:016x}; sampled=1"),
            ),
        ] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
    }

    fn latency(&self) -> Duration {
        Duration::from_millis(self.chance.lock().u64(self.pace.latency_ms.clone()))
    }
}

/// Whether a browser says that another site's page sends this.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let Some(origin) = text(header::ORIGIN) else {
        return false;
    };
    let origin_host = origin.split_once("://").map(|(_, host)| host);
    origin_host != text(header::HOST)
}

/// RFC 9110 §13.1.2: a list, compared weakly.
fn tag_matches(headers: &HeaderMap, current: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == current)
}

fn json_response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.clone()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    response
}

fn plain_json(status: StatusCode, answer: &Value) -> Response<Full<Bytes>> {
    let mut response = json_response(status, Bytes::from(answer.to_string()));
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    plain_json(status, &json!({ "status": status.as_u16(), "detail": detail }))
}

fn body_bytes(response: &Response<Full<Bytes>>) -> usize {
    hyper::body::Body::size_hint(response.body()).exact().unwrap_or(0) as usize
}

fn unix_ms() -> UnixMs {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as UnixMs)
}

#[cfg(test)]
mod tests;
