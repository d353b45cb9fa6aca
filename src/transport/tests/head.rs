//! The heads of answers.

use super::*;

fn field<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().expect("text")
}

#[test]
fn a_200_has_the_upstreams_fields_and_ours() {
    let age = Duration::from_millis(3999);
    let hit = Some(CacheStatus::Hit { ttl: 4 });
    let headers = answer::full(&snapshot(b"{}"), &key("/a"), &route(), age, hit, None);
    assert_eq!(field(&headers, "age"), "3");
    assert_eq!(field(&headers, "cache-status"), "pollcast; hit; ttl=4");
    assert_eq!(field(&headers, "x-total"), "7");
    assert_eq!(field(&headers, "content-type"), "application/json");
    assert!(headers.contains_key("date"));
    let links: Vec<_> = headers.get_all("link").iter().collect();
    assert_eq!(links.len(), 2, "ours is added to the upstream's");
}

#[test]
fn a_304_repeats_what_its_200_says() {
    let (key, route) = (private_key("/a"), route());
    let snapshot = snapshot(b"{}");
    let status = Some(CacheStatus::Stale);
    let full = answer::full(&snapshot, &key, &route, Duration::ZERO, None, None);
    let headers = answer::not_modified(&snapshot, &key, &route, Duration::ZERO, status, false);
    for name in ["etag", "vary", "cache-control", "age", "x-total"] {
        assert_eq!(headers[name], full[name], "{name}");
    }
    assert!(field(&headers, "link").contains("event-stream"));
    assert_eq!(field(&headers, "cache-status"), "pollcast; fwd=stale");
    for name in ["content-length", "content-type"] {
        assert!(!headers.contains_key(name), "{name}");
    }
}

#[test]
fn cache_control_says_which_caches_may_keep_the_answer() {
    let mut no_store = snapshot(b"{}");
    no_store.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let overridden = Route { downstream_cache: Some(HeaderValue::from_static("max-age=5")), ..route() };
    let cases = [
        (snapshot(b"{}"), key("/a"), route(), "no-cache"),
        (snapshot(b"{}"), private_key("/a"), route(), "private, no-cache"),
        (snapshot(b"{}"), key("/a"), overridden.clone(), "max-age=5"),
        (no_store, key("/a"), overridden, "no-store"),
    ];
    for (snapshot, key, route, wanted) in cases {
        let headers = answer::full(&snapshot, &key, &route, Duration::ZERO, None, None);
        assert_eq!(field(&headers, "cache-control"), wanted);
        assert_eq!(headers.get_all("cache-control").iter().count(), 1);
    }
}

#[test]
fn vary_names_what_the_answer_depends_on() {
    let mut parts = private_key("/a").parts().clone();
    parts.vary = vec![(HeaderName::from_static("accept-language"), None)];
    let key = crate::resource::ResourceKey::new(parts);
    let headers = answer::unchanged(version(b"{}"), &key, &route(), false);
    assert_eq!(field(&headers, "vary"), "Accept, Prefer, cookie, accept-language");
}

#[test]
fn a_tag_is_weak_where_members_are_ignored() {
    let mut route = route();
    let tag = |route: &Route| {
        field(&answer::unchanged(version(b"{}"), &key("/a"), route, false), "etag").to_owned()
    };
    let strong = tag(&route);
    route.change.ignore = vec![crate::config::Members::Pointer("/at".into())];
    assert_eq!(tag(&route), format!("W/{strong}"));
}

#[test]
fn the_link_names_the_same_resource_and_can_be_switched_off() {
    let headers = answer::unchanged(version(b"{}"), &key("/a>,<b"), &route(), false);
    let wanted = "</a%3E,%3Cb>; rel=\"alternate\"; type=\"text/event-stream\"";
    assert_eq!(field(&headers, "link"), wanted);
    let off = Route { link: false, ..route() };
    assert!(!answer::unchanged(version(b"{}"), &key("/a"), &off, false).contains_key("link"));
}

#[test]
fn nothing_has_no_length() {
    let mut empty = snapshot(b"");
    empty.status = StatusCode::NO_CONTENT;
    let headers = answer::full(&empty, &key("/a"), &route(), Duration::ZERO, None, None);
    assert!(!headers.contains_key("content-length"));
}

#[test]
fn a_head_is_bytes_of_http_1() {
    let mut headers = HeaderMap::new();
    headers.insert("x-request-note", HeaderValue::from_static("a"));
    let head = answer::head_bytes(StatusCode::OK, &headers, b"Extra: b\r\n", true);
    assert_eq!(head, "HTTP/1.0 200 OK\r\nX-Request-Note: a\r\nExtra: b\r\n\r\n");
    let odd = StatusCode::from_u16(499).expect("a status");
    let head = answer::head_bytes(odd, &HeaderMap::new(), b"", false);
    assert_eq!(head, "HTTP/1.1 499 Unknown\r\n\r\n");
}
