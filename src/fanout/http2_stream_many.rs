//! The client loop of one HTTP/2 stream of many resources: as `http2_stream`, with a position in each of them.
//!
//! Must not know: how the request became a stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::select_all;
use pingora::protocols::http::ServerSession;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::http2_stream::{Ending, Staying, StreamEnd, draining, next, plan, presence_changed, retirement};
use super::record::Record;
use crate::hub::{Delivery, Roll, Subscription, Views};
use crate::metrics::{Metrics, StreamMetrics};
use crate::transport::{End, Step, Transport};

/// One stream and what it needs.
pub struct ManyStream {
    /// The HTTP/2 stream that is written to.
    pub session: Box<ServerSession>,
    /// The protocol of the stream.
    pub transport: Transport,
    /// The client's names for its resources, their places in its request, and its positions.
    pub following: Vec<(Arc<str>, usize, Subscription)>,
    /// What the access log says at the end.
    pub record: Record,
    /// The counters of this kind of stream.
    pub metrics: Metrics,
    /// Ends the stream after a write has made no progress for this long.
    pub stall_timeout: Duration,
    /// Tells when the process drains.
    pub ending: Ending,
    /// How long the client may stay, and why it ends.
    pub stay: Staying,
}

/// Serves the stream until it ends. The head was written already; `opening` follows it.
pub async fn drive_many(stream: ManyStream, opening: Bytes) {
    let ManyStream { session, transport, following, record, metrics, stall_timeout, ending, stay } = stream;
    let tally = metrics.stream(transport.name(), "");
    tally.subscribers.inc();
    metrics.bundled.add(following.len() as i64);
    let mut serving = Serving { session, transport, record, tally, stall_timeout };
    let count = following.len() as i64;
    let reason = match serving.write(opening, false).await {
        Ok(()) => serving.run(following, ending, stay).await,
        Err(reason) => reason,
    };
    metrics.bundled.sub(count);
    serving.tally.subscribers.dec();
    serving.tally.ended(reason);
    serving.record.write(serving.transport.name(), None, reason);
}

struct Serving {
    session: Box<ServerSession>,
    transport: Transport,
    record: Record,
    tally: StreamMetrics,
    stall_timeout: Duration,
}

/// A position in one resource, and what tells its news.
struct Followed {
    name: Arc<str>,
    index: usize,
    subscription: Subscription,
    views: Views,
    presence: Option<watch::Receiver<Arc<Roll>>>,
    /// Whether its topic has ended; the others go on.
    closed: bool,
}

impl Followed {
    /// Waits until there may be news of the resource.
    async fn changed(&mut self) {
        tokio::select! {
            () = self.views.changed() => {}
            () = presence_changed(&mut self.presence), if self.presence.is_some() => {}
        }
    }
}

impl Serving {
    async fn run(
        &mut self,
        following: Vec<(Arc<str>, usize, Subscription)>,
        mut ending: Ending,
        mut stay: Staying,
    ) -> StreamEnd {
        let follow = |(name, index, subscription): (Arc<str>, usize, Subscription)| {
            let (views, presence) = (subscription.topic().views(), subscription.presence_rolls());
            Followed { name, index, subscription, views, presence, closed: false }
        };
        let mut all: Vec<Followed> = following.into_iter().map(follow).collect();
        let mut leave: Option<(tokio::time::Instant, Duration)> = None;
        let ages = all.iter().filter_map(|followed| followed.subscription.topic().route().max_age);
        let retires = retirement(ages.min());
        loop {
            if let Some(why) = stay.is_over_now() {
                let step = self.transport.end(End::Expelled(why), None);
                return self.apply(step).await.err().unwrap_or("expelled");
            }
            for followed in all.iter_mut().filter(|followed| !followed.closed) {
                if let Err(reason) = self.pump(followed).await {
                    return reason;
                }
            }
            let deadline = next(self.transport.deadline(), retires);
            let leave_at = leave.map_or_else(tokio::time::Instant::now, |(at, _)| at);
            let open = all.iter_mut().filter(|followed| !followed.closed);
            let changes: Vec<_> = open.map(|followed| Box::pin(followed.changed())).collect();
            let is_silent = changes.is_empty();
            let changed = async {
                // Without futures there is no first one to wait for.
                if is_silent { std::future::pending().await } else { select_all(changes).await.0 }
            };
            tokio::select! {
                // A topic lives as long as its subscription does.
                () = changed => {}
                _ = self.session.read_body_or_idle(true) => return "client-gone",
                () = sleep_until(deadline.into()) => {
                    let now = Instant::now();
                    if retires.is_some_and(|at| now >= at) {
                        let step = self.transport.end(End::MaxAge, None);
                        return self.apply(step).await.err().unwrap_or("max-age");
                    }
                    let step = self.transport.expired(now, None);
                    if let Err(reason) = self.apply(step).await { return reason }
                }
                (window, retry) = draining(&mut ending), if leave.is_none() => {
                    leave = Some(plan(window, retry));
                }
                // The next turn of the loop sees why.
                _ = stay.is_over() => {}
                () = sleep_until(leave_at), if leave.is_some() => {
                    let retry = leave.map_or(Duration::ZERO, |(_, retry)| retry);
                    let step = self.transport.end(End::Drain { retry }, None);
                    return self.apply(step).await.err().unwrap_or("drain");
                }
            }
        }
    }

    /// Gives the client what is new of one resource.
    async fn pump(&mut self, followed: &mut Followed) -> Result<(), StreamEnd> {
        let view = followed.views.borrow_and_update();
        while let Some(delivery) = followed.subscription.next(&view) {
            let of = (&*followed.name, followed.index);
            let step = self.transport.deliver_of(of, followed.subscription.seen(), &delivery, Instant::now());
            if delivery.is_content() {
                self.record.events += 1;
                self.tally.events.inc();
            }
            self.apply(step).await?;
            if let Delivery::Closing(_) = delivery {
                followed.closed = true;
                followed.subscription.leave_presence();
                return Ok(());
            }
        }
        if let Some(event) = followed.subscription.next_presence() {
            let of = (&*followed.name, followed.index);
            let step = self.transport.deliver_of(of, followed.subscription.seen(), &event, Instant::now());
            self.apply(step).await?;
        }
        Ok(())
    }

    async fn apply(&mut self, step: Step) -> Result<(), StreamEnd> {
        match step {
            Step::Wait | Step::Forward(_) => Ok(()),
            Step::Write(output) => self.write(output.first, false).await,
            Step::Finish(output, reason) | Step::GiveBack(output, reason) => {
                self.write(output.first, true).await?;
                Err(reason)
            }
        }
    }

    async fn write(&mut self, bytes: Bytes, last: bool) -> Result<(), StreamEnd> {
        let length = bytes.len() as u64;
        match timeout(self.stall_timeout, self.session.write_response_body(bytes, last)).await {
            Ok(Ok(())) => {
                self.record.bytes += length;
                self.tally.bytes_out.inc_by(length);
                Ok(())
            }
            Ok(Err(_)) => Err("client-gone"),
            Err(_) => {
                self.tally.slow_closes.inc();
                Err("stalled")
            }
        }
    }
}
