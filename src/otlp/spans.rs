//! The handle that makes spans, and a span until it ends.
//!
//! Must not know: where spans go.

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

use super::kind::Kind;
use super::queue::Queue;

/// Makes spans, or none where tracing is off. It is cheap to clone.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<On>>);

struct On {
    tracer: SdkTracer,
    /// Spans end in it as long as it lives.
    _provider: SdkTracerProvider,
}

/// What a span is a part of.
#[derive(Clone, Copy)]
pub enum Parent<'a> {
    /// Nothing: it begins a trace.
    Nothing,
    /// What a client says in `traceparent` (W3C Trace Context); nothing if it says none that is valid.
    Request(&'a HeaderMap),
    /// Another span.
    Span(&'a Span),
}

/// A span that is recorded. It ends when it is dropped.
pub struct Span(Box<opentelemetry_sdk::trace::Span>);

/// What the process is called in its spans.
pub fn resource(service_name: &str, more: &[(String, String)]) -> Resource {
    let attributes = more.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    Resource::builder_empty()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attributes(attributes)
        .with_service_name(service_name.to_owned())
        .build()
}

impl Tracer {
    /// A tracer whose spans go to `queue`. `sample`: the share of traces that are recorded.
    pub fn new(queue: Queue, sample: f64, resource: Resource) -> Tracer {
        let provider = SdkTracerProvider::builder()
            // Of a trace that another service began, the same share is recorded: no client decides what tracing costs.
            .with_sampler(Sampler::TraceIdRatioBased(sample))
            .with_resource(resource)
            .with_span_processor(queue)
            .build();
        let tracer = provider.tracer("pollcast");
        Tracer(Some(Arc::new(On { tracer, _provider: provider })))
    }

    /// Whether any span is made.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span. Returns `None` if it is not recorded.
    pub fn begin(&self, name: &'static str, kind: Kind, parent: Parent<'_>) -> Option<Span> {
        self.begin_at(name, kind, parent, None)
    }

    /// The same for what began earlier.
    pub fn begin_at(
        &self,
        name: &'static str,
        kind: Kind,
        parent: Parent<'_>,
        began: Option<SystemTime>,
    ) -> Option<Span> {
        let on = self.0.as_ref()?;
        let parent = match parent {
            Parent::Nothing => Context::new(),
            Parent::Request(headers) => of_request(headers)?,
            Parent::Span(span) => Context::new().with_remote_span_context(span.0.span_context().clone()),
        };
        let kind = match kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        };
        let builder = SpanBuilder { start_time: began, ..SpanBuilder::from_name(name).with_kind(kind) };
        let span = on.tracer.build_with_context(builder, &parent);
        span.is_recording().then(|| Span(Box::new(span)))
    }
}

/// What a client's request is a part of. Returns `None` if its trace is not recorded.
fn of_request(headers: &HeaderMap) -> Option<Context> {
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
    let said = context.span().span_context().clone();
    (!said.is_valid() || said.is_sampled()).then_some(context)
}

impl Span {
    /// Says something of it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.set_attribute(KeyValue::new(name, value));
    }

    /// Says that what it stands for failed.
    pub fn fail(&mut self, reason: &'static str) {
        self.0.set_status(Status::error(reason));
    }

    /// The field that has another service go on with the trace (W3C Trace Context, `traceparent`).
    pub fn traceparent(&self) -> Option<HeaderValue> {
        let context = self.0.span_context();
        let flags = context.trace_flags().to_u8();
        HeaderValue::try_from(format!("00-{}-{}-{flags:02x}", context.trace_id(), context.span_id())).ok()
    }
}
