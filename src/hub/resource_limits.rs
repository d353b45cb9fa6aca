//! How many resources there may be, in all, of one route, of one client, and how many bytes of one address. At a limit
//! the resource that has no client and was touched longest ago makes room.
//!
//! Must not know: what a client is told that finds no room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use tokio::time::Instant;

use super::Full;
use super::charged_client::ChargedClient;

/// How many cold topics one walk over an owner's topics finds, so that a flood of invented names does not cost a walk
/// for each.
const FOUND_TOPICS_MAX: usize = 256;

/// An owner without a cold topic is not walked over again for this long.
const WALK_PAUSE: Duration = Duration::from_millis(50);

/// How many topics may turn out to be in use before a new one is refused.
pub(super) const TRIES_MAX: usize = 8;

/// The owner of a limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    All,
    /// The bytes of an address, whose resources may be charged to another client.
    Bytes(IpAddr),
    /// A route, by its index.
    Route(usize),
    Client(ChargedClient),
}

impl Owner {
    fn full(&self) -> Full {
        match self {
            Owner::All => Full::Resources,
            Owner::Bytes(_) => Full::AddressBytes,
            Owner::Route(_) => Full::Route,
            Owner::Client(ChargedClient::Address(_)) => Full::Address,
            Owner::Client(ChargedClient::Subject(_)) => Full::Subject,
        }
    }
}

/// A thing that takes room: a topic.
pub(super) trait Charged {
    /// A number that no other one has.
    fn id(&self) -> u64;

    /// Whether no client attends to it.
    fn is_cold(&self) -> bool;

    /// When a client last attended to it.
    fn touched_at(&self) -> Instant;
}

/// The accounts of all owners.
#[derive(Debug)]
pub(super) struct Charges<T> {
    owners: DashMap<Owner, Owned<T>>,
}

#[derive(Debug)]
struct Owned<T> {
    /// Topics, those included that are about to be made.
    count: usize,
    /// Bytes of its snapshots.
    bytes: usize,
    /// By id.
    topics: HashMap<u64, Arc<T>>,
    /// Ids of cold topics and when each was touched, the coldest last.
    cold: Vec<(u64, Instant)>,
    /// There is no further search before then, since the last one found nothing.
    pause: Option<Instant>,
}

impl<T> Default for Charges<T> {
    fn default() -> Charges<T> {
        Charges { owners: DashMap::default() }
    }
}

impl<T> Default for Owned<T> {
    fn default() -> Owned<T> {
        Owned { count: 0, bytes: 0, topics: HashMap::new(), cold: Vec::new(), pause: None }
    }
}

/// Room for one topic with all its owners. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Charge<T> {
    charges: Arc<Charges<T>>,
    /// The id of the topic that it is for.
    id: u64,
    owners: Vec<Owner>,
    /// What the topic holds, and the most that its address may. `None` where no limit counts it.
    bytes: Option<(usize, usize)>,
}

impl<T: Charged> Charges<T> {
    /// Takes room for the topic that will have this id. `retire` removes a topic unless a client attends to it, and
    /// settles its charge. No lock is held while it runs.
    ///
    /// # Errors
    /// The limit that leaves no room.
    pub(super) fn take(
        self: &Arc<Self>,
        id: u64,
        owners: impl IntoIterator<Item = (Owner, usize)>,
        retire: impl Fn(&Arc<T>) -> bool,
    ) -> Result<Charge<T>, Full> {
        let mut charge = Charge { charges: self.clone(), id, owners: Vec::new(), bytes: None };
        for (owner, most) in owners {
            let mut tries = 0;
            while !self.enter(&owner, most) {
                let Some(coldest) = self.coldest(&owner).filter(|_| tries < TRIES_MAX) else {
                    return Err(owner.full());
                };
                // If a client came to that topic meanwhile, another one may make room.
                retire(&coldest);
                tries += 1;
            }
            if matches!(owner, Owner::Bytes(_)) {
                charge.bytes = Some((0, most));
            }
            charge.owners.push(owner);
        }
        Ok(charge)
    }

    /// Whether a topic would find room with all its owners, as topics without clients would make way. Nothing is taken.
    ///
    /// # Errors
    /// The limit that would leave no room.
    pub(super) fn would_take(&self, owners: impl IntoIterator<Item = (Owner, usize)>) -> Result<(), Full> {
        for (owner, most) in owners {
            let Some(owned) = self.owners.get(&owner) else { continue };
            let taken = if matches!(owner, Owner::Bytes(_)) { owned.bytes } else { owned.count };
            if taken >= most && !owned.topics.values().any(|topic| topic.is_cold()) {
                return Err(owner.full());
            }
        }
        Ok(())
    }

    /// Whether there was room.
    fn enter(&self, owner: &Owner, most: usize) -> bool {
        let mut owned = self.owners.entry(owner.clone()).or_default();
        let taken = if matches!(owner, Owner::Bytes(_)) { owned.bytes } else { owned.count };
        let free = taken < most;
        owned.count += usize::from(free);
        free
    }

    /// The topic of this owner that has no client and was touched longest ago.
    pub(super) fn coldest(&self, owner: &Owner) -> Option<Arc<T>> {
        let mut owned = self.owners.get_mut(owner)?;
        let owned = &mut *owned;
        loop {
            if let Some((id, touched)) = owned.cold.pop() {
                let topic = owned.topics.get(&id);
                if let Some(topic) = topic.filter(|topic| topic.is_cold() && topic.touched_at() == touched) {
                    return Some(topic.clone());
                }
                continue;
            }
            if !owned.find() {
                return None;
            }
        }
    }
}

impl<T: Charged> Owned<T> {
    /// Looks for cold topics. Returns false if there are none.
    fn find(&mut self) -> bool {
        let now = Instant::now();
        if self.pause.is_some_and(|until| now < until) {
            return false;
        }
        let cold = self.topics.values().filter(|topic| topic.is_cold());
        self.cold = cold.map(|topic| (topic.id(), topic.touched_at())).collect();
        if self.cold.len() > FOUND_TOPICS_MAX {
            self.cold.select_nth_unstable_by_key(FOUND_TOPICS_MAX, |(_, touched)| *touched);
            self.cold.truncate(FOUND_TOPICS_MAX);
        }
        self.cold.sort_unstable_by_key(|(_, touched)| std::cmp::Reverse(*touched));
        self.pause = self.cold.is_empty().then_some(now + WALK_PAUSE);
        !self.cold.is_empty()
    }
}

impl<T> Charge<T> {
    /// Notes how many bytes the topic holds. Returns its address if that holds more than it may now.
    pub(super) fn weigh(&mut self, bytes: usize) -> Option<Owner> {
        let (held, most) = self.bytes.as_mut()?;
        let owner = self.owners.iter().find(|owner| matches!(owner, Owner::Bytes(_)))?;
        let mut owned = self.charges.owners.get_mut(owner)?;
        owned.bytes = owned.bytes - *held + bytes;
        *held = bytes;
        (owned.bytes > *most).then(|| owner.clone())
    }

    /// Notes that the topic exists: from now on it may have to make room.
    pub(super) fn bear(&self, topic: &Arc<T>) {
        for owner in &self.owners {
            if let Some(mut owned) = self.charges.owners.get_mut(owner) {
                owned.topics.insert(self.id, topic.clone());
            }
        }
    }
}

impl<T> Drop for Charge<T> {
    fn drop(&mut self) {
        for owner in &self.owners {
            if let Some(mut owned) = self.charges.owners.get_mut(owner) {
                owned.count -= 1;
                if matches!(owner, Owner::Bytes(_)) {
                    owned.bytes -= self.bytes.map_or(0, |(held, _)| held);
                }
                owned.topics.remove(&self.id);
            }
            self.charges.owners.remove_if(owner, |_, owned| owned.count == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::route::{key, route};
    use super::super::{Attend, Attendance, ChargeLimits, Hub, Publisher};
    use super::*;
    use crate::config::Route;

    const SECOND: Duration = Duration::from_secs(1);

    struct Stage {
        hub: Arc<Hub>,
        route: Arc<Route>,
        bytes: Option<usize>,
    }

    impl Stage {
        fn new(most: usize, of_route: Option<usize>) -> Stage {
            let route = Arc::new(Route { max_resources: of_route, ..route() });
            Stage { hub: Hub::new(Vec::new(), most, 1 << 20), route, bytes: None }
        }

        fn attend(&self, path: &str, address: &str) -> Result<(Attendance, Option<Publisher>), Full> {
            let address = address.parse().unwrap();
            let bytes = self.bytes.map(|most| (address, most));
            let charge_limits = ChargeLimits { resources: Some((ChargedClient::Address(address), 2)), bytes };
            let mut publisher = None;
            let start = |made| publisher = Some(made);
            let attendance =
                self.hub.attend_for(Some(charge_limits), &key(path), &self.route, Attend::Visit, start)?;
            attendance.topic().visited(1);
            Ok((attendance, publisher))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_unused_makes_room_and_a_followed_resource_stays() {
        let stage = Stage::new(3, None);
        let mut publishers = Vec::new();
        for path in ["/a", "/b", "/c"] {
            let (attendance, publisher) =
                stage.attend(path, "1.1.1.1").ok().or_else(|| stage.attend(path, "2.2.2.2").ok()).unwrap();
            publishers.push((attendance, publisher));
            tokio::time::advance(SECOND).await;
        }
        assert_eq!(stage.attend("/d", "3.3.3.3").err(), Some(Full::Resources), "all are in use");
        tokio::time::advance(WALK_PAUSE).await;
        let (attendance, first) = publishers.remove(0);
        drop(attendance);
        let _d = stage.attend("/d", "3.3.3.3").unwrap();
        assert!(stage.hub.get(&key("/a")).is_none());
        assert_eq!(stage.hub.len(), 3);
        // The poller of the removed topic finds out, and has nothing left to do.
        assert!(first.unwrap().retire().is_ok());
        assert_eq!(stage.hub.len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_at_its_limit_pays_with_its_own_resources() {
        let stage = Stage::new(10, None);
        let (other, _other_publisher) = stage.attend("/other", "9.9.9.9").unwrap();
        drop(other);
        let (a, _a) = stage.attend("/a", "1.1.1.1").unwrap();
        let (b, _b) = stage.attend("/b", "1.1.1.1").unwrap();
        assert_eq!(stage.attend("/c", "1.1.1.1").err(), Some(Full::Address));
        // A resource that another client has asked for first costs nothing.
        drop(stage.attend("/other", "1.1.1.1").unwrap());
        tokio::time::advance(WALK_PAUSE).await;
        drop(b);
        let _c = stage.attend("/c", "1.1.1.1").unwrap();
        assert!(stage.hub.get(&key("/b")).is_none());
        assert!(stage.hub.get(&key("/other")).is_some());
        drop(a);
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_holds_so_many_bytes_and_its_own_make_room() {
        let stage = Stage { bytes: Some(1000), ..Stage::new(10, None) };
        let (a, _a) = stage.attend("/a", "1.1.1.1").unwrap();
        assert!(stage.hub.weigh(a.topic(), 900));
        let (b, _b) = stage.attend("/b", "1.1.1.1").unwrap();
        assert!(!stage.hub.weigh(b.topic(), 200), "nothing of its own makes room");
        let (other, _other) = stage.attend("/other", "2.2.2.2").unwrap();
        assert!(stage.hub.weigh(other.topic(), 900), "others have their own");
        tokio::time::advance(WALK_PAUSE).await;
        drop(a);
        assert!(stage.hub.weigh(b.topic(), 200));
        assert!(stage.hub.get(&key("/a")).is_none());
        assert!(!stage.hub.weigh(b.topic(), 1001));
        assert_eq!(stage.attend("/c", "1.1.1.1").err(), Some(Full::AddressBytes));
    }

    #[tokio::test(start_paused = true)]
    async fn a_route_has_a_limit_of_its_own() {
        let stage = Stage::new(10, Some(1));
        let (a, _a) = stage.attend("/a", "1.1.1.1").unwrap();
        assert_eq!(stage.attend("/b", "2.2.2.2").err(), Some(Full::Route));
        tokio::time::advance(WALK_PAUSE).await;
        drop(a);
        assert!(stage.attend("/b", "2.2.2.2").is_ok());
    }

    #[tokio::test]
    async fn nothing_is_charged_for_what_is_gone() {
        let stage = Stage::new(10, Some(5));
        let (a, publisher) = stage.attend("/a", "1.1.1.1").unwrap();
        let (b, closing) = stage.attend("/b", "1.1.1.1").unwrap();
        assert_eq!(stage.hub.charges.owners.len(), 3, "all, the route, the address");
        drop((a, b));
        assert!(publisher.unwrap().retire().is_ok());
        drop(closing);
        assert!(stage.hub.charges.owners.is_empty());
    }

    #[tokio::test]
    async fn a_resource_has_no_more_followers_than_its_route_allows() {
        let stage = Stage::new(10, None);
        let route = Arc::new(Route { max_clients_per_resource: Some(2), ..route() });
        let mut publisher = None;
        let mut attend = |kind| stage.hub.attend(&key("/a"), &route, kind, |made| publisher = Some(made));
        let first = attend(Attend::Follow).ok().unwrap();
        let _second = attend(Attend::Follow).ok().unwrap();
        assert_eq!(attend(Attend::Follow).err(), Some(Full::Followers));
        let _visit = attend(Attend::Visit).ok().unwrap();
        drop(first);
        assert!(attend(Attend::Follow).is_ok());
    }
}
