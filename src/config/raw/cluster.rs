//! The keys of `cluster`.
//!
//! Must not know: defaults, bounds, what goes together.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, FileText, Flag, List, SecretText, Size, Text, Time};

/// Nodes that poll each resource once together, and the engine between them.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["servers", "secret"]))]
pub struct Cluster {
    /// What is between the nodes: `redis`, which Valkey is, too, or `nats` with JetStream.
    #[schemars(extend("enum" = ["redis", "nats"]))]
    pub engine: Option<Text>,
    /// Servers of the engine as `host:port`; with `sentinel` the sentinels.
    pub servers: Option<List<Text>>,
    /// The name of the primary that the sentinels watch; left out: the servers are asked directly.
    pub sentinel: Option<Text>,
    /// The user of the engine; left out: its default one.
    pub username: Option<Text>,
    /// The password of that user; one in a file is read again for each connection.
    pub password: Option<FileText>,
    /// The number of the engine's database.
    pub database: Option<Count>,
    /// Speak TLS to the engine.
    pub tls: Option<EngineTls>,
    /// Nodes with the same name, engine and secret are one cluster.
    pub name: Option<Text>,
    /// Names and seals everything in the engine; the same on all nodes.
    pub secret: Option<SecretText>,
    /// The secret before this one: read too, never written with.
    pub previous_secret: Option<SecretText>,
    /// What people call this node; left out: six digits of chance.
    pub node: Option<Text>,
    /// Without a sign of a node for this long its resources go to others.
    pub lease: Option<Time>,
    /// How long a command of the engine may take.
    pub timeout: Option<Time>,
    /// What a node does without the engine: `poll` for itself, or `hold` what it has.
    #[schemars(extend("enum" = ["poll", "hold"]))]
    pub when_lost: Option<Text>,
    /// What becomes of what credential classes hold: `local` to their node, or `shared`, sealed by their credentials.
    #[schemars(extend("enum" = ["local", "shared"]))]
    pub private: Option<Text>,
    /// The largest record, compressed and sealed; a larger content is not shared.
    pub max_value: Option<Size>,
    /// Commands of single resources (writes, look-ups, wants) that are on their way to the engine at once.
    pub max_commands: Option<Count>,
}

/// TLS to the engine. The files are read again for each connection.
#[derive(Deserialize, JsonSchema)]
pub struct EngineTls {
    /// Name asked for and verified; left out: the server's host name.
    pub sni: Option<Text>,
    /// PEM file of the authorities; relative to this file; left out: the system's.
    pub ca: Option<Text>,
    /// Verify the engine's certificate.
    pub verify: Option<Flag>,
    /// PEM file of pollcast's own certificate and its chain, or PKCS#12; relative to this file.
    pub cert: Option<Text>,
    /// PEM file of its key; relative to this file; left out: cert is PKCS#12 and has it.
    pub key: Option<Text>,
    /// Of the key or of the PKCS#12 file.
    pub password: Option<SecretText>,
}
