//! The proxy application of one listener: what a request finds when it comes.
//!
//! Must not know: what becomes of requests.

use std::sync::{Arc, OnceLock};

use super::services::Shared;
use crate::config::Listener;
use crate::fanout::Home;

/// The proxy application of one listener.
pub struct Front {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: Listener,
    /// Where given-back connections go; set once the proxy around this exists.
    pub(super) home: Arc<OnceLock<Arc<dyn Home>>>,
}
