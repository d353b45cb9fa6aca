//! The configuration file as typed: the one definition of its keys.
//!
//! Doc comments here are what editors show; the schema is made from these types.
//! Nothing derives `Debug`: the values may be secrets.
//! Must not know: defaults, bounds, what goes together.

mod change;
mod cluster;
mod identity;
mod log;
mod poll;
mod presence;
mod process;
mod route;
mod scalar;
mod tracing;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

pub use change::{
    ArrayKeySetting, ChangeSetting, DeltaSetting, FeedSetting, OneOrSeveral, Pages, ToleranceSetting,
};
pub use cluster::{Cluster, EngineTls};
pub use identity::{ApiKeys, AuthenticateSetting, Authorize, Forward, Issuer, Jwt, Key, TokenPlaces};
pub use log::{AccessSetting, Log};
pub use poll::{AuthSetting, Basic, BatchSetting, Digest, Interval, OAuth, PollSetting};
pub use presence::{PresenceNotify, PresenceNotifySetting, PresenceSetting};
pub use process::{Drain, Reload, Threads, Upgrade};
pub use route::{
    CorsSetting, Query, Route, RouteSettings, Send, SendSetting, Share, Switches, Websocket, WebsocketOrigins,
};
pub use scalar::{Count, FileText, Flag, List, Number, Rate, SecretText, Size, Text, Time};
pub use tracing::{Otlp, Tracing};

/// pollcast's configuration.
#[derive(Deserialize, JsonSchema, Default)]
#[schemars(title = "pollcast configuration", extend("required" = ["listeners", "upstreams"]))]
pub struct File {
    // The schema takes it from here; it is gone from the tree before the tree becomes this.
    /// Files whose keys are put beside those of this one, before anything else is read: paths, or patterns whose last
    /// part holds `*` or `?`; relative to the file that says them.
    #[allow(dead_code)]
    pub include: Option<List<Text>>,
    /// Where clients connect.
    pub listeners: Option<List<Listener>>,
    /// The operators' own listener: metrics, liveness, readiness, resources.
    pub admin: Option<Admin>,
    /// The APIs behind pollcast, by name.
    pub upstreams: Option<BTreeMap<String, Upstream>>,
    /// Name of the upstream that gets everything without a route; left out: 404.
    pub passthrough: Option<Text>,
    /// Taken by every route that does not say otherwise, key by key.
    pub defaults: Option<RouteSettings>,
    /// What is polled and pushed; the most specific path wins, whatever the order.
    pub routes: Option<List<Route>>,
    /// Bounds of the whole process.
    pub limits: Option<Limits>,
    /// How a shutdown goes.
    pub drain: Option<Drain>,
    /// Hand the listening sockets to a new process, so that no connection is refused while one replaces the other.
    pub upgrade: Option<Upgrade>,
    /// What has the running process read this file again, besides SIGHUP and `POST /-/reload`.
    pub reload: Option<Reload>,
    /// How many threads do the work.
    pub threads: Option<Threads>,
    /// pollcast's own public helpers live under this path; starts and ends with `/`.
    pub public_prefix: Option<Text>,
    /// Secret key of the content versions (ETags), the same on all nodes; empty: none.
    pub version_key: Option<SecretText>,
    /// What is logged, and how.
    pub log: Option<Log>,
    /// What is traced, and where spans go.
    pub tracing: Option<Tracing>,
    /// Nodes that poll each resource once together; left out: each polls for itself.
    pub cluster: Option<Cluster>,
}

/// One address where clients connect.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["address"]))]
pub struct Listener {
    /// `ip:port`, as `0.0.0.0:8080` or `[::]:8080`.
    pub address: Option<Text>,
    /// Several processes of one user share the address (SO_REUSEPORT).
    pub reuse_port: Option<Flag>,
    /// Cleartext HTTP/2 by prior knowledge beside HTTP/1.1. With TLS, ALPN decides.
    pub http2: Option<Flag>,
    /// Serve TLS here.
    pub tls: Option<ListenerTls>,
    /// Addresses or networks whose X-Forwarded-For, and whose PROXY header, is believed.
    pub trusted_proxies: Option<List<Text>>,
    /// The hosts that are served here, others get 421; left out: any.
    pub hosts: Option<List<Text>>,
    /// Connections begin with a PROXY header (v1 or v2): those of `trusted_proxies`, or all if there are none.
    pub proxy_protocol: Option<Flag>,
    /// What a client's address is: the connection's (`peer`), the right-most untrusted one of X-Forwarded-For
    /// (`forwarded`), or the one in the PROXY header.
    #[schemars(extend("enum" = ["peer", "forwarded", "proxy_protocol"]))]
    pub client_address: Option<Text>,
}

/// TLS of a listener.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["certificates"]))]
pub struct ListenerTls {
    /// Certificates and keys: chosen by the name that a client asks for, the first one if none fits.
    pub certificates: Option<List<Certificate>>,
    /// Oldest version of TLS that is spoken.
    #[schemars(extend("enum" = ["1.2", "1.3"]))]
    pub min_version: Option<Text>,
    /// Ask clients for certificates of these authorities; PEM file, relative to this file.
    pub client_ca: Option<Text>,
    /// Revocation lists of these authorities; PEM or DER files, relative to this file.
    pub client_crl: Option<List<Text>>,
    /// Whether a client may come without a certificate.
    #[schemars(extend("enum" = ["optional", "required"]))]
    pub client_certificates: Option<Text>,
    /// How often the files are looked at for new certificates, or `off`: only on SIGHUP.
    pub reload: Option<Time>,
}

/// A certificate and its key.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["cert", "key"]))]
pub struct Certificate {
    /// PEM file of the certificate and its chain; relative to this file.
    pub cert: Option<Text>,
    /// PEM file of the private key; relative to this file.
    pub key: Option<Text>,
}

/// The operators' own listener.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["address"]))]
pub struct Admin {
    /// `ip:port`, never one that clients can reach; or `unix:` and the path of a socket.
    pub address: Option<Text>,
    /// Wanted as `Authorization: Bearer <token>` on everything but `/live` and `/ready`; empty: none.
    pub token: Option<SecretText>,
    /// Names that it answers to without a token, besides addresses and `localhost`.
    pub hosts: Option<List<Text>>,
}

/// An API behind pollcast.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["servers"]))]
pub struct Upstream {
    /// The servers, as `host:port`, where names are resolved again and again, or as `unix:` and the path of a socket.
    pub servers: Option<List<Server>>,
    /// The Host header; left out: the client's, or `localhost` over a Unix socket.
    pub host: Option<Text>,
    /// Speak TLS to the servers.
    pub tls: Option<UpstreamTls>,
    /// A proxy that all connections to the servers go through.
    pub proxy: Option<ProxySetting>,
    /// Speak HTTP/2 to the servers.
    pub http2: Option<Flag>,
    /// Longest wait for a connection.
    pub connect_timeout: Option<Time>,
    /// Longest wait for the first byte of an answer.
    pub first_byte_timeout: Option<Time>,
    /// Longest wait for the first byte of an answer that passes through, or `off`.
    pub passthrough_first_byte_timeout: Option<Time>,
    /// Longest a whole answer may take.
    pub total_timeout: Option<Time>,
    /// How long an unused connection is kept.
    pub keepalive: Option<Time>,
    /// How often names are resolved again.
    pub resolve_interval: Option<Time>,
    /// Ask the servers whether they are well.
    pub health_check: Option<HealthCheck>,
    /// What polls say in X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host.
    pub forwarded: Option<Forwarded>,
    /// How many requests the polls may make.
    pub budget: Option<Budget>,
    /// When the upstream as a whole counts as down.
    pub breaker: Option<Breaker>,
    /// Most requests that pass through to it at a time, or `off`; polls are not counted.
    pub max_requests: Option<Count>,
    /// Authentication schemes that bind a connection to its user, beside NTLM, Negotiate and Kerberos.
    pub connection_auth: Option<List<Text>>,
    /// Which polls share a connection: all (`shared`), or those of one class (`class`).
    #[schemars(extend("enum" = ["shared", "class"]))]
    pub connections: Option<Text>,
}

/// `http://user:password@proxy:3128` or `socks5://…`, or its parts.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ProxySetting {
    /// The URL with user and password.
    Url(SecretText),
    /// A mapping with the password apart.
    Parts(Box<ProxyParts>),
}

/// A proxy whose password stands beside its URL.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["url"]))]
pub struct ProxyParts {
    /// `http://user@proxy:3128` or `socks5://user@proxy:1080`.
    pub url: Option<Text>,
    /// Password of that user.
    pub password: Option<FileText>,
    /// File with the password, read again when it changes.
    pub password_file: Option<Text>,
}

/// How many requests the polls of an upstream may make.
#[derive(Deserialize, JsonSchema)]
pub struct Budget {
    /// What the upstream's own quota counts for: `route` (it and the policy that its answers name) or `shared`.
    #[schemars(extend("enum" = ["route", "shared"]))]
    pub quota: Option<Text>,
    /// So many a second or minute: `50/s`, `30/m`.
    pub rate: Option<Rate>,
    /// How many at once after a rest.
    pub burst: Option<Count>,
    /// How many in flight.
    pub max_concurrent: Option<Count>,
    /// Who uses it: `cluster` (all nodes together) or `node` (each for itself).
    #[schemars(extend("enum" = ["cluster", "node"]))]
    pub scope: Option<Text>,
}

/// When an upstream counts as down: then one poll at a time tries it.
#[derive(Deserialize, JsonSchema)]
pub struct Breaker {
    /// Failed polls in a row, or `off`.
    pub failures: Option<Count>,
    /// How long nothing is asked before one poll tries again.
    pub wait: Option<Time>,
}

/// `host:port` or `unix:/path`, or with a weight.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Server {
    /// `host:port`.
    Address(Text),
    /// A mapping with a weight.
    Weighted(WeightedServer),
}

/// A server and its share of the requests.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["address"]))]
pub struct WeightedServer {
    /// `host:port`.
    pub address: Option<Text>,
    /// Its share of the requests, against the other servers' weights.
    pub weight: Option<Count>,
}

/// TLS towards an upstream.
#[derive(Deserialize, JsonSchema)]
pub struct UpstreamTls {
    /// Name asked for and verified; left out: the server's host name.
    pub sni: Option<Text>,
    /// PEM file of the authorities; relative to this file; left out: the system's.
    pub ca: Option<Text>,
    /// Verify the server's certificate.
    pub verify: Option<Flag>,
    /// Public keys (sha256/…) or certificates (cert:sha256/…), one of which the server's has to be; then neither
    /// authority nor name nor date decide.
    pub pin: Option<List<Text>>,
    /// TLS 1.0 and 1.1, RSA key exchange, CBC and short keys, for servers that speak nothing better.
    pub legacy: Option<Flag>,
    /// PEM file of pollcast's own certificate and its chain, for servers that ask, or PKCS#12; relative to this file.
    pub cert: Option<Text>,
    /// PEM file of its key; relative to this file; left out: cert is PKCS#12 and has it.
    pub key: Option<Text>,
    /// The password of the key or of the PKCS#12 file.
    pub password: Option<SecretText>,
    /// How often these files are looked at for new certificates, or `off`.
    pub reload: Option<Time>,
}

/// How servers are asked whether they are well.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["path"]))]
pub struct HealthCheck {
    /// Path of the question; any 200 is well.
    pub path: Option<Text>,
    /// How often.
    pub interval: Option<Time>,
}

/// What polls say about the client's side.
#[derive(Deserialize, JsonSchema)]
pub struct Forwarded {
    /// X-Forwarded-For, X-Real-IP: an address, or `unknown`.
    #[serde(rename = "for")]
    pub address: Option<Text>,
    /// X-Forwarded-Proto.
    #[schemars(extend("enum" = ["http", "https"]))]
    pub proto: Option<Text>,
    /// X-Forwarded-Host.
    pub host: Option<Text>,
}

/// Bounds of the whole process.
#[derive(Deserialize, JsonSchema, Default)]
pub struct Limits {
    /// Most clients that follow something.
    pub clients: Option<Count>,
    /// Most of them from one address, or `off`; needs `client_address` on every listener.
    pub clients_per_address: Option<Count>,
    /// Most of them of one subject (`authenticate`) or one class (`share: { by }`), or `off`.
    pub clients_per_subject: Option<Count>,
    /// New push clients a second, in bursts of at most one second's worth, or `off`.
    pub accept_rate: Option<Rate>,
    /// HTTP/2 streams that one connection may have open at a time.
    pub http2_streams: Option<Count>,
    /// Frames a second of one HTTP/2 connection that carry nothing: pings, settings, resets, continuations.
    pub http2_control_rate: Option<Rate>,
    /// A connection says its first byte within this; a PROXY header and a TLS handshake take no longer, each.
    pub first_byte_timeout: Option<Time>,
    /// The head of a request is whole this long after its first byte.
    pub header_timeout: Option<Time>,
    /// A client of HTTP/1 that sends no byte of a body that passes through for this long is answered 408.
    pub body_timeout: Option<Time>,
    /// A connection without a request is kept this long for the next one.
    pub idle_timeout: Option<Time>,
    /// A client that takes no byte of an answer for this long is disconnected.
    pub send_timeout: Option<Time>,
    /// Most resources.
    pub resources: Option<Count>,
    /// Most of them that one address keeps alive, or `off`; needs `client_address` on every listener.
    pub resources_per_address: Option<Count>,
    /// Most resources that one subject (`authenticate`) or class (`share: { by }`) keeps alive, or `off`.
    pub resources_per_subject: Option<Count>,
    /// New resources that one address may name in a second, or `off`; needs `client_address` on every listener.
    pub new_resources_per_address: Option<Rate>,
    /// Most memory for the snapshots of resources that one address asked for first, or `off`; needs `client_address` on
    /// every listener.
    pub snapshot_bytes_per_address: Option<Size>,
    /// Most requests in progress.
    pub requests: Option<Count>,
    /// Most of them from one address, or `off`; needs `client_address` on every listener.
    pub requests_per_address: Option<Count>,
    /// Most memory for current snapshots, encodings included.
    pub snapshot_bytes: Option<Size>,
    /// Most memory for the bodies of polls in progress.
    pub poll_body_bytes: Option<Size>,
    /// Most routes that have series of their own in the metrics.
    pub metric_routes: Option<Count>,
    /// Most memory for histories and patches.
    pub history_bytes: Option<Size>,
    /// Longest head of a request.
    pub header_bytes: Option<Size>,
    /// Most header fields of a request.
    pub header_fields: Option<Count>,
    /// Longest target of a request: path and query.
    pub url_bytes: Option<Size>,
    /// Most parameters of a query.
    pub query_parameters: Option<Count>,
    /// Longest body of a request that passes through, or `off`.
    pub request_body: Option<Size>,
    /// A client that takes no byte for this long is disconnected.
    pub stall_timeout: Option<Time>,
    /// Kernel send buffer of a stream.
    pub send_buffer: Option<Size>,
    /// Longest request body that is read and dropped before an own answer; longer ones end the connection.
    pub drain_body: Option<Size>,
    /// Most resources that one connection follows.
    pub resources_per_client: Option<Count>,
}
