//! Clients of `share: authorize` (contract §11): each is admitted only if its own credentials get what the topic
//! holds. What a check found counts for the same credentials and resource, by their digest; a "no" for some seconds.
//!
//! Must not know: how a client is told. `recheck` asks again about clients that follow.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, header};

use super::admission::Client;
use super::checks::Look;
use super::own_answer::found;
use super::reason::Reason;
use super::recheck;
use crate::config::{Route, Share};
use crate::fanout::Revocable;
use crate::front::services::Shared;
use crate::hub::Topic;
use crate::identity::told;
use crate::resource::{self, ResourceKey};

/// Whether a client was refused a moment ago, so that no poll helps it.
pub(in crate::front) fn is_refused(
    shared: &Shared,
    route: &Route,
    key: &ResourceKey,
    client: Client<'_>,
) -> bool {
    if route.share != Share::Authorize {
        return false;
    }
    let digest = shared.checks.digest(&credentials(route, client), key);
    shared.checks.recall(digest, Look::Once).is_some_and(|found| found.refusal().is_some())
}

/// What is remembered of whether a client's own credentials get what a resource has. Returns `None` if the API would have
/// to be asked.
pub(in crate::front) fn known(
    shared: &Shared,
    route: &Route,
    key: &ResourceKey,
    client: Client<'_>,
    look: Look,
) -> Option<Result<(), Reason>> {
    if route.share != Share::Authorize {
        return Some(Ok(()));
    }
    let digest = shared.checks.digest(&credentials(route, client), key);
    if look == Look::Closely && shared.checks.followers.revocable(digest).is_some() {
        return Some(Ok(()));
    }
    shared.checks.recall(digest, look).map(|found| found.refusal().map_or(Ok(()), Err))
}

/// Whether a plain request may be answered from a topic: its own credentials get the same, as far as one request of
/// its own tells. Nothing but a digest and a time is kept.
pub(in crate::front) async fn admits(
    shared: &Arc<Shared>,
    route: &Route,
    topic: &Arc<Topic>,
    client: Client<'_>,
) -> bool {
    if route.share != Share::Authorize {
        return true;
    }
    if shared.explains() {
        return known(shared, route, topic.key(), client, Look::Once).is_some_and(|found| found.is_ok());
    }
    let credentials = credentials(route, client);
    let digest = shared.checks.digest(&credentials, topic.key());
    found(shared, topic, &credentials, digest, Look::Once).await.refusal().is_none()
}

/// What a follower of a topic stays by, where the route asks for it. Returns `None` where it does not.
///
/// # Errors
/// Its own credentials get something else, or nothing.
pub(in crate::front) async fn admit(
    shared: &Arc<Shared>,
    route: &Route,
    topic: &Arc<Topic>,
    client: Client<'_>,
) -> Result<Option<Arc<Revocable>>, Reason> {
    if route.share != Share::Authorize {
        return Ok(None);
    }
    let credentials = credentials(route, client);
    let digest = shared.checks.digest(&credentials, topic.key());
    if let Some(revocable) = shared.checks.followers.revocable(digest) {
        // Others follow by the same credentials, and are asked about.
        return Ok(Some(revocable));
    }
    match found(shared, topic, &credentials, digest, Look::Closely).await.refusal() {
        Some(refused) => Err(refused),
        None => recheck::watch(shared, topic, digest, credentials).map(Some),
    }
}

/// Everything by which the upstream may know the client, exactly as a request that passes through says it: the lines of a field as
/// one, and its identity where pollcast found one out. A proxy's credentials end here.
fn credentials(route: &Route, client: Client<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut found = told(client.identity);
    for (name, _) in resource::credentials(route, client.headers) {
        if *name == header::PROXY_AUTHORIZATION || found.iter().any(|(known, _)| known == name) {
            continue;
        }
        let lines: Vec<&[u8]> = client.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        let between: &[u8] = if *name == header::COOKIE { b"; " } else { b", " };
        if let Ok(mut value) = HeaderValue::from_bytes(&lines.join(between)) {
            value.set_sensitive(true);
            found.push((name.clone(), value));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    found
}
