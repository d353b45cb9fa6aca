//! Origin as a part of the key (contract §3): many APIs answer CORS only when they are asked with it, and say no Vary.
//!
//! Must not know: how CORS is answered here (`cors`), what else is in a key.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::Route;
use crate::front::services::Shared;
use crate::resource::{KeyParts, ResourceKey};

/// Values in a key that the answer is chosen by.
pub(in crate::front) type Chosen = Vec<(HeaderName, Option<HeaderValue>)>;

/// Adds to the values of a key the Origin that its polls say for this request.
///
/// None is added where the request has none or its own authority's, where the route answers CORS here, or where what
/// is held without one may be read by all.
pub(in crate::front) fn with_origin(
    shared: &Shared,
    route: &Route,
    base: &ResourceKey,
    mut chosen: Chosen,
    headers: &HeaderMap,
) -> Chosen {
    let Some(origin) = headers.get(header::ORIGIN) else { return chosen };
    if chosen.iter().any(|(name, _)| *name == header::ORIGIN)
        || route.cors.is_some()
        || is_own(origin, headers)
    {
        return chosen;
    }
    let key = |chosen: Chosen| ResourceKey::new(KeyParts { vary: chosen, ..base.parts().clone() });
    if is_open(shared, &key(chosen.clone())) {
        return chosen;
    }
    let with = |mut chosen: Chosen, origin: HeaderValue| {
        let at = chosen.partition_point(|(name, _)| name.as_str() < header::ORIGIN.as_str());
        chosen.insert(at, (header::ORIGIN, Some(origin)));
        chosen
    };
    let others = shared.origins.0.get(base).map(|known| known.clone()).filter(|known| known != origin);
    if let Some(other) = others {
        let open = with(chosen.clone(), other);
        if is_open(shared, &key(open.clone())) {
            return open;
        }
        if !shared.explains() {
            shared.origins.0.remove(base);
        }
    }
    chosen = with(chosen, origin.clone());
    let is_new = || !shared.explains() && !shared.origins.0.contains_key(base);
    if is_open(shared, &key(chosen.clone())) && is_new() {
        shared.origins.note(base, origin, shared.config.limits.resources);
    }
    chosen
}

/// Whether what is held for a key may be read by pages of any origin.
fn is_open(shared: &Shared, key: &ResourceKey) -> bool {
    let view = shared.hub.get(key).map(|topic| topic.view());
    let frame = view.as_ref().and_then(|view| view.frame.as_ref());
    let allowed = frame.and_then(|frame| frame.snapshot.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    allowed.is_some_and(|allowed| allowed == "*")
}

/// Whether an Origin is the request's own authority. In doubt it is not: then the resource has one more key.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let (Some(host), Some((scheme, place))) = (host, origin) else { return false };
    let usual = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let bare = |place: &str| place.strip_suffix(usual).unwrap_or(place).to_ascii_lowercase();
    bare(host) == bare(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_held_against_the_authority() {
        for (origin, host, wanted) in [
            ("http://a.test", "a.test", true),
            ("https://A.test", "a.test", true),
            ("https://a.test", "a.test:443", true),
            ("https://a.test:443", "a.test", true),
            ("http://a.test:8080", "a.test:8080", true),
            ("http://a.test:8080", "a.test", false),
            ("https://a.test", "a.test:80", false),
            ("https://b.test", "a.test", false),
            ("https://a.test.evil", "a.test", false),
            ("null", "a.test", false),
            ("", "a.test", false),
        ] {
            let headers: HeaderMap =
                [(header::HOST, HeaderValue::from_str(host).unwrap())].into_iter().collect();
            let origin = HeaderValue::from_str(origin).unwrap();
            assert_eq!(is_own(&origin, &headers), wanted, "{origin:?} {host}");
        }
    }
}
