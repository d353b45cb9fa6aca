//! Claims about what answers of mapped routes say.

use std::sync::Arc;

use super::*;
use crate::config::{Server, Upstream};

fn route(path: &str, to: &str) -> Route {
    let mut upstream = Upstream::unsaid("legacy");
    upstream.servers = vec![Server { address: "10.0.0.7:3000".to_owned(), weight: 1 }];
    upstream.host = Some("legacy.test".to_owned());
    let mut route = Route::unsaid(Arc::new(upstream));
    route.path = path.to_owned();
    route.upstream_path = Some(Arc::new(UpstreamPath::new(path, to)));
    route
}

/// A field of an answer to a request of this target, as clients see it.
fn seen(route: &Route, target: &str, name: &HeaderName, value: &str) -> String {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let answered = Answered { route, path, query, authority: Some("shop.test") };
    let mut headers: HeaderMap =
        [(name.clone(), HeaderValue::from_str(value).unwrap())].into_iter().collect();
    let changed = as_clients_see(&headers, &answered);
    replace(&mut headers, changed);
    headers[name].to_str().unwrap().to_owned()
}

#[test]
fn references_below_the_upstreams_path_are_the_clients() {
    let prefix = route("/inventory/{*rest}", "/legacy/api.php/{*rest}");
    let query = route("/prices/{s}", "/api.php?symbol={s}");
    let root = route("/{*rest}", "/legacy/{*rest}");
    let shorter = route("/inventory/{*rest}", "/{*rest}");
    let file = route("/files/{*rest}", "/get.php?file={rest}");
    for (route, said, wanted) in [
        (&prefix, "/legacy/api.php/items/5", "/inventory/items/5"),
        (&prefix, "/legacy/api.php/items/5?a=b#c", "/inventory/items/5?a=b#c"),
        (&prefix, "/legacy/api.php", "/inventory"),
        (&prefix, "http://10.0.0.7:3000/legacy/api.php/5", "/inventory/5"),
        (&prefix, "//LEGACY.test:80/legacy/api.php/5", "/inventory/5"),
        (&prefix, "https://legacy.test/inventory/5", "/inventory/5"),
        (&prefix, "https://shop.test/legacy/api.php/5", "https://shop.test/inventory/5"),
        (&prefix, "https://shop.test/inventory/5", "https://shop.test/inventory/5"),
        (&prefix, "/inventory/5", "/inventory/5"),
        (&prefix, "/login", "/login"),
        (&prefix, "/legacy/api.phpx", "/legacy/api.phpx"),
        (&prefix, "/legacy/api.php/../x", "/legacy/api.php/../x"),
        (&prefix, "https://other.test/legacy/api.php/5", "https://other.test/legacy/api.php/5"),
        (&prefix, "mailto:a@b.test", "mailto:a@b.test"),
        (&prefix, "http://u:p@legacy.test/legacy/api.php/5", "http://u:p@legacy.test/legacy/api.php/5"),
        (&prefix, "next", "next"),
        (&prefix, "?page=2", "?page=2"),
        (&prefix, "#top", "#top"),
        (&prefix, "", ""),
        (&query, "/api.php?symbol=B", "/prices/B"),
        (&query, "/api.php?a=1&symbol=B%20C&x", "/prices/B%20C?a=1&x"),
        (&query, "?symbol=B", "/prices/B"),
        (&query, "/api.php?symbol=a/b", "/api.php?symbol=a/b"),
        (&query, "/api.php?symbol=..", "/api.php?symbol=.."),
        (&query, "/api.php", "/api.php"),
        (&root, "/legacy/5", "/5"),
        (&root, "/5", "/5"),
        (&root, "/legacy", "/"),
        (&shorter, "/5", "/inventory/5"),
        (&shorter, "/inventory/5", "/inventory/5"),
        (&file, "/get.php?file=a/b%20c%2Bd&x=1", "/files/a/b%20c%2Bd?x=1"),
    ] {
        let target = if std::ptr::eq(route, &query) { "/prices/A" } else { "/inventory/a/b" };
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            assert_eq!(seen(route, target, &name, said), wanted, "{said:?}");
        }
    }
}

#[test]
fn links_and_refreshes_lead_where_clients_can_go() {
    let route = route("/inventory/{*rest}", "/legacy/{*rest}");
    for (said, wanted) in [
        (
            "</legacy/a?page=2>; rel=\"next\", <https://x.test/a>; title=\"</legacy/b>\", </legacy/c>",
            "</inventory/a?page=2>; rel=\"next\", <https://x.test/a>; title=\"</legacy/b>\", </inventory/c>",
        ),
        ("</legacy/a>; title=\"a\\\"<\", </legacy/b>", "</inventory/a>; title=\"a\\\"<\", </inventory/b>"),
        ("</legacy/a", "</legacy/a"),
    ] {
        assert_eq!(seen(&route, "/inventory/a", &header::LINK, said), wanted);
    }
    for (said, wanted) in [
        ("5; url=/legacy/a", "5; url=/inventory/a"),
        ("5;URL='/legacy/a'", "5;URL='/inventory/a'"),
        ("0, /legacy/a", "0, /inventory/a"),
        ("5", "5"),
        ("5; url=", "5; url="),
    ] {
        assert_eq!(seen(&route, "/inventory/a", &header::REFRESH, said), wanted);
    }
}

#[test]
fn cookies_are_for_the_clients_paths_alone() {
    let prefix = route("/inventory/{*rest}", "/legacy/{*rest}");
    let query = route("/prices/{s}", "/api.php?symbol={s}");
    let root = route("/{*rest}", "/legacy/{*rest}");
    for (route, said, wanted) in [
        (&prefix, "a=b; Path=/legacy; HttpOnly", "a=b; Path=/inventory; HttpOnly"),
        (&prefix, "a=b;path=/legacy/x/;Domain=legacy.test;Secure", "a=b;path=/inventory/x/;Secure"),
        (&prefix, "a=b; Path=/", "a=b; Path=/inventory"),
        (&prefix, "a=b; Path=/elsewhere", "a=b; Path=/inventory"),
        (&prefix, "a=b; Path=/inventory/x", "a=b; Path=/inventory/x"),
        (&prefix, "a=b; Path=\"/x\"", "a=b; Path=\"/x\""),
        (&prefix, "path=/; Secure", "path=/; Secure"),
        (&prefix, "a=b", "a=b"),
        (&query, "a=b; Path=/", "a=b; Path=/prices"),
        (&root, "a=b; Path=/legacy", "a=b; Path=/"),
        (&root, "a=b; Path=/", "a=b; Path=/"),
    ] {
        assert_eq!(seen(route, "/inventory/a", &header::SET_COOKIE, said), wanted, "{said}");
    }
}

#[test]
fn a_destination_goes_where_the_request_goes() {
    let route = route("/dav/{*rest}", "/legacy/{*rest}");
    let answered = Answered { route: &route, path: "/dav/a", query: None, authority: Some("shop.test") };
    for (said, wanted) in [
        ("https://shop.test/dav/b", Some("https://shop.test/legacy/b")),
        ("/dav/b/c", Some("/legacy/b/c")),
        ("https://shop.test/other", None),
        ("https://other.test/dav/b", None),
        ("/dav/../../x", None),
        ("b", None),
    ] {
        assert_eq!(destination(&answered, said).as_deref(), wanted, "{said}");
    }
}

#[test]
fn a_target_of_the_upstream_is_a_clients_path() {
    let query = route("/prices/{s}", "/api.php?symbol={s}");
    assert_eq!(client_target(&query, "/api.php?symbol=B").as_deref(), Some("/prices/B"));
    assert_eq!(client_target(&query, "/other"), None);
}
