//! `tracing`: where spans go.
//!
//! Must not know: spans.

use std::sync::Arc;

use super::super::problem::{Findings, Place};
use super::super::{FRAMING_NAMES, Otlp, OtlpProtocol, Secret, raw};
use super::context::Context;
use super::server::{self, server};
use super::units::{MINUTE, SECOND};
use super::value::at;

/// Where collectors take spans over HTTP, if their URL does not say it (OTLP 1.x, "OTLP/HTTP Request").
const TRACES_PATH: &str = "/v1/traces";

/// Most attributes of the resource, and headers of a request.
const NAMES_MAX: usize = 64;

/// Reads `tracing`. Returns `None` if nothing is traced.
pub fn tracing(file: &raw::File, context: &Context<'_>, findings: &mut Findings) -> Option<Otlp> {
    let (place, raw) = at!(Place::root(), file.tracing);
    let raw = raw?;
    let (place, raw) = at!(place, raw.otlp);
    let raw = raw?;
    if raw.endpoint.is_none() {
        findings.problem(&place, "needs an endpoint: the URL of the collector, as http://127.0.0.1:4318");
    }
    if !cfg!(feature = "otlp") {
        findings.problem(&place, "needs a program that was built with the feature \"otlp\"");
    }
    let mut protocol = OtlpProtocol::HttpProtobuf;
    let protocols = [("http/protobuf", OtlpProtocol::HttpProtobuf), ("grpc", OtlpProtocol::Grpc)];
    findings.choice(at!(place, raw.protocol), &protocols, &mut protocol);
    let said = server::Said {
        place: &place,
        key: "endpoint",
        url: raw.endpoint.as_ref(),
        ca: raw.ca.as_ref(),
        upstream: None,
        risk: "is not https: whoever is on the way reads the spans, and the headers that are sent with them",
    };
    let (server, path) = server(&said, context, findings)?;
    let mut otlp = Otlp {
        server: Arc::new(server),
        path: if path == "/" { TRACES_PATH.to_owned() } else { path },
        protocol,
        headers: headers(&place, raw, findings),
        sample: 1.0,
        service_name: "pollcast".to_owned(),
        resource: resource(&place, raw, findings),
        queue: 4096,
        timeout: 10 * SECOND,
    };
    if let (place, Some(said)) = at!(place, raw.sample) {
        otlp.sample = findings.read_number(&place, &said.0, 0.000_001..=1.0).unwrap_or(otlp.sample);
    }
    if let (place, Some(said)) = at!(place, raw.service_name) {
        if said.0.is_empty() {
            findings.problem(&place, "is empty; leave it out for pollcast");
        }
        otlp.service_name.clone_from(&said.0);
    }
    findings.count(at!(place, raw.queue), 64..=1_000_000, &mut otlp.queue);
    findings.time(at!(place, raw.timeout), SECOND..=MINUTE, &mut otlp.timeout);
    Some(otlp)
}

fn headers(place: &Place, raw: &raw::Otlp, findings: &mut Findings) -> Vec<(String, Secret)> {
    let (place, said) = at!(place, raw.headers);
    let mut headers = Vec::new();
    for (name, value) in said.into_iter().flatten().take(NAMES_MAX) {
        let place = place.key(name);
        let (Some(name), Some(_)) =
            (findings.header_name(&place, name), findings.header_value(&place, &value.0))
        else {
            continue;
        };
        if FRAMING_NAMES.contains(&name.as_str()) {
            findings.problem(&place, "not allowed here: this header is about one connection");
        }
        headers.push((name.as_str().to_owned(), Secret(value.0.trim().to_owned())));
    }
    headers
}

fn resource(place: &Place, raw: &raw::Otlp, findings: &mut Findings) -> Vec<(String, String)> {
    let (place, said) = at!(place, raw.resource);
    let said = said.into_iter().flatten();
    if said.clone().count() > NAMES_MAX {
        findings.problem(&place, format!("has more than {NAMES_MAX} attributes"));
    }
    said.take(NAMES_MAX).map(|(name, value)| (name.clone(), value.0.clone())).collect()
}
