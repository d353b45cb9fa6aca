//! What all listeners of a process share: its services, and what each room of `front` remembers between requests.
//!
//! There is one `Shared` for each generation of the configuration. What lives longer than a generation is the same in
//! all of them. Must not know: requests, how a generation is made.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use super::access::checks::Checks;
use super::access::doubt::Doubts;
use super::access::new_resources::Newcomers;
use super::access::subjects::Subjects;
use super::answer::holds::Holds;
use super::answer::new_keys::NewKeys;
use super::passthrough::DeadlineWatch;
use super::passthrough::node_writes::NodeWrites;
use super::progress::Progress;
use super::request::origins::Origins;
use super::request::route::Routes;
use super::subscribe::long_poll_interner::LongPollInterner;
use super::trace::{Step, Subject, Trace};
use super::vary_memory::VaryMemory;
use crate::config::Config;
use crate::fanout::{Ending, Fanout};
use crate::hub::Hub;
use crate::identity::Gates;
use crate::listener::accept_rate::Turnstile;
use crate::listener::descriptors::Descriptors;
use crate::metrics::Metrics;
use crate::otlp::Tracer;
use crate::poll::Relay;
use crate::resource::ResourceKey;
use crate::upstream::Client;

/// What all listeners share, in one generation of the configuration.
#[derive(Clone)]
pub struct Shared {
    /// The number of the generation; the process begins with 1.
    pub generation: u32,
    /// The generation that counts now, for what outlives this one.
    pub present: Arc<Present>,
    /// The configuration of this generation.
    pub config: Arc<Config>,
    /// The routes, by host and path.
    pub routes: Arc<Routes>,
    /// The resources with followers.
    pub hub: Arc<Hub>,
    /// Starts the poll loops.
    pub relay: Relay,
    /// The other nodes that writes are told to; `None` if there are none.
    pub nodes: Option<Arc<NodeWrites>>,
    /// The client loops, to which streams are handed over.
    pub fanout: Arc<Fanout>,
    /// All metrics of the process.
    pub metrics: Metrics,
    /// Makes spans of what passes through and of clients that begin to follow.
    pub tracer: Tracer,
    /// By upstream name.
    pub clients: HashMap<String, Arc<Client>>,
    /// The process ends: answers close their connections, nothing is given back.
    pub draining: Arc<AtomicBool>,
    /// Tells when the process drains.
    pub ending: Ending,
    /// Requests that Pingora serves now.
    pub active: Arc<AtomicUsize>,
    /// Connections that Pingora has, those without a request included.
    pub connections: Arc<AtomicUsize>,
    /// Softly refused clients that are held for a moment.
    pub soothed: Arc<AtomicUsize>,
    /// How far clients may fill the table of open files.
    pub descriptors: Descriptors,
    /// Looks at the waits of what passes through.
    pub deadlines: Arc<DeadlineWatch>,
    /// Counts requests in progress.
    pub progress: Arc<Progress>,
    /// Paces the new resources of an address; `None` if they have no limit.
    pub newcomers: Option<Arc<Newcomers>>,
    /// Paces new push clients; `None` if they have no limit.
    pub turnstile: Option<Arc<Turnstile>>,
    /// Fields that the upstream's `Vary` named, by the key without them.
    pub vary: Arc<VaryMemory>,
    /// Origins whose answers are for all origins.
    pub origins: Arc<Origins>,
    /// The checks of `authenticate`, route by route.
    pub gates: Arc<Gates>,
    /// The clients that have streams, by their full names.
    pub subjects: Arc<Subjects>,
    /// Which clients get by themselves what all share (`share: authorize`).
    pub checks: Arc<Checks>,
    /// Ordinary polls that wait for a change.
    pub slow_304: Arc<Holds>,
    /// What held polls have in common.
    pub interned: Arc<LongPollInterner>,
    /// Whether new keys of a route could be shared.
    pub new_keys: Arc<NewKeys>,
    /// Makes numbers of connections out of their addresses.
    pub connection_numbers: RandomState,
    /// Headers in doubt that were said in the log.
    pub doubts: Arc<Doubts>,
    /// Takes the steps of a decision where a request is explained. `None` where requests are served.
    pub trace: Option<Arc<Trace>>,
}

impl Shared {
    /// The generation that counts now: this one, unless there was a reload since it began.
    #[must_use]
    pub fn newest(self: &Arc<Self>) -> Arc<Shared> {
        self.present.get().unwrap_or_else(|| self.clone())
    }

    /// Whether a request is explained by this and not served: nothing of it may be done, counted or remembered.
    pub(super) fn explains(&self) -> bool {
        self.trace.is_some()
    }

    /// Notes a step where a request is explained. `text` is made only then.
    pub(super) fn note(&self, subject: Subject, text: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace.add(Step { subject, text: text() });
        }
    }

    /// Notes which resource a request is about where it is explained.
    pub(super) fn note_resource(&self, key: &ResourceKey) {
        if let Some(trace) = &self.trace {
            trace.is_about(key);
        }
    }

    /// The same services for the explanation of one request. What its decision counts or remembers goes to what only the
    /// explanation has.
    pub(super) fn explaining(&self, trace: Arc<Trace>, metrics: Metrics) -> Shared {
        Shared {
            trace: Some(trace),
            metrics,
            doubts: Arc::new(Doubts::silent()),
            active: Arc::default(),
            progress: Arc::new(self.progress.copy()),
            vary: Arc::new(VaryMemory::above(&self.vary)),
            ..self.clone()
        }
    }

    /// Whether the process drains: held requests are answered, and connections closed.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::SeqCst)
    }
}

/// The generation of the configuration that counts now. It is kept alive by what serves requests, not by this.
#[derive(Default)]
pub struct Present(RwLock<Weak<Shared>>);

impl Present {
    /// From now on this one counts.
    pub fn set(&self, shared: &Arc<Shared>) {
        *self.0.write() = Arc::downgrade(shared);
    }

    /// The generation that counts. Returns `None` when the process ends.
    pub fn get(&self) -> Option<Arc<Shared>> {
        self.0.read().upgrade()
    }
}
