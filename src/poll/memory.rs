//! What one resource holds in memory, and whether there is room for it (contract §10, `limits.snapshot_bytes`).
//!
//! Must not know: what the content says.

use super::poller::Poller;
use crate::hub::{Draft, Full};

impl Poller {
    /// Accounts for what the topic holds now. `relayed`: bytes of an answer that is passed on.
    pub(super) fn account(&mut self, relayed: usize) {
        let view = self.topic.view();
        let (own, all) = view.frame.as_ref().map_or((0, 0), |frame| {
            frame.settle();
            (frame.snapshot.own_weight(), frame.weight())
        });
        self.content_state.held.set(own + relayed);
        // What was let in stays, whatever it grows to; what comes later finds no room.
        self.services.hub.weigh(&self.topic, all + relayed);
        self.services.make_room();
    }

    /// Whether there is room for the first snapshot of this topic (contract §10).
    pub(super) fn has_room_for(&self, draft: &Draft) -> bool {
        if self.is_let_in() {
            return true;
        }
        if self.topic.followers() > 0 {
            draft.reserve_form();
        }
        if !self.is_within_all() {
            return false;
        }
        let has_room = self.services.hub.weigh(&self.topic, draft.weight());
        if !has_room {
            self.services.metrics.refused(Full::AddressBytes.reason());
        }
        has_room
    }

    /// The same once its forms are made, which may be longer than the content.
    pub(super) fn has_room_for_forms(&self, draft: &Draft) -> bool {
        draft.settle();
        self.is_let_in() || self.is_within_all()
    }

    fn is_let_in(&self) -> bool {
        self.topic.view().frame.is_some() || self.topic.is_always_polled()
    }

    fn is_within_all(&self) -> bool {
        let fits = self.services.make_room();
        if !fits {
            self.services.metrics.refused(Full::Bytes.reason());
        }
        fits
    }
}
