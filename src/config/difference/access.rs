//! Whether all clients that follow under an old form of a route would be let in under the new one, too.
//!
//! In doubt they would not: their streams end, and they come back to be looked at. Must not know: how they are let in.

use super::super::identity::{ApiKeys, Authenticate};
use super::super::{Cors, Transports};

/// Whether the ways in are the same, but for keys of clients: those whose key is gone are told from the others.
pub fn lets_in_all(old: Option<&Authenticate>, new: Option<&Authenticate>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return old.is_none() && new.is_none() };
    let without_clients = |rules: &Authenticate| {
        let header = rules.keys.as_ref().map(|keys| keys.header.clone());
        Authenticate { keys: header.map(|header| ApiKeys { header, clients: Vec::new() }), ..rules.clone() }
    };
    without_clients(old) == without_clients(new)
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
