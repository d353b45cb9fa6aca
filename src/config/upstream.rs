//! How much an upstream is asked, and by which credentials: budgets, credentials, batches.
//!
//! Must not know: requests.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::proxy::Proxy;
use super::upstream_tls::UpstreamTls;
use super::{Secret, SecretFile};

/// Which polls may share a connection, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Polls of all classes.
    Shared,
    /// Polls of one class.
    Class,
}

/// What polls say in the fields of proxies (contract §10).
#[derive(Debug, Clone, PartialEq)]
pub struct Forwarded {
    /// The address that polls say they are for. Left out, they say 192.0.2.1, which is no machine's.
    pub address: Option<String>,
    /// What they say in X-Forwarded-Proto. `None` if it is the listener's scheme (default).
    pub proto: Option<String>,
    /// What they say in X-Forwarded-Host. `None` if it is the client's host (default).
    pub host: Option<String>,
}

/// How many requests the polls of an upstream may make (contract §10).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Requests a second.
    pub rate: f64,
    /// Requests that may be made at once after a rest.
    pub burst: u32,
    /// Requests in flight.
    pub max_concurrent: usize,
    /// Who uses it (default: all nodes of the cluster).
    pub scope: BudgetScope,
}

/// The nodes that use one budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetScope {
    /// All nodes of the cluster together, where there is one.
    Cluster,
    /// Each node for itself.
    Node,
}

/// When an upstream as a whole counts as down: then one poll at a time tries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Failed polls in a row, over all its resources; `None` if it has no breaker.
    pub failures: Option<u32>,
    /// How long nothing is asked before one poll tries again; doubled up to `backoff.max`.
    pub wait: Duration,
}

/// The credentials of polls, beside `poll.headers`.
#[derive(Debug, Clone, PartialEq)]
pub enum Auth {
    /// An Authorization header that stays the same: basic or bearer. Sensitive.
    Static(HeaderValue),
    /// A token of a token server, which is renewed before it expires.
    ClientCredentials(Arc<ClientCredentials>),
    /// An answer to the upstream's challenge.
    Digest(Arc<DigestCredentials>),
    /// An Authorization header that stands in a file: all of it, the token behind `Bearer`, or the password.
    File(Arc<SecretFile>),
}

/// Digest authentication (RFC 7616).
#[derive(Debug, PartialEq)]
pub struct DigestCredentials {
    /// Name of the user, which has no `:`.
    pub username: String,
    /// What it was when the configuration was read.
    pub password: Secret,
    /// Where the password stands that counts, if others may replace it.
    pub file: Option<Arc<SecretFile>>,
}

/// OAuth 2.0 client credentials (RFC 6749 §4.4).
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCredentials {
    /// The server of the token endpoint, reached like any upstream.
    pub server: Arc<Upstream>,
    /// Path and query of the token endpoint.
    pub path: String,
    /// The file says how the server is reached, so that the upstream's `proxy` does not count.
    pub says_upstream: bool,
    /// The name under which the token server knows pollcast.
    pub client_id: String,
    /// What it was when the configuration was read.
    pub client_secret: Secret,
    /// Where the secret stands that counts, if others may replace it.
    pub secret_file: Option<Arc<SecretFile>>,
    /// What the token is asked to allow. `None` if the server decides (default).
    pub scope: Option<String>,
    /// The `audience` parameter that some servers want.
    pub audience: Option<String>,
    /// The client names itself in the body instead of with HTTP basic authentication.
    pub in_body: bool,
    /// A token is replaced this long before it expires.
    pub refresh_before: Duration,
}

/// Many resources of a route in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Path of the request: the route's without its last segment, unless said.
    pub path: String,
    /// The parameter of the route's path whose value names an item.
    pub parameter: String,
    /// Query parameter with the list of items.
    pub query: String,
    /// What stands between two items in `query`: 1 to 8 characters (default: `,`).
    pub separator: String,
    /// Most items of one request.
    pub max: usize,
    /// JSON Pointer to the array of items in the answer.
    pub items: String,
    /// JSON Pointer from an item to its name.
    pub key: String,
    /// How long a poll waits for others to go with.
    pub window: Duration,
}

/// One of `upstreams`: the servers of an API, and how they are reached and asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Its name in the file, for messages, logs and labels.
    pub name: String,
    /// Its servers, at least one. Each gets a share of the requests by its weight.
    pub servers: Vec<Server>,
    /// The Host header; `None` for the client's. Never `None` where a server is a Unix socket.
    pub host: Option<String>,
    /// TLS to the servers. `None` if connections are cleartext (default).
    pub tls: Option<UpstreamTls>,
    /// The proxy that all connections to the servers go through. `None` if they are direct (default).
    pub proxy: Option<Arc<Proxy>>,
    /// Whether HTTP/2 is spoken to the servers (default: false).
    pub http2: bool,
    /// Longest wait for a connection (default: 3 s).
    pub connect_timeout: Duration,
    /// Longest wait for the first byte of an answer to a poll (default: 5 s).
    pub first_byte_timeout: Duration,
    /// Longest wait for the first byte of an answer that passes through, from the last byte of its request on (default:
    /// 15 min, which is longer than the APIs' own long-polls). `None` if it may take as long as it likes.
    pub passthrough_first_byte_timeout: Option<Duration>,
    /// Longest whole exchange of a poll on a route that says no `poll.timeout` (default: 15 s).
    pub total_timeout: Duration,
    /// How long an unused connection is kept.
    pub keepalive: Duration,
    /// The servers' names are resolved again this often (default: 30 s).
    pub resolve_interval: Duration,
    /// The request that finds out which servers are well. `None` if all count as well (default).
    pub health_check: Option<HealthCheck>,
    /// The address, scheme and host that polls say in the fields of proxies. `None` if they say those of the resource's
    /// key (default).
    pub forwarded: Option<Forwarded>,
    /// `None` if polls are limited by their intervals alone.
    pub budget: Option<Budget>,
    /// Its own quota is one for all of its resources (`budget: { quota: shared }`).
    pub quota_is_shared: bool,
    /// When the upstream as a whole counts as down.
    pub breaker: Breaker,
    /// Requests that pass through at a time; `None` for as they come.
    pub max_requests: Option<usize>,
    /// Authentication schemes that bind a connection, beside NTLM, Negotiate and Kerberos; in lower case.
    pub connection_auth: Vec<String>,
    /// Whether the polls of each class have connections of their own (default: they share).
    pub connections: Connections,
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// `host:port`, where a name is resolved again every `resolve_interval`; or `unix:` and an absolute path.
    pub address: String,
    /// Its share of the requests against the other servers' weights: 1 (default) to 1000.
    pub weight: usize,
}

/// The request that finds out whether a server is well: any 200 is.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthCheck {
    /// Path and query of the request.
    pub path: String,
    /// Each server is asked this often (default: 10 s).
    pub interval: Duration,
}
