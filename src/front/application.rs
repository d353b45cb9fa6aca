//! The proxy application of one listener: what a request finds when it comes, and keeps to its end whatever a reload
//! changes meanwhile.
//!
//! Must not know: what becomes of requests.

use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::services::Shared;
use crate::config::Listener;
use crate::fanout::Home;

/// The proxy application of one listener, which gives each request the present generation of the configuration.
pub struct Entrance(pub(super) Arc<ArcSwap<Front>>);

/// What one generation of the configuration makes of a listener.
pub struct Front {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: Listener,
    /// The listener's place in the configuration.
    pub(super) place: usize,
    /// Where given-back connections go; set once the proxy around this exists.
    pub(super) home: Arc<OnceLock<Arc<dyn Home>>>,
}

impl Front {
    /// What another generation makes of the same listener. Returns `None` if that has no such listener.
    pub(super) fn renewed(&self, shared: &Arc<Shared>) -> Option<Front> {
        let listener = shared.config.listeners.get(self.place)?.clone();
        Some(Front { shared: shared.clone(), listener, place: self.place, home: self.home.clone() })
    }
}
