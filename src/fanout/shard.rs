//! The client loop of one thread: readiness, commands, topics with news, time.
//!
//! Never encodes, compares or compresses: what it writes was made on the relay's side and is
//! shared. Must not know: how connections are taken over, what topics are about.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use super::Rules;
use super::inbox::{Arrival, Command, Inbox, MemberId, SlotWaker};
use super::member::{Member, Then, Written};
use super::timers::{TICK, Wheel};
use super::wire::Wire;
use crate::hub::{Delivery, Topic, View};
use crate::metrics::{Metrics, StreamMetrics};
use crate::transport::{End, Output, Step};

const WAKER: Token = Token(usize::MAX);

/// Members of a topic that are served before other topics have their turn.
const SLICE: usize = 256;

/// Reads from one connection before others have their turn.
const READS: usize = 8;

/// A topic's members on this shard.
struct Group {
    topic: Arc<Topic>,
    members: Vec<u32>,
    /// Members below this index are still to be served; none: no walk is on.
    walk: Option<usize>,
    /// Something newer came during the walk.
    again: bool,
}

/// What is counted here and added to the shared metrics once a turn of the loop.
struct Tally {
    metrics: StreamMetrics,
    events: u64,
    bytes: u64,
}

/// A drain in progress.
struct Draining {
    began: Instant,
    window: Duration,
    retry: (Duration, Duration),
    members: Vec<MemberId>,
    ended: usize,
}

pub(super) struct Shard {
    index: u16,
    rules: Rules,
    metrics: Metrics,
    poll: Poll,
    inbox: Arc<Inbox>,
    members: Slab<Member>,
    next_serial: u32,
    groups: Slab<Group>,
    group_of: HashMap<u64, usize>,
    /// Groups with a walk on.
    walking: VecDeque<usize>,
    wheel: Wheel,
    tallies: Vec<Tally>,
    tally_of: HashMap<(usize, &'static str), u32>,
    rng: fastrand::Rng,
    draining: Option<Draining>,
    /// For reads; shared by all members.
    buffer: Box<[u8]>,
    now: Instant,
}

impl Shard {
    pub(super) fn new(index: u16, rules: Rules, metrics: Metrics) -> io::Result<Shard> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let now = Instant::now();
        Ok(Shard {
            index,
            rules,
            metrics,
            poll,
            inbox: Arc::new(Inbox::new(waker)),
            members: Slab::new(),
            next_serial: 0,
            groups: Slab::new(),
            group_of: HashMap::new(),
            walking: VecDeque::new(),
            wheel: Wheel::new(now),
            tallies: Vec::new(),
            tally_of: HashMap::new(),
            rng: fastrand::Rng::new(),
            draining: None,
            buffer: vec![0; 16 * 1024].into_boxed_slice(),
            now,
        })
    }

    pub(super) fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// The loop. Ends on `Stop`.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut commands = Vec::new();
        loop {
            if let Err(error) = self.poll.poll(&mut events, self.patience())
                && error.kind() != ErrorKind::Interrupted
            {
                tracing::error!("shard {}: waiting for sockets failed: {error}", self.index);
                return;
            }
            self.now = Instant::now();
            for event in &events {
                if event.token() != WAKER {
                    self.ready(event.token().0, event.is_readable() || event.is_read_closed());
                }
            }
            self.inbox.take(&mut commands);
            for command in commands.drain(..) {
                if let Command::Stop = command {
                    self.stop();
                    return;
                }
                self.obey(command);
            }
            if let Some(group) = self.walking.pop_front() {
                self.walk(group);
            }
            self.tick();
            self.drain();
            self.settle();
        }
    }

    /// How long the loop may sleep.
    fn patience(&self) -> Option<Duration> {
        if !self.walking.is_empty() {
            return Some(Duration::ZERO);
        }
        if self.draining.is_some() && !self.members.is_empty() {
            return Some(TICK);
        }
        self.wheel
            .next()
            .map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(arrival) => self.add(*arrival),
            Command::Look(topic) => self.look(&topic),
            Command::Woken(member) => {
                if let Some(slot) = self.slot_of(member) {
                    self.ready(slot, true);
                }
            }
            Command::Tell(member, bytes) => {
                if let Some(slot) = self.slot_of(member) {
                    self.apply(slot, Step::Write(Output::one(bytes)));
                    self.rest(slot);
                }
            }
            Command::Drain { window, retry } => {
                let members = self.members.iter().map(|(slot, m)| MemberId {
                    slot: slot as u32,
                    serial: m.serial,
                });
                let members = members.collect();
                self.draining = Some(Draining {
                    began: self.now,
                    window,
                    retry,
                    members,
                    ended: 0,
                });
            }
            Command::Stop => {}
        }
    }

    fn slot_of(&self, id: MemberId) -> Option<usize> {
        let slot = id.slot as usize;
        self.members
            .get(slot)
            .is_some_and(|member| member.serial == id.serial)
            .then_some(slot)
    }

    // --- Members come ---

    fn add(&mut self, arrival: Arrival) {
        let Arrival {
            taken,
            read,
            greeting,
            transport,
            subscription,
            record,
            seat,
            messages,
        } = arrival;
        self.next_serial = self.next_serial.wrapping_add(1);
        let slot = self.members.vacant_key();
        let id = MemberId {
            slot: slot as u32,
            serial: self.next_serial,
        };
        let topic = subscription.as_ref().map(|s| s.topic().clone());
        let tally = self.tally(topic.as_deref(), transport.name());
        let inbox = &self.inbox;
        let wire = Wire::new(taken, || {
            Waker::from(Arc::new(SlotWaker {
                inbox: inbox.clone(),
                member: id,
            }))
        });
        let member = Member::new(
            wire,
            transport,
            subscription,
            id.serial,
            tally,
            record,
            messages,
            seat,
        );
        let slot = self.members.insert(member);
        self.tallies[tally as usize].metrics.subscribers.inc();
        if let Some(topic) = topic {
            self.join(slot, &topic);
        }
        if let Some(socket) = self.members[slot].wire.socket()
            && let Err(error) =
                self.poll
                    .registry()
                    .register(socket, Token(slot), Interest::READABLE | Interest::WRITABLE)
        {
            tracing::warn!("a connection cannot be watched: {error}");
            self.remove(slot, "internal");
            return;
        }
        self.greet(slot, greeting, &read);
    }

    fn greet(&mut self, slot: usize, greeting: bytes::Bytes, early: &[u8]) {
        let then = if self.members[slot].subscription.is_none() {
            Then::Finish("refused")
        } else {
            Then::Stay
        };
        self.write(slot, Output::one(greeting), then);
        if let Some(retry) = self.draining.as_ref().map(|draining| draining.retry)
            && self.members.contains(slot)
        {
            let retry = self.between(retry);
            self.end(slot, End::Drain { retry });
        }
        if !early.is_empty() && self.members.contains(slot) {
            self.receive(slot, early);
        }
        self.pump(slot, None);
        // Arms the stream's waker, and sees what came in the meantime.
        if self
            .members
            .get(slot)
            .is_some_and(|member| matches!(member.wire, Wire::Stream(_)))
        {
            self.read(slot);
        }
        self.rest(slot);
    }

    fn join(&mut self, slot: usize, topic: &Arc<Topic>) {
        let group = *self.group_of.entry(topic.id()).or_insert_with(|| {
            let group = Group {
                topic: topic.clone(),
                members: Vec::new(),
                walk: None,
                again: false,
            };
            self.groups.insert(group)
        });
        let members = &mut self.groups[group].members;
        let member = &mut self.members[slot];
        member.group = group as u32;
        member.place = members.len() as u32;
        members.push(slot as u32);
    }

    /// Takes a member out of its group. Only members above the walk's index move down, and those
    /// have been served.
    fn part(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        if member.group == u32::MAX {
            return;
        }
        let (group, place) = (member.group as usize, member.place as usize);
        member.group = u32::MAX;
        member.subscription = None;
        let members = &mut self.groups[group].members;
        members.swap_remove(place);
        if let Some(moved) = members.get(place) {
            self.members[*moved as usize].place = place as u32;
        }
        if members.is_empty() {
            let group = self.groups.remove(group);
            self.group_of.remove(&group.topic.id());
        }
    }

    fn tally(&mut self, topic: Option<&Topic>, transport: &'static str) -> u32 {
        let (index, path) = topic.map_or((usize::MAX, ""), |t| (t.route().index, t.route().path.as_str()));
        *self.tally_of.entry((index, transport)).or_insert_with(|| {
            let metrics = self.metrics.stream(transport, path);
            self.tallies.push(Tally {
                metrics,
                events: 0,
                bytes: 0,
            });
            self.tallies.len() as u32 - 1
        })
    }

    // --- News ---

    fn look(&mut self, topic: &Arc<Topic>) {
        topic.look(self.index);
        let Some(&index) = self.group_of.get(&topic.id()) else {
            return;
        };
        let group = &mut self.groups[index];
        if group.walk.is_some() {
            group.again = true;
            return;
        }
        group.walk = Some(group.members.len());
        self.walking.push_back(index);
    }

    /// Serves one slice of a topic's members, from the end of the list to its beginning.
    fn walk(&mut self, index: usize) {
        let Some(group) = self.groups.get_mut(index) else {
            return;
        };
        let Some(end) = group.walk else { return };
        let view = group.topic.view();
        let start = end.saturating_sub(SLICE);
        let mut delivered: Option<(u32, u32)> = None;
        for place in (start..end).rev() {
            // Members may end while they are served; the list only shrinks above `place`.
            let Some(slot) = self.groups.get(index).and_then(|g| g.members.get(place)).copied() else {
                continue;
            };
            let slot = slot as usize;
            if self.members[slot].is_free() && self.pump(slot, Some(&view)) {
                let tally = self.members.get(slot).map(|m| m.tally);
                let count = delivered.map_or(0, |(_, count)| count);
                delivered = tally.map(|tally| (tally, count + 1)).or(delivered);
            }
            self.rest(slot);
        }
        if let Some((tally, count)) = delivered
            && let Some(at) = view.changed_at
        {
            let lag = at.elapsed().as_secs_f64();
            let histogram = self.tallies[tally as usize].metrics.lag.local();
            (0..count).for_each(|_| histogram.observe(lag));
            histogram.flush();
        }
        self.walk_on(index, start);
    }

    fn walk_on(&mut self, index: usize, start: usize) {
        let Some(group) = self.groups.get_mut(index) else {
            return;
        };
        group.walk = match start {
            0 if std::mem::take(&mut group.again) => Some(group.members.len()),
            0 => None,
            start => Some(start.min(group.members.len())),
        };
        if group.walk.is_some() {
            self.walking.push_back(index);
        }
    }

    /// Gives a member what is new for it. True: at least one change was delivered.
    fn pump(&mut self, slot: usize, view: Option<&View>) -> bool {
        let mut delivered = false;
        let mut fetched = None;
        while let Some(member) = self.members.get_mut(slot)
            && member.is_free()
            && let Some(subscription) = &mut member.subscription
        {
            let view = match view {
                Some(view) => view,
                None => &**fetched.get_or_insert_with(|| subscription.topic().view()),
            };
            let Some(delivery) = subscription.next(view) else {
                break;
            };
            let step = member.transport.deliver(&delivery, view, self.now);
            if let Delivery::Frame(_) = delivery {
                delivered = true;
                member.record.events += 1;
                self.tallies[member.tally as usize].events += 1;
            }
            self.apply(slot, step);
        }
        delivered
    }

    // --- Steps ---

    fn apply(&mut self, slot: usize, step: Step) {
        match step {
            Step::Wait => {}
            Step::Write(output) => self.write(slot, output, Then::Stay),
            Step::Finish(output, reason) => self.write(slot, output, Then::Finish(reason)),
            // The listener is closing: what went back now would be reset.
            Step::GiveBack(output, reason) if self.draining.is_some() => {
                self.write(slot, output, Then::Finish(reason));
            }
            Step::GiveBack(output, reason) => self.write(slot, output, Then::GiveBack(reason)),
            Step::Forward(message) => {
                let member = &self.members[slot];
                let id = MemberId {
                    slot: slot as u32,
                    serial: member.serial,
                };
                let full = member
                    .messages
                    .as_ref()
                    .is_some_and(|m| m.try_send((id, message)).is_err());
                if full {
                    self.metrics.refusals.with_label_values(&["websocket-send"]).inc();
                }
            }
        }
    }

    fn write(&mut self, slot: usize, output: Output, then: Then) {
        let member = &mut self.members[slot];
        let (before, was_blocked) = (member.record.bytes, member.is_blocked());
        let written = member.write(output, then, self.now);
        let tally = &mut self.tallies[member.tally as usize];
        tally.bytes += member.record.bytes - before;
        if !was_blocked && member.is_blocked() {
            tally.metrics.stalls.inc();
        }
        self.written(slot, written);
    }

    fn written(&mut self, slot: usize, written: io::Result<Written>) {
        match written {
            Ok(Written::All(Then::Stay) | Written::Blocked) => {}
            Ok(Written::All(Then::Finish(reason))) => {
                self.account_end(slot, reason);
                self.part(slot);
                self.members[slot].finish(self.now);
            }
            Ok(Written::All(Then::GiveBack(reason))) => {
                self.account_end(slot, reason);
                self.part(slot);
                let mut wire = self.members.remove(slot).wire;
                if let Some(socket) = wire.socket() {
                    // It lives on elsewhere; an error would mean that it was never registered.
                    let _ = self.poll.registry().deregister(socket);
                }
                wire.give_back();
            }
            Err(_) => self.remove(slot, "client-gone"),
        }
    }

    fn end(&mut self, slot: usize, end: End) {
        let step = self.members[slot].transport.end(end);
        self.apply(slot, step);
    }

    // --- Sockets ---

    fn ready(&mut self, slot: usize, readable: bool) {
        if !self.members.contains(slot) {
            return;
        }
        if self.members[slot].is_blocked() {
            let member = &mut self.members[slot];
            let before = member.record.bytes;
            let resumed = member.resume(self.now);
            self.tallies[member.tally as usize].bytes += member.record.bytes - before;
            match resumed {
                Ok(Some(written)) => self.written(slot, Ok(written)),
                Ok(None) => {}
                Err(error) => self.written(slot, Err(error)),
            }
            self.pump(slot, None);
        }
        if readable && self.members.contains(slot) {
            self.read(slot);
        }
        self.rest(slot);
    }

    fn read(&mut self, slot: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for turn in 0.. {
            let Some(member) = self.members.get_mut(slot) else {
                break;
            };
            match member.wire.read(&mut buffer) {
                Ok(0) => {
                    self.remove(slot, "client-gone");
                    break;
                }
                Ok(_) if member.is_closing() => {}
                Ok(length) => self.receive(slot, &buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.remove(slot, "client-gone");
                    break;
                }
            }
            if turn >= READS {
                // More may be there, and no event will say so: come back after the others.
                if let Some(member) = self.members.get(slot) {
                    let id = MemberId {
                        slot: slot as u32,
                        serial: member.serial,
                    };
                    self.inbox.send(Command::Woken(id));
                }
                break;
            }
        }
        self.buffer = buffer;
    }

    fn receive(&mut self, slot: usize, bytes: &[u8]) {
        let member = &mut self.members[slot];
        if member.is_ending() {
            // What it says after its end was decided means nothing, and is kept nowhere.
            return;
        }
        if member.transport.is_silent() && !member.ignore(bytes, self.rules.pipelined_bytes) {
            self.remove(slot, "client-noise");
            return;
        }
        let mut rest = bytes;
        while let Some(member) = self.members.get_mut(slot)
            && !member.is_ending()
        {
            let step = member.transport.receive(rest, self.now);
            rest = &[];
            if step == Step::Wait {
                break;
            }
            self.apply(slot, step);
        }
    }

    // --- Time ---

    /// Puts a member back into the wheel if its deadline has come nearer than its bucket.
    fn rest(&mut self, slot: usize) {
        let Some(member) = self.members.get_mut(slot) else {
            return;
        };
        let Some(at) = member.deadline(self.rules.stall_timeout) else {
            return;
        };
        if member.timer == 0 || self.wheel.is_before(at, member.timer) {
            member.timer = self.wheel.insert(slot as u32, at);
        }
    }

    fn tick(&mut self) {
        let mut due = Vec::new();
        while let Some(tick) = self.wheel.take(self.now, &mut due) {
            for slot in due.drain(..) {
                let slot = slot as usize;
                if self.members.get(slot).is_some_and(|member| member.timer == tick) {
                    self.members[slot].timer = 0;
                    self.expired(slot);
                    self.rest(slot);
                }
            }
        }
    }

    fn expired(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        if member
            .deadline(self.rules.stall_timeout)
            .is_none_or(|at| self.now < at)
        {
            return;
        }
        if member.is_closing() {
            // It had its moment. What ended was counted then.
            self.members.remove(slot);
            return;
        }
        if member.is_stalled(self.now, self.rules.stall_timeout) {
            self.tallies[member.tally as usize].metrics.slow_closes.inc();
            self.remove(slot, "stalled");
            return;
        }
        let step = member.transport.expired(self.now);
        self.apply(slot, step);
    }

    // --- Ends ---

    /// Counts and logs a member that ends now, once.
    fn account_end(&mut self, slot: usize, reason: &str) {
        let member = &self.members[slot];
        if member.is_closing() {
            return;
        }
        let tally = &self.tallies[member.tally as usize];
        tally.metrics.subscribers.dec();
        tally.metrics.ended(reason);
        if self.rules.access_log {
            let topic = member.subscription.as_ref().map(|s| s.topic().clone());
            member
                .record
                .write(member.transport.name(), topic.as_deref(), reason);
        }
    }

    fn remove(&mut self, slot: usize, reason: &str) {
        self.account_end(slot, reason);
        self.part(slot);
        self.members.remove(slot);
    }

    fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        let spread = most.saturating_sub(least);
        least + spread.mul_f64(self.rng.f64())
    }

    /// Ends as many members as the drain's clock asks for.
    fn drain(&mut self) {
        let Some(draining) = &self.draining else { return };
        let elapsed = self.now.duration_since(draining.began).as_secs_f64() + TICK.as_secs_f64();
        let share = (elapsed / draining.window.as_secs_f64().max(0.001)).min(1.0);
        let due = (share * draining.members.len() as f64).ceil() as usize;
        let (ended, retry) = (draining.ended, draining.retry);
        let batch: Vec<MemberId> = draining.members[ended..due.max(ended)].to_vec();
        if let Some(draining) = &mut self.draining {
            draining.ended = due.max(ended);
        }
        for id in batch {
            let retry = self.between(retry);
            if let Some(slot) = self.slot_of(id) {
                self.end(slot, End::Drain { retry });
                self.rest(slot);
            }
        }
    }

    /// Ends everybody at once.
    fn stop(&mut self) {
        let slots: Vec<usize> = self.members.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.end(
                slot,
                End::Drain {
                    retry: Duration::from_secs(2),
                },
            );
        }
        self.settle();
    }

    /// Adds what was counted to the shared metrics.
    fn settle(&mut self) {
        for tally in &mut self.tallies {
            if tally.bytes > 0 {
                tally.metrics.bytes_out.inc_by(std::mem::take(&mut tally.bytes));
                tally.metrics.events.inc_by(std::mem::take(&mut tally.events));
            }
        }
    }
}
