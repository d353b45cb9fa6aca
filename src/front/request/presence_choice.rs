//! Whether a client asks to be told who else follows a resource (contract §5 presence).
//!
//! Pure. Must not know: who follows.

use http::{HeaderMap, header};

use crate::config::Route;
use crate::resource::switch;

/// The word that asks for it.
const ON: &str = "on";

/// The parameter of `text/event-stream` in `Accept`, and of the query of a stream of many resources.
const PARAMETER: &str = "presence";

/// Most members of a field that are looked at.
const MEMBERS_MAX: usize = 64;

/// Whether a request asks for `presence` events: `Accept: text/event-stream;presence=on`, or the switch.
pub(in crate::front) fn asks(route: &Route, headers: &HeaderMap, query: Option<&str>) -> bool {
    route.presence.is_some()
        && (accepts(headers) || switch(query, route.switches.presence.as_deref()).as_deref() == Some(ON))
}

/// The same for a stream of many resources: its address has parameters of pollcast's own.
pub(in crate::front) fn asks_for_many(headers: &HeaderMap, query: Option<&str>) -> bool {
    accepts(headers) || switch(query, Some(PARAMETER)).as_deref() == Some(ON)
}

fn accepts(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).take(MEMBERS_MAX).any(|member| {
        let mut parts = member.split(';').map(str::trim);
        let is_stream = parts.next().is_some_and(|named| named.eq_ignore_ascii_case("text/event-stream"));
        is_stream
            && parts.filter_map(|part| part.split_once('=')).any(|(name, value)| {
                name.trim().eq_ignore_ascii_case(PARAMETER) && value.trim().trim_matches('"') == ON
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Presence;
    use crate::hub::tests::route::route;
    use http::HeaderValue;

    #[test]
    fn a_stream_asks_by_accept_or_by_switch_where_the_route_has_it() {
        let mut route = route();
        route.switches.presence = Some("_presence".into());
        let table = [
            ("text/event-stream", None, false),
            ("text/event-stream;presence=on", None, true),
            ("text/html, Text/Event-Stream; q=0.9; Presence=\"on\"", None, true),
            ("application/json;presence=on, text/event-stream", None, false),
            ("text/event-stream;presence=off", None, false),
            ("text/event-stream", Some("a=1&_presence=on"), true),
            ("text/event-stream", Some("_presence=off"), false),
            ("text/event-stream", Some("presence=on"), false),
        ];
        let headers = |accept| HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        assert!(table.iter().all(|(accept, query, _)| !asks(&route, &headers(accept), *query)));
        route.presence = Some(Presence::default());
        for (accept, query, wanted) in table {
            assert_eq!(asks(&route, &headers(accept), query), wanted, "{accept} {query:?}");
        }
        assert!(asks_for_many(&headers("text/event-stream"), Some("resource=/a&presence=on")));
        assert!(!asks_for_many(&headers("text/event-stream"), Some("resource=/a")));
    }
}
