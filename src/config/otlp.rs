//! Where spans go (`tracing.otlp`).
//!
//! Must not know: spans.

use std::sync::Arc;
use std::time::Duration;

use super::secret::Secret;
use super::upstream::Upstream;

/// The collector that spans are sent to, by OTLP.
#[derive(Debug, Clone, PartialEq)]
pub struct Otlp {
    /// The collector, as the URL says it is reached.
    pub server: Arc<Upstream>,
    /// Path and query of the URL. With gRPC it is not used.
    pub path: String,
    /// How the collector is spoken to.
    pub protocol: OtlpProtocol,
    /// More fields of each request; their values may be credentials.
    pub headers: Vec<(String, Secret)>,
    /// The share of traces that are recorded, from 0 to 1 (default: 1).
    pub sample: f64,
    /// `service.name` (default: `pollcast`).
    pub service_name: String,
    /// More attributes of the resource.
    pub resource: Vec<(String, String)>,
    /// Most spans that wait to be sent (default: 4096).
    pub queue: usize,
    /// The time of one request (default: 10 s).
    pub timeout: Duration,
}

/// The protocols of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP.
    HttpProtobuf,
    /// gRPC.
    Grpc,
}
