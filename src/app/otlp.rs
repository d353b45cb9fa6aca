//! Tracing by OTLP (`tracing.otlp`): the exporter of the field's own crates, over pollcast's own connections where it is
//! HTTP, so that TLS, proxies and limits are those of upstreams.
//!
//! Must not know: what is traced.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::tonic_types::metadata::MetadataMap;
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use tokio::runtime::Runtime;

use crate::config::{Otlp, OtlpProtocol, UpstreamTls};
use crate::metrics::Metrics;
use crate::otlp::{Queue, Tracer, export, resource};
use crate::upstream::{Ask, Client, Document};

/// Most bytes of a collector's answer.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Starts what sends spans, in tasks of this runtime. Returns what makes them.
///
/// # Errors
/// The collector cannot be used.
pub(super) fn start(otlp: &Otlp, metrics: &Metrics, runtime: &Runtime) -> io::Result<Tracer> {
    let failed = |error: &dyn fmt::Display| io::Error::other(format!("tracing.otlp: {error}"));
    // Its channel lives on the runtime that it is made on.
    let _entered = runtime.enter();
    let exporter = match otlp.protocol {
        OtlpProtocol::HttpProtobuf => {
            let client = Client::new(otlp.server.clone()).map_err(|error| failed(&error))?;
            SpanExporter::builder()
                .with_http()
                .with_http_client(Collector { client, limit: otlp.timeout })
                .with_protocol(Protocol::HttpBinary)
                .with_endpoint(url(otlp, &otlp.path))
                .with_headers(headers(otlp))
                .with_timeout(otlp.timeout)
                .build()
        }
        OtlpProtocol::Grpc => {
            let exporter = SpanExporter::builder()
                .with_tonic()
                .with_endpoint(url(otlp, ""))
                .with_metadata(MetadataMap::from_headers(fields(otlp)))
                .with_timeout(otlp.timeout);
            match &otlp.server.tls {
                None => exporter.build(),
                Some(tls) => exporter.with_tls_config(trusting(tls).map_err(|error| failed(&error))?).build(),
            }
        }
    };
    let exporter = exporter.map_err(|error| failed(&error))?;
    let (queue, ended) = Queue::new(otlp.queue, metrics.otlp_spans.clone());
    let resource = resource(&otlp.service_name, &otlp.resource);
    let tracer = Tracer::new(queue, otlp.sample, resource.clone());
    // Beside the exporter's own limit, which may not count what it waits for before it connects.
    let limit = otlp.timeout + Duration::from_secs(1);
    runtime.spawn(export(ended, exporter, resource, limit, metrics.otlp_spans.clone()));
    Ok(tracer)
}

/// Believes the authorities of `ca`, or those of the system.
fn trusting(tls: &UpstreamTls) -> io::Result<ClientTlsConfig> {
    let Some(file) = &tls.ca else { return Ok(ClientTlsConfig::new().with_native_roots()) };
    let read = std::fs::read(file);
    let pem =
        read.map_err(|error| io::Error::new(error.kind(), format!("ca {}: {error}", file.display())))?;
    Ok(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
}

fn url(otlp: &Otlp, path: &str) -> String {
    let scheme = if otlp.server.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{}{path}", otlp.server.host.as_deref().unwrap_or_default())
}

fn headers(otlp: &Otlp) -> HashMap<String, String> {
    otlp.headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect()
}

fn fields(otlp: &Otlp) -> HeaderMap {
    let field = |(name, value): &(String, crate::config::Secret)| {
        let mut value = HeaderValue::try_from(&value.0).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name).ok()?, value))
    };
    otlp.headers.iter().filter_map(field).collect()
}

/// The collector, as an upstream is reached.
struct Collector {
    client: Arc<Client>,
    limit: Duration,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collector({})", self.client.config().name)
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let ask = Ask {
            method: parts.method,
            path_and_query: path,
            host: crate::poll::host(self.client.config(), None),
            headers: parts.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            body,
            timeout: self.limit,
            max_body: ANSWER_BYTES_MAX,
            class: None,
            document: Document::Any,
            claim: None,
        };
        let answer = self.client.fetch(&ask).await.map_err(|error| error.failure.to_string())?;
        Ok(Response::builder().status(answer.status).body(answer.body)?)
    }
}
