//! Paths and queries: one canonical form, and nothing slips past a route by its spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pollcast::resource::{
    CanonicalPath, Readings, canonical_path, canonical_query, exact_path, matches_pattern, switch,
};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
    if let CanonicalPath::Plain(plain) = canonical_path(path) {
        assert_eq!(canonical_path(&plain), CanonicalPath::Plain(plain.clone()), "{path:?}");
        assert!(plain.starts_with('/') && plain.bytes().all(|byte| byte.is_ascii_graphic()), "{plain:?}");
        assert!(!plain.contains("//") && !plain.contains(['\\', ';', '?', '#']), "{plain:?}");
        assert!(!plain.split('/').any(|segment| segment == "." || segment == ".."), "{plain:?}");
        let _ = Readings::of(&plain);
    } else {
        let _ = (Readings::of(path), exact_path(path));
    }
    let route = pollcast::front::fuzzing::route();
    if let Ok(target) = canonical_query(query, &route.query, &route.switches, true)
        && let Some(query) = &target.query
    {
        let noise = query.split('&').any(|pair| pair.starts_with("utm_source="));
        assert!(!noise, "{query:?}");
        let again = canonical_query(Some(query), &route.query, &route.switches, true).expect("as before");
        assert_eq!(again.query.as_ref(), Some(query), "canonical is a fixed point");
    }
    let _ = switch(query, Some("_push"));
    if let Some(query) = query {
        let stripped = pollcast::identity::strip(query, "token");
        assert!(stripped.is_none_or(|left| pollcast::identity::query_token(&left, "token").is_none()));
    }
    let _ = matches_pattern(path, query.unwrap_or_default());
});
