//! The client loop of one thread: readiness, commands, topics with news, time.
//!
//! Never encodes, compares or compresses: what it writes was made by a poll loop and is shared. Must not know: how
//! connections are taken over, what topics are about.

mod arrivals;
mod bundles;
mod ends;
mod groups;
mod presence;
mod repeats;
mod traffic;

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use slab::Slab;

use super::Rules;
use super::inbox::{Command, Inbox};
use super::member::Member;
use super::member_id::MemberId;
use super::members::Members;
use super::presence_members::PresenceMembers;
use super::timers::{TICK, Wheel};
use super::wire::Homes;
use crate::hub::Topic;
use crate::metrics::{Metrics, StreamMetrics};
use crate::transport::{Heads, Output, Step};

const WAKER: Token = Token(usize::MAX);

/// Most members of a topic that are served before other topics have their turn.
const SLICE_MEMBERS_MAX: usize = 256;

/// Most reads from one connection before others have their turn.
const READS_MAX: usize = 8;

/// A topic's members on this shard.
struct Group {
    topic: Arc<Topic>,
    members: Vec<Follower>,
    /// Members below this index are still to be served; `None` if no walk is on.
    walk: Option<usize>,
    /// Whether something newer came during the walk.
    again: bool,
}

/// A follower of a topic: a member, and which of its many resources this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Follower {
    slot: u32,
    /// Number in the member's bundle; `u32::MAX` if it follows this resource alone.
    entry: u32,
}

/// Counts that are added to the shared metrics once a turn of the loop.
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
    /// The clients that were between two requests at their turn, and end last; `None` if they end like the others.
    idle: Option<Vec<MemberId>>,
}

pub(super) struct Shard {
    index: u16,
    rules: Rules,
    /// The generation of the configuration whose decisions count.
    generation: Arc<AtomicU32>,
    metrics: Metrics,
    poll: Poll,
    inbox: Arc<Inbox>,
    members: Members<Member>,
    homes: Homes,
    next_serial: u32,
    groups: Slab<Group>,
    group_of: HashMap<u64, usize>,
    /// Groups with a walk on.
    walking: VecDeque<usize>,
    presence_members: PresenceMembers,
    wheel: Wheel,
    tallies: Vec<Tally>,
    /// By path of the route, then by transport.
    tally_of: HashMap<Box<str>, HashMap<&'static str, u32>>,
    rng: fastrand::Rng,
    draining: Option<Draining>,
    /// Members whose next request is there already.
    repeats: Vec<MemberId>,
    /// Of answers to ordinary polls; shared by all members.
    heads: Heads,
    /// For reads; shared by all members.
    buffer: Box<[u8]>,
    now: Instant,
}

impl Shard {
    pub(super) fn new(
        index: u16,
        rules: Rules,
        generation: Arc<AtomicU32>,
        metrics: Metrics,
    ) -> io::Result<Shard> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let now = Instant::now();
        Ok(Shard {
            index,
            rules,
            generation,
            metrics,
            poll,
            inbox: Arc::new(Inbox::new(waker)),
            members: Members::new(),
            homes: Homes::default(),
            next_serial: 0,
            groups: Slab::new(),
            group_of: HashMap::new(),
            walking: VecDeque::new(),
            presence_members: PresenceMembers::default(),
            wheel: Wheel::new(now),
            tallies: Vec::new(),
            tally_of: HashMap::new(),
            rng: fastrand::Rng::new(),
            draining: None,
            repeats: Vec::new(),
            heads: Heads::default(),
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
            let patience = self.patience();
            if let Err(error) = self.poll.poll(&mut events, patience)
                && error.kind() != ErrorKind::Interrupted
            {
                tracing::error!("shard {}: waiting for sockets failed: {error}", self.index);
                return;
            }
            self.now = Instant::now();
            for event in &events {
                if event.token() != WAKER {
                    let ends = event.is_read_closed() || event.is_error();
                    self.ready(event.token().0, event.is_readable() || ends, ends);
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
            self.walk_presence();
            self.tick();
            self.serve_repeats();
            self.drain();
            self.settle();
        }
    }

    /// How long the loop may sleep.
    fn patience(&mut self) -> Option<Duration> {
        if !self.walking.is_empty() || !self.repeats.is_empty() || self.presence_members.is_walking() {
            return Some(Duration::ZERO);
        }
        if self.draining.is_some() && !self.members.is_empty() {
            return Some(TICK);
        }
        self.wheel.next().map(|at| at.saturating_duration_since(Instant::now()))
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(arrival) => self.add(*arrival),
            Command::Look(topic) => self.look(&topic),
            Command::Presence(presence) => self.presence_changed(&presence),
            Command::Woken(member) => {
                if let Some(slot) = self.slot_of(member) {
                    self.ready(slot, true, true);
                }
            }
            Command::Tell(member, bytes) => {
                if let Some(slot) = self.slot_of(member) {
                    self.apply(slot, Step::Write(Output::one(bytes)));
                    self.rest(slot);
                }
            }
            Command::Follow(member, name, subscription) => {
                if let Some(slot) = self.slot_of(member) {
                    self.follow(slot, name, usize::MAX, *subscription);
                    self.rest(slot);
                }
            }
            Command::Unfollow(member, name) => {
                if let Some(slot) = self.slot_of(member) {
                    self.unfollow(slot, &name);
                }
            }
            Command::Expel => self.expel(),
            Command::Renew(rules) => self.rules = rules,
            Command::Renewed(member) => {
                if let Some(slot) = self.slot_of(member) {
                    self.renewed(slot);
                }
            }
            Command::Drain { window, retry, idle_last } => {
                let members =
                    self.members.iter().map(|(slot, m)| MemberId { slot: slot as u32, serial: m.serial });
                let members = members.collect();
                let (began, idle) = (self.now, idle_last.then(Vec::new));
                self.draining = Some(Draining { began, window, retry, members, ended: 0, idle });
            }
            Command::Stop => {}
        }
    }

    fn slot_of(&self, id: MemberId) -> Option<usize> {
        let slot = id.slot as usize;
        self.members.get(slot).is_some_and(|member| member.serial == id.serial).then_some(slot)
    }

    fn tally(&mut self, topic: Option<&Topic>, transport: &'static str) -> u32 {
        let route = topic.map(Topic::route);
        let path = route.as_ref().map_or("", |route| route.path.as_str());
        if let Some(known) = self.tally_of.get(path).and_then(|tallies| tallies.get(transport)) {
            return *known;
        }
        let metrics = self.metrics.stream(transport, path);
        self.tallies.push(Tally { metrics, events: 0, bytes: 0 });
        let tally = self.tallies.len() as u32 - 1;
        self.tally_of.entry(path.into()).or_default().insert(transport, tally);
        tally
    }

    // --- Time ---

    /// Puts a member back into the wheel if its deadline has come nearer than its bucket.
    fn rest(&mut self, slot: usize) {
        let Some(member) = self.members.get_mut(slot) else {
            return;
        };
        let Some(mut at) = member.deadline(self.rules.stall_timeout) else {
            return;
        };
        let may_have_to_go = member.entitlement().is_some() && !member.is_ending();
        if member.retires != 0 && (member.is_free() || may_have_to_go) {
            at = at.min(self.wheel.time_of(member.retires));
        }
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
        if self.retire(slot) {
            return;
        }
        let member = &mut self.members[slot];
        if member.deadline(self.rules.stall_timeout).is_none_or(|at| self.now < at) {
            return;
        }
        if member.is_closing() {
            // The client had its time to close. Its end was counted before.
            self.members.remove(slot);
            return;
        }
        if member.is_stalled(self.now, self.rules.stall_timeout) {
            self.tallies[member.tally as usize].metrics.slow_closes.inc();
            self.remove(slot, "stalled");
            return;
        }
        if member.idle {
            // The decision that let this connection stay here counts no longer: the front makes a new one.
            let kept = member.wire.take_kept();
            self.go_home(slot, &kept);
            return;
        }
        if member.is_unread() {
            member.transport.heard(self.now);
            return;
        }
        let step = member.expire(self.now);
        self.apply(slot, step);
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
