//! A plain request that tries whether the API holds it (contract §3).
//!
//! Must not know: which request tries.

use std::sync::Arc;

use crate::front::services::Shared;
use crate::hub::{Topic, Watch};
use crate::upstream::Turn;

/// A request that tries whether the API holds it. The watch ends with it.
pub(in crate::front) struct Trial {
    pub(super) shared: Arc<Shared>,
    pub(super) topic: Arc<Topic>,
    pub(super) watch: Arc<Watch>,
    /// It counts against the budget for as long as it lasts.
    pub(super) _turn: Option<Turn>,
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.shared.hub.watches().end(&self.watch);
    }
}
