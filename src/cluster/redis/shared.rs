//! What the verbs and the reconnecting have in common: the connections, what is attended to, and what waits to be heard.
//!
//! Must not know: commands, how connections are made.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::keys::Keys;
use super::pair::Pair;
use crate::cluster::engine::{Event, Failed, Loss};
use crate::cluster::seal::Name;

/// Most messages that wait for being looked at; with more, the engine counts as lost, since some would be missed.
const EVENTS_MAX: usize = 16_384;
/// Most bytes of them.
const EVENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the verbs and the reconnecting have in common.
pub(super) struct Shared {
    pub(super) keys: Keys,
    /// The connections, while there are any.
    pub(super) pair: Mutex<Option<Arc<Pair>>>,
    /// What is heard again after each reconnect.
    pub(super) attended: Mutex<BTreeSet<Name>>,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) waiting: Arc<Waiting>,
}

/// What waits in [`Events`].
#[derive(Default)]
pub(super) struct Waiting {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// What an engine tells, in order.
pub struct Events {
    pub(super) receiver: mpsc::UnboundedReceiver<Event>,
    pub(super) waiting: Arc<Waiting>,
}

impl Events {
    /// The next event. Returns `None` when the engine was dropped.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await?;
        if let Some(bytes) = bytes_of(&event) {
            self.waiting.messages.fetch_sub(1, Ordering::AcqRel);
            self.waiting.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        Some(event)
    }
}

/// The bytes of an event that a peer caused. Returns `None` for what the engine itself tells, which is never refused.
fn bytes_of(event: &Event) -> Option<usize> {
    match event {
        Event::Said { message, .. } => Some(message.len()),
        Event::Became { sealed, .. } => Some(sealed.len()),
        Event::Back | Event::Lost(_) | Event::Returned(_) => None,
    }
}

impl Shared {
    /// Tells an event. Returns whether there was room for it.
    pub(super) fn tell(&self, event: Event) -> bool {
        if let Some(bytes) = bytes_of(&event) {
            let messages = self.waiting.messages.fetch_add(1, Ordering::AcqRel);
            let waiting = self.waiting.bytes.fetch_add(bytes, Ordering::AcqRel);
            if messages >= EVENTS_MAX || waiting + bytes > EVENT_BYTES_MAX {
                self.waiting.messages.fetch_sub(1, Ordering::AcqRel);
                self.waiting.bytes.fetch_sub(bytes, Ordering::AcqRel);
                return false;
            }
        }
        // Without a receiver the engine is being dropped.
        let _ = self.events.send(event);
        true
    }

    pub(super) fn pair(&self) -> Result<Arc<Pair>, Failed> {
        let lost = || Failed { loss: Loss::Connection, message: "the engine is lost".to_owned() };
        self.pair.lock().clone().ok_or_else(lost)
    }
}
