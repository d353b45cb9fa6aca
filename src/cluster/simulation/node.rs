//! One node: its connection to the engine, its role, and what it shows.

use std::collections::BTreeSet;

use super::clients::Waiter;
use super::engine::{Answer, Begun, Cause, Command, Message, Record, Session};
use super::polls::Poll;
use super::writes::Reader;
use super::{Event, INTERVAL, LEASE, Micros, Rule, World};
use crate::poll::backplane::{Order, Role};
use crate::poll::standing::{Heard, Offer, Standing};

#[derive(Default)]
pub(super) struct Node {
    pub(super) is_alive: bool,
    pub(super) is_stalled: bool,
    /// What is of an earlier life of the node is void.
    pub(super) life: u64,
    /// What happened to it while it stalled.
    pub(super) waiting: Vec<Event>,
    pub(super) is_connected: bool,
    /// What is of an earlier connection is void.
    pub(super) connection: u64,
    pub(super) is_deaf: bool,
    pub(super) commands: u64,
    pub(super) unanswered: BTreeSet<u64>,
    pub(super) failures: u32,
    pub(super) session: Option<Session>,
    pub(super) sessions: u64,
    pub(super) own_beat_heard: Micros,
    pub(super) standing: Standing,
    /// The highest fence that it has seen.
    pub(super) highest: u64,
    /// The newest want that it knows of.
    pub(super) wanted: u64,
    pub(super) shows: Option<u64>,
    /// How many contents of other nodes it has shown.
    pub(super) others: u64,
    pub(super) holder: Option<Session>,
    pub(super) live: Vec<Session>,
    pub(super) is_claiming: bool,
    pub(super) below_since: Option<Micros>,
    /// The newest want that a poll of the cluster has settled, as far as this node knows.
    pub(super) settled: u64,
    /// The fence under which a poll of this node's last said what is current.
    pub(super) confirmed_under: Option<u64>,
    pub(super) poll: Option<Poll>,
    pub(super) polls: u64,
    /// The newest want that a poll of this node's has started after.
    pub(super) polled_for: u64,
    pub(super) due: Micros,
    pub(super) timer: u64,
    pub(super) waiters: Vec<Waiter>,
    pub(super) readers: Vec<Reader>,
    pub(super) last_command: Micros,
    pub(super) last_answer: Micros,
    pub(super) last_message: Micros,
}

impl Node {
    pub(super) fn takes_answer(&mut self, connection: u64, id: u64) -> bool {
        self.connection == connection && self.unanswered.remove(&id)
    }

    pub(super) fn waits_for(&self, connection: u64, id: u64) -> bool {
        self.connection == connection && self.unanswered.contains(&id)
    }

    pub(super) fn hears(&self, connection: u64) -> bool {
        self.connection == connection && !self.is_deaf
    }

    /// The number of a command that will never be answered: the connection breaks.
    pub(super) fn breaks(&mut self) -> u64 {
        self.unanswered.insert(u64::MAX);
        u64::MAX
    }

    pub(super) fn begin(&self) -> Begun {
        Begun { role: self.standing.role(), wanted: self.wanted, others: self.others }
    }

    /// What it shows was polled by it alone.
    pub(super) fn has_own(&self) -> bool {
        self.shows.is_some() && self.standing.shown().is_none()
    }

    pub(super) fn next_session(&mut self, node: usize) -> Session {
        self.sessions += 1;
        let session = Session(node, self.sessions);
        self.session = Some(session);
        session
    }

    /// A poll whose content is on its way to the engine.
    pub(super) fn drop_written(&mut self) {
        if self.poll.as_ref().is_some_and(|poll| poll.is_written) {
            self.poll = None;
        }
    }
}

impl World {
    pub(super) fn start(&mut self, node: usize) {
        let old = std::mem::take(&mut self.nodes[node]);
        self.nodes[node] = Node {
            is_alive: true,
            life: old.life + 1,
            connection: old.connection,
            sessions: old.sessions,
            last_answer: old.last_answer,
            last_message: old.last_message,
            last_command: old.last_command,
            ..Node::default()
        };
        self.tell(|| format!("node {node} starts"));
        self.connect(node);
        self.after(LEASE / 3, Event::Beat { node, life: old.life + 1 });
    }

    /// A node that was stalled goes on: its timers and its sockets have waited, in no order between them.
    pub(super) fn wake(&mut self, node: usize) {
        if !self.nodes[node].is_alive || !self.nodes[node].is_stalled {
            return;
        }
        self.tell(|| format!("node {node} wakes"));
        self.nodes[node].is_stalled = false;
        let waiting = std::mem::take(&mut self.nodes[node].waiting);
        let is_read = |event: &Event| matches!(event, Event::Answer { .. } | Event::Message { .. });
        let (mut first, mut second): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_read);
        if self.random.bool() {
            std::mem::swap(&mut first, &mut second);
        }
        for event in first.into_iter().chain(second) {
            self.happens(event);
        }
    }

    pub(super) fn claim(&mut self, node: usize, from: Option<Session>) {
        let this = &mut self.nodes[node];
        let Some(session) = this.session.filter(|_| !this.is_claiming) else { return };
        this.is_claiming = true;
        let have = this.standing.shown().unwrap_or_default();
        let highest = this.highest;
        self.send(node, Command::Claim { session, have, highest, from });
    }

    pub(super) fn take_over(&mut self, node: usize, from: Option<Session>) {
        let this = &self.nodes[node];
        if this.is_connected && this.standing.role() == Role::Mirror && this.holder == from {
            self.claim(node, None);
        }
    }

    pub(super) fn beat(&mut self, node: usize) {
        let life = self.nodes[node].life;
        self.after(LEASE / 3, Event::Beat { node, life });
        if self.now.saturating_sub(self.nodes[node].own_beat_heard) > LEASE {
            return self.lose(node, "its own beats do not come back");
        }
        let Some(session) = self.nodes[node].session else { return };
        self.send(node, Command::Beat { session, joins: false });
        self.tell_beat(node);
    }

    /// What the holder says of its polls that found nothing new.
    pub(super) fn tell_beat(&mut self, node: usize) {
        let this = &self.nodes[node];
        let Some(session) = this.session else { return };
        if self.engine.is_stopped || self.engine.is_down {
            return;
        }
        let (order, settled) = (this.standing.shown().unwrap_or_default(), this.settled);
        // Before its first poll under this fence a holder knows no better than the others what is current.
        let fence = this.standing.fence();
        let knows = this.confirmed_under == fence || self.is_without(Rule::HoldersKnowByPolls);
        let holds = fence.is_some() && knows;
        self.publish(Message::Beat { session, order, settled, holds });
    }

    pub(super) fn answered(&mut self, node: usize, answer: Answer) {
        match answer {
            Answer::Down => self.lose(node, "it is refused"),
            Answer::Beat { lives: false, .. } => self.lapsed(node),
            Answer::Beat { live, .. } => self.lives_on(node, live),
            Answer::Claim { granted, record } => self.claim_answered(node, granted, record),
            Answer::Write { write, is_accepted, holder, fence } => {
                self.write_answered(node, write, is_accepted, holder, fence);
            }
            Answer::Want { cause, number } => self.want_numbered(node, cause, number),
            Answer::Read { cause, record } => self.record_read(node, cause, record),
            // Its reader may come to this node before the message does.
            Answer::Told { number, value } => self.heard_write(node, number, value),
        }
    }

    /// A session that lapsed is never used again. What the node shows stands: it was not alone.
    fn lapsed(&mut self, node: usize) {
        self.tell(|| format!("the session of node {node} has lapsed"));
        let this = &mut self.nodes[node];
        let session = this.next_session(node);
        this.standing.mirrors(false);
        this.holder = None;
        this.is_claiming = false;
        this.drop_written();
        self.send(node, Command::Beat { session, joins: true });
        self.claim(node, None);
    }

    fn lives_on(&mut self, node: usize, live: Vec<Session>) {
        let this = &mut self.nodes[node];
        this.failures = 0;
        this.live = live;
        let is_held = this.holder.is_some_and(|holder| this.live.contains(&holder));
        if this.standing.role() != Role::Mirror || is_held {
            return;
        }
        let (from, life) = (this.holder, this.life);
        let is_preferred = this.live.iter().map(|session| session.0).min() == Some(node);
        if is_preferred {
            self.claim(node, None);
        } else {
            self.after(LEASE / 3, Event::TakeOver { node, life, from });
        }
    }

    fn claim_answered(&mut self, node: usize, granted: Option<bool>, record: Record) {
        let this = &mut self.nodes[node];
        this.is_claiming = false;
        let Some(is_granted) = granted else { return };
        this.wanted = this.wanted.max(record.want);
        this.highest = this.highest.max(record.fence);
        this.holder = record.holder;
        // What this node polled for itself stands until its next poll, which the others get then.
        let keeps_own = is_granted && this.has_own();
        // What is stored is told before the role that follows from it.
        if let Some(value) = record.value.filter(|_| !keeps_own) {
            self.offer(node, record.order, value, record.settled);
        }
        let this = &mut self.nodes[node];
        if is_granted {
            this.standing.polls(Role::Holder { fence: record.fence });
            this.holder = this.session;
            self.tell(|| format!("node {node} holds under {}", record.fence));
        } else {
            this.standing.mirrors(false);
        }
        if is_granted {
            let this = &self.nodes[node];
            let at_once = this.standing.shown().is_none() || this.wanted > this.polled_for;
            let due = if at_once { self.now } else { this.due.clamp(self.now, self.now + INTERVAL) };
            self.poll_at(node, due);
        }
    }

    fn want_numbered(&mut self, node: usize, cause: Cause, number: u64) {
        match cause {
            Cause::Floor => self.nodes[node].standing.wants(number),
            Cause::Client(client, visit) => {
                let waiters = self.nodes[node].waiters.iter_mut();
                waiters.filter(|w| w.is(client, visit)).for_each(|w| w.want = Some(number));
            }
            Cause::Missed(_) => {}
        }
        self.wanted(node, number);
        let settled = self.nodes[node].settled;
        self.release_settled(node, settled);
    }

    fn record_read(&mut self, node: usize, cause: Cause, record: Record) {
        let this = &mut self.nodes[node];
        this.wanted = this.wanted.max(record.want);
        let settled = match cause {
            Cause::Missed(Some((order, settled))) if record.order >= order => settled.max(record.settled),
            _ => record.settled,
        };
        if let Some(value) = record.value {
            self.offer(node, record.order, value, settled);
        }
        if let Cause::Client(client, visit) = cause {
            self.looked_up(node, (client, visit), &record);
        }
    }

    pub(super) fn heard(&mut self, node: usize, message: Message) {
        match message {
            Message::Beat { session, order, settled, holds } => {
                if self.nodes[node].session == Some(session) {
                    self.nodes[node].own_beat_heard = self.now;
                } else if holds {
                    self.holder_beats(node, session, order, settled);
                }
            }
            Message::Claimed { session, fence } => {
                let this = &mut self.nodes[node];
                if this.session != Some(session) && fence >= this.highest {
                    this.highest = fence;
                    this.standing.mirrors(false);
                    this.holder = Some(session);
                    this.drop_written();
                }
            }
            Message::Failed { session, order, settled } => self.holder_failed(node, session, order, settled),
            Message::Content { order, value, settled } => self.offer(node, order, value, settled),
            Message::Want(number) => self.wanted(node, number),
            Message::Written { number, value } => self.heard_write(node, number, value),
        }
    }

    fn holder_beats(&mut self, node: usize, session: Session, order: Order, settled: u64) {
        let now = self.now;
        let this = &mut self.nodes[node];
        if this.standing.role() != Role::Mirror || this.holder != Some(session) {
            return;
        }
        let heard = this.standing.heard(order, settled, true);
        let since = *this.below_since.get_or_insert(now);
        if heard != Heard::Below {
            this.below_since = None;
        }
        let regresses = heard == Heard::Below && now - since > LEASE;
        if regresses {
            this.standing.regresses();
        }
        if heard == Heard::Missed || regresses {
            self.send(node, Command::Read(Cause::Missed(Some((order, settled)))));
        } else if heard == Heard::Current {
            this.settled = this.settled.max(settled);
            self.release_settled(node, settled);
        }
    }

    /// A poll of the holder's failed, which knew of these wants.
    fn holder_failed(&mut self, node: usize, session: Session, order: Order, settled: u64) {
        let proves = self.is_without(Rule::FailuresProveNothing);
        let this = &mut self.nodes[node];
        if this.standing.role() != Role::Mirror || this.holder != Some(session) {
            return;
        }
        if this.standing.heard(order, settled, proves) == Heard::Missed {
            self.send(node, Command::Read(Cause::Missed(Some((order, settled)))));
        }
    }

    pub(super) fn offer(&mut self, node: usize, order: Order, value: u64, settled: u64) {
        let goes_anywhere = self.is_without(Rule::OnlyUp);
        let this = &mut self.nodes[node];
        this.highest = this.highest.max(order.fence);
        let offer = this.standing.offered(order, settled);
        let is_older = matches!(offer, Offer::Same | Offer::Older);
        let shows_older = goes_anywhere && is_older && this.standing.role() == Role::Mirror;
        if offer == Offer::Newer || shows_older {
            this.standing.shows(order);
            this.others += 1;
            self.show(node, value);
            self.release_settled(node, settled);
        }
    }
}
