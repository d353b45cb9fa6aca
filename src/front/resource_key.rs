//! The key of a covered request: which resource it is about, by the fields that choose among its forms (contract §3, §11).
//!
//! Must not know: what is answered.

use http::{HeaderMap, HeaderName, header};

use super::access::share::ClassValues;
use super::request::origin_key::with_origin;
use super::services::Shared;
use crate::config::Route;
use crate::hub::{Outcome, View};
use crate::resource::{KeyParts, ResourceKey, choosing};

/// The part of a key that does not depend on the upstream's `Vary`. `authority`: the client's.
#[allow(clippy::too_many_arguments, reason = "the parts of a key")]
pub(in crate::front) fn base_key(
    route: &Route,
    proto: &'static str,
    authority: Option<String>,
    path: String,
    query: Option<String>,
    class: ClassValues,
    headers: &HeaderMap,
) -> ResourceKey {
    let fixed = route.upstream.host.is_some();
    ResourceKey::new(KeyParts {
        route: route.index,
        proto,
        host: authority.filter(|_| !fixed),
        path,
        query,
        class,
        vary: choosing(route, &[], headers),
    })
}

/// The key with the values of the fields that the upstream is known to vary by.
pub(in crate::front) fn full_key(
    shared: &Shared,
    route: &Route,
    base: &ResourceKey,
    headers: &HeaderMap,
) -> ResourceKey {
    let known = shared.vary.get(base).map(|names| choosing(route, &names, headers));
    // Most requests are of no other origin, and of what varies by nothing.
    if known.is_none() && !headers.contains_key(header::ORIGIN) {
        return base.clone();
    }
    let chosen = known.unwrap_or_else(|| base.parts().vary.clone());
    let vary = with_origin(shared, route, base, chosen, headers);
    ResourceKey::new(KeyParts { vary, ..base.parts().clone() })
}

/// The names of a resource's own Vary, as far as they are known: remembered, or those of what is held.
pub(in crate::front) fn own_vary(shared: &Shared, base: &ResourceKey) -> Vec<HeaderName> {
    if let Some(names) = shared.vary.get(base) {
        return names.to_vec();
    }
    let view = shared.hub.get(base).map(|topic| topic.view());
    view.as_deref().and_then(chosen_by).map(<[HeaderName]>::to_vec).unwrap_or_default()
}

/// The fields by which the upstream chose what a view has to give. Returns `None` if the view has nothing.
pub(in crate::front) fn chosen_by(view: &View) -> Option<&[HeaderName]> {
    match (&view.frame, &view.outcome) {
        (Some(frame), _) => Some(&frame.snapshot.vary),
        (None, Outcome::Relay(relayed)) => Some(&relayed.vary),
        (None, _) => None,
    }
}

/// Whether an answer that was chosen by these is the one that a request with these fields selects; if not, the
/// next key will know (RFC 9111 §4.1).
pub(in crate::front) fn selects(
    shared: &Shared,
    route: &Route,
    base: &ResourceKey,
    key: &ResourceKey,
    chosen_by: &[HeaderName],
    headers: &HeaderMap,
) -> bool {
    let chosen = choosing(route, chosen_by, headers);
    if with_origin(shared, route, base, chosen, headers) == key.parts().vary {
        return true;
    }
    shared.vary.insert(base, chosen_by, &shared.metrics);
    false
}

/// How often a key is made again because the upstream's `Vary` says more than was known.
pub(super) const VARY_TURNS_MAX: usize = 3;
