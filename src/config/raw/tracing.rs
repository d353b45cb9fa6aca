//! `tracing` as typed.
//!
//! Must not know: defaults, bounds.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Number, SecretText, Text, Time};

/// What is traced, and where spans go.
#[derive(Deserialize, JsonSchema)]
pub struct Tracing {
    /// Send spans to a collector by OTLP.
    pub otlp: Option<Otlp>,
}

/// The collector.
#[derive(Deserialize, JsonSchema)]
#[schemars(extend("required" = ["endpoint"]))]
pub struct Otlp {
    /// URL of the collector.
    pub endpoint: Option<Text>,
    /// How it is spoken to.
    #[schemars(extend("enum" = ["http/protobuf", "grpc"]))]
    pub protocol: Option<Text>,
    /// PEM file of authorities for `https`; left out: the system's.
    pub ca: Option<Text>,
    /// Headers of each request.
    pub headers: Option<BTreeMap<String, SecretText>>,
    /// Share of the traces that are recorded, 0.000001 to 1.
    pub sample: Option<Number>,
    /// `service.name` of the resource.
    pub service_name: Option<Text>,
    /// More attributes of the resource.
    pub resource: Option<BTreeMap<String, Text>>,
    /// Most spans that wait to be sent.
    pub queue: Option<Count>,
    /// Time of one request.
    pub timeout: Option<Time>,
}
