//! The poll loop of a node, holder or alone, and the engine's answers to what it wrote.

use super::engine::{Begun, Cause, Command, Message, Session, Write};
use super::{Event, INTERVAL, MS, Micros, Rule, SLOWEST_POLL, START, TROUBLE, World};
use crate::poll::backplane::Role;

/// A poll in progress, or on its way to the engine.
pub(super) struct Poll {
    number: u64,
    begun: Begun,
    started: Micros,
    /// What the upstream answered; `None` while it has not.
    read: Option<u64>,
    pub(super) is_written: bool,
}

impl World {
    /// The next poll starts then; one that was due at another time does not.
    pub(super) fn poll_at(&mut self, node: usize, at: Micros) {
        let this = &mut self.nodes[node];
        this.due = at;
        this.timer += 1;
        let (life, timer) = (this.life, this.timer);
        self.at(at, Event::PollDue { node, life, timer });
    }

    pub(super) fn poll_due(&mut self, node: usize, timer: u64) {
        let now = self.now;
        let this = &mut self.nodes[node];
        if this.timer != timer || this.poll.is_some() || this.standing.role() == Role::Mirror {
            return;
        }
        this.polls += 1;
        let (poll, life, begun) = (this.polls, this.life, this.begin());
        this.polled_for = this.polled_for.max(begun.wanted);
        this.poll = Some(Poll { number: poll, begun, started: now, read: None, is_written: false });
        self.found.polls += 1;
        self.found.longest_pause = self.found.longest_pause.max(now - self.last_poll);
        self.last_poll = now;
        let is_slow = self.random.u32(0..10) == 0;
        let takes = self.random.u64(if is_slow { 300 * MS..SLOWEST_POLL } else { 5 * MS..300 * MS });
        let read = self.random.u64(1..takes);
        self.after(read, Event::PollRead { node, life, poll });
        self.after(takes, Event::PollEnds { node, life, poll });
        self.poll_at(node, now + INTERVAL);
    }

    pub(super) fn poll_is_read(&mut self, node: usize, number: u64) {
        let value = self.upstream;
        let poll = self.nodes[node].poll.as_mut().filter(|poll| poll.number == number);
        if let Some(poll) = poll {
            poll.read = Some(value);
        }
    }

    pub(super) fn poll_ends(&mut self, node: usize, number: u64) {
        let Some(poll) = self.nodes[node].poll.take_if(|poll| poll.number == number) else { return };
        let Some(value) = poll.read else { return };
        if self.now < START + TROUBLE && self.random.u32(0..8) == 0 {
            self.poll_failed(node, &poll);
            return self.go_on(node);
        }
        match self.nodes[node].standing.role() {
            Role::Alone => self.polled_alone(node, &poll, value),
            Role::Mirror | Role::Waiting if self.is_without(Rule::PollBoundToStart) => self.show(node, value),
            Role::Mirror | Role::Waiting => {}
            Role::Holder { fence } => self.polled_for_all(node, fence, poll, value),
        }
        self.go_on(node);
    }

    fn poll_failed(&mut self, node: usize, poll: &Poll) {
        self.tell(|| format!("a poll of node {node} fails"));
        let this = &self.nodes[node];
        let (now, order) = (this.standing.role(), this.standing.shown().unwrap_or_default());
        let is_reached = !(self.engine.is_stopped || self.engine.is_down);
        if let Some(session) = this.session.filter(|_| is_reached)
            && this.standing.may_tell(poll.begun.role, now)
        {
            self.publish(Message::Failed { session, order, settled: poll.begun.wanted });
        }
    }

    /// After a poll: the next one starts at once if it is wanted, or was due meanwhile.
    fn go_on(&mut self, node: usize) {
        let now = self.now;
        let this = &self.nodes[node];
        let is_wanted = this.wanted > this.polled_for
            || this.waiters.iter().any(|waiter| waiter.own_poll_after.is_some());
        let polls = this.poll.is_none() && this.standing.role() != Role::Mirror;
        if polls && (is_wanted || this.due <= now) {
            self.poll_at(node, now);
        }
    }

    fn polled_alone(&mut self, node: usize, poll: &Poll, value: u64) {
        let is_bound = !self.is_without(Rule::PollBoundToStart);
        let this = &mut self.nodes[node];
        if is_bound && poll.begun.others != this.others {
            let now = self.now;
            return self.poll_at(node, now);
        }
        let is_new = this.shows != Some(value) || this.standing.shown().is_some();
        this.standing.shows_own();
        if is_new {
            self.show(node, value);
        }
        self.release_own(node, poll.started);
    }

    fn polled_for_all(&mut self, node: usize, fence: u64, poll: Poll, value: u64) {
        let now = self.now;
        let is_bound = !self.is_without(Rule::PollBoundToStart);
        let shows_first = self.is_without(Rule::AcceptedThenShown);
        let writes_first = !self.is_without(Rule::FirstPollIsWritten);
        let this = &mut self.nodes[node];
        let role = Role::Holder { fence };
        let begun = if is_bound { poll.begun } else { Begun { role, ..poll.begun } };
        if !this.standing.may_tell(begun.role, role) {
            return self.poll_at(node, now);
        }
        let is_told = if writes_first { this.standing.is_told() } else { this.standing.shown().is_some() };
        if this.shows == Some(value) && is_told {
            self.settle(node, begun);
            return self.release_own(node, poll.started);
        }
        let order = this.standing.next_order();
        this.poll = Some(Poll { is_written: true, begun, ..poll });
        if shows_first {
            this.standing.shows(order);
            self.show(node, value);
        }
        self.send(node, Command::Write(Write { poll: poll.number, begun, order, value }));
    }

    pub(super) fn write_answered(
        &mut self,
        node: usize,
        write: Write,
        is_accepted: bool,
        holder: Option<Session>,
        fence: u64,
    ) {
        let now = self.now;
        let shown_before = self.is_without(Rule::AcceptedThenShown);
        let this = &mut self.nodes[node];
        let poll = this.poll.take_if(|poll| poll.number == write.poll);
        if is_accepted {
            let held = Role::Holder { fence: write.order.fence };
            if this.standing.role() == held {
                if !shown_before {
                    this.standing.shows(write.order);
                    self.show(node, write.value);
                }
                self.settle(node, write.begun);
                if let Some(poll) = poll {
                    self.release_own(node, poll.started);
                }
            }
        } else if holder.is_some() && holder == this.session {
            // It was claimed again meanwhile: the poll belongs to an older fence.
            this.standing.polls(Role::Holder { fence });
            self.poll_at(node, now);
        } else {
            this.standing.mirrors(false);
            this.holder = holder;
            self.send(node, Command::Read(Cause::Missed(None)));
        }
        self.go_on(node);
    }

    /// A poll is wanted that starts from now on.
    pub(super) fn wanted(&mut self, node: usize, number: u64) {
        let now = self.now;
        let this = &mut self.nodes[node];
        this.wanted = this.wanted.max(number);
        let holds = matches!(this.standing.role(), Role::Holder { .. });
        if holds && this.polled_for < number && this.poll.is_none() {
            self.poll_at(node, now);
        }
    }

    /// A poll for all nodes said what is current.
    fn settle(&mut self, node: usize, begun: Begun) {
        let want = begun.wanted;
        let this = &mut self.nodes[node];
        let fence = this.standing.fence();
        let is_more = want > this.settled || this.confirmed_under != fence;
        this.confirmed_under = fence;
        this.settled = this.settled.max(want);
        if is_more {
            self.tell_beat(node);
        }
        self.release_settled(node, want);
    }
}
