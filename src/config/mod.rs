//! The configuration: what an operator may say, in two stages.
//!
//! `yaml` reads the file into a tree with places, `raw` is the file as typed (every value still
//! text), `validate` turns it into the [`Config`] below and reports every problem at once.
//! Everything above this layer sees only validated values: an illegal route cannot be built.
//! Must not know: sockets, requests, time.

mod admin;
mod change;
mod cluster;
mod credential_names;
mod crl;
mod defaults;
mod difference;
mod environment;
mod files;
mod framing_names;
pub mod identity;
mod include;
mod listeners;
mod load;
mod otlp;
mod plain;
mod presence;
mod problem;
mod process;
mod proxy;
mod query;
mod raw;
mod route;
mod schema;
mod schema_check;
mod secret;
mod secret_file;
#[cfg(test)]
mod tests;
mod times;
mod upstream;
pub mod upstream_path;
pub mod upstream_tls;
mod validate;
mod validated;
mod yaml;

pub use admin::{Admin, AdminAddress};
pub use change::{ArrayKey, Change, Cursor, Delta, Feed, LinePattern, Members, Order, Pages};
pub use cluster::{Cluster, ClusterEngine, WhenLost};
pub use credential_names::says_credential;
pub use crl::Crl;
pub use difference::{Difference, Effect, RouteDifference, UpstreamDifference};
pub use files::Files;
pub use framing_names::FRAMING_NAMES;
pub use identity::{Authenticate, TokenPlaces};
pub use listeners::{
    CertificateFiles, ClientAddress, ClientCertificates, Listener, ListenerTls, TlsVersion, host_name,
};
pub use load::{load, load_str};
pub use otlp::{Otlp, OtlpProtocol};
pub use plain::Plain;
pub use presence::{Presence, PresenceNotify};
pub use problem::{Problem, Problems};
pub use process::{AccessLines, Drain, Limits, Log, LogLevel, Reload, Threads, Upgrade};
pub use proxy::{Proxy, ProxyProtocol};
pub use query::{QueryRule, Switches, UnknownQuery};
pub use route::{
    Backoff, ClassValue, Compress, Cors, HeaderRules, Poll, Route, Send, Share, SoftRefusal, Transports,
    Websocket,
};
pub use schema::schema;
pub use secret::Secret;
pub use secret_file::{SecretFile, SecretForm};
pub use times::Times;
pub use upstream::{
    Auth, Batch, Breaker, Budget, BudgetScope, ClientCredentials, Connections, DigestCredentials, Forwarded,
    HealthCheck, Server, Upstream,
};
pub use upstream_path::UpstreamPath;
pub use upstream_tls::{ClientCertificate, Pin, UpstreamTls};
pub use validated::Config;
