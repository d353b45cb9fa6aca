//! A held long-poll on an HTTP/2 stream: it cannot leave Pingora's connection, so it waits in its
//! task and is answered like an ordinary poll.
//!
//! Must not know: HTTP/1, shards.

use std::time::Instant;

use http::{HeaderValue, StatusCode};
use pingora::Result;
use tokio::time::sleep_until;

use super::cover::Cover;
use super::{Fate, cors, respond};
use crate::fanout::draining;
use crate::hub::{Delivery, Subscription};
use crate::resource::{ResourceKey, Version};
use crate::transport::answer;

/// Waits for a change until `deadline`, and answers. `have`: the version the client has.
pub(super) async fn hold(
    cover: &mut Cover<'_>,
    key: &ResourceKey,
    mut subscription: Subscription,
    have: Version,
    deadline: Instant,
    applied: &str,
) -> Result<Fate> {
    let shared = cover.front.shared.clone();
    let metrics = shared.metrics.stream(crate::metrics::LONG_POLL, &cover.route.path);
    metrics.subscribers.inc();
    let changed = wait(cover, &mut subscription, deadline).await;
    metrics.subscribers.dec();
    metrics.ended(match changed {
        Some(true) => "answered",
        Some(false) => "timeout",
        None => "client-gone",
    });
    match changed {
        None => Ok(Fate::Answered),
        Some(true) => {
            cover.applied = HeaderValue::try_from(applied).ok();
            let view = subscription.topic().view();
            cover.answer(key, &view, false).await
        }
        Some(false) => {
            let mut headers = answer::unchanged(have, key, &cover.route);
            if let Ok(applied) = HeaderValue::try_from(applied) {
                headers.insert("preference-applied", applied);
            }
            cors::add(&mut headers, &cover.route, &cover.headers);
            cover.ctx.answer = crate::metrics::LONG_POLL;
            respond::respond(cover.session, StatusCode::NOT_MODIFIED, &headers, Default::default()).await?;
            Ok(Fate::Answered)
        }
    }
}

/// True: there is something to say; false: there was nothing in time; none: the client left.
async fn wait(cover: &mut Cover<'_>, subscription: &mut Subscription, deadline: Instant) -> Option<bool> {
    let mut views = subscription.topic().views();
    let mut ending = cover.front.shared.ending.clone();
    loop {
        let view = views.borrow_and_update().clone();
        while let Some(delivery) = subscription.next(&view) {
            match delivery {
                Delivery::Frame(_) | Delivery::Patches(_) | Delivery::Items(_) | Delivery::Closing(_) => {
                    return Some(true);
                }
                Delivery::Condition(condition) if condition.state.is_gone() => return Some(true),
                Delivery::Condition(_) | Delivery::Reset(_) => {}
            }
        }
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return Some(true) },
            _ = cover.session.downstream_session.read_body_or_idle(true) => return None,
            () = sleep_until(deadline.into()) => return Some(false),
            _ = draining(&mut ending) => return Some(false),
        }
    }
}
