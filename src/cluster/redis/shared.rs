//! What the verbs and the reconnecting have in common: the connections, what is attended to, and where events go.
//!
//! Must not know: commands, how connections are made.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::keys::Keys;
use super::pair::Pair;
use crate::cluster::engine::{Failed, Loss};
use crate::cluster::seal::Name;
use crate::cluster::subscription::Queue;

/// What the verbs and the reconnecting have in common.
pub(super) struct Shared {
    pub(super) keys: Keys,
    /// The connections, while there are any.
    pub(super) pair: Mutex<Option<Arc<Pair>>>,
    /// What is heard again after each reconnect.
    pub(super) attended: Mutex<BTreeSet<Name>>,
    pub(super) queue: Queue,
}

impl Shared {
    pub(super) fn pair(&self) -> Result<Arc<Pair>, Failed> {
        let lost = || Failed { loss: Loss::Connection, message: "the engine is lost".to_owned() };
        self.pair.lock().clone().ok_or_else(lost)
    }
}
