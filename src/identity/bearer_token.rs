//! Where a request shows its token: a bearer header, a cookie, a query parameter.
//!
//! Must not know: what a token is worth.

use std::borrow::Cow;

use http::{HeaderMap, header};

use crate::config::TokenPlaces;

/// The token of `Authorization: Bearer`. Returns `None` if there is none, or there are several fields.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let field = fields.next()?.to_str().ok()?;
    if fields.next().is_some() {
        return None;
    }
    let (scheme, token) = field.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}

/// The token of a request: the header before the cookie before the query.
pub(super) fn token<'a>(
    places: &TokenPlaces,
    headers: &'a HeaderMap,
    query: Option<&'a str>,
) -> Option<Cow<'a, str>> {
    bearer(headers)
        .map(Cow::Borrowed)
        .or_else(|| cookie(headers, places.cookie.as_deref()?).map(Cow::Borrowed))
        .or_else(|| query_token(query?, places.query.as_deref()?))
}

/// The value of a cookie that is there once.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = pairs
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, _)| *found == name);
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value).filter(|value| !value.is_empty())
}

/// The decoded value of a query parameter that is there once.
pub fn query_token<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let mut found = query.split('&').filter(|pair| names(pair, name));
    let (_, value) = found.next()?.split_once('=')?;
    let alone = found.next().is_none() && !value.is_empty();
    alone.then(|| percent_encoding::percent_decode_str(value).decode_utf8().ok()).flatten()
}

fn names(pair: &str, name: &str) -> bool {
    let found = pair.split('=').next().unwrap_or_default();
    percent_encoding::percent_decode_str(found).decode_utf8_lossy() == name
}

/// A query without the parameter of a token. Returns `None` if nothing is left.
pub fn strip<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    if !query.split('&').any(|pair| names(pair, name)) {
        return Some(Cow::Borrowed(query));
    }
    let left: Vec<&str> = query.split('&').filter(|pair| !names(pair, name)).collect();
    (!left.is_empty()).then(|| Cow::Owned(left.join("&")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_found_where_it_may_stand_and_nowhere_else() {
        let places = TokenPlaces { cookie: Some("t".into()), query: Some("access_token".into()) };
        let none = TokenPlaces::default();
        let bearer = headers(&[("authorization", "bearer  abc"), ("cookie", "t=other")]);
        let cookie = headers(&[("cookie", "a=1; t=abc"), ("cookie", "b=2")]);
        let twice = headers(&[("cookie", "t=abc; t=def")]);
        let two = headers(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]);
        let basic = headers(&[("authorization", "Basic abc")]);
        let query = Some("a=1&access%5Ftoken=a%62c");
        let found = |places: &TokenPlaces, headers: &HeaderMap, query| {
            token(places, headers, query).map(Cow::into_owned)
        };
        assert_eq!(found(&places, &bearer, query).as_deref(), Some("abc"));
        assert_eq!(found(&places, &cookie, None).as_deref(), Some("abc"));
        assert_eq!(found(&places, &twice, None), None);
        assert_eq!(found(&places, &two, None), None);
        assert_eq!(found(&places, &basic, None), None);
        assert_eq!(found(&places, &HeaderMap::new(), query).as_deref(), Some("abc"));
        assert_eq!(found(&places, &HeaderMap::new(), Some("access_token=a&access_token=b")), None);
        assert_eq!(found(&none, &cookie, query), None);
    }

    #[test]
    fn a_query_loses_its_token_in_any_spelling() {
        assert_eq!(strip("a=1&token=x&b", "token").as_deref(), Some("a=1&b"));
        assert_eq!(strip("%74oken=x", "token"), None);
        assert_eq!(strip("a=1", "token").as_deref(), Some("a=1"));
    }
}
