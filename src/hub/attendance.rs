//! The clients of a topic: what keeps it from retiring, when the last one was there, which one is charged for it.
//!
//! Must not know: what clients are told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::claim::Claim;
use super::interest::Rhythm;
use super::poll_number::PollNumber;
use super::presence::Seat;
use super::resource_limits::{Charge, Charged};
use super::topic::Topic;
use super::{Full, Hub};
use crate::identity::Principal;

/// Why a client attends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attend {
    /// An ordinary poll: wants one answer.
    Visit,
    /// A push client or a held poll: keeps the resource polled.
    Follow,
}

/// Keeps a topic from retiring; a follower also keeps it polled. Ends when dropped.
pub struct Attendance {
    topic: Arc<Topic>,
    pub(super) kind: Attend,
    /// Number of the first poll that starts after this.
    pub(super) next_poll: PollNumber,
    /// Boxed, as few have anything of it.
    pub(super) beside: Option<Box<Beside>>,
}

/// What few clients have beside their attendance.
pub(super) enum Beside {
    /// The claim of the plain request that the topic began with, to what its first poll takes.
    Claim(Claim),
    /// The place of a follower in the presence of its resource.
    Seat(Seat),
}

impl Attendance {
    /// # Errors
    /// `max_clients_per_resource` is reached.
    pub(super) fn new(topic: Arc<Topic>, kind: Attend) -> Result<Attendance, Full> {
        let next_poll = topic.started() + 1;
        if !topic.enter(kind) {
            return Err(Full::Followers);
        }
        Ok(Attendance { topic, kind, next_poll, beside: None })
    }

    /// The claim to what the first poll of the topic takes, if it began with this request.
    pub fn take_claim(&mut self) -> Option<Claim> {
        match *self.beside.take()? {
            Beside::Claim(claim) => Some(claim),
            other => {
                self.beside = Some(Box::new(other));
                None
            }
        }
    }

    pub(super) fn seat(&self) -> Option<&Seat> {
        match self.beside.as_deref()? {
            Beside::Seat(seat) => Some(seat),
            Beside::Claim(_) => None,
        }
    }

    pub(super) fn seat_mut(&mut self) -> Option<&mut Seat> {
        match self.beside.as_deref_mut()? {
            Beside::Seat(seat) => Some(seat),
            Beside::Claim(_) => None,
        }
    }

    /// Number of the first poll that starts after this: what it brings is no older than what was given before.
    pub fn next_poll(&self) -> PollNumber {
        self.next_poll
    }

    /// The resource.
    pub fn topic(&self) -> &Arc<Topic> {
        &self.topic
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.topic.leave(self.kind);
    }
}

impl Hub {
    /// Counts a client that is let in among those who follow its resource, where the route has `presence`. `principal`: its
    /// identity. `lingers`: it comes by long-polls, and may be back in a moment when it goes. The first call counts.
    pub fn seat(&self, attendance: &mut Attendance, principal: Option<&Arc<Principal>>, lingers: bool) {
        let route = attendance.topic.route();
        if route.presence.is_none() || attendance.seat().is_some() {
            return;
        }
        let seat = self.presences.seat(attendance.topic.key(), &route, principal.cloned(), lingers);
        drop(route);
        attendance.beside = seat.map(|seat| Box::new(Beside::Seat(seat)));
    }

    /// The answer to a client that asks who follows a resource (contract §5).
    pub fn presence_of(&self, topic: &Topic) -> Value {
        self.presences.answer(topic.key(), &topic.route())
    }

    /// How many follow a resource, as the upstream is told: where the route has `presence`, those between two long-polls
    /// are among them.
    pub fn subscribers(&self, topic: &Topic) -> usize {
        match topic.route().presence {
            // One that waits for its first state is not counted there yet.
            Some(_) => self.presences.count(topic.key()).max(topic.followers()),
            None => topic.followers(),
        }
    }
}

impl Charged for Topic {
    fn id(&self) -> u64 {
        Topic::id(self)
    }

    fn is_cold(&self) -> bool {
        Topic::is_cold(self)
    }

    fn touched_at(&self) -> Instant {
        Topic::touched_at(self)
    }
}

impl Topic {
    /// Returns false if the topic has as many followers as its route allows.
    pub(super) fn enter(&self, kind: Attend) -> bool {
        match kind {
            Attend::Follow => {
                let most = self.route().max_clients_per_resource.unwrap_or(usize::MAX);
                let more = |followers: usize| (followers < most).then_some(followers + 1);
                self.interest.sign(self.now_ms(), self.followers() > 0, self.rhythm(true));
                match self.followers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more) {
                    Ok(0) => self.demand.notify_one(),
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
            Attend::Visit => {
                self.visitors.fetch_add(1, Ordering::SeqCst);
            }
        }
        true
    }

    pub(super) fn leave(&self, kind: Attend) {
        match kind {
            Attend::Follow => {
                self.interest.leave(self.now_ms());
                if self.followers.fetch_sub(1, Ordering::SeqCst) == 1 {
                    self.demand.notify_one();
                }
            }
            Attend::Visit => {
                self.visitors.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// Whether the resource has neither followers nor visitors.
    pub fn is_deserted(&self) -> bool {
        self.followers.load(Ordering::SeqCst) == 0 && self.visitors.load(Ordering::SeqCst) == 0
    }

    /// How many clients follow the resource.
    pub fn followers(&self) -> usize {
        self.followers.load(Ordering::SeqCst)
    }

    /// How the resource is polled. `lingers` says whether polls may go on when no client asks.
    fn rhythm(&self, lingers: bool) -> Rhythm {
        let poll = &self.route().poll;
        let linger = if lingers { poll.linger.as_millis() as u64 } else { 0 };
        Rhythm { interval: poll.interval.as_millis() as u64, linger }
    }

    /// A user's credentials are used for that user only: a topic whose polls carry them is not polled while the user is
    /// away.
    fn own_rhythm(&self) -> Rhythm {
        self.rhythm(!self.key().is_private())
    }

    /// Until when polls go on for followers that left. Returns `None` if no client ever followed.
    pub fn linger_until(&self) -> Option<Instant> {
        let until = self.interest.linger_until(self.own_rhythm())?;
        Some(self.epoch + Duration::from_millis(until))
    }

    /// When a client last had to do with the resource.
    pub fn touched_at(&self) -> Instant {
        self.epoch + Duration::from_millis(self.interest.last())
    }

    /// Whether no client attends. The process itself attends to what the operator wants kept.
    pub(super) fn is_cold(&self) -> bool {
        self.is_deserted() && !self.is_evicted()
    }

    /// Whether the resource is polled without clients, too (`poll.always`): the route's path, and nothing that clients say
    /// besides. A client that invents a query, or has credentials and leaves, is no reason to poll for ever.
    pub fn is_always_polled(&self) -> bool {
        let parts = self.key().parts();
        let is_bare = parts.class.is_empty() && parts.vary.is_empty() && parts.query.is_none();
        self.route().poll.always && is_bare
    }

    /// Makes the topic known to those it is charged to.
    pub(super) fn charge_with(self: &Arc<Self>, charge: Charge<Topic>) {
        charge.bear(self);
        *self.charge.lock() = Some(charge);
    }

    /// Notes that the topic has left the hub: no client is charged for it any longer.
    pub(super) fn discharge(&self) {
        drop(self.charge.lock().take());
    }

    /// Whether the topic has left the hub, so that no client can come to it any more.
    pub(super) fn has_left(&self) -> bool {
        self.charge.lock().is_none()
    }

    /// Asks the poller to retire as soon as no client attends.
    pub fn evict(&self) {
        self.evicted.store(true, Ordering::SeqCst);
        self.demand.notify_one();
    }

    /// Whether the resource was given up to make room.
    pub fn is_evicted(&self) -> bool {
        self.evicted.load(Ordering::SeqCst)
    }

    /// Ordinary polls keep the resource polled until then.
    pub fn interest_until(&self) -> Instant {
        self.epoch + Duration::from_millis(self.interest.until())
    }

    /// Notes an ordinary poll of a connection. Polls of four connections within two intervals start background polling
    /// (contract §3).
    pub fn visited(&self, connection: u64) {
        self.user.iter().for_each(|user| user.seen());
        let followed = self.followers() > 0;
        if self.interest.plain_poll(connection, self.now_ms(), followed, self.own_rhythm()) {
            self.demand.notify_one();
        }
    }
}
