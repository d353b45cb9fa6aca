//! The client loop of one HTTP/2 stream: a stream cannot leave its connection, so it stays in the connection's task and
//! drives the same transport.
//!
//! Must not know: how the request became a stream.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pingora::protocols::http::ServerSession;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::entitlement::Entitlement;
use super::record::Record;
use super::timers::lifetime;
use crate::hub::{Roll, Subscription};
use crate::metrics::StreamMetrics;
use crate::transport::{End, Expulsion, Output, Step, Transport};

/// The drain as tasks see it: `None` until it begins; then its window, and the range of reconnect delays.
pub type Drain = Option<(Duration, (Duration, Duration))>;

/// Tells tasks of the drain.
pub type Ending = watch::Receiver<Drain>;

/// Waits until the drain begins.
pub async fn draining(ending: &mut Ending) -> (Duration, (Duration, Duration)) {
    match ending.wait_for(Option::is_some).await.ok().and_then(|drain| *drain) {
        Some(drain) => drain,
        // The sender is gone: no drain will begin.
        None => std::future::pending().await,
    }
}

/// How a stream ended, for its log line.
pub type StreamEnd = &'static str;

/// One stream and what it needs.
pub struct Stream {
    /// The HTTP/2 stream that is written to.
    pub session: Box<ServerSession>,
    /// The protocol of the stream.
    pub transport: Transport,
    /// The client's position in its resource.
    pub subscription: Subscription,
    /// What the access log says at the end.
    pub record: Record,
    /// The counters of this kind of stream.
    pub metrics: StreamMetrics,
    /// Ends the stream after a write has made no progress for this long.
    pub stall_timeout: Duration,
    /// Tells when the process drains.
    pub ending: Ending,
    /// How long the client may stay, and why it ends.
    pub stay: Staying,
}

/// What the client of a task stays by, and when to look whether it still may.
pub struct Staying {
    /// The credential by which the client stays, if its route has `authenticate`.
    pub entitlement: Option<Arc<Entitlement>>,
    /// Counts the operator's orders to end streams.
    pub expulsions: watch::Receiver<u64>,
}

impl Staying {
    /// Returns why the client may not stay any longer, if that is so: then it is told nothing more.
    pub(super) fn is_over_now(&self) -> Option<Expulsion> {
        self.entitlement.as_ref()?.is_over(Instant::now())
    }

    /// Waits until the client may not stay any longer.
    pub async fn is_over(&mut self) -> Expulsion {
        let Some(entitlement) = &self.entitlement else { return std::future::pending().await };
        loop {
            if let Some(why) = entitlement.is_over(Instant::now()) {
                return why;
            }
            let expires = async {
                match entitlement.until() {
                    Some(until) => sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            let mut expires = pin!(expires);
            tokio::select! {
                () = &mut expires => {}
                // The sender is gone: only the proof's own time can end it.
                told = self.expulsions.changed() => if told.is_err() { expires.await },
            }
        }
    }
}

/// Serves the stream until it ends. The head was written already; `opening` follows it.
pub async fn drive(mut stream: Stream, opening: Bytes) -> StreamEnd {
    stream.metrics.subscribers.inc();
    let reason = match stream.write(Output::one(opening), false).await {
        Ok(()) => stream.serve().await,
        Err(reason) => reason,
    };
    stream.metrics.subscribers.dec();
    stream.metrics.ended(reason);
    stream.record.write(stream.transport.name(), Some(stream.subscription.topic()), reason);
    reason
}

impl Stream {
    async fn serve(&mut self) -> StreamEnd {
        let mut views = self.subscription.topic().views();
        let mut ending = self.ending.clone();
        let mut end_at: Option<(tokio::time::Instant, Duration)> = None;
        let retires = retirement(self.subscription.topic().route().max_age);
        let mut presence = self.subscription.presence_rolls();
        loop {
            if let Some(why) = self.stay.is_over_now() {
                let step = self.transport.end(End::Expelled(why), None);
                return self.apply(step).await.unwrap_or("expelled");
            }
            let view = views.borrow_and_update();
            while let Some(delivery) = self.subscription.next(&view) {
                let step = self.transport.deliver(&delivery, &view, Instant::now());
                if delivery.is_content() {
                    self.record.events += 1;
                    self.metrics.events.inc();
                }
                if let Some(reason) = self.apply(step).await {
                    return reason;
                }
            }
            if let Some(event) = self.subscription.next_presence() {
                let step = self.transport.deliver(&event, &view, Instant::now());
                if let Some(reason) = self.apply(step).await {
                    return reason;
                }
            }
            let deadline = next(self.transport.deadline(), retires);
            let leave = end_at.map_or_else(tokio::time::Instant::now, |(at, _)| at);
            tokio::select! {
                () = views.changed() => {}
                () = presence_changed(&mut presence), if presence.is_some() => {}
                // The stream was closed or reset: a client sends nothing else here.
                _ = self.session.read_body_or_idle(true) => return "client-gone",
                () = sleep_until(deadline.into()) => {
                    let now = Instant::now();
                    if retires.is_some_and(|at| now >= at) {
                        let step = self.transport.end(End::MaxAge, None);
                        return self.apply(step).await.unwrap_or("max-age");
                    }
                    let step = self.transport.expired(now, None);
                    if let Some(reason) = self.apply(step).await { return reason }
                }
                (window, retry) = draining(&mut ending), if end_at.is_none() => {
                    end_at = Some(plan(window, retry));
                }
                // The next turn of the loop sees why.
                _ = self.stay.is_over() => {}
                () = sleep_until(leave), if end_at.is_some() => {
                    let retry = end_at.map_or(Duration::ZERO, |(_, retry)| retry);
                    let step = self.transport.end(End::Drain { retry }, None);
                    return self.apply(step).await.unwrap_or("drain");
                }
            }
        }
    }

    async fn apply(&mut self, step: Step) -> Option<StreamEnd> {
        match step {
            Step::Wait | Step::Forward(_) => None,
            Step::Write(output) => self.write(output, false).await.err(),
            Step::Finish(output, reason) | Step::GiveBack(output, reason) => {
                Some(self.write(output, true).await.err().unwrap_or(reason))
            }
        }
    }

    async fn write(&mut self, output: Output, last: bool) -> Result<(), StreamEnd> {
        let length = output.len() as u64;
        let write = async {
            if !output.second.is_empty() {
                self.session.write_response_body(output.first, false).await?;
                self.session.write_response_body(output.second, last).await
            } else {
                self.session.write_response_body(output.first, last).await
            }
        };
        match timeout(self.stall_timeout, write).await {
            Ok(Ok(())) => {
                self.record.bytes += length;
                self.metrics.bytes_out.inc_by(length);
                Ok(())
            }
            Ok(Err(_)) => Err("client-gone"),
            Err(_) => {
                self.metrics.slow_closes.inc();
                Err("stalled")
            }
        }
    }
}

/// Waits until another roll of the presence is told to the client, if it asked for that.
pub(super) async fn presence_changed(rolls: &mut Option<watch::Receiver<Arc<Roll>>>) {
    match rolls {
        // A presence lives as long as it has a follower.
        Some(rolls) => drop(rolls.changed().await),
        None => std::future::pending().await,
    }
}

/// When a stream that begins now has lasted for the route's `max_age`.
pub(super) fn retirement(max_age: Option<Duration>) -> Option<Instant> {
    max_age.map(|max_age| Instant::now() + lifetime(max_age, fastrand::f64()))
}

/// Returns the first of these times, or some time ahead if there is none.
pub(super) fn next(deadline: Option<Instant>, retires: Option<Instant>) -> Instant {
    let first = deadline.into_iter().chain(retires).min();
    first.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
}

/// A random place in the drain's window, and a random reconnect delay.
pub(super) fn plan(
    window: Duration,
    (least, most): (Duration, Duration),
) -> (tokio::time::Instant, Duration) {
    let at = tokio::time::Instant::now() + window.mul_f64(fastrand::f64());
    (at, least + most.saturating_sub(least).mul_f64(fastrand::f64()))
}
