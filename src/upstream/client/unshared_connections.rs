//! Connections of pass-through that are not shared by all clients (contract §10): those of one client, and those that have
//! become unfit for others while a request was on them.
//!
//! Must not know: how a connection is made, what bound it to a client.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pingora::protocols::SocketDigest;

use crate::upstream::target::Target;

/// Most servers that one connection of a client keeps to.
const BOND_SERVERS_MAX: usize = 64;

/// The claim of one client's connection to upstream connections of its own. It has a unique number.
#[derive(Debug, Clone)]
pub struct Bond {
    number: u64,
    /// The server that each upstream's requests go to, by the number of its link: a handshake takes several requests, and a
    /// reload may change the servers.
    servers: Vec<(u64, Target)>,
}

impl Bond {
    /// Returns a claim with a number of its own.
    #[allow(clippy::new_without_default, reason = "two are never alike")]
    pub fn new() -> Bond {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Bond { number: NEXT.fetch_add(1, Ordering::Relaxed), servers: Vec::new() }
    }

    /// The key of its connections in the pool, where others have `group`.
    pub(super) fn group(&self, group: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        ("bond", group, self.number).hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn server(&self, link: u64) -> Option<&Target> {
        self.servers.iter().find(|(number, _)| *number == link).map(|(_, target)| target)
    }

    /// At the bound the one that was added first is forgotten: a reload may have replaced it.
    pub(super) fn keep_to(&mut self, link: u64, target: &Target) {
        if let Some((_, known)) = self.servers.iter_mut().find(|(number, _)| *number == link) {
            known.clone_from(target);
            return;
        }
        if self.servers.len() == BOND_SERVERS_MAX {
            self.servers.remove(0);
        }
        self.servers.push((link, target.clone()));
    }
}

/// Which connection a request that passes through takes.
#[derive(Debug)]
pub enum Whose<'a> {
    /// A connection that all clients share.
    Anybodys,
    /// A new one that no other request uses.
    New,
    /// A new one, over which heads are normalized.
    Normalized,
    /// A connection of this client's own.
    Own {
        /// The claim of the client.
        bond: &'a mut Bond,
        /// Whether its server could not be connected to.
        again: bool,
    },
}

/// Pooled connections that are out of use. Each is known by its socket's record, which lives as long as the connection.
#[derive(Debug, Default)]
pub(super) struct Retired(Mutex<Vec<Weak<SocketDigest>>>);

impl Retired {
    pub(super) fn add(&self, connection: &Arc<SocketDigest>) {
        let mut retired = self.0.lock();
        // Records of closed connections are forgotten.
        retired.retain(|one| one.strong_count() > 0);
        retired.push(Arc::downgrade(connection));
    }

    pub(super) fn holds(&self, connection: &Arc<SocketDigest>) -> bool {
        let retired = self.0.lock();
        // The record's memory is not used again as long as there is a weak pointer to it.
        retired.iter().any(|one| one.as_ptr() == Arc::as_ptr(connection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Arc<SocketDigest> {
        // Its descriptor is never looked at.
        Arc::new(SocketDigest::from_raw_fd(-1))
    }

    #[test]
    fn retired_connections_are_known_as_long_as_they_live_and_forgotten_then() {
        let retired = Retired::default();
        let (one, other) = (record(), record());
        retired.add(&one);
        assert!(retired.holds(&one) && !retired.holds(&other));
        drop(one);
        for _ in 0..100 {
            let gone = record();
            assert!(!retired.holds(&gone));
            retired.add(&gone);
        }
        retired.add(&other);
        assert!(retired.holds(&other));
        assert_eq!(retired.0.lock().len(), 1);
    }

    #[test]
    fn no_two_bonds_are_one_and_each_keeps_to_its_server() {
        let (mut one, other) = (Bond::new(), Bond::new());
        assert_ne!(one.group(7), other.group(7));
        assert_ne!(one.group(7), one.group(8), "other papers");
        assert_ne!(one.group(7), 7);
        let target = |port: u16| Target::at(([127, 0, 0, 1], port).into(), "legacy");
        assert_eq!(one.server(1), None);
        one.keep_to(1, &target(1));
        one.keep_to(1, &target(2));
        one.keep_to(2, &target(3));
        assert_eq!((one.server(1), one.server(2)), (Some(&target(2)), Some(&target(3))));
        assert_eq!(other.server(1), None);
        for link in 3..1_000 {
            one.keep_to(link, &target(4));
        }
        assert_eq!(one.servers.len(), BOND_SERVERS_MAX);
    }
}
