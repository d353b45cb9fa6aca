//! How other threads reach a shard: commands, doorbells, wakers.
//!
//! Must not know: what the shard does with them.

use std::sync::Arc;
use std::task::Wake;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::client_permit::ClientPermit;
use super::member_id::MemberId;
use super::messages::Messages;
use super::record::Record;
use super::rules::Rules;
use super::wire::Taken;
use crate::hub::{Bell, Presence, PresenceBell, Subscription, Topic};
use crate::transport::Transport;

/// A connection that becomes a member.
pub struct Arrival {
    /// The connection, as it was taken over.
    pub taken: Taken,
    /// What was read past the request.
    pub read: BytesMut,
    /// Head and opening, to be written first.
    pub greeting: Bytes,
    /// The protocol of the stream.
    pub transport: Transport,
    /// The resources that the client follows.
    pub following: Following,
    /// What the access log says at the end.
    pub record: Record,
    /// A place among the clients; ordinary polls need none.
    pub permit: Option<ClientPermit>,
    /// Where the client's messages go (`websocket.send`).
    pub messages: Option<Messages>,
}

/// What a member follows from the beginning.
pub enum Following {
    /// Nothing: it ends after its greeting (a WebSocket that is refused by close code).
    Nothing,
    /// Nothing of its own: it is answered when it asks (ordinary polls).
    OnDemand,
    /// One resource.
    One(Subscription),
    /// Many, by the client's names for them, each with its place in the request; more may come.
    Many(Vec<(Arc<str>, usize, Subscription)>),
}

/// What a shard is told.
pub(super) enum Command {
    Add(Box<Arrival>),
    /// The topic has something new for members here.
    Look(Arc<Topic>),
    /// Who follows a resource has changed: members that asked for it are told.
    Presence(Arc<Presence>),
    /// A stream may be read or written again.
    Woken(MemberId),
    Tell(MemberId, Bytes),
    Follow(MemberId, Arc<str>, Box<Subscription>),
    Unfollow(MemberId, Arc<str>),
    /// A client may not stay any longer.
    Expel,
    /// A reload has changed what shards need to know.
    Renew(Rules),
    /// A member's pass lasts for another time than before.
    Renewed(MemberId),
    Drain {
        window: Duration,
        retry: (Duration, Duration),
        /// Whether clients between two requests end last.
        idle_last: bool,
    },
    Stop,
}

/// A shard's queue and the means to wake it.
pub(super) struct Inbox {
    commands: Mutex<Vec<Command>>,
    waker: mio::Waker,
}

impl Inbox {
    pub(super) fn new(waker: mio::Waker) -> Inbox {
        Inbox { commands: Mutex::new(Vec::new()), waker }
    }

    /// Queues a command. The senders bound the queue: there is at most one `Look` for a topic, one `Woken` for a stream
    /// and readiness, one `Add` for a permit, one `Presence` for a resource and `presence.interval`.
    pub(super) fn send(&self, command: Command) {
        let mut commands = self.commands.lock();
        commands.push(command);
        if commands.len() == 1 {
            drop(commands);
            if let Err(error) = self.waker.wake() {
                tracing::error!("a shard cannot be woken: {error}");
            }
        }
    }

    /// Takes all commands.
    pub(super) fn take(&self, into: &mut Vec<Command>) {
        std::mem::swap(&mut *self.commands.lock(), into);
    }
}

impl Bell for Inbox {
    fn ring(&self, topic: &Arc<Topic>) {
        self.send(Command::Look(topic.clone()));
    }
}

impl PresenceBell for Inbox {
    fn presence_changed(&self, presence: &Arc<Presence>) {
        self.send(Command::Presence(presence.clone()));
    }
}

/// Wakes one slot of a shard.
pub(super) struct SlotWaker {
    pub(super) inbox: Arc<Inbox>,
    pub(super) member: MemberId,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.inbox.send(Command::Woken(self.member));
    }
}
