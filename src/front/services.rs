//! What all listeners of a process share: its services, and what each room of `front` remembers between requests.
//!
//! Must not know: requests.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::access::checks::Checks;
use super::access::doubt::Doubts;
use super::access::new_resources::Newcomers;
use super::access::subjects::Subjects;
use super::answer::holds::Holds;
use super::answer::new_keys::NewKeys;
use super::passthrough::node_writes::NodeWrites;
use super::progress::Progress;
use super::request::origins::Origins;
use super::request::route::Routes;
use super::subscribe::long_poll_interner::LongPollInterner;
use super::vary_memory::VaryMemory;
use crate::config::Config;
use crate::fanout::{Ending, Fanout};
use crate::hub::Hub;
use crate::identity::Gates;
use crate::listener::accept_rate::Turnstile;
use crate::listener::descriptors::Descriptors;
use crate::metrics::Metrics;
use crate::poll::Relay;
use crate::upstream::Client;

/// What all listeners share.
pub struct Shared {
    /// The configuration of this process.
    pub config: Arc<Config>,
    /// The routes, by host and path.
    pub routes: Routes,
    /// The resources with followers.
    pub hub: Arc<Hub>,
    /// Starts the poll loops.
    pub relay: Relay,
    /// The other nodes that writes are told to; `None` if there are none.
    pub nodes: Option<NodeWrites>,
    /// The client loops, to which streams are handed over.
    pub fanout: Arc<Fanout>,
    /// All metrics of the process.
    pub metrics: Metrics,
    /// By upstream name.
    pub clients: HashMap<String, Arc<Client>>,
    /// The process ends: answers close their connections, nothing is given back.
    pub draining: AtomicBool,
    /// Tells when the process drains.
    pub ending: Ending,
    /// Requests that Pingora serves now.
    pub active: AtomicUsize,
    /// Connections that Pingora has, those without a request included.
    pub connections: Arc<AtomicUsize>,
    /// Softly refused clients that are held for a moment.
    pub soothed: AtomicUsize,
    /// How far clients may fill the table of open files.
    pub descriptors: Descriptors,
    /// Counts requests in progress.
    pub progress: Arc<Progress>,
    /// Paces the new resources of an address; `None` if they have no limit.
    pub newcomers: Option<Newcomers>,
    /// Paces new push clients; `None` if they have no limit.
    pub turnstile: Option<Turnstile>,
    /// Fields that the upstream's `Vary` named, by the key without them.
    pub vary: VaryMemory,
    /// Origins whose answers are for all origins.
    pub origins: Origins,
    /// The checks of `authenticate`, route by route.
    pub gates: Gates,
    /// The clients that have streams, by their full names.
    pub subjects: Subjects,
    /// Which clients get by themselves what all share (`share: authorize`).
    pub checks: Checks,
    /// Ordinary polls that wait for a change.
    pub slow_304: Holds,
    /// What held polls have in common.
    pub interned: LongPollInterner,
    /// Whether new keys of a route could be shared.
    pub new_keys: NewKeys,
    /// Makes numbers of connections out of their addresses.
    pub connection_numbers: RandomState,
    /// Headers in doubt that were said in the log.
    pub doubts: Doubts,
}

impl Shared {
    /// Whether the process drains: held requests are answered, and connections closed.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}
