//! The legacy API of the demo: a small HTTP/1.1 server that can only be polled.
//!
//! Owns the paths, the slowness and the talkative headers that such an API is known for, and serves the
//! demo's page. Must not know: how the proxy works; it sees requests, and counts who sent them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::answer;
use super::auction::{LOT_COUNT, Lot, UnixMs};
use super::balancer::{Balancer, Carried};
use super::config::INTERVAL_MS;
use super::crowd::Crowd;
use super::ledger::{Ledger, Source, is_api, request_head_bytes};
use super::page;
use super::room::{Chat, Document, Posting};

/// Longest request body, bytes.
const BODY_BYTES_MAX: usize = 32 * 1024;
/// Connections served at once; more wait in the backlog.
const CONNECTIONS_MAX: usize = 512;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Most paths whose polls are counted apart.
const POLLED_MAX: usize = 64;
/// Most clients of the crowd where each of its connections is three of this process.
const BALANCED_CROWD_MAX: usize = 1_000;
/// A node ends so long after it was asked for: the answer goes through one, too.
const KILL_DELAY: Duration = Duration::from_millis(200);

/// How slow the API is, and the seed of everything random in it.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Milliseconds before every answer of a resource.
    pub latency_ms: RangeInclusive<u64>,
    /// The seed of the simulated data: the same seed gives the same states.
    pub seed: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { latency_ms: 40..=120, seed: 1884 }
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

    /// Shows the nodes behind a load balancer, and lets visitors of the page kill them and start them again.
    pub fn show_nodes(&self, balancer: &Balancer) {
        let _ = self.legacy.carried.set(balancer.carried());
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
        std::io::Error::new(error.kind(), format!("the demo's legacy API cannot listen on {listen}: {error}"))
    })?;
    let address = listener.local_addr()?;
    let legacy = Arc::new(Legacy::open(pace, unix_ms()));
    let server = tokio::spawn(accept(listener, Arc::clone(&legacy)));
    Ok(LegacyHandle { address, legacy, server })
}

async fn accept(listener: TcpListener, legacy: Arc<Legacy>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
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
    // A connection that broke has no client left to tell.
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
    /// Polls of pollcast by path.
    polled: Mutex<BTreeMap<String, u64>>,
    /// What goes to the nodes, if there are several.
    carried: OnceLock<Arc<Carried>>,
}

impl Legacy {
    fn open(pace: Pace, now_ms: UnixMs) -> Legacy {
        Legacy {
            chance: Mutex::new(fastrand::Rng::with_seed(pace.seed)),
            lots: Mutex::new(
                (1..=LOT_COUNT).filter_map(|number| Lot::open(number, pace.seed, now_ms)).collect(),
            ),
            chat: Mutex::new(Chat::open(now_ms)),
            document: Mutex::new(Document::open(now_ms)),
            ledger: Ledger::default(),
            crowd: Crowd::of("/auction/1"),
            polled: Mutex::default(),
            carried: OnceLock::new(),
            pace,
        }
    }

    /// One request: read, answer, count.
    async fn exchange(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let api = is_api(path);
        let (sent, response) = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => {
                let body = body.to_bytes();
                if api {
                    sleep(self.latency()).await;
                }
                (body.len(), self.answer(&head, &body))
            }
            Err(_) => (0, answer::problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 32 KiB")),
        };
        let source = Source::of(&head, api);
        if source == Source::Pollcast && api {
            self.count_poll(head.uri.path());
        }
        let answered = if head.method == Method::HEAD { 0 } else { answer::body_bytes(&response) };
        self.ledger.record(
            source,
            request_head_bytes(&head) + answer::head_bytes(&response),
            sent + answered,
        );
        response
    }

    fn answer(&self, head: &request::Parts, body: &[u8]) -> Response<Full<Bytes>> {
        let reading = head.method == Method::GET || head.method == Method::HEAD;
        if !reading && answer::is_foreign(&head.headers) {
            return answer::problem(StatusCode::FORBIDDEN, "writes are for pages of this origin");
        }
        let path: Vec<&str> = head.uri.path().trim_start_matches('/').split('/').collect();
        match (head.method.as_str(), path.as_slice()) {
            ("GET" | "HEAD", ["auction", lot] | ["direct", "auction", lot]) => self.lot(head, lot),
            ("GET" | "HEAD", ["chat", "messages"]) => self.resource(head, &self.chat.lock().json()),
            ("POST", ["chat", "messages"]) => self.post_message(body),
            ("GET" | "HEAD", ["document"]) => self.resource(head, &self.document.lock().json()),
            ("PUT", ["document"]) => self.put_document(body),
            ("GET" | "HEAD", ["stats"]) => answer::uncached_json(StatusCode::OK, &self.stats()),
            ("GET" | "HEAD", ["echo"]) => answer::uncached_json(
                StatusCode::OK,
                &json!({ "request_head_bytes": request_head_bytes(head) }),
            ),
            ("POST", ["crowd"]) => self.resize_crowd(head),
            ("POST", ["nodes"]) => self.change_node(head),
            ("GET" | "HEAD", _) => page::file(head.uri.path())
                .unwrap_or_else(|| answer::problem(StatusCode::NOT_FOUND, "there is nothing at this path")),
            _ => answer::problem(StatusCode::METHOD_NOT_ALLOWED, "this path does not know that method"),
        }
    }

    fn lot(&self, head: &request::Parts, number: &str) -> Response<Full<Bytes>> {
        let index = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        let mut lots = self.lots.lock();
        match index.and_then(|index| lots.get_mut(index)) {
            Some(lot) => {
                let state = json!(lot.at(unix_ms()));
                self.resource(head, &state)
            }
            None => answer::problem(StatusCode::NOT_FOUND, "lots are numbered from 1 to 8"),
        }
    }

    fn post_message(&self, body: &[u8]) -> Response<Full<Bytes>> {
        match Posting::read(body) {
            Some(posting) => {
                let id = self.chat.lock().add(posting, unix_ms());
                self.written(StatusCode::CREATED, &json!({ "id": id }))
            }
            None => answer::problem(StatusCode::BAD_REQUEST, "wanted {\"from\", \"text\"} or a plain text"),
        }
    }

    fn put_document(&self, body: &[u8]) -> Response<Full<Bytes>> {
        match std::str::from_utf8(body) {
            Ok(text) => {
                let revision = self.document.lock().replace(text, unix_ms());
                self.written(StatusCode::OK, &json!({ "revision": revision }))
            }
            Err(_) => answer::problem(StatusCode::BAD_REQUEST, "the document is not UTF-8"),
        }
    }

    fn resize_crowd(&self, head: &request::Parts) -> Response<Full<Bytes>> {
        let wanted = head.uri.query().unwrap_or_default().split('&');
        let wanted = wanted.filter_map(|pair| pair.strip_prefix("clients=")).next();
        let Some(wanted) = wanted.and_then(|number| number.parse::<usize>().ok()) else {
            return answer::problem(StatusCode::BAD_REQUEST, "wanted ?clients= and a number");
        };
        let most = if self.carried.get().is_some() { BALANCED_CROWD_MAX } else { usize::MAX };
        match self.crowd.resize(wanted.min(most)) {
            Ok(_) => answer::uncached_json(StatusCode::OK, &self.crowd.json()),
            Err(error) => answer::problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    /// Kills a node, or starts it again.
    fn change_node(&self, head: &request::Parts) -> Response<Full<Bytes>> {
        let Some(carried) = self.carried.get() else {
            return answer::problem(
                StatusCode::NOT_FOUND,
                "there is one node alone: start the demo with --nodes 3",
            );
        };
        let asked = head.uri.query().and_then(|query| query.split_once('='));
        let is_known = |name: &str| carried.nodes().addresses().any(|(known, ..)| known == name);
        match asked {
            Some(("kill", name)) if is_known(name) => {
                let (carried, name) = (carried.clone(), name.to_owned());
                tokio::spawn(async move {
                    sleep(KILL_DELAY).await;
                    carried.nodes().kill(&name);
                });
            }
            Some(("start", name)) if is_known(name) => {
                if let Err(error) = carried.nodes().revive(name) {
                    return answer::problem(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
                }
            }
            _ => {
                let wanted = "wanted ?kill= or ?start= and the name of a node, as node-1";
                return answer::problem(StatusCode::BAD_REQUEST, wanted);
            }
        }
        answer::uncached_json(StatusCode::ACCEPTED, &json!({}))
    }

    fn count_poll(&self, path: &str) {
        let mut polled = self.polled.lock();
        if let Some(count) = polled.get_mut(path) {
            *count += 1;
        } else if polled.len() < POLLED_MAX {
            polled.insert(path.to_owned(), 1);
        }
    }

    fn stats(&self) -> Value {
        let mut stats = self.ledger.json();
        stats["now_ms"] = json!(unix_ms());
        stats["crowd"] = self.crowd.json();
        if let Some(carried) = self.carried.get() {
            stats["cluster"] = carried.json();
            stats["cluster"]["interval_ms"] = json!(INTERVAL_MS);
            stats["cluster"]["polled"] = json!(*self.polled.lock());
        }
        stats
    }

    /// A resource as this API answers it: a strong validator and all its habits.
    fn resource(&self, head: &request::Parts, state: &Value) -> Response<Full<Bytes>> {
        answer::with_habits(answer::validated(&head.headers, state), &mut self.chance.lock())
    }

    fn written(&self, status: StatusCode, state: &Value) -> Response<Full<Bytes>> {
        answer::with_habits(answer::json(status, state), &mut self.chance.lock())
    }

    fn latency(&self) -> Duration {
        Duration::from_millis(self.chance.lock().u64(self.pace.latency_ms.clone()))
    }
}

fn unix_ms() -> UnixMs {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as UnixMs)
}

#[cfg(test)]
mod tests;
