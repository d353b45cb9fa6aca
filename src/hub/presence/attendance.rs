//! The presences of all resources, and the place that a follower has in one of them, given back when it is dropped.
//!
//! Must not know: what a follower is sent besides.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::events::Roll;
use super::followers::{Entered, Followers, Who};
use super::resource::{Presence, PresenceBell, State};
use crate::config::Route;
use crate::frame::PresenceEvent;
use crate::identity::Principal;
use crate::metrics::Metrics;
use crate::resource::ResourceKey;

/// What is told when the first follower of a subject comes and when the last one goes (`presence.notify`).
pub trait PresenceListener: Send + Sync {
    /// Notes a change. It is called under a lock and must not block.
    fn changed(&self, key: &ResourceKey, route: &Arc<Route>, principal: &Arc<Principal>, is_there: bool);
}

/// What telling of presence needs.
pub struct PresenceServices {
    /// Where the waits for the next time to tell live.
    pub runtime: Handle,
    /// One for each shard.
    pub bells: Vec<Arc<dyn PresenceBell>>,
    /// Tells the upstream.
    pub listener: Arc<dyn PresenceListener>,
    /// Counts what finds no room.
    pub metrics: Metrics,
}

/// The presences of all resources that have followers and a route with `presence`.
#[derive(Default)]
pub struct Presences {
    of: DashMap<ResourceKey, Arc<Presence>>,
    services: OnceLock<PresenceServices>,
    last_id: AtomicU64,
}

/// A follower's place in the presence of its resource.
pub struct Seat {
    presences: Arc<Presences>,
    presence: Arc<Presence>,
    who: Who,
    is_named: bool,
    /// It comes by long-polls: it may be back in a moment when it goes.
    lingers: bool,
    /// What had been told when it came.
    since: u64,
    watch: Watch,
}

/// What a follower was told of the presence.
enum Watch {
    /// It did not ask for it.
    Off,
    /// Nothing yet.
    New,
    /// The roll of this number.
    Told(u64),
}

impl Presences {
    /// From now on followers are counted. Only the first call counts.
    pub fn serve(&self, services: PresenceServices) {
        // A second call is a mistake that does no harm.
        let _ = self.services.set(services);
    }

    /// Gives a follower its place. Returns `None` if the route has no `presence`.
    pub(in crate::hub) fn seat(
        self: &Arc<Self>,
        key: &ResourceKey,
        route: &Arc<Route>,
        who: Who,
        lingers: bool,
    ) -> Option<Seat> {
        let (services, settings) = (self.services.get()?, route.presence.as_ref()?);
        // The entry is held until the follower is counted: a presence without followers leaves the map.
        let entry = self.of.entry(key.clone()).or_insert_with(|| {
            let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
            Arc::new(Presence::new(id, key.clone(), route.clone(), services.bells.len()))
        });
        let presence = entry.value().clone();
        let mut state = presence.lock();
        let since = presence.roll().seq;
        let entered = state.followers.enter(&who, lingers, settings.subjects);
        match (entered, &who) {
            (Entered::First, Some(principal)) => {
                services.listener.changed(key, &state.route, principal, true);
            }
            (Entered::NoRoom, _) => {
                services.metrics.presence_unnamed.with_label_values(&[&*route.path]).inc();
            }
            _ => {}
        }
        if !matches!(entered, Entered::Back(_)) {
            self.tell_soon(&presence, &mut state);
        }
        drop(state);
        drop(entry);
        let (presences, is_named) = (self.clone(), entered.is_named());
        Some(Seat { presences, presence, who, is_named, lingers, since, watch: Watch::Off })
    }

    fn leave(self: &Arc<Self>, seat: &Seat) {
        let mut state = seat.presence.lock();
        let linger = state.route.presence.as_ref().map(|presence| presence.linger).unwrap_or_default();
        if seat.lingers && !linger.is_zero() {
            state.followers.linger(Instant::now() + linger, seat.who.clone(), seat.is_named);
            return self.sweep_later(&seat.presence, &mut state);
        }
        self.gone(&seat.presence, &mut state, &seat.who, seat.is_named);
        drop(state);
        self.forget_if_empty(&seat.presence);
    }

    fn gone(self: &Arc<Self>, presence: &Arc<Presence>, state: &mut State, who: &Who, is_named: bool) {
        let Some(services) = self.services.get() else { return };
        if state.followers.leave(who, is_named)
            && let Some(principal) = who
        {
            services.listener.changed(presence.key(), &state.route, principal, false);
        }
        self.tell_soon(presence, state);
    }

    fn forget_if_empty(&self, presence: &Arc<Presence>) {
        let is_over = |known: &Arc<Presence>| Arc::ptr_eq(known, presence) && known.is_empty();
        self.of.remove_if(presence.key(), |_, known| is_over(known));
    }

    /// Has what changed told as soon as `presence.interval` allows, once for all that changes until then.
    fn tell_soon(self: &Arc<Self>, presence: &Arc<Presence>, state: &mut State) {
        let Some(services) = self.services.get().filter(|_| !state.is_to_be_told) else { return };
        state.is_to_be_told = true;
        let interval = state.route.presence.as_ref().map(|presence| presence.interval).unwrap_or_default();
        let at = state.told_at.map(|told_at| told_at + interval);
        let (presences, presence) = (self.clone(), presence.clone());
        services.runtime.spawn(async move {
            if let Some(at) = at {
                sleep_until(at).await;
            }
            if let Some(services) = presences.services.get() {
                presence.publish(&services.bells);
            }
        });
    }

    /// Has those that do not come back leave when they are overdue.
    fn sweep_later(self: &Arc<Self>, presence: &Arc<Presence>, state: &mut State) {
        let Some(services) = self.services.get().filter(|_| !state.is_swept) else { return };
        state.is_swept = true;
        let (presences, presence) = (self.clone(), presence.clone());
        services.runtime.spawn(async move {
            while let Some(at) = presences.sweep(&presence) {
                sleep_until(at).await;
            }
            presences.forget_if_empty(&presence);
        });
    }

    /// Has those leave that are overdue. Returns when the next one is.
    fn sweep(self: &Arc<Self>, presence: &Arc<Presence>) -> Option<Instant> {
        let mut state = presence.lock();
        while let Some((who, is_named)) = state.followers.overdue(Instant::now()) {
            self.gone(presence, &mut state, &who, is_named);
        }
        let next = state.followers.overdue_at();
        state.is_swept = next.is_some();
        next
    }

    /// The answer to one who asks who follows a resource.
    pub(in crate::hub) fn answer(&self, key: &ResourceKey, route: &Route) -> Value {
        match self.of.get(key) {
            Some(presence) => presence.answer(route),
            None => super::events::answer(&Followers::default(), route),
        }
    }

    /// How many follow a resource.
    pub fn count(&self, key: &ResourceKey) -> usize {
        self.of.get(key).map_or(0, |presence| presence.count())
    }

    /// Takes the newest forms of the routes, by their numbers.
    pub(in crate::hub) fn follow_routes(&self, routes: &HashMap<usize, Arc<Route>>) {
        for presence in &self.of {
            if let Some(route) = routes.get(&presence.key().parts().route) {
                presence.lock().route = route.clone();
            }
        }
    }
}

impl Seat {
    /// From now on the follower is told who else follows. `shard`: where it lives, if not in a task.
    pub(in crate::hub) fn watch(&mut self, shard: Option<u16>) {
        self.watch = Watch::New;
        shard.into_iter().for_each(|shard| self.presence.tell(shard));
    }

    /// The presence that the follower is told of. Returns `None` if it did not ask for it.
    pub(in crate::hub) fn watched(&self) -> Option<&Arc<Presence>> {
        (!matches!(self.watch, Watch::Off)).then_some(&self.presence)
    }

    /// What the follower is to be told next, if anything is.
    pub(in crate::hub) fn next(&mut self) -> Option<Arc<PresenceEvent>> {
        let roll = self.presence.roll();
        let event = match self.watch {
            Watch::Off => return None,
            // What it changed itself comes with the next roll.
            Watch::New if roll.seq <= self.since => return None,
            Watch::Told(told) if told == roll.seq => return None,
            Watch::Told(told) if told + 1 == roll.seq => roll.change(),
            Watch::New | Watch::Told(_) => Some(roll.whole()),
        };
        self.watch = Watch::Told(roll.seq);
        event
    }

    /// Changes whenever the follower may have something to be told. Returns `None` if it did not ask for it.
    pub(in crate::hub) fn rolls(&self) -> Option<watch::Receiver<Arc<Roll>>> {
        self.watched().map(|presence| presence.rolls())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.presences.clone().leave(self);
    }
}
