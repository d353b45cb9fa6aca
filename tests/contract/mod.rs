//! The wire, as clients and upstreams see it: one file a section of the contract.
//!
//! | module | claim it holds |
//! |---|---|
//! | `admin` | §1, §12: the operators' view, on its own listener only |
//! | `amplification` | what each kind of a stranger's request is worth at the API |
//! | `answers` | §3: what an answer of the API is, and what of it a client gets |
//! | `authorize` | §11: shared answers, each client admitted by what its own credentials get |
//! | `authorize_certificates` | §11, §12: `share: authorize` of clients that are known by certificates |
//! | `authorize_identity` | §11: the same where pollcast knows who asks |
//! | `batch` | §10: many resources of a route in one request |
//! | `change` | §2: what counts as a change: rules, selections, what should be JSON and is not |
//! | `choosing` | §3, §11: which headers choose the form, say who asks, or may do either |
//! | `client_address` | §12: by whose word a client has its address |
//! | `command_line` | commands, exit codes, messages, the log |
//! | `compression` | §3, §5, §6: compressed once for everybody, read by strict decoders |
//! | `conditions` | §2: entity tags on pass-through |
//! | `connections` | §10: whose requests an upstream connection carries |
//! | `delta` | §4, §5: patches over event streams and long-polls |
//! | `descriptors` | a process with few open files: what it tells, what it keeps for polls, how it goes on |
//! | `digest` | §10: polls of upstreams that want Digest authentication |
//! | `drain` | §12: how the process ends |
//! | `edge` | §12: which hosts are served, one reading of each field name, HTTP/2 in the form of HTTP/1 |
//! | `envelope` | §6: many resources on one WebSocket |
//! | `failure` | §3, §5, §10: what clients see while the upstream misbehaves |
//! | `feeds` | §8: lists told item by item |
//! | `for_whom` | §10: for whom a poll says that it is |
//! | `framing` | §12: request smuggling, unread bodies, broken answers |
//! | `hostile`, `hostile_*` | §11, §12: what hostile clients and upstreams try, in tables |
//! | `http2` | §1, §5: HTTP/2 beside HTTP/1, with and without TLS, and what one client may cost |
//! | `identity` | §11: who is let in, by what, and until when |
//! | `limits` | §5, §12: resources, heads, bodies, frames and requests in flight: each limit, its answer, its metric |
//! | `log_reader` | what reads the log may hang or go away |
//! | `long_poll` | §4: held polls: what ends them, and the connection's next request |
//! | `many` | many resources on one event stream |
//! | `memory` | §10, §12: snapshots, requests in progress, bodies and messages that wait: what bounds them |
//! | `memory_measured` | §12: what a stranger has held for what it sends, as a table |
//! | `memory_of_polls` | §10: bodies of polls in progress have one bound |
//! | `native` | §1, §6, §11: the API's own WebSockets and event streams, and push forms that ask it first |
//! | `no_document` | §1: slow and endless answers, media, and an API that is only slow |
//! | `other_servers` | §10: servers of tokens, of key sets, of questions about clients: over sockets, through proxies, verified |
//! | `passthrough` | §1, §12: what no route covers goes through as it is |
//! | `paths` | §1, §11: paths that servers read in several ways, and the API's own parameters |
//! | `plain` | §3: whose plain requests are, and what those that pass through say |
//! | `poll` | §2, §3: ordinary polls: hits, misses, conditions, what passes through, what is relayed |
//! | `probe` | `check --probe`: what an upstream's answers say about how to poll them |
//! | `probe_ways` | `check --probe` of a server that is not reached: the lines of `proxy` |
//! | `proxy_protocol` | §12: what load balancers say about their clients before anything else |
//! | `reading` | §5, §10: how answers, fields and numbers of an API are read |
//! | `repeats` | §3, §4: requests that repeat the last one of their connection |
//! | `replicas` | §2: several nodes and lagging upstream replicas behind one address |
//! | `rotation` | §5: streams that end after `max_age` |
//! | `schedule` | §10: when the upstream is asked: adaptive, its own words, budgets, the breaker |
//! | `secret_file` | §10: secrets of polls in files that other programs replace |
//! | `sharing` | §11: who may share a poll |
//! | `tls` | §12: versions, certificates and clients' certificates of a listener |
//! | `sharing_of_polls` | §10: one poll an interval, whatever the number and kinds of clients |
//! | `slow_304` | §3: `hold_not_modified`: what is held, what is not, what ends it |
//! | `slow_clients` | §7: clients that stop reading, among many that do not |
//! | `sources` | §10, §11: how a poll reaches its answer: redirects, credentials, cookies, sessions |
//! | `sse` | §5, §7: event streams: the head, resuming, control events, slow and vanished clients |
//! | `storms` | §5, §7: more clients than there may be, at once or for long, on a connection or without descriptors |
//! | `upgrade` | a new process takes the listening sockets of the old one, and nobody notices |
//! | `upstream_nginx` | §10: a real nginx with old protocols × ways of asking, with `curl` beside it |
//! | `upstream_path` | §10: an API that lives on other paths: where requests go, what answers say |
//! | `upstream_tls` | whom pollcast believes to be the upstream, and what it shows of itself |
//! | `upstream_tls_kinds` | §10: kinds of TLS servers × ways of asking: self-signed, pinned, old |
//! | `upstream_ways` | §10: ways to a server × ways of asking: sockets, proxies, and what is told where there is none |
//! | `writes` | §9: a write is followed by a poll, whoever follows, and nothing older is said to be current |
//! | `writes_reach` | §9: what a write is, how far it reaches, and for whom |
//! | `websocket` | §6: WebSockets: messages, pings, hostile frames, close codes, `send` |

pub mod admin;
pub mod amplification;
pub mod answers;
pub mod authorize;
pub mod authorize_certificates;
pub mod authorize_identity;
pub mod batch;
pub mod change;
pub mod choosing;
pub mod client_address;
pub mod command_line;
pub mod compression;
pub mod conditions;
pub mod connections;
pub mod delta;
pub mod descriptors;
pub mod digest;
pub mod drain;
pub mod edge;
pub mod edge_support;
pub mod envelope;
pub mod failure;
pub mod feed_cursor;
pub mod feeds;
pub mod field_faults;
pub mod for_whom;
pub mod forwarding;
pub mod framing;
pub mod hostile;
pub mod hostile_framing;
pub mod hostile_hosts;
pub mod hostile_http2;
pub mod hostile_injection;
pub mod hostile_origins;
pub mod hostile_paths;
pub mod hostile_secrets;
pub mod hostile_sharing;
pub mod hostile_upstream;
pub mod http2;
pub mod identity;
pub mod limits;
pub mod log_reader;
pub mod long_poll;
pub mod many;
pub mod memory;
pub mod memory_measured;
pub mod memory_of_polls;
pub mod native;
pub mod no_document;
pub mod other_servers;
pub mod passthrough;
pub mod paths;
pub mod plain;
pub mod poll;
pub mod probe;
pub mod probe_ways;
pub mod proxy_protocol;
pub mod reading;
pub mod repeats;
pub mod replicas;
pub mod rotation;
pub mod schedule;
pub mod secret_file;
pub mod sharing;
pub mod sharing_of_polls;
pub mod sloppy_heads;
pub mod slow_304;
pub mod slow_clients;
pub mod sources;
pub mod sse;
pub mod storms;
pub mod tls;
pub mod upgrade;
pub mod upstream_nginx;
pub mod upstream_path;
pub mod upstream_tls;
pub mod upstream_tls_kinds;
pub mod upstream_ways;
pub mod websocket;
pub mod writes;
pub mod writes_reach;

use std::net::SocketAddr;
use std::time::Duration;

use pollcast::app::App;

use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::Legacy;
use crate::support::tls::{Authority, Identity};
use crate::support::wire::{GUARD, within};

/// The shortest interval there is.
pub const FAST: &str = "poll: {interval: 100ms}";

/// Polls and failures follow each other as fast as they may, and followers hear of failures at once.
pub const FAST_FAILING: &str = "poll: {interval: 100ms, backoff: {min: 100ms, max: 100ms}}, stale_after: 0s";

/// No second poll within any test, unless somebody asks for it.
pub const ONCE: &str = "poll: {interval: 1h}";

/// One upstream, the covered route `/prices/{symbol}`, everything else passed through. `route`:
/// more keys of the route; `top`: more keys of the file.
pub fn config(legacy: &Legacy, route: &str, top: &str) -> String {
    listening("", legacy, route, top)
}

fn listening(listener: &str, legacy: &Legacy, route: &str, top: &str) -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0'{listener}}}]\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         log: {{access: false}}\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         routes: [{{path: '/prices/{{symbol}}', upstream: legacy, {route}}}]\n\
         {top}\n",
        legacy.address()
    )
}

/// pollcast in front of a legacy API.
pub struct Stand {
    pub legacy: Legacy,
    pub app: App,
}

impl Stand {
    pub fn start(route: &str) -> Stand {
        Stand::with(route, "")
    }

    pub fn with(route: &str, top: &str) -> Stand {
        let legacy = Legacy::start();
        let app = app::start(&config(&legacy, route, top));
        Stand { legacy, app }
    }

    pub fn address(&self) -> SocketAddr {
        self.app.addresses()[0]
    }

    pub async fn http(&self) -> Http {
        Http::connect(self.address()).await
    }

    /// The sum of all series of a metric whose labels contain `label`.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let admin = self.app.admin_address().expect("the admin listener");
        let text = Http::connect(admin).await.get("/metrics", &[]).await.text();
        let of_name = |line: &&str| {
            let rest = line.strip_prefix(name).unwrap_or("-");
            rest.starts_with(['{', ' ']) && rest.contains(label)
        };
        let values = text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    }

    /// Waits until a metric has this value. There is no event to wait for: it is read again.
    pub async fn metric_becomes(&self, name: &str, label: &str, wanted: f64) {
        let mut last = f64::NAN;
        let reached = async {
            loop {
                last = self.metric(name, label).await;
                if last == wanted {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(GUARD, reached).await.is_err() {
            panic!("{name}{{{label}}} is {last}, not {wanted}");
        }
    }

    /// Waits until the push clients of a transport are this many.
    pub async fn clients(&self, transport: &str, wanted: usize) {
        self.metric_becomes("pollcast_subscribers", transport, wanted as f64).await;
    }
}

/// A certificate's files, gone when dropped.
pub struct TlsStand {
    pub stand: Stand,
    pub authority: Authority,
    folder: std::path::PathBuf,
}

impl TlsStand {
    /// pollcast with TLS for `localhost`.
    pub fn start(route: &str) -> TlsStand {
        TlsStand::with(route, "")
    }

    pub fn with(route: &str, top: &str) -> TlsStand {
        TlsStand::saying("", route, top)
    }

    /// `tls`: more keys of the listener's `tls`, each behind a comma.
    pub fn saying(tls: &str, route: &str, top: &str) -> TlsStand {
        let authority = Authority::new();
        let Identity { cert_pem, key_pem } = authority.certify(&["localhost"]);
        let folder = std::env::temp_dir().join(format!("pollcast-contract-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&folder).expect("a folder for certificates");
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, cert_pem).expect("a certificate file");
        std::fs::write(&key, key_pem).expect("a key file");
        let listener = format!(
            ", tls: {{certificates: [{{cert: '{}', key: '{}'}}]{tls}}}",
            cert.display(),
            key.display()
        );
        let legacy = Legacy::start();
        let app = app::start(&listening(&listener, &legacy, route, top));
        TlsStand { stand: Stand { legacy, app }, authority, folder }
    }

    /// A TLS connection; `alpn` may be empty.
    pub async fn connect(&self, alpn: &[&str]) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        self.authority.connect(self.stand.address(), "localhost", alpn).await
    }
}

impl Drop for TlsStand {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The version of a JSON body, as any process names it: learnt from another resource.
pub async fn version_of(stand: &Stand, body: &str) -> String {
    stand.legacy.set("/prices/ELSEWHERE", crate::support::legacy::Reply::json(body));
    let mut http = stand.http().await;
    let tag = http.get("/prices/ELSEWHERE", &[]).await.expect(200).etag().to_owned();
    tag.trim_matches('"').to_owned()
}

/// A client whose kernel takes little, so that one who does not read is noticed soon.
pub async fn narrow(address: SocketAddr) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 * 1024).expect("SO_RCVBUF");
    within("a connection", socket.connect(address)).await.expect("a connection")
}
