//! Whether a client prefers another form of a resource than the one that is held (contract §3, RFC 9110 §12.5.1).
//!
//! Pure. Must not know: whether the form is admitted at all (`transport_choice`), what becomes of the request.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::Route;

/// Most ranges of an Accept that are looked at, and most parameters of one.
const RANGES_MAX: usize = 64;
const PARAMETERS_MAX: usize = 16;

/// Whether the Accept of a request names, not by a wildcard, another type with a higher q than that of the snapshot, or
/// a parameter other than charset and q that its type has not. Such a request is the API's whatever Vary says, unless
/// the route says that Accept means nothing (`ignore_vary: [accept]`) or has it in the key (`vary: [accept]`).
/// `content_type`: of the snapshot; a request for one without a type prefers no other.
pub(in crate::front) fn prefers_another(
    route: &Route,
    headers: &HeaderMap,
    content_type: Option<&HeaderValue>,
) -> bool {
    let rules = &route.headers;
    if rules.ignores_vary(&header::ACCEPT) || rules.vary.contains(&header::ACCEPT) {
        return false;
    }
    let Some(held) = content_type.and_then(|value| value.to_str().ok()) else { return false };
    if asks_plainly(headers, held) {
        return false;
    }
    let Some(held) = Range::parse(held) else { return false };
    let ranges = || {
        let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| unquoted(line, ',')).take(RANGES_MAX).filter_map(Range::parse)
    };
    // How much the held type is wanted: the most specific range that matches it counts.
    let wanted = ranges().filter_map(|range| Some((range.precision(&held)?, range.q))).max();
    let wanted = wanted.map_or(0, |(_, q)| q);
    ranges().filter(|range| range.q > 0).any(|range| {
        let is_another = !range.is_wildcard() && !range.is_type_of(&held);
        // A parameter of another type that is wanted less (Chrome's signed-exchange;v=b3) chooses nothing.
        let is_minor = is_another && range.q < wanted;
        (is_another && range.q > wanted) || (!is_minor && !range.has_parameters_of(&held))
    })
}

/// Whether a request takes anything, or names the held type and nothing else: what most programs say needs no reading.
fn asks_plainly(headers: &HeaderMap, held: &str) -> bool {
    let mut lines = headers.get_all(header::ACCEPT).iter();
    match (lines.next().map(HeaderValue::as_bytes), lines.next()) {
        (None, _) | (Some(b"*/*"), None) => true,
        (Some(only), None) => {
            let held = held.split(';').next().unwrap_or_default().trim();
            only.eq_ignore_ascii_case(held.as_bytes())
        }
        (Some(_), Some(_)) => false,
    }
}

/// Whether a plain request is the API's since the answer depends on the User-Agent, which is pollcast's own on polls.
/// `own_vary`: the names of the resource's own Vary.
pub(in crate::front) fn depends_on_agent(route: &Route, own_vary: &[HeaderName]) -> bool {
    own_vary.contains(&header::USER_AGENT) && !route.headers.vary.contains(&header::USER_AGENT)
}

/// A member of Accept, or a media type.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// Those of the type, without charset and q.
    parameters: Vec<(&'a str, Cow<'a, str>)>,
    /// In thousandths; what cannot be read counts as 1 like no weight at all.
    q: u32,
}

impl<'a> Range<'a> {
    fn parse(member: &'a str) -> Option<Range<'a>> {
        let mut parts = unquoted(member, ';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let (mut parameters, mut q) = (Vec::new(), 1000);
        for part in parts.take(PARAMETERS_MAX) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (name.trim(), unquote(value.trim()));
            if name.eq_ignore_ascii_case("q") {
                q = thousandths(&value);
            } else if !name.is_empty() && !name.eq_ignore_ascii_case("charset") {
                parameters.push((name, value));
            }
        }
        Some(Range { kind: kind.trim(), subtype: subtype.trim(), parameters, q })
    }

    fn is_wildcard(&self) -> bool {
        self.kind == "*" || self.subtype == "*"
    }

    fn is_type_of(&self, held: &Range) -> bool {
        self.kind.eq_ignore_ascii_case(held.kind) && self.subtype.eq_ignore_ascii_case(held.subtype)
    }

    /// Whether all parameters that are asked for are those of the held type. `delta` of an event stream is
    /// pollcast's own.
    fn has_parameters_of(&self, held: &Range) -> bool {
        let is_stream =
            self.kind.eq_ignore_ascii_case("text") && self.subtype.eq_ignore_ascii_case("event-stream");
        self.parameters.iter().all(|(name, value)| {
            (is_stream && name.eq_ignore_ascii_case("delta"))
                || held.parameters.iter().any(|(held_name, held_value)| {
                    held_name.eq_ignore_ascii_case(name) && held_value.eq_ignore_ascii_case(value)
                })
        })
    }

    /// How closely it names the held type. Returns `None` if it does not.
    fn precision(&self, held: &Range) -> Option<usize> {
        match (self.kind, self.subtype) {
            _ if self.is_type_of(held) => self.has_parameters_of(held).then_some(2 + self.parameters.len()),
            ("*", "*") => Some(0),
            (kind, "*") if kind.eq_ignore_ascii_case(held.kind) => Some(1),
            _ => None,
        }
    }
}

/// The pieces of a text between signs that stand outside of quotes.
fn unquoted(text: &str, sign: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |letter: char| {
        let was_escaped = std::mem::take(&mut escaped);
        match letter {
            '"' if !was_escaped => quoted = !quoted,
            '\\' if quoted && !was_escaped => escaped = true,
            _ => {}
        }
        letter == sign && !quoted
    })
    .filter(|piece| !piece.trim().is_empty())
}

/// A quoted string's content (RFC 9110 §5.6.4), or the token itself.
fn unquote(text: &str) -> Cow<'_, str> {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(inner) if inner.contains('\\') => inner.replace('\\', "").into(),
        Some(inner) => inner.into(),
        None => text.into(),
    }
}

fn thousandths(text: &str) -> u32 {
    match text.trim().parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u32,
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(more: &str) -> std::sync::Arc<Route> {
        let text = format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{a: {{servers: ['127.0.0.1:1']}}}}\n\
             routes: [{{path: /a, upstream: a{more}}}]\n"
        );
        crate::config::load_str(&text, "test.yaml", std::path::Path::new(".")).unwrap().routes[0].clone()
    }

    fn prefers(route: &Route, accept: &str, held: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::try_from(accept).unwrap())]);
        prefers_another(route, &headers, Some(&HeaderValue::try_from(held).unwrap()))
    }

    /// Accept, the type that is held, whether the request is the API's.
    const TABLE: &[(&str, &str, bool)] = &[
        ("*/*", "application/json", false),
        ("application/json", "application/json", false),
        ("application/json", "application/json; charset=utf-8", false),
        ("application/json;charset=utf-8", "application/json", false),
        ("Application/JSON", "application/json", false),
        ("application/json, text/plain, */*", "application/json", false),
        ("application/json, text/javascript, */*; q=0.01", "application/json", false),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", "application/json", true),
        // Browsers.
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json", true),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html; charset=utf-8",
            false,
        ),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,\
             application/signed-exchange;v=b3;q=0.7",
            "text/html",
            false,
        ),
        ("image/avif,image/webp,image/apng,image/*,*/*;q=0.8", "image/png", false),
        // Another type is preferred by name.
        ("application/xml, */*;q=0.1", "application/json", true),
        ("application/xml, application/json;q=0.9", "application/json", true),
        ("application/xml;q=0.9, application/json", "application/json", false),
        ("application/vnd.shop.v2+json, application/json;q=0.5", "application/json", true),
        ("text/html;q=0.9, application/json;q=0.2", "application/json", true),
        ("application/xml, application/json", "application/json", false),
        ("application/xml;q=0, */*", "application/json", false),
        // By a wildcard nothing is preferred.
        ("text/*, application/json;q=0.5", "application/json", false),
        // Parameters that choose a form.
        ("application/json;odata=verbose", "application/json", true),
        ("application/json;odata=verbose", "application/json;odata=verbose", false),
        ("application/json; ODATA=\"Verbose\"", "application/json;odata=verbose;charset=utf-8", false),
        ("application/json;odata.metadata=full", "application/json;odata.metadata=minimal", true),
        ("application/json;indent=4, */*", "application/json", true),
        ("application/json;version=2;q=0.5, application/json", "application/json", true),
        ("application/ld+json;profile=\"http://a.example/x,y;z\"", "application/ld+json", true),
        ("application/json;q=0.5", "application/json", false),
        ("application/json;q=nonsense", "application/json", false),
        ("text/event-stream;delta=json-patch;q=0.5, application/json", "application/json", false),
        // Nothing that can be read.
        ("", "application/json", false),
        ("json", "application/json", false),
    ];

    #[test]
    fn the_table_of_preferences() {
        let route = route("");
        for (accept, held, wanted) in TABLE {
            assert_eq!(prefers(&route, accept, held), *wanted, "Accept: {accept} for {held}");
        }
        assert!(!prefers_another(&route, &HeaderMap::new(), Some(&HeaderValue::from_static("a/b"))));
    }

    #[test]
    fn the_operator_may_say_that_accept_means_nothing_or_is_in_the_key() {
        for said in [", ignore_vary: [Accept]", ", vary: [accept]"] {
            let route = route(said);
            assert!(!prefers(&route, "application/xml, */*;q=0.1", "application/json"), "{said}");
        }
    }

    #[test]
    fn an_answer_that_depends_on_the_agent_is_the_apis_unless_said() {
        let names = [header::USER_AGENT];
        assert!(depends_on_agent(&route(""), &names));
        assert!(!depends_on_agent(&route(", vary: [user-agent]"), &names));
        assert!(!depends_on_agent(&route(""), &[header::ACCEPT_LANGUAGE]));
    }
}
