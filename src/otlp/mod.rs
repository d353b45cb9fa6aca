//! Spans of what the process does, for tracing by OpenTelemetry: polls, publishes, connects, what passes through.
//!
//! What makes spans knows no collector: `spans` has the handle that does nothing where tracing is off, `queue` what is
//! recorded until an exporter takes it. A build without the feature `otlp` has the same handle, always off. Must not know:
//! how spans reach a collector.

mod kind;
#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(feature = "otlp")]
mod queue;
#[cfg(feature = "otlp")]
mod spans;

pub use kind::Kind;
#[cfg(not(feature = "otlp"))]
pub use off::{Parent, Span, Tracer};
#[cfg(feature = "otlp")]
pub use queue::{Queue, export};
#[cfg(feature = "otlp")]
pub use spans::{Parent, Span, Tracer, resource};
