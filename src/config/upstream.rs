//! How much and on whose behalf an upstream is asked: budgets, credentials, batches.
//!
//! Must not know: requests.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::proxy::Proxy;
use super::upstream_tls::UpstreamTls;
use super::{Secret, SecretFile};

/// Whose requests a connection for polls may carry one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Those of all classes.
    Shared,
    /// Those of one class.
    Class,
}

/// What polls say in the fields of proxies (contract §10).
#[derive(Debug, Clone)]
pub struct Forwarded {
    /// The address that polls say they are for. Left out, they say 192.0.2.1, which is no machine's.
    pub address: Option<String>,
    pub proto: Option<String>,
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
}

/// When an upstream as a whole counts as down: then one poll at a time tries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Failed polls in a row, over all its resources; `None` if it has no breaker.
    pub failures: Option<u32>,
    /// How long nothing is asked before one poll tries again; doubled up to `backoff.max`.
    pub wait: Duration,
}

/// What polls say about themselves besides `poll.headers`.
#[derive(Debug, Clone)]
pub enum Auth {
    /// An Authorization header that stays the same: basic or bearer. Sensitive.
    Static(HeaderValue),
    ClientCredentials(Arc<ClientCredentials>),
    Digest(Arc<DigestCredentials>),
    /// An Authorization header that stands in a file: all of it, the token behind `Bearer`, or the password.
    File(Arc<SecretFile>),
}

/// Digest authentication (RFC 7616).
#[derive(Debug)]
pub struct DigestCredentials {
    pub username: String,
    /// What it was when the configuration was read.
    pub password: Secret,
    /// Where the password stands that counts, if others may replace it.
    pub file: Option<Arc<SecretFile>>,
}

/// OAuth 2.0 client credentials (RFC 6749 §4.4).
#[derive(Debug, Clone)]
pub struct ClientCredentials {
    /// The server of the token endpoint, reached like any upstream.
    pub server: Arc<Upstream>,
    /// Path and query of the token endpoint.
    pub path: String,
    /// The file says how the server is reached, so that the upstream's `proxy` does not count.
    pub says_upstream: bool,
    pub client_id: String,
    /// What it was when the configuration was read.
    pub client_secret: Secret,
    /// Where the secret stands that counts, if others may replace it.
    pub secret_file: Option<Arc<SecretFile>>,
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

#[derive(Debug, Clone)]
pub struct Upstream {
    pub name: String,
    pub servers: Vec<Server>,
    /// The Host header; `None` for the client's. Never `None` where a server is a Unix socket.
    pub host: Option<String>,
    pub tls: Option<UpstreamTls>,
    /// What all connections to the servers go through.
    pub proxy: Option<Arc<Proxy>>,
    pub http2: bool,
    pub connect_timeout: Duration,
    pub first_byte_timeout: Duration,
    pub total_timeout: Duration,
    /// How long an unused connection is kept.
    pub keepalive: Duration,
    pub resolve_interval: Duration,
    pub health_check: Option<HealthCheck>,
    /// What polls say for whom they are, and how their clients came, instead of what the key says.
    pub forwarded: Option<Forwarded>,
    /// `None` if polls are limited by their intervals alone.
    pub budget: Option<Budget>,
    /// Its own quota is one for all of its resources (`budget: { quota: shared }`).
    pub quota_is_shared: bool,
    pub breaker: Breaker,
    /// Requests that pass through at a time; `None` for as they come.
    pub max_requests: Option<usize>,
    /// Authentication schemes that bind a connection, beside NTLM, Negotiate and Kerberos; in lower case.
    pub connection_auth: Vec<String>,
    pub connections: Connections,
}

#[derive(Debug, Clone)]
pub struct Server {
    /// `host:port`, where a name is resolved again every `resolve_interval`; or `unix:` and an absolute path.
    pub address: String,
    pub weight: usize,
}

#[derive(Debug, Clone)]
pub struct HealthCheck {
    pub path: String,
    pub interval: Duration,
}
