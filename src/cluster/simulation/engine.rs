//! The engine in memory: what the scripts do, under its own clock.

use std::collections::{BTreeMap, VecDeque};

use super::{Event, LEASE, Micros, NODES, Rule, World};
use crate::poll::backplane::{Order, Role};

/// How many versions a record knows.
const TAGS: usize = 32;

/// How many states of the store a failover may go back to.
const REPLICAS: usize = 300;

/// A node and the number of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Session(pub(super) usize, pub(super) u64);

/// What the engine has of the one resource.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) holder: Option<Session>,
    pub(super) fence: u64,
    pub(super) order: Order,
    pub(super) value: Option<u64>,
    /// The number of the newest want that the poll of the content knew of.
    pub(super) settled: u64,
    pub(super) tags: VecDeque<u64>,
    pub(super) want: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    sessions: BTreeMap<Session, Micros>,
    record: Record,
}

#[derive(Debug, Default)]
pub(super) struct Engine {
    pub(super) store: Store,
    /// Earlier states, for failovers that lose the newest writes.
    pub(super) replicas: VecDeque<(Micros, Store)>,
    pub(super) is_down: bool,
    pub(super) is_stopped: bool,
    /// Commands that a stopped engine executes when it wakes, whether or not their senders gave them up.
    pub(super) unread: Vec<Event>,
}

/// What a poll knew when it started.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) role: Role,
    /// The number of the newest want.
    pub(super) wanted: u64,
    /// How many contents of other nodes its node had shown.
    pub(super) others: u64,
}

/// A poll's content on its way to the engine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    pub(super) poll: u64,
    pub(super) begun: Begun,
    pub(super) order: Order,
    pub(super) value: u64,
}

/// Why a node reads the record, or asks for a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It is back, and what it shows was polled alone.
    Floor,
    /// It missed something. With the order and the settled want of the beat that says so.
    Missed(Option<(Order, u64)>),
    /// A client, at this visit, has a version that is not the current one.
    Client(usize, u64),
}

#[derive(Debug, Clone)]
pub(super) enum Command {
    Beat {
        session: Session,
        joins: bool,
    },
    Claim {
        session: Session,
        have: Order,
        highest: u64,
        from: Option<Session>,
    },
    Write(Write),
    Want(Cause),
    Read(Cause),
    /// A write is told to all nodes.
    Tell {
        value: u64,
    },
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    Beat {
        lives: bool,
        live: Vec<Session>,
    },
    /// `granted` is `None` if the session has lapsed.
    Claim {
        granted: Option<bool>,
        record: Record,
    },
    Write {
        write: Write,
        is_accepted: bool,
        holder: Option<Session>,
        fence: u64,
    },
    Want {
        cause: Cause,
        number: u64,
    },
    Read {
        cause: Cause,
        record: Record,
    },
    /// All nodes were told of a write.
    Told {
        number: u64,
        value: u64,
    },
    /// The connection is refused.
    Down,
}

#[derive(Debug, Clone)]
pub(super) enum Message {
    Beat {
        session: Session,
        order: Order,
        settled: u64,
        holds: bool,
    },
    /// A poll of the holder's failed.
    Failed {
        session: Session,
        order: Order,
        settled: u64,
    },
    Claimed {
        session: Session,
        fence: u64,
    },
    Content {
        order: Order,
        value: u64,
        settled: u64,
    },
    Want(u64),
    Written {
        number: u64,
        value: u64,
    },
}

impl World {
    pub(super) fn command_arrives(&mut self, node: usize, connection: u64, id: u64, command: Command) {
        if self.engine.is_stopped {
            self.engine.unread.push(Event::Command { node, connection, id, command });
            return;
        }
        let answer = if self.engine.is_down { Answer::Down } else { self.execute(command) };
        let at = (self.now + self.way()).max(self.nodes[node].last_answer + 1);
        self.nodes[node].last_answer = at;
        self.at(at, Event::Answer { node, connection, id, answer });
    }

    fn execute(&mut self, command: Command) -> Answer {
        let now = self.now;
        self.engine.store.sessions.retain(|_, end| *end > now);
        let answer = match command {
            Command::Beat { session, joins } => {
                let sessions = &mut self.engine.store.sessions;
                let lives = joins || sessions.contains_key(&session);
                if lives {
                    sessions.insert(session, now + LEASE);
                }
                Answer::Beat { lives, live: sessions.keys().copied().collect() }
            }
            Command::Claim { session, have, highest, from } => self.claimed(session, have, highest, from),
            Command::Write(write) => self.written(write),
            Command::Want(cause) => {
                let counted = self.engine.store.record.want + 1;
                let number = if self.is_without(Rule::WantsByClock) { counted } else { counted.max(now) };
                self.engine.store.record.want = number;
                self.publish(Message::Want(number));
                Answer::Want { cause, number }
            }
            Command::Tell { value } => Answer::Told { number: self.told_write(value), value },
            Command::Read(cause) => Answer::Read { cause, record: self.engine.store.record.clone() },
        };
        self.engine.replicas.push_back((now, self.engine.store.clone()));
        if self.engine.replicas.len() > REPLICAS {
            self.engine.replicas.pop_front();
        }
        answer
    }

    fn claimed(&mut self, session: Session, have: Order, highest: u64, from: Option<Session>) -> Answer {
        let (sessions, record) = (&self.engine.store.sessions, &self.engine.store.record);
        let is_held = record.holder.is_some_and(|holder| {
            holder != session && Some(holder) != from && sessions.contains_key(&holder)
        });
        let granted = sessions.contains_key(&session).then_some(!is_held);
        if granted == Some(true) {
            let counted = record.fence + 1;
            let is_counted = self.is_without(Rule::FencesByClock);
            let fence = if is_counted { counted } else { counted.max(highest + 1).max(self.now) };
            let renames = self.is_without(Rule::ClaimKeepsOrder) && record.value.is_some();
            let record = &mut self.engine.store.record;
            record.holder = Some(session);
            record.fence = fence;
            if renames {
                record.order = Order { fence, sequence: 0 };
            }
            self.publish(Message::Claimed { session, fence });
        }
        let mut record = self.engine.store.record.clone();
        record.value = record.value.filter(|_| record.order > have);
        Answer::Claim { granted, record }
    }

    fn written(&mut self, write: Write) -> Answer {
        let Write { begun, order, value, .. } = write;
        let record = &mut self.engine.store.record;
        let is_accepted = record.fence == order.fence
            && (record.order.fence != order.fence || record.order.sequence < order.sequence);
        let (holder, fence) = (record.holder, record.fence);
        if is_accepted {
            record.order = order;
            record.value = Some(value);
            record.settled = begun.wanted;
            record.tags.push_back(value);
            if record.tags.len() > TAGS {
                record.tags.pop_front();
            }
            if self.accepted.insert(order, value).is_some_and(|before| before != value) {
                self.found.same_order += 1;
                self.tell(|| format!("{value} is accepted under {order:?}, which another content has"));
            }
            self.publish(Message::Content { order, value, settled: begun.wanted });
        }
        Answer::Write { write, is_accepted, holder, fence }
    }

    /// Sends a message to all nodes that subscribe; each hears them in order.
    pub(super) fn publish(&mut self, message: Message) {
        for node in 0..NODES {
            if !self.nodes[node].is_alive || !self.nodes[node].is_connected {
                continue;
            }
            let at = (self.now + self.way()).max(self.nodes[node].last_message + 1);
            self.nodes[node].last_message = at;
            let connection = self.nodes[node].connection;
            self.at(at, Event::Message { node, connection, message: message.clone() });
        }
    }

    pub(super) fn engine_is_back(&mut self, store: Option<Store>) {
        if let Some(store) = store {
            self.engine.store = store;
        }
        self.engine.is_down = false;
        self.engine.is_stopped = false;
        self.tell(|| "the engine is back".into());
        for event in std::mem::take(&mut self.engine.unread) {
            self.happens(event);
        }
    }
}
