//! Asks the API what a client's own credentials get, and compares it with what a topic holds (`share: authorize`,
//! contract §11).
//!
//! Must not know: what follows from it.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use tokio::time::timeout;

use super::checks::{Found, Look};
use crate::front::services::Shared;
use crate::hub::Topic;
use crate::poll::Own;
use crate::resource::Digest;

/// What is remembered of these credentials, or what the API says now.
pub(in crate::front) async fn found(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    credentials: &[(HeaderName, HeaderValue)],
    digest: Digest,
    look: Look,
) -> Found {
    if let Some(found) = shared.checks.recall(digest, look) {
        return found;
    }
    let turn = shared.checks.turn(digest);
    let one = turn.one.clone().unwrap_or_default();
    let asking = one.lock().await;
    // Another client with the same credentials may have asked meanwhile.
    let found = match shared.checks.recall(digest, look) {
        Some(found) => found,
        None => {
            let found = check(shared, topic, credentials, look).await;
            shared.checks.remember(digest, found, topic.route().recheck);
            found
        }
    };
    drop(asking);
    drop(one);
    drop(turn);
    found
}

/// Asks about a follower again, as closely as at first.
pub(super) async fn check_again(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    credentials: &[(HeaderName, HeaderValue)],
) -> Found {
    check(shared, topic, credentials, Look::Closely).await
}

pub(in crate::front) async fn check(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    credentials: &[(HeaderName, HeaderValue)],
    look: Look,
) -> Found {
    let found = compare(shared, topic, credentials, look).await;
    let route = topic.route();
    let labels = [route.path.as_str(), found.label()];
    shared.metrics.authorizations.with_label_values(&labels).inc();
    found
}

/// Rounds of a close look: the resource may change between the client's poll and the topic's.
pub(in crate::front) const ROUNDS_MAX: usize = 2;

pub(in crate::front) async fn compare(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    credentials: &[(HeaderName, HeaderValue)],
    look: Look,
) -> Found {
    let current = || topic.view().frame.as_ref().map(|frame| frame.version());
    for _ in 0..ROUNDS_MAX {
        let before = current();
        let own = match shared.relay.own(topic.clone(), credentials.to_vec()).await {
            Own::Version(version) => version,
            Own::Refused(_) => return Found::Refused,
            Own::Unknown(reason) => {
                tracing::debug!("a client's own answer could not be had: {reason}");
                return Found::Failed;
            }
        };
        if before == Some(own) || current() == Some(own) {
            return Found::Same;
        }
        if look == Look::Once {
            return Found::Behind;
        }
        // The client may have been told of a change before the poll was.
        let number = topic.want_poll();
        let polled = topic.wait_for(|view| view.ended >= number || view.closing.is_some());
        let patience = topic.route().poll.timeout;
        if timeout(patience, polled).await.is_ok_and(|view| view.closing.is_some()) {
            return Found::Failed;
        }
        if current() == Some(own) {
            return Found::Same;
        }
        if current() == before {
            // The topic's is the upstream's state, and the client's is another.
            return Found::Different;
        }
    }
    Found::Different
}
