//! Starts a poll loop for each new topic.
//!
//! Must not know: what a poll loop does, the subscribers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::forwarded;
use super::poller::Poller;
use super::services::Services;
use super::tenure;
use crate::config::Upstream;
use crate::hub::Publisher;
use crate::upstream::Ask;

/// Starts poll loops on one runtime.
#[derive(Clone)]
pub struct Relay {
    services: Arc<Services>,
    runtime: Handle,
}

impl Relay {
    /// Returns a supervisor whose poll loops run on `runtime`.
    pub fn new(services: Arc<Services>, runtime: Handle) -> Relay {
        Relay { services, runtime }
    }

    /// Returns what its poll loops share.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Notes that a trusted proxy says `Forwarded`, so that what passes through does: from now on polls do, too.
    pub fn note_forwarded(&self) {
        if !self.services.says_forwarded() {
            self.services.says_forwarded.store(true, Ordering::Relaxed);
        }
    }

    /// What a request to the API says that is made for a client, but not by it.
    pub fn say_forwarded(&self, ask: &mut Ask, proto: &str, host: Option<&str>, upstream: &Upstream) {
        let own: Vec<_> = forwarded::fields(upstream, proto, host)
            .filter(|(name, _)| !ask.headers.iter().any(|(said, _)| said == name))
            .collect();
        ask.headers.extend(own);
        if self.services.says_forwarded() {
            forwarded::add_standard(ask);
        }
    }

    /// Runs something beside the poll loops.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(task)
    }

    /// Polls the publisher's topic until no client attends to it. Returns at once.
    pub fn start(&self, publisher: Publisher) -> AbortHandle {
        let poller = Poller::new(self.services.clone(), publisher);
        self.runtime.spawn(tenure::hold(poller)).abort_handle()
    }
}
