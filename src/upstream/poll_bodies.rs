//! The memory of bodies that polls have read, or are reading, until what is in them is published
//! (`limits.poll_body_bytes`, contract §10).
//!
//! A body is charged as it is read. One that finds no room stops being read and waits, and the time of the poll stops
//! with it. Two bodies that are half read must not wait for each other for ever: one poll at a time has the lead, and
//! its bodies are read to the end whatever the others hold. A part of the room is for bodies that are small, so that
//! ordinary polls do not wait for large ones.
//!
//! Must not know: connections, heads, what is in a body.

mod room;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use room::Size;

/// Most bytes of a body that are read at a time.
pub(super) const PART_BYTES_MAX: usize = 64 * 1024;

/// A poll that holds no more bytes than this is small: the part that has come, and the one that is awaited.
const SMALL_BYTES_MAX: usize = 2 * PART_BYTES_MAX;

/// After this time without a byte a poll loses the lead to another one: it may wait for something that the others have.
const LEAD_TERM: Duration = Duration::from_secs(5);

/// The least time between two looks whether a poll still waits for room.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The room of all polls.
#[derive(Clone)]
pub struct BodyRoom(Arc<Room>);

struct Room {
    state: Mutex<State>,
    /// Numbers polls.
    next: AtomicU64,
    bytes: IntGauge,
    waits: IntCounter,
}

#[derive(Default)]
struct State {
    size: Size,
    /// Bytes that all polls but the lead hold.
    others: usize,
    lead: Option<Lead>,
    small: VecDeque<Waiter>,
    large: VecDeque<Waiter>,
}

struct Lead {
    number: u64,
    held: usize,
    /// When it last read something.
    moved: Instant,
}

/// A body that is not read on before there is room.
struct Waiter {
    claim: Arc<BodyClaim>,
    more: usize,
    since: Instant,
    go: oneshot::Sender<()>,
}

/// The claim of one poll loop to room for the bodies that it reads.
pub struct BodyClaim {
    number: u64,
    room: Arc<Room>,
    /// Bytes that it holds. They change under the lock of the room's state.
    held: AtomicU64,
    waits: Mutex<Waits>,
}

#[derive(Default)]
struct Waits {
    total: Duration,
    since: Option<Instant>,
}

/// The room that one body takes; free again when dropped.
pub struct HeldBody {
    claim: Arc<BodyClaim>,
    bytes: usize,
}

impl BodyRoom {
    /// `bytes` is all of the room, `largest` the longest body that any poll may read.
    pub fn new(bytes: usize, largest: usize, gauge: IntGauge, waits: IntCounter) -> BodyRoom {
        BodyRoom(Arc::new(Room {
            state: Mutex::new(State { size: Size::of(bytes, largest), ..State::default() }),
            next: AtomicU64::new(0),
            bytes: gauge,
            waits,
        }))
    }

    /// Makes the room larger or smaller. What is held beyond a smaller one is given back as its polls end.
    pub fn resize(&self, bytes: usize, largest: usize) {
        let mut state = self.0.state.lock();
        state.size = Size::of(bytes, largest);
        self.0.admit(&mut state);
    }

    /// The claim of one poll loop, which holds nothing yet.
    pub fn claim(&self) -> Arc<BodyClaim> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (held, waits) = (AtomicU64::new(0), Mutex::default());
        Arc::new(BodyClaim { number, room: self.0.clone(), held, waits })
    }
}

impl Room {
    /// Whether a poll may hold so much more.
    fn fits(state: &State, claim: &BodyClaim, more: usize) -> bool {
        let lead = match &state.lead {
            Some(lead) if lead.number == claim.number => return true,
            Some(lead) => lead.held,
            None => 0,
        };
        let size = state.size;
        let kept = if claim.is_small(more) { size.lead } else { size.lead + size.small };
        state.others + more <= size.all - kept && state.others + lead + more <= size.all
    }

    fn charge(&self, state: &mut State, claim: &BodyClaim, more: usize) {
        claim.held.fetch_add(more as u64, Ordering::Relaxed);
        match &mut state.lead {
            Some(lead) if lead.number == claim.number => {
                lead.held += more;
                lead.moved = Instant::now();
            }
            _ => state.others += more,
        }
        self.show(state);
    }

    fn discharge(&self, state: &mut State, claim: &BodyClaim, less: usize) {
        let left = claim.held.fetch_sub(less as u64, Ordering::Relaxed) - less as u64;
        match &mut state.lead {
            Some(lead) if lead.number == claim.number => {
                lead.held -= less;
                lead.moved = Instant::now();
                if left == 0 {
                    state.lead = None;
                }
            }
            _ => state.others -= less,
        }
        self.admit(state);
        self.show(state);
    }

    fn show(&self, state: &State) {
        let held = state.others + state.lead.as_ref().map_or(0, |lead| lead.held);
        self.bytes.set(i64::try_from(held).unwrap_or(i64::MAX));
    }

    /// Lets waiting polls read on, the first ones first, as far as there is room. If there is none and no poll has the
    /// lead, the one that waits longest gets it.
    fn admit(&self, state: &mut State) {
        loop {
            let fits =
                |waiter: &Waiter| waiter.go.is_closed() || Self::fits(state, &waiter.claim, waiter.more);
            let next = if state.small.front().is_some_and(fits) {
                state.small.pop_front()
            } else if state.large.front().is_some_and(fits) {
                state.large.pop_front()
            } else if state.lead.is_none() {
                Self::oldest(state).inspect(|waiter| Self::appoint(state, &waiter.claim))
            } else {
                None
            };
            let Some(Waiter { claim, more, go, .. }) = next else { return };
            if go.is_closed() {
                continue;
            }
            self.charge(state, &claim, more);
            // The waiter cannot have gone: it goes under the lock that is held here.
            let _ = go.send(());
        }
    }

    fn oldest(state: &mut State) -> Option<Waiter> {
        let (small, large) = (state.small.front(), state.large.front());
        let is_small = match (small, large) {
            (Some(small), Some(large)) => small.since <= large.since,
            (small, _) => small.is_some(),
        };
        if is_small { state.small.pop_front() } else { state.large.pop_front() }
    }

    fn appoint(state: &mut State, claim: &BodyClaim) {
        let held = claim.held();
        state.others -= held;
        state.lead = Some(Lead { number: claim.number, held, moved: Instant::now() });
    }

    /// Makes the lead one poll among the others.
    fn depose(&self, state: &mut State) {
        if let Some(lead) = state.lead.take() {
            state.others += lead.held;
            self.admit(state);
        }
    }

    fn depose_if_stuck(&self) {
        let mut state = self.state.lock();
        if state.lead.as_ref().is_some_and(|lead| lead.moved.elapsed() >= LEAD_TERM) {
            self.depose(&mut state);
        }
    }
}

impl BodyClaim {
    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed) as usize
    }

    fn is_small(&self, more: usize) -> bool {
        self.held() + more <= SMALL_BYTES_MAX
    }

    /// Room for a body of which nothing was read.
    pub(super) fn body(self: &Arc<Self>) -> HeldBody {
        HeldBody { claim: self.clone(), bytes: 0 }
    }

    /// Waits until there is room for the beginning of an answer.
    pub async fn admitted(self: &Arc<Self>) {
        self.take(0).await;
    }

    /// Gives the lead up before the poll waits for what another poll may have.
    pub fn step_aside(&self) {
        let mut state = self.room.state.lock();
        if state.lead.as_ref().is_some_and(|lead| lead.number == self.number) {
            self.room.depose(&mut state);
        }
    }

    /// How long its bodies have waited for room so far.
    pub fn waited(&self) -> Duration {
        let waits = self.waits.lock();
        waits.total + waits.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Does work for at most `limit`, not counting the time that its bodies wait for room. Returns `None` if the time
    /// is over.
    pub(super) async fn timeout<T>(
        claim: Option<&Arc<BodyClaim>>,
        limit: Duration,
        mut work: impl Future<Output = T> + Unpin,
    ) -> Option<T> {
        let Some(claim) = claim else {
            return tokio::time::timeout(limit, work).await.ok();
        };
        let (end, before) = (Instant::now() + limit, claim.waited());
        loop {
            let now = Instant::now();
            let left = (end + (claim.waited() - before)).saturating_duration_since(now);
            let is_waiting = claim.waits.lock().since.is_some();
            if left.is_zero() && !is_waiting {
                return None;
            }
            let look = now + if is_waiting { left.max(LOOK_INTERVAL_MIN) } else { left };
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = sleep_until(look) => {}
            }
        }
    }

    async fn take(self: &Arc<Self>, more: usize) {
        let (go, ready) = oneshot::channel();
        {
            let mut state = self.room.state.lock();
            let queue = if self.is_small(more) { &state.small } else { &state.large };
            let is_next = queue.iter().all(|waiter| waiter.go.is_closed());
            if (is_next || state.leads(self)) && Room::fits(&state, self, more) {
                return self.room.charge(&mut state, self, more);
            }
            let waiter = Waiter { claim: self.clone(), more, since: Instant::now(), go };
            match self.is_small(more) {
                true => state.small.push_back(waiter),
                false => state.large.push_back(waiter),
            }
            self.room.admit(&mut state);
        }
        let mut waiting = Waiting::new(self, more, ready);
        loop {
            tokio::select! {
                biased;
                _ = &mut waiting.ready => break,
                () = sleep(LEAD_TERM) => self.room.depose_if_stuck(),
            }
        }
        waiting.is_over = true;
    }
}

impl State {
    fn leads(&self, claim: &BodyClaim) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.number == claim.number)
    }
}

/// The wait for room; what it got is given back if the poll ends before it is used.
struct Waiting<'a> {
    claim: &'a BodyClaim,
    more: usize,
    ready: oneshot::Receiver<()>,
    is_over: bool,
}

impl Waiting<'_> {
    fn new(claim: &BodyClaim, more: usize, ready: oneshot::Receiver<()>) -> Waiting<'_> {
        claim.room.waits.inc();
        claim.waits.lock().since = Some(Instant::now());
        Waiting { claim, more, ready, is_over: false }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = self.claim.waits.lock();
        let waited = waits.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        waits.total += waited;
        drop(waits);
        if self.is_over {
            return;
        }
        let room = &self.claim.room;
        let mut state = room.state.lock();
        match self.ready.try_recv() {
            Ok(()) => room.discharge(&mut state, self.claim, self.more),
            Err(_) => {
                self.ready.close();
                room.admit(&mut state);
            }
        }
    }
}

impl HeldBody {
    /// Waits until the body may take so many bytes in all.
    pub(super) async fn reserve(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 && self.bytes > 0 {
            return;
        }
        self.claim.take(more).await;
        self.bytes += more;
    }

    /// Sets how many bytes the body takes. More than was reserved is charged, too, as it is in memory.
    pub(super) fn set(&mut self, bytes: usize) {
        let room = &self.claim.room;
        let mut state = room.state.lock();
        match bytes.checked_sub(self.bytes) {
            Some(0) => {}
            Some(more) => room.charge(&mut state, &self.claim, more),
            None => room.discharge(&mut state, &self.claim, self.bytes - bytes),
        }
        self.bytes = bytes;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.set(0);
        }
    }
}

impl fmt::Debug for HeldBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes)
    }
}

#[cfg(test)]
#[path = "poll_bodies_tests.rs"]
mod tests;
