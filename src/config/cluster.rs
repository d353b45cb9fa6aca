//! `cluster`: the nodes that poll each resource once together, and the engine between them.
//!
//! Must not know: engines.

use std::sync::Arc;
use std::time::Duration;

use super::upstream_tls::UpstreamTls;
use super::{Secret, SecretFile};

/// Several nodes that share their polls.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// What is between the nodes.
    pub engine: ClusterEngine,
    /// Where the engine's servers are (`host:port`); with `sentinel`, where the sentinels are.
    pub servers: Vec<String>,
    /// The name of the primary that sentinels watch.
    pub sentinel: Option<String>,
    /// The user of the engine; `None` for its default one.
    pub username: Option<String>,
    /// The password, as it was when the configuration was read.
    pub password: Option<Secret>,
    /// The file whose password counts, if other programs may replace it.
    pub password_file: Option<Arc<SecretFile>>,
    /// The number of the engine's database.
    pub database: u32,
    /// How the engine is spoken to in TLS; `None` for cleartext.
    pub tls: Option<UpstreamTls>,
    /// Nodes with the same name, engine and secret are one cluster.
    pub name: String,
    /// The secret that names and seals everything in the engine.
    pub secret: Secret,
    /// A secret that is read with as well, and never written with.
    pub previous_secret: Option<Secret>,
    /// What people call this node; `None` for six digits of chance.
    pub node: Option<String>,
    /// How long a node may give no sign before its resources go to others.
    pub lease: Duration,
    /// How long one command may take.
    pub timeout: Duration,
    /// What a node does without the engine.
    pub when_lost: WhenLost,
    /// Whether what credential classes hold leaves the node, sealed by their own credentials.
    pub shares_private: bool,
    /// The largest sealed record.
    pub max_value: usize,
    /// Commands of single resources that are on their way to the engine at once.
    pub max_commands: usize,
}

/// What is between the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterEngine {
    /// It is Redis or Valkey.
    Redis,
    /// NATS with JetStream.
    Nats,
}

/// What a node does without the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenLost {
    /// It polls for itself.
    Poll,
    /// It serves what it has, says that it is stale, and polls nothing.
    Hold,
}

impl Cluster {
    /// A cluster of which only the secret is said.
    pub fn unsaid() -> Cluster {
        Cluster {
            engine: ClusterEngine::Redis,
            servers: Vec::new(),
            sentinel: None,
            username: None,
            password: None,
            password_file: None,
            database: 0,
            tls: None,
            name: "default".to_owned(),
            secret: Secret(String::new()),
            previous_secret: None,
            node: None,
            lease: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            when_lost: WhenLost::Poll,
            shares_private: false,
            max_value: 1024 * 1024,
            max_commands: 256,
        }
    }
}
