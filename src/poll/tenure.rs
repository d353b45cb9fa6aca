//! Gives the publisher of a resource to its poll loop, or to the mirror of another node's. It goes from one to the other
//! as the role changes, for as long as the topic lives.
//!
//! Without other nodes the poll loop has it from the first to the last poll. Must not know: how either of them works.

use super::poller::Poller;
use crate::hub::Publisher;

/// Publishes until no client attends, or the topic closes.
pub(super) async fn hold(mut poller: Poller) {
    let Some(publisher) = poller.publisher.take() else { return };
    if poller.sharing.is_none() {
        // Whatever it leaves, no other loop takes over.
        let _ = poller.run(publisher).await;
        return;
    }
    // Apart, so that the task of a resource that no node shares is no larger for it.
    Box::pin(take_turns(&mut poller, publisher)).await;
}

async fn take_turns(poller: &mut Poller, publisher: Publisher) {
    let mut held = Some(publisher);
    while let Some(publisher) = held {
        // First what was accepted elsewhere, whatever this node is to be.
        let Some((publisher, role)) = poller.mirror(publisher).await else { return };
        poller.take_over(role);
        held = poller.run(publisher).await;
    }
}
