//! One HTTP/2 stream that has left its request's task, as a state machine: its connection's task gives it a turn whenever
//! there may be something to do, and it writes to its stream.
//!
//! Must not know: how the request became a stream, what wakes the task.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use pingora::protocols::http::v2::server::HttpSession;
use prometheus::IntGauge;

use super::client_permit::ClientPermit;
use super::drain::{Drain, Ending, plan};
use super::entitlement::Staying;
use super::http2_watch::{WatchId, Watches};
use super::http2_write::{Gone, Writer};
use super::inbox::Following;
use super::record::Record;
use super::timers::lifetime;
use crate::hub::{Delivery, Subscription};
use crate::metrics::{Metrics, StreamMetrics};
use crate::transport::{End, Output, Step, Transport};

/// How a stream ended, for its log line.
type StreamEnd = &'static str;

/// A stream of HTTP/2 on its way to its connection's task.
pub struct Http2Arrival {
    /// The stream, as it left Pingora.
    pub session: HttpSession,
    /// For a held long-poll: the fields of its answer that are this client's alone.
    pub fields: HeaderMap,
    /// What follows the head.
    pub opening: Bytes,
    /// The protocol of the stream.
    pub transport: Transport,
    /// The resources that the client follows.
    pub following: Following,
    /// What the access log says at the end.
    pub record: Record,
    /// Its place among the clients.
    pub permit: ClientPermit,
    /// Ends the stream after a write has made no progress for this long.
    pub stall_timeout: Duration,
    /// Tells when the process drains.
    pub ending: Ending,
    /// When to look whether the client still may stay.
    pub stay: Staying,
}

/// What tells the task of a connection to look at all its streams.
pub(super) struct Calls {
    pub(super) ending: Ending,
    pub(super) stay: Staying,
}

/// One stream and what it needs.
pub struct Http2Stream {
    writer: Writer,
    transport: Transport,
    following: Vec<Followed>,
    /// The resources of a client of many are counted here.
    bundled: Option<IntGauge>,
    record: Record,
    metrics: StreamMetrics,
    permit: ClientPermit,
    /// Whether its resources are looked at although nothing is new.
    looks: bool,
    /// When it has lasted for its route's `max_age`.
    retires: Option<Instant>,
    /// When it leaves in a drain, and what it is told then.
    leaves: Option<(Instant, Duration)>,
    /// Bytes of the output that is on its way.
    writing: usize,
    /// How it ends once that is written.
    end: Option<StreamEnd>,
    /// `None` once it has reached its connection's task.
    calls: Option<Box<Calls>>,
}

/// A position in one resource, and what tells its news.
struct Followed {
    /// Of a client of many: its name for the resource, and its place in the request.
    name: Option<(Arc<str>, usize)>,
    subscription: Subscription,
    news: Option<WatchId>,
    presence: Option<WatchId>,
    /// Whether its topic has ended; the others go on.
    closed: bool,
}

/// What a stream is told at its turn.
pub(super) struct Turn<'a> {
    pub(super) watches: &'a Watches,
    pub(super) now: Instant,
    pub(super) drain: Drain,
    /// Counts the outputs that are begun.
    pub(super) writes: &'a Cell<usize>,
}

impl Http2Stream {
    /// A stream whose head is written, or that is held. Returns `None` if it is neither.
    pub fn new(arrival: Http2Arrival, metrics: &Metrics) -> Option<Box<Http2Stream>> {
        let Http2Arrival { session, fields, opening, transport, following, record, permit, .. } = arrival;
        let Http2Arrival { stall_timeout, ending, stay, .. } = arrival;
        let followed =
            |name, subscription| Followed { name, subscription, news: None, presence: None, closed: false };
        let is_many = matches!(following, Following::Many(_));
        let following = match following {
            Following::One(subscription) => vec![followed(None, subscription)],
            Following::Many(many) => {
                many.into_iter().map(|(name, index, one)| followed(Some((name, index)), one)).collect()
            }
            Following::Nothing | Following::OnDemand => Vec::new(),
        };
        let first = following.first().filter(|_| !is_many).map(|one| one.subscription.topic().route());
        let tally = metrics.stream(transport.name(), first.as_ref().map_or("", |route| &route.path));
        let ages = following.iter().filter_map(|one| one.subscription.topic().route().max_age);
        let (mut writer, retires) = match &transport {
            Transport::LongPoll(_) => (Writer::held(session, fields, stall_timeout), None),
            _ => (Writer::open(session, stall_timeout)?, retirement(ages.min())),
        };
        let writing = opening.len();
        if writing > 0 {
            writer.begin(Output::one(opening), false, Instant::now());
        }
        tally.subscribers.inc();
        let bundled = is_many.then(|| metrics.bundled.clone());
        bundled.iter().for_each(|bundled| bundled.add(following.len() as i64));
        Some(Box::new(Http2Stream {
            writer,
            transport,
            following,
            bundled,
            record,
            metrics: tally,
            permit,
            looks: true,
            retires,
            leaves: None,
            writing,
            end: None,
            calls: Some(Box::new(Calls { ending, stay })),
        }))
    }

    /// Has what it follows watched. Returns what else it is to be woken for, once.
    pub(super) fn arrive(&mut self, watches: &mut Watches) -> Option<Calls> {
        for one in &mut self.following {
            one.news = Some(watches.topic(one.subscription.topic()));
            one.presence = one.subscription.presence_rolls().map(|rolls| watches.rolls(rolls));
        }
        self.calls.take().map(|calls| *calls)
    }

    /// Does what there is to do. Returns how the stream has ended, if it has.
    pub(super) fn turn(&mut self, context: &mut Context<'_>, turn: &Turn<'_>) -> Option<StreamEnd> {
        if self.writer.is_gone(context) {
            return Some("client-gone");
        }
        match self.write_on(context) {
            Err(reason) => return Some(reason),
            Ok(true) => {}
            Ok(false) => {
                let stalls = self.writer.stalls_at().is_some_and(|at| turn.now >= at);
                stalls.then(|| self.metrics.slow_closes.inc())?;
                return Some("stalled");
            }
        }
        if let Some(reason) = self.end {
            return Some(reason);
        }
        self.go_on(context, turn).err()
    }

    /// When the stream has to have a turn at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if let Some(stalls_at) = self.writer.stalls_at() {
            return Some(stalls_at);
        }
        let expires = self.permit.entitlement().and_then(|entitlement| entitlement.until());
        let leaves = self.leaves.map(|(at, _)| at);
        [self.transport.deadline(), self.retires, leaves, expires].into_iter().flatten().min()
    }

    /// Whether the client has yet to take something.
    pub(super) fn waits(&self) -> bool {
        self.writer.is_busy()
    }

    /// Counts and logs its end.
    pub(super) fn finish(self, reason: StreamEnd, watches: &mut Watches) {
        let ids = self.following.iter().flat_map(|one| [one.news, one.presence]);
        ids.flatten().for_each(|id| watches.leave(id));
        if let Some(bundled) = &self.bundled {
            bundled.sub(self.following.len() as i64);
        }
        self.metrics.subscribers.dec();
        self.metrics.ended(reason);
        let first = self.following.first().filter(|_| self.bundled.is_none());
        let topic = first.map(|one| one.subscription.topic().clone());
        self.record.write(self.transport.name(), topic.as_deref(), reason);
    }

    /// Writes what is on its way. Returns whether nothing is left of it.
    fn write_on(&mut self, context: &mut Context<'_>) -> Result<bool, StreamEnd> {
        if !self.writer.is_busy() {
            return Ok(true);
        }
        match self.writer.poll_written(context) {
            Poll::Ready(Ok(())) => {
                let written = std::mem::take(&mut self.writing) as u64;
                self.record.bytes += written;
                self.metrics.bytes_out.inc_by(written);
                Ok(true)
            }
            Poll::Ready(Err(Gone)) => Err("client-gone"),
            Poll::Pending => {
                // What is new meanwhile is looked at afterwards.
                self.looks = true;
                Ok(false)
            }
        }
    }

    /// Tells the client what is new, and what the time says. Nothing is on its way to it.
    fn go_on(&mut self, context: &mut Context<'_>, turn: &Turn<'_>) -> Result<(), StreamEnd> {
        if let Some(why) = self.permit.entitlement().and_then(|entitlement| entitlement.is_over(turn.now)) {
            return self.end(context, turn, End::Expelled(why));
        }
        let looks = std::mem::take(&mut self.looks);
        for index in 0..self.following.len() {
            let one = &self.following[index];
            let has_news = |id: Option<WatchId>| id.is_some_and(|id| turn.watches.has_news(id));
            if !one.closed && (looks || has_news(one.news) || has_news(one.presence)) {
                self.tell(context, turn, index)?;
            }
            if self.writer.is_busy() {
                self.looks = true;
                return Ok(());
            }
        }
        self.pass_time(context, turn)
    }

    /// Tells the client what is new of one resource.
    fn tell(&mut self, context: &mut Context<'_>, turn: &Turn<'_>, index: usize) -> Result<(), StreamEnd> {
        let view = self.following[index].subscription.topic().view();
        while !self.writer.is_busy()
            && let Some(delivery) = self.following[index].subscription.next(&view)
        {
            if delivery.is_content() {
                self.record.events += 1;
                self.metrics.events.inc();
            }
            if let Transport::LongPoll(held) = &self.transport {
                let Some(answer) = held.answer_to(&delivery, &view) else { continue };
                return self.answer(context, turn, answer);
            }
            let one = &mut self.following[index];
            let step = match &one.name {
                Some((name, index)) => {
                    let seen = one.subscription.seen();
                    self.transport.deliver_of((name, *index), seen, &delivery, turn.now)
                }
                None => self.transport.deliver(&delivery, &view, turn.now),
            };
            if one.name.is_some() && matches!(delivery, Delivery::Closing(_)) {
                one.closed = true;
                one.subscription.leave_presence();
                return self.apply(context, turn, step);
            }
            self.apply(context, turn, step)?;
        }
        if self.writer.is_busy() {
            return Ok(());
        }
        let one = &mut self.following[index];
        let Some(event) = one.subscription.next_presence() else { return Ok(()) };
        let step = match &one.name {
            Some((name, index)) => {
                let seen = one.subscription.seen();
                self.transport.deliver_of((name, *index), seen, &event, turn.now)
            }
            None => self.transport.deliver(&event, &view, turn.now),
        };
        self.apply(context, turn, step)
    }

    /// Does what is due by now.
    fn pass_time(&mut self, context: &mut Context<'_>, turn: &Turn<'_>) -> Result<(), StreamEnd> {
        if let (Some((window, retry)), None) = (turn.drain, self.leaves) {
            let (at, retry) = plan(window, retry);
            // An answer ends nothing that its client would miss.
            let is_held = matches!(self.transport, Transport::LongPoll(_));
            self.leaves = Some((if is_held { turn.now } else { at }, retry));
        }
        if let Some((_, retry)) = self.leaves.filter(|(at, _)| turn.now >= *at) {
            return self.end(context, turn, End::Drain { retry });
        }
        if self.retires.is_some_and(|at| turn.now >= at) {
            return self.end(context, turn, End::MaxAge);
        }
        if self.transport.deadline().is_none_or(|deadline| turn.now < deadline) {
            return Ok(());
        }
        if let Transport::LongPoll(held) = &self.transport {
            let view = self.following.first().map(|one| one.subscription.topic().view());
            let answer = held.answer_to_deadline(view.as_deref());
            return self.answer(context, turn, answer);
        }
        let step = self.transport.expired(turn.now, None);
        self.apply(context, turn, step)
    }

    fn end(&mut self, context: &mut Context<'_>, turn: &Turn<'_>, end: End) -> Result<(), StreamEnd> {
        if let Transport::LongPoll(held) = &self.transport {
            // A client that may not stay is told nothing of the resource.
            let view = self.following.first().filter(|_| !matches!(end, End::Expelled(_)));
            let view = view.map(|one| one.subscription.topic().view());
            let answer = held.answer_to_end(end, view.as_deref());
            return self.answer(context, turn, answer);
        }
        let step = self.transport.end(end, None);
        self.apply(context, turn, step)
    }

    fn answer(
        &mut self,
        context: &mut Context<'_>,
        turn: &Turn<'_>,
        answer: crate::transport::Answer,
    ) -> Result<(), StreamEnd> {
        let (reason, length) = (answer.reason, answer.body.len());
        self.writer.answer(answer, turn.now).map_err(|Gone| "client-gone")?;
        self.writing = if self.writer.is_busy() { length } else { 0 };
        turn.writes.set(turn.writes.get() + 1);
        self.written(context, Some(reason))
    }

    fn apply(&mut self, context: &mut Context<'_>, turn: &Turn<'_>, step: Step) -> Result<(), StreamEnd> {
        let (output, end) = match step {
            Step::Wait | Step::Forward(_) => return Ok(()),
            Step::Write(output) => (output, None),
            Step::Finish(output, reason) | Step::GiveBack(output, reason) => (output, Some(reason)),
        };
        self.writing = output.len();
        self.writer.begin(output, end.is_some(), turn.now);
        turn.writes.set(turn.writes.get() + 1);
        self.written(context, end)
    }

    /// Writes what has just begun. `end`: how the stream ends with it.
    fn written(&mut self, context: &mut Context<'_>, end: Option<StreamEnd>) -> Result<(), StreamEnd> {
        self.end = end;
        match (self.write_on(context)?, end) {
            (true, Some(reason)) => Err(reason),
            _ => Ok(()),
        }
    }
}

/// When a stream that begins now has lasted for the route's `max_age`.
fn retirement(max_age: Option<Duration>) -> Option<Instant> {
    max_age.map(|max_age| Instant::now() + lifetime(max_age, fastrand::f64()))
}
