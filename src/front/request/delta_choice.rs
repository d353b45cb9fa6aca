//! Whether a request asks for patches, and in which language (contract §5 delta, RFC 3229).
//!
//! Pure. Must not know: resources, whether there is a patch.

use http::{HeaderMap, HeaderName, header};

use crate::config::Route;
use crate::frame::PatchKind;
use crate::resource::switch;

const A_IM: HeaderName = HeaderName::from_static("a-im");

/// Most members of a field that are looked at.
const MEMBERS_MAX: usize = 64;

/// The patches a stream is to be made of: `Accept: text/event-stream;delta=json-patch`, or the
/// switch. Returns `None` for whole bodies.
pub(in crate::front) fn of_stream(
    route: &Route,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Option<PatchKind> {
    let accepted = members(headers, header::ACCEPT).find_map(|member| {
        let mut parts = member.split(';').map(str::trim);
        let named = parts.next()?.eq_ignore_ascii_case("text/event-stream");
        let delta = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("delta").then(|| value.trim().trim_matches('"'))
        });
        PatchKind::of_word(delta.filter(|_| named)?)
    });
    asked(route, accepted.or_else(|| switched(route, query)))
}

/// Whether an answer may be a JSON patch to the version the client has: `A-IM: json-patch`,
/// `Accept: application/json-patch+json`, or the switch; only together with If-None-Match.
pub(in crate::front) fn of_answer(
    route: &Route,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Option<PatchKind> {
    if !headers.contains_key(header::IF_NONE_MATCH) {
        return None;
    }
    let named = |name: HeaderName, word: &str| {
        members(headers, name).any(|member| {
            let mut parts = member.split(';').map(str::trim);
            let is_named = parts.next().is_some_and(|found| found.eq_ignore_ascii_case(word));
            let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
            is_named && weight.and_then(|q| q.parse::<f32>().ok()) != Some(0.0)
        })
    };
    let json = PatchKind::Json;
    let said = named(A_IM, json.word()) || named(header::ACCEPT, json.media_type());
    let kind = if said { Some(json) } else { switched(route, query).filter(|kind| *kind == json) };
    asked(route, kind)
}

/// On a feed items are the difference.
fn asked(route: &Route, kind: Option<PatchKind>) -> Option<PatchKind> {
    kind.filter(|_| route.delta.enabled && route.feed.is_none())
}

fn switched(route: &Route, query: Option<&str>) -> Option<PatchKind> {
    PatchKind::of_word(&switch(query, route.switches.delta.as_deref())?)
}

fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).take(MEMBERS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Delta;
    use crate::hub::tests::route::route;
    use http::HeaderValue;

    fn asking(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn a_stream_asks_by_accept_or_by_switch() {
        let mut route = route();
        route.switches.delta = Some("_delta".into());
        let table = [
            ("text/event-stream", None, None),
            ("text/event-stream;delta=json-patch", None, Some(PatchKind::Json)),
            ("text/html, Text/Event-Stream; q=0.9; Delta=\"merge-patch\"", None, Some(PatchKind::Merge)),
            ("application/json;delta=json-patch, text/event-stream", None, None),
            ("text/event-stream;delta=vcdiff", None, None),
            ("text/event-stream", Some("a=1&_delta=merge-patch"), Some(PatchKind::Merge)),
            ("text/event-stream;delta=json-patch", Some("_delta=merge-patch"), Some(PatchKind::Json)),
        ];
        for (accept, query, wanted) in table {
            assert_eq!(
                of_stream(&route, &asking(&[("accept", accept)]), query),
                wanted,
                "{accept} {query:?}"
            );
        }
        route.delta = Delta { enabled: false, ..route.delta };
        let headers = asking(&[("accept", "text/event-stream;delta=json-patch")]);
        assert_eq!(of_stream(&route, &headers, None), None);
    }

    #[test]
    fn an_answer_is_a_patch_only_to_a_version() {
        let mut route = route();
        route.switches.delta = Some("_delta".into());
        let tag = ("if-none-match", "\"1\"");
        let table = [
            (vec![("a-im", "json-patch")], false),
            (vec![("a-im", "json-patch"), tag], true),
            (vec![("a-im", "vcdiff, JSON-Patch;q=0.5"), tag], true),
            (vec![("a-im", "json-patch;q=0"), tag], false),
            (vec![("accept", "application/json, application/json-patch+json"), tag], true),
            (vec![("accept", "application/json"), tag], false),
        ];
        for (fields, wanted) in table {
            assert_eq!(of_answer(&route, &asking(&fields), None).is_some(), wanted, "{fields:?}");
        }
        assert!(of_answer(&route, &asking(&[tag]), Some("_delta=json-patch")).is_some());
        assert!(of_answer(&route, &asking(&[tag]), Some("_delta=merge-patch")).is_none());
    }
}
