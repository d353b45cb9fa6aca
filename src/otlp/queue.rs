//! Spans that have ended, until they are sent: a bounded queue that never makes what ends a span wait, and the task that
//! empties it.
//!
//! Must not know: how an exporter reaches its collector.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};
use prometheus::IntCounterVec;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// Most spans of one request.
const BATCH_SPANS_MAX: usize = 512;

/// How long a span waits for others to go with it.
const GATHER_TIME: Duration = Duration::from_millis(500);

/// Takes spans that have ended, as far as there is room.
#[derive(Debug)]
pub struct Queue {
    sender: mpsc::Sender<SpanData>,
    /// By outcome.
    spans: IntCounterVec,
}

/// The other end of a queue.
pub type Ended = mpsc::Receiver<SpanData>;

impl Queue {
    /// A queue for so many spans. `spans` counts them by outcome: exported, failed, dropped.
    pub fn new(room: usize, spans: IntCounterVec) -> (Queue, Ended) {
        let (sender, ended) = mpsc::channel(room);
        (Queue { sender, spans }, ended)
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.sender.try_send(span).is_err() {
            self.spans.with_label_values(&["dropped"]).inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Sends what ends, batch by batch, until the queue is gone. What cannot be sent within `limit` is counted and dropped.
pub async fn export<E: SpanExporter>(
    mut ended: Ended,
    mut exporter: E,
    resource: Resource,
    limit: Duration,
    spans: IntCounterVec,
) {
    exporter.set_resource(&resource);
    while let Some(first) = ended.recv().await {
        let mut batch = vec![first];
        let until = Instant::now() + GATHER_TIME;
        while batch.len() < BATCH_SPANS_MAX {
            match timeout_at(until, ended.recv()).await {
                Ok(Some(span)) => batch.push(span),
                Ok(None) | Err(_) => break,
            }
        }
        let count = batch.len() as u64;
        let outcome = match timeout(limit, exporter.export(batch)).await {
            Ok(Ok(())) => "exported",
            Ok(Err(error)) => {
                tracing::debug!("the collector did not take {count} spans: {error}");
                "failed"
            }
            Err(_) => "failed",
        };
        spans.with_label_values(&[outcome]).inc_by(count);
    }
}
