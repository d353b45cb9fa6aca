//! How a client comes to attend to a resource: its topic is found, or made, charged and handed to a new poller.
//!
//! Must not know: how a resource is polled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dashmap::mapref::entry::Entry;

use super::attendance::Beside;
use super::resource_limits::{Charge, Owner};
use super::{Attend, Attendance, ChargeLimits, Full, Hub, PollNumber, Publisher, Topic};
use crate::config::Route;
use crate::resource::ResourceKey;

/// Number of a topic's first poll.
const FIRST_POLL: PollNumber = 1;

impl Hub {
    /// Attends to a resource, charged to no client. See [`Hub::attend_for`].
    ///
    /// # Errors
    /// The limit that leaves no room.
    pub fn attend(
        self: &Arc<Self>,
        key: &ResourceKey,
        route: &Arc<Route>,
        kind: Attend,
        start: impl FnOnce(Publisher),
    ) -> Result<Attendance, Full> {
        self.attend_for(None, key, route, kind, start)
    }

    /// Attends to a resource. When it is not polled yet, it is charged within `charge_limits`, and `start` gets the
    /// one `Publisher` inside the call, so that a request that is dropped later never owns it. The key's
    /// lock is free again by then; others may already attend, and `start` must hand the publisher on at
    /// once.
    ///
    /// # Errors
    /// The limit that leaves no room, although topics without clients have made way.
    pub fn attend_for(
        self: &Arc<Self>,
        charge_limits: Option<ChargeLimits>,
        key: &ResourceKey,
        route: &Arc<Route>,
        kind: Attend,
        start: impl FnOnce(Publisher),
    ) -> Result<Attendance, Full> {
        if let Some(topic) = self.topics.get(key) {
            return Attendance::new(topic.clone(), kind);
        }
        if !self.make_room(0).fits {
            return Err(Full::Bytes);
        }
        // The charge is taken before the lock of the key, since the topic that makes room has a key, too.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let charge = self.charge(id, charge_limits, route)?;
        match self.topics.entry(key.clone()) {
            Entry::Occupied(entry) => Attendance::new(entry.get().clone(), kind),
            Entry::Vacant(entry) => {
                let topic = Topic::new(
                    id,
                    key.clone(),
                    route.clone(),
                    self.bells.clone(),
                    self.epoch,
                    self.users.begin(key),
                    self.compressions.clone(),
                );
                // The topic is attended to before another client can find it, and before there is a poller that could
                // retire it.
                let mut attendance = Attendance::new(topic.clone(), kind)?;
                let claim = (kind == Attend::Visit).then(|| topic.claim(FIRST_POLL)).flatten();
                attendance.beside = claim.map(|claim| Box::new(Beside::Claim(claim)));
                drop(entry.insert(topic.clone()));
                topic.charge_with(charge);
                // The index has the topic before its first poll, so that a write finds every topic that may hold an
                // older state.
                self.index.insert(&topic);
                start(Publisher::new(topic.clone(), self.clone()));
                self.keep_if_live(&topic);
                Ok(attendance)
            }
        }
    }

    /// Whether [`Hub::attend_for`] would let a client attend. Nothing is made, and no topic makes way.
    ///
    /// # Errors
    /// The limit that would leave no room.
    pub fn would_attend(
        &self,
        charge_limits: Option<ChargeLimits>,
        key: &ResourceKey,
        route: &Route,
        kind: Attend,
    ) -> Result<(), Full> {
        if let Some(topic) = self.topics.get(key) {
            let most = topic.route().max_clients_per_resource.unwrap_or(usize::MAX);
            return if kind == Attend::Visit || topic.followers() < most {
                Ok(())
            } else {
                Err(Full::Followers)
            };
        }
        if self.is_short_of_bytes(0) {
            return Err(Full::Bytes);
        }
        self.charges.would_take(self.owners(charge_limits, route))
    }

    /// Takes room for one more topic of a route.
    fn charge(
        &self,
        id: u64,
        charge_limits: Option<ChargeLimits>,
        route: &Route,
    ) -> Result<Charge<Topic>, Full> {
        self.charges.take(id, self.owners(charge_limits, route), |topic| self.give_way(topic))
    }

    /// What one more topic of a route counts for, and how much that may be.
    fn owners(
        &self,
        charge_limits: Option<ChargeLimits>,
        route: &Route,
    ) -> impl Iterator<Item = (Owner, usize)> + use<> {
        let charge_limits = charge_limits.unwrap_or_default();
        let of_client = charge_limits.resources.map(|(client, most)| (Owner::Client(client), most));
        let of_bytes = charge_limits.bytes.map(|(address, most)| (Owner::Bytes(address), most));
        let of_route = route.max_resources.map(|most| (Owner::Route(route.index), most));
        // The narrowest limit comes first, so that a client that invents names displaces its own resources.
        of_client.into_iter().chain(of_bytes).chain(of_route).chain([(Owner::All, self.max_topics())])
    }
}
