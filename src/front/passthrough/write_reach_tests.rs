//! Claims about what a write is and which paths it bears on. Owns no state; must not know: polls.

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
        assert_eq!(bind(pattern, &parameters, None), wanted, "{pattern}");
    }
}

#[test]
fn a_value_that_looks_like_a_pattern_is_none() {
    let bound = bind("/rooms/{room}/users/{user}", &known(&[("room", "{*x}")]), None);
    assert_eq!(bound, Bound::Pattern("/rooms/{{*x}}/users/{user}".into()));
}

#[test]
fn references_are_resolved_and_foreign_ones_touch_nothing() {
    let own = ["api.test:8080".to_owned(), "Inner.test:80".to_owned()];
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
fn what_only_asks_is_no_write_and_anything_else_may_be_one() {
    let is_write = |name: &str| is_write(&Method::from_bytes(name.as_bytes()).unwrap());
    for name in
        ["GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "REPORT", "SEARCH", "QUERY", "LIST"]
    {
        assert!(!is_write(name), "{name}");
    }
    for name in
        ["POST", "PUT", "PATCH", "DELETE", "COPY", "MOVE", "LOCK", "MKCOL", "PROPPATCH", "PURGE", "BREW"]
    {
        assert!(is_write(name), "{name}");
    }
}

#[test]
fn a_write_is_done_by_2xx_but_207_and_by_3xx() {
    for (status, wanted) in [
        (200, true),
        (201, true),
        (202, true),
        (204, true),
        (206, true),
        (207, false),
        (226, true),
        (301, true),
        (302, true),
        (303, true),
        (308, true),
        (101, false),
        (400, false),
        (401, false),
        (409, false),
        (412, false),
        (500, false),
        (503, false),
    ] {
        assert_eq!(is_done(StatusCode::from_u16(status).unwrap()), wanted, "{status}");
    }
}

#[test]
fn a_path_is_in_its_parent_and_in_what_is_above_but_never_in_the_root() {
    for (path, parents, ancestors) in [
        ("/", &[][..], &[][..]),
        ("/posts", &[], &["/posts/"]),
        ("/posts/", &["/posts"], &[]),
        ("/posts/1", &["/posts", "/posts/"], &["/posts/1/"]),
        ("/posts/1/", &["/posts/1", "/posts", "/posts/"], &[]),
        ("/a/b/c/d", &["/a/b/c", "/a/b/c/"], &["/a/b/c/d/", "/a/b", "/a/b/", "/a", "/a/"]),
    ] {
        let found = collections(path);
        assert_eq!((found.parents, found.ancestors), (owned(parents), owned(ancestors)), "{path}");
    }
    let deep = collections(&"/a".repeat(4000));
    assert!(deep.ancestors.len() <= 2 * ANCESTORS_MAX, "{}", deep.ancestors.len());
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

#[test]
fn everything_is_below_the_root_so_that_nothing_is_said_of_it() {
    assert_eq!(folder("/"), None);
    assert_eq!(folder("/dav/c").as_deref(), Some("/dav/c/"));
    assert_eq!(folder("/dav/c/").as_deref(), Some("/dav/c/"));
}

#[test]
fn a_redirect_to_what_was_written_shows_it_and_one_to_a_login_does_not() {
    for (written, target, wanted) in [
        ("/posts", "/posts", true),
        ("/posts", "/posts/", true),
        ("/posts", "/posts/7", true),
        ("/posts/7/edit", "/posts/7", true),
        ("/posts/7/edit", "/posts", true),
        ("/inbox", "/login", false),
        ("/inbox", "/", false),
        ("/inbox", "/inbox2", false),
        ("/a/inbox", "/a-login", false),
    ] {
        assert_eq!(shows(written, target), wanted, "{written} to {target}");
    }
}

#[test]
fn a_wide_route_gives_a_pattern_what_the_written_path_has_at_the_same_place() {
    let parameters = known(&[("rest", "rooms/7/say")]);
    for (pattern, wanted) in [
        ("/rooms/{room}/log", Bound::Path("/rooms/7/log".into())),
        ("/rooms/{room}", Bound::Path("/rooms/7".into())),
        ("/rooms", Bound::Path("/rooms".into())),
        ("/users/{user}/rooms", Bound::Pattern("/users/{user}/rooms".into())),
        ("/rooms/{room}/users/{user}", Bound::Pattern("/rooms/7/users/{user}".into())),
        ("/rooms/{*all}", Bound::Pattern("/rooms/{*all}".into())),
        // What is written itself: its neighbours are meant.
        ("/rooms/7/{what}", Bound::Pattern("/rooms/7/{what}".into())),
        ("/mirror/{*rest}", Bound::Path("/mirror/rooms/7/say".into())),
    ] {
        assert_eq!(bind(pattern, &parameters, Some("/rooms/7/say")), wanted, "{pattern}");
    }
}
