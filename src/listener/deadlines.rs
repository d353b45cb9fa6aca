//! How long a connection may take to ask, and how long its question may be: until its first byte, from
//! the first byte of a head to its last, and between two requests.
//!
//! Pingora waits a minute for each read of a connection's first head, and for ever for all that comes
//! later. Must not know: what is read.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use prometheus::{IntCounter, IntCounterVec};
use tokio::time::{Instant, Sleep, sleep_until};

use super::raw_head::Unfit;
use crate::config::Limits;
use crate::metrics::Metrics;

/// What all connections of a listener are held to.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) first_byte: Duration,
    pub(super) head: Duration,
    pub(super) idle: Duration,
    /// Without taking a byte of an answer.
    pub(super) send: Duration,
    /// Longest head.
    pub(super) head_bytes: usize,
    /// Frames a second of an HTTP/2 connection that carry nothing.
    pub(super) control_rate: u32,
    pub(super) refusals: IntCounterVec,
    /// Requests of HTTP/2 connections that waited for a window.
    pub(super) parked: IntCounter,
}

impl Terms {
    pub(super) fn of(limits: &Limits, metrics: &Metrics) -> Terms {
        Terms {
            first_byte: limits.first_byte_timeout,
            head: limits.header_timeout,
            idle: limits.idle_timeout,
            send: limits.send_timeout,
            head_bytes: limits.header_bytes,
            control_rate: limits.http2_control_rate,
            refusals: metrics.refusals.clone(),
            parked: metrics.http2_parked.clone(),
        }
    }

    /// What is said to a head that goes no further. It is counted.
    pub(super) fn refusal(&self, unfit: Unfit) -> Refusal {
        let (reason, status, detail) = match unfit {
            Unfit::Line => {
                ("framing", StatusCode::BAD_REQUEST, "a space or a control character in the request line")
            }
            Unfit::Chunk => {
                ("framing", StatusCode::BAD_REQUEST, "a chunk without a size, or with another one")
            }
            Unfit::TooManyFields => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                ("header-fields", status, "there are more than 256 header fields")
            }
        };
        self.refusals.with_label_values(&[reason]).inc();
        Refusal { status, detail }
    }
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    FirstByte,
    /// The rest of a head, of which so many bytes are there.
    Head(usize),
    NextRequest,
}

/// What is done with a connection that the patience with has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has asked nothing.
    Close,
    /// It is told.
    Refuse(Refusal),
}

/// Why a head is not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) detail: &'static str,
}

/// The patience with one connection while it is to ask something.
#[derive(Debug)]
pub(super) struct Patience {
    awaited: Awaited,
    /// Since it was first waited for; `None` before that.
    deadline: Option<Instant>,
    /// Kept from request to request. It may be too early, never too late.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(super) fn with(awaited: Awaited) -> Patience {
        Patience { awaited, deadline: None, sleep: None }
    }

    /// Its last request is answered, and the next one may come.
    pub(super) fn expect_next(&mut self) {
        (self.awaited, self.deadline) = (Awaited::NextRequest, None);
    }

    /// So many bytes came.
    pub(super) fn heard(&mut self, bytes: usize) {
        self.awaited = match self.awaited {
            Awaited::Head(before) => Awaited::Head(before + bytes),
            Awaited::FirstByte | Awaited::NextRequest => {
                self.deadline = None;
                Awaited::Head(bytes)
            }
        };
    }

    /// What came is no whole head, and more than any may be.
    pub(super) fn too_long(&self, terms: &Terms) -> Option<Refusal> {
        let Awaited::Head(bytes) = self.awaited else { return None };
        (bytes > terms.head_bytes).then(|| {
            terms.refusals.with_label_values(&["header-bytes"]).inc();
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            Refusal { status, detail: "the head is larger than limits.header_bytes" }
        })
    }

    /// Ready when it took too long. To be asked when nothing can be read.
    pub(super) fn poll_end(&mut self, terms: &Terms, context: &mut Context<'_>) -> Poll<Verdict> {
        let wait = match self.awaited {
            Awaited::FirstByte => terms.first_byte,
            Awaited::Head(_) => terms.head,
            Awaited::NextRequest => terms.idle,
        };
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + wait);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(context).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(self.verdict(terms));
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    fn verdict(&self, terms: &Terms) -> Verdict {
        match self.awaited {
            Awaited::NextRequest => Verdict::Close,
            Awaited::FirstByte => {
                terms.refusals.with_label_values(&["first-byte"]).inc();
                Verdict::Close
            }
            Awaited::Head(_) => {
                terms.refusals.with_label_values(&["header-timeout"]).inc();
                let status = StatusCode::REQUEST_TIMEOUT;
                Verdict::Refuse(Refusal { status, detail: "the head took longer than limits.header_timeout" })
            }
        }
    }
}

#[cfg(test)]
impl Terms {
    /// One, two and three seconds, a head of 100 bytes.
    pub(super) fn strict() -> Terms {
        let opts = prometheus::Opts::new("refusals", "Requests refused.");
        Terms {
            first_byte: Duration::from_secs(1),
            head: Duration::from_secs(2),
            idle: Duration::from_secs(3),
            send: Duration::from_secs(4),
            head_bytes: 100,
            control_rate: 10,
            refusals: IntCounterVec::new(opts, &["reason"]).unwrap(),
            parked: IntCounter::new("parked", "Requests that waited.").unwrap(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn end(patience: &mut Patience, terms: &Terms) -> (u64, Verdict) {
        let began = Instant::now();
        let verdict = poll_fn(|context| patience.poll_end(terms, context)).await;
        ((began.elapsed().as_millis() as f64 / 1000.0).round() as u64, verdict)
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_end() {
        let terms = Terms::strict();
        let mut patience = Patience::with(Awaited::FirstByte);
        assert_eq!(end(&mut patience, &terms).await, (1, Verdict::Close));
        let mut patience = Patience::with(Awaited::NextRequest);
        assert_eq!(end(&mut patience, &terms).await, (3, Verdict::Close));
        patience.heard(1);
        let (after, verdict) = end(&mut patience, &terms).await;
        assert_eq!(after, 2);
        assert!(matches!(verdict, Verdict::Refuse(Refusal { status: StatusCode::REQUEST_TIMEOUT, .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn single_bytes_do_not_buy_time() {
        let terms = Terms::strict();
        let mut patience = Patience::with(Awaited::FirstByte);
        patience.heard(1);
        for _ in 0..3 {
            let early = tokio::time::timeout(SECOND / 2, end(&mut patience, &terms)).await;
            assert!(early.is_err());
            patience.heard(1);
        }
        let (_, verdict) = tokio::time::timeout(SECOND, end(&mut patience, &terms)).await.unwrap();
        assert!(matches!(verdict, Verdict::Refuse(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn every_request_begins_a_new_wait() {
        let terms = Terms::strict();
        let mut patience = Patience::with(Awaited::FirstByte);
        for _ in 0..5 {
            patience.heard(10);
            patience.expect_next();
            assert!(tokio::time::timeout(2 * SECOND, end(&mut patience, &terms)).await.is_err());
        }
        assert_eq!(end(&mut patience, &terms).await, (1, Verdict::Close));
    }

    #[tokio::test]
    async fn a_head_without_an_end_is_not_read_for_ever() {
        let terms = Terms::strict();
        let mut patience = Patience::with(Awaited::FirstByte);
        patience.heard(100);
        assert_eq!(patience.too_long(&terms), None);
        patience.heard(1);
        assert!(patience.too_long(&terms).is_some());
        patience.expect_next();
        assert_eq!(patience.too_long(&terms), None);
    }
}
