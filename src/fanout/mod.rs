//! The client loop: connections taken over from Pingora, many to a thread.
//!
//! `shard` is the loop, `member` one connection in it, `wire` its socket, `timers` its deadlines,
//! `inbox` how others reach it; `http2_connection` is the same for the streams of one HTTP/2 connection, in its task.
//! Must not know: how a request became a client, how a resource is polled.

mod bundle;
mod client_limit;
mod client_permit;
mod drain;
mod entitlement;
mod http2_connection;
mod http2_stream;
mod http2_watch;
mod http2_write;
mod inbox;
mod member;
mod member_id;
mod members;
mod messages;
mod presence_members;
mod record;
mod rules;
mod shard;
mod timers;
mod wire;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use client_limit::{Claim, Owner};
pub use client_permit::ClientPermit;
pub use drain::{Drain, Ending, draining};
pub use entitlement::{Entitlement, Revocable, Staying};
pub use http2_connection::Http2Streams;
pub use http2_stream::{Http2Arrival, Http2Stream};
pub use inbox::{Arrival, Following};
pub use member_id::MemberId;
pub use messages::{Message, MessagePlace, MessageQueue, Messages, messages};
pub use record::Record;
pub use rules::Rules;
pub use wire::{Home, Returned, Taken, bound_kernel_buffers};

use crate::hub::{Bell, PresenceBell, Subscription};
use crate::metrics::Metrics;
use client_limit::ClientCounts;
use inbox::{Command, Inbox};
use shard::Shard;

/// The client loops, each with a thread of its own.
pub struct Fanout {
    inboxes: Vec<Arc<Inbox>>,
    threads: parking_lot::Mutex<Vec<JoinHandle<()>>>,
    next: AtomicUsize,
    counts: Arc<ClientCounts>,
    /// The generation of the configuration whose decisions count.
    generation: Arc<AtomicU32>,
    /// Counts the calls of `expel`.
    expulsions: watch::Sender<u64>,
}

impl Fanout {
    /// Starts `shards` threads.
    pub fn start(shards: usize, rules: Rules, metrics: Metrics) -> io::Result<Fanout> {
        let mut inboxes = Vec::new();
        let mut threads = Vec::new();
        let generation = Arc::new(AtomicU32::new(1));
        for index in 0..shards.clamp(1, 1024) {
            let shard = Shard::new(index as u16, rules.clone(), generation.clone(), metrics.clone())?;
            inboxes.push(shard.inbox().clone());
            let thread = std::thread::Builder::new().name(format!("fanout-{index}"));
            threads.push(thread.spawn(move || shard.run())?);
        }
        Ok(Fanout {
            inboxes,
            threads: parking_lot::Mutex::new(threads),
            next: AtomicUsize::new(0),
            counts: Arc::default(),
            generation,
            expulsions: watch::Sender::new(0),
        })
    }

    /// Takes what another generation of the configuration says. What a connection remembers of a decision of an earlier one
    /// is void as soon as this returns.
    pub fn renew(&self, generation: u32, rules: &Rules) {
        self.generation.store(generation, Ordering::SeqCst);
        for inbox in &self.inboxes {
            inbox.send(Command::Renew(rules.clone()));
        }
    }

    /// The doorbells of the shards, for the hub.
    pub fn bells(&self) -> Vec<Arc<dyn Bell>> {
        self.inboxes.iter().map(|inbox| inbox.clone() as Arc<dyn Bell>).collect()
    }

    /// What tells the shards that a presence has changed, for the hub.
    pub fn presence_bells(&self) -> Vec<Arc<dyn PresenceBell>> {
        self.inboxes.iter().map(|inbox| inbox.clone() as Arc<dyn PresenceBell>).collect()
    }

    /// Returns the shard for the next client: shards take turns.
    pub fn choose(&self) -> u16 {
        (self.next.fetch_add(1, Ordering::Relaxed) % self.inboxes.len()) as u16
    }

    /// Clients that have come so far.
    pub fn arrivals(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    /// A permit for one more client if every limit has room: `clients` in all, `of_route` on the route, and those of its
    /// address and its subject. The client holds it until it ends.
    pub fn permit(
        &self,
        clients: usize,
        route: usize,
        of_route: Option<usize>,
        of_address: Option<(usize, std::net::IpAddr)>,
        of_subject: Option<(usize, u64)>,
    ) -> Option<ClientPermit> {
        self.counts.take(clients, of_route.map(|limit| (limit, route)), of_address, of_subject)
    }

    /// Whether [`Fanout::permit`] would give one. None is taken.
    pub fn has_room(
        &self,
        clients: usize,
        of_route: Option<(usize, usize)>,
        of_address: Option<(usize, std::net::IpAddr)>,
        of_subject: Option<(usize, u64)>,
    ) -> bool {
        let route = of_route.map(|(limit, route)| (limit, Owner::Route(route)));
        let address = of_address.map(|(limit, address)| (limit, Owner::Address(address)));
        let subject = of_subject.map(|(limit, subject)| (limit, Owner::Subject(subject)));
        self.counts.has_room(clients, [route, address, subject].into_iter().flatten())
    }

    /// Takes one of the places of a route or subject for a client that was not known to count for it when it connected.
    /// Returns `None` if it has as many clients as it may.
    pub fn claim(&self, limit: usize, owner: Owner) -> Option<Claim> {
        self.counts.claim(limit, owner)
    }

    /// Returns the number of clients, in shards and in tasks.
    pub fn clients(&self) -> usize {
        self.counts.taken()
    }

    /// Hands a connection to the shard that its subscription was made for.
    pub fn add(&self, shard: u16, arrival: Arrival) {
        self.inboxes[usize::from(shard)].send(Command::Add(Box::new(arrival)));
    }

    /// Writes to one member, if it is still there.
    pub fn tell(&self, shard: u16, member: MemberId, bytes: bytes::Bytes) {
        self.inboxes[usize::from(shard)].send(Command::Tell(member, bytes));
    }

    /// Has a member follow one more resource, if it is still there.
    pub fn follow(&self, shard: u16, member: MemberId, name: Arc<str>, subscription: Subscription) {
        let command = Command::Follow(member, name, Box::new(subscription));
        self.inboxes[usize::from(shard)].send(command);
    }

    /// Has a member follow a resource no longer.
    pub fn unfollow(&self, shard: u16, member: MemberId, name: Arc<str>) {
        self.inboxes[usize::from(shard)].send(Command::Unfollow(member, name));
    }

    /// Ends all clients that may not stay any longer, after something was revoked.
    pub fn expel(&self) {
        for inbox in &self.inboxes {
            inbox.send(Command::Expel);
        }
        self.expulsions.send_modify(|count| *count += 1);
    }

    /// Returns a counter that changes whenever a client may have to go, for clients that live in tasks.
    pub fn expulsions(&self) -> watch::Receiver<u64> {
        self.expulsions.subscribe()
    }

    /// Notes that what entitles a member was renewed.
    pub fn renewed(&self, shard: u16, member: MemberId) {
        self.inboxes[usize::from(shard)].send(Command::Renewed(member));
    }

    /// Ends all clients, spread over `window`; a client that comes later ends at once. The reconnect delay of each is
    /// random in `retry`. With `idle_last`, clients between two requests have the whole window to send the next one,
    /// which the front answers.
    pub fn drain(&self, window: Duration, retry: (Duration, Duration), idle_last: bool) {
        for inbox in &self.inboxes {
            inbox.send(Command::Drain { window, retry, idle_last });
        }
    }

    /// Stops the threads and waits for them; what is still open is closed.
    pub fn stop(&self) {
        for inbox in &self.inboxes {
            inbox.send(Command::Stop);
        }
        for thread in self.threads.lock().drain(..) {
            // A shard that panicked has nothing left to wait for.
            let _ = thread.join();
        }
    }
}
