//! Whether all clients that follow under an old form of a route would be let in under the new one, too.
//!
//! In doubt they would not: their streams end, and they come back to be looked at. Must not know: how they are let in.

use std::sync::Arc;
use std::time::Duration;

use super::super::identity::{ApiKeys, Authenticate, Forward, Issuer, Jwt};
use super::super::{Cors, Transports};

/// Returns whether the new ways let in each client that the old ones let in, under the same name. Keys of clients are left
/// out: the streams of a key that is gone end one by one. Another way in, or another place of a token, changes what of a
/// request names its resource.
pub fn lets_in_all(old: Option<&Authenticate>, new: Option<&Authenticate>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return old.is_none() && new.is_none() };
    let without_details = |rules: &Authenticate| {
        let header = rules.keys.as_ref().map(|keys| keys.header.clone());
        let forward =
            rules.forward.as_deref().cloned().map(|forward| {
                Arc::new(Forward { timeout: Duration::ZERO, cache: Duration::ZERO, ..forward })
            });
        let keys = header.map(|header| ApiKeys { header, clients: Vec::new() });
        Authenticate { jwt: None, keys, forward, ..rules.clone() }
    };
    // Whether the issuer belongs to the name of a client.
    old.is_bare() == new.is_bare()
        && without_details(old) == without_details(new)
        && match (&old.jwt, &new.jwt) {
            (Some(old), Some(new)) => takes_all_tokens(old, new),
            (old, new) => old.is_none() && new.is_none(),
        }
}

/// Whether every token that was good still is, for the same subject.
fn takes_all_tokens(old: &Jwt, new: &Jwt) -> bool {
    let issuer = |old: &Issuer| {
        new.issuers.iter().any(|new| {
            let sources = [old, new].map(|issuer| issuer.jwks.as_ref().map(|jwks| &jwks.source));
            old.name == new.name
                && sources[0] == sources[1]
                && has_all(&new.algorithms, &old.algorithms)
                && has_all(&new.keys, &old.keys)
        })
    };
    old.subject == new.subject
        && old.issuers.iter().all(issuer)
        // Without audiences no token may name one; with audiences each has to.
        && old.audience.is_empty() == new.audience.is_empty()
        && has_all(&new.audience, &old.audience)
        && has_all(&old.claims, &new.claims)
        && new.leeway >= old.leeway
        && (old.require_exp || !new.require_exp)
}

fn has_all<T: PartialEq>(all: &[T], some: &[T]) -> bool {
    some.iter().all(|one| all.contains(one))
}

/// Whether each transport that was allowed still is.
pub fn allows_all(old: Transports, new: Transports) -> bool {
    let ways = |of: Transports| [of.sse, of.websocket, of.long_poll, of.poll];
    ways(old).into_iter().zip(ways(new)).all(|(old, new)| !old || new)
}

/// Whether the pages of all origins that could read still can.
pub fn allows_origins(old: Option<&Cors>, new: Option<&Cors>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return old.is_none() && new.is_none() };
    let allows = |origin: &String| new.origins.iter().any(|new| new == "*" || new == origin);
    old.origins.iter().all(allows) && (!old.credentials || new.credentials)
}

/// Whether the pages of all origins that could open a WebSocket still can.
pub fn opens_for_all(old: Option<&[String]>, new: Option<&[String]>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.iter().all(|origin| new.contains(origin)),
        (old, new) => old == new,
    }
}
