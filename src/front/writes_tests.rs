//! Claims about which resources a write touches. Owns no state; must not know: polls.

use super::*;

fn known(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn parameters_of_the_same_name_are_bound_and_others_match_anything() {
    let parameters = known(&[("room", "7"), ("rest", "a/b")]);
    let cases = [
        ("/prices", Bound::Path("/prices".into())),
        ("/rooms/{room}/messages", Bound::Path("/rooms/7/messages".into())),
        ("/files/{*rest}", Bound::Path("/files/a/b".into())),
        ("/rooms/{room}/users/{user}", Bound::Pattern("/rooms/7/users/{user}".into())),
        ("/{{x}}/{room}", Bound::Path("/{x}/7".into())),
    ];
    for (pattern, wanted) in cases {
        assert_eq!(bind(pattern, &parameters), wanted, "{pattern}");
    }
}

#[test]
fn a_value_that_looks_like_a_pattern_is_none() {
    let bound = bind("/rooms/{room}/users/{user}", &known(&[("room", "{*x}")]));
    assert_eq!(bound, Bound::Pattern("/rooms/{{*x}}/users/{user}".into()));
}

#[test]
fn references_are_resolved_and_foreign_ones_touch_nothing() {
    let own = [Some("api.test:8080"), Some("Inner.test:80")];
    let cases = [
        ("/items/7", Some("/items/7")),
        ("/items/7?x=1#y", Some("/items/7")),
        ("7", Some("/items/7")),
        ("../other/./7", Some("/other/7")),
        ("../../../7", Some("/7")),
        ("", Some("/items/new")),
        ("?x=1", Some("/items/new")),
        ("http://API.test:8080/items/7", Some("/items/7")),
        ("https://inner.test/items/7", Some("/items/7")),
        ("//api.test:8080/items/7", Some("/items/7")),
        ("http://api.test/items/7", None),
        ("http://elsewhere.test/items/7", None),
        ("mailto:somebody", None),
    ];
    for (reference, wanted) in cases {
        assert_eq!(resolve("/items/new", reference, &own).as_deref(), wanted, "{reference}");
    }
}

#[test]
fn only_routes_that_may_match_are_looked_through() {
    assert!(may_overlap("/rooms/{room}/messages", "/rooms/{id}/{what}"));
    assert!(may_overlap("/rooms/7/messages", "/{*all}"));
    assert!(may_overlap("/{*all}", "/a/b/c"));
    assert!(!may_overlap("/rooms/{room}", "/prices/{symbol}"));
    assert!(!may_overlap("/rooms/{room}", "/rooms/{room}/messages"));
}

#[test]
fn safe_methods_and_failures_are_no_writes() {
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
        assert!(is_safe(&method));
    }
    assert!(!is_safe(&Method::POST) && !is_safe(&Method::from_bytes(b"PURGE").unwrap()));
    assert!(is_success(StatusCode::NO_CONTENT) && is_success(StatusCode::SEE_OTHER));
    assert!(!is_success(StatusCode::CONFLICT) && !is_success(StatusCode::SWITCHING_PROTOCOLS));
}
