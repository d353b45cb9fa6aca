//! Claims about which route covers a path.

use std::path::Path;

use super::*;
use crate::config::load_str;

fn routes(routes: &str) -> Routes {
    let text = format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams: {{a: {{servers: ['127.0.0.1:1']}}, b: {{servers: ['127.0.0.1:2']}}}}\n\
         passthrough: a\nroutes:\n{routes}"
    );
    let config = load_str(&text, "test.yaml", Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"));
    Routes::new(&config).expect("good patterns")
}

const KEYS: &str = "authenticate: {keys: {clients: {ann: hunter2hunter2hunter2}}}";
const OTHER_KEYS: &str = "authenticate: {keys: {clients: {bob: hunter3hunter3hunter3}}}";

/// `covered /path/{of route}: /key`, `uncovered`, `doubtful`, `doubtful a` (for upstream a), `400`.
fn judged(routes: &Routes, host: Option<&str>, raw: &str) -> String {
    match routes.find(host, raw) {
        Match::Covered { route, path } => format!("{} {path}", route.path),
        Match::Uncovered => "uncovered".to_owned(),
        Match::Doubtful { upstream } => {
            format!("doubtful {}", upstream.map_or(String::new(), |upstream| upstream.name.clone()))
        }
        Match::Ambiguous => "400".to_owned(),
    }
}

#[test]
fn a_wide_route_covers_what_it_covers_in_every_reading_byte_for_byte() {
    let routes = routes("- {path: '/api/{*rest}', upstream: a}\n");
    for raw in [
        "/api/v4/projects/group%2Fname/jobs",
        "/api/v4/projects/group%2fname/jobs",
        "/api//items",
        "/api/items//",
        "/api/map;lat=50;long=20",
        "/api/files/a%5Cb",
        "/api/a%3Bb",
        "/api/a/./b",
        "/api/a/../b",
        "/api/%zz",
        "/api/100%2525",
        "/api/a%00b",
    ] {
        assert_eq!(judged(&routes, None, raw), format!("/api/{{*rest}} {raw}"));
    }
    for raw in [
        "/api/../admin",
        "/api/%252e%252e/admin",
        "/api/%c0%ae%c0%ae/admin",
        "/api/..%2fadmin",
        "/api%2fx",
        "/api;x/y",
        "//api/x",
    ] {
        assert!(judged(&routes, None, raw).starts_with("doubtful"), "{raw}: {}", judged(&routes, None, raw));
    }
    for raw in ["/a//b", "/x%2fy", "/x;y", "/API/x", "/api"] {
        assert_eq!(judged(&routes, None, raw), "uncovered", "{raw}");
    }
}

#[test]
fn a_rest_matches_nothing_too() {
    let routes = routes("- {path: '/items/{*rest}', upstream: a}\n- {path: '/{*all}', upstream: b}\n");
    assert_eq!(judged(&routes, None, "/items/"), "/items/{*rest} /items/");
    assert_eq!(judged(&routes, None, "/items"), "/{*all} /items");
    assert_eq!(judged(&routes, None, "/"), "/{*all} /");
    let Match::Covered { route, path } = routes.find(None, "/items/") else { panic!("covered") };
    assert_eq!(routes.parameters(&route, &path), [("rest".to_owned(), String::new())]);
    let own = self::routes("- {path: '/items/{*rest}', upstream: a}\n- {path: '/items/', upstream: b}\n");
    assert_eq!(judged(&own, None, "/items/"), "/items/ /items/");
}

#[test]
fn readings_of_two_routes_pass_to_the_upstream_that_they_have_in_common() {
    let same = routes("- {path: '/api/{a}', upstream: b}\n- {path: '/api/{a}/{b}', upstream: b}\n");
    assert_eq!(judged(&same, None, "/api/x%2Fy"), "doubtful b");
    let other = routes("- {path: '/api/{a}', upstream: b}\n- {path: '/api/{a}/{b}', upstream: a}\n");
    assert_eq!(judged(&other, None, "/api/x%2Fy"), "doubtful ");
    assert_eq!(judged(&same, None, "/api/x%2Fy%2Fz"), "doubtful ");
}

#[test]
fn an_exact_route_reads_by_the_letter() {
    let routes = routes(
        "- {path: '/queues/{vhost}/{queue}', upstream: a, spelling: exact}\n\
         - {path: '/fixed/%2F/x', upstream: a, spelling: exact}\n\
         - {path: '/{*rest}', upstream: a}\n",
    );
    assert_eq!(judged(&routes, None, "/queues/%2f/q1"), "/queues/{vhost}/{queue} /queues/%2F/q1");
    assert_eq!(judged(&routes, None, "/queues/a;b/q%2541"), "/queues/{vhost}/{queue} /queues/a;b/q%2541");
    assert_eq!(judged(&routes, None, "/fixed/%2F/x"), "/fixed/%2F/x /fixed/%2F/x");
    // Dot segments and broken escapes have no one reading.
    assert!(judged(&routes, None, "/queues/../queues/a/b").starts_with("doubtful"));
    let Match::Covered { route, path } = routes.find(None, "/queues/%2F/q1") else { panic!("covered") };
    let wanted = [("vhost".to_owned(), "%2F".to_owned()), ("queue".to_owned(), "q1".to_owned())];
    assert_eq!(routes.parameters(&route, &path), wanted);
}

#[test]
fn an_open_exact_route_is_no_way_around_a_guard() {
    let routes = routes(&format!(
        "- {{path: '/admin', upstream: a, {KEYS}}}\n- {{path: '/{{*rest}}', upstream: a, spelling: exact}}\n"
    ));
    for raw in ["/admin/", "/Admin", "/x%2f..%2fadmin", "/admin;x", "//admin"] {
        assert_eq!(judged(&routes, None, raw), "400", "{raw}");
    }
    assert_eq!(judged(&routes, None, "/x%2fy"), "/{*rest} /x%2Fy");
}

#[test]
fn a_guard_does_not_end_at_a_slash_or_a_capital_letter() {
    let routes = routes(&format!(
        "- {{path: /orders, upstream: a, {KEYS}}}\n\
         - {{path: '/Rooms/{{room}}', upstream: a, {KEYS}}}\n\
         - {{path: /exact, upstream: a, spelling: exact, {KEYS}}}\n\
         - {{path: '/open/{{x}}', upstream: a}}\n"
    ));
    for raw in ["/orders/", "/Orders", "/ORDERS/", "/%4Frders", "/rooms/a", "/Rooms/a/", "/rooms/A"] {
        assert_eq!(judged(&routes, None, raw), "400", "{raw}");
    }
    for raw in [
        "/orders.",
        "/orders../",
        "/rooms./a",
        "/order\u{17f}",
        "/order%C5%BF",
        "/orders%20",
        "/orders%09/",
        "/%20orders",
    ] {
        assert_eq!(judged(&routes, None, raw), "400", "{raw}");
    }
    assert_eq!(judged(&routes, None, "/orders.json"), "uncovered", "another name");
    for raw in ["/orders//", "/orders/x", "/exact/", "/Exact", "/Open/x"] {
        let wanted = if raw == "/orders//" { "400" } else { "uncovered" };
        assert_eq!(judged(&routes, None, raw), wanted, "{raw}");
    }
    assert_eq!(judged(&routes, None, "/Rooms/A"), "/Rooms/{room} /Rooms/A");
    assert_eq!(judged(&routes, None, "/open/X"), "/open/{x} /open/X");
}

#[test]
fn paths_that_the_operator_tells_apart_stay_apart() {
    let guarded = routes(&format!(
        "- {{path: /items, upstream: a, {KEYS}}}\n- {{path: '/items/{{*rest}}', upstream: a, {KEYS}}}\n"
    ));
    assert_eq!(judged(&guarded, None, "/items"), "/items /items");
    assert_eq!(judged(&guarded, None, "/items/"), "/items/{*rest} /items/");
    let list_is_open = routes(&format!(
        "- {{path: /items, upstream: a}}\n- {{path: '/items/{{*rest}}', upstream: a, {KEYS}}}\n"
    ));
    assert_eq!(judged(&list_is_open, None, "/items"), "/items /items");
    assert_eq!(judged(&list_is_open, None, "/Items"), "400");
    let wide = routes(&format!(
        "- {{path: '/{{*rest}}', upstream: a, {KEYS}}}\n- {{path: '/public/{{*rest}}', upstream: a}}\n"
    ));
    assert_eq!(judged(&wide, None, "/public/a"), "/public/{*rest} /public/a");
    assert_eq!(judged(&wide, None, "/Public/a"), "/{*rest} /Public/a");
    // Whom the one lets in the other may not.
    let two = routes(&format!(
        "- {{path: /a, upstream: a, {KEYS}}}\n- {{path: '/{{x}}', upstream: a, {OTHER_KEYS}}}\n"
    ));
    assert_eq!(judged(&two, None, "/A"), "400");
}

#[test]
fn what_claims_are_held_against_is_read_in_one_way() {
    let claims = "authenticate: {jwt: {algorithms: [HS256], claims: {room: room}, \
                  keys: [{secret: 'change me, change me, change me!'}]}}";
    let routes = routes(&format!("- {{path: '/rooms/{{room}}/{{*rest}}', upstream: a, {claims}}}\n"));
    assert_eq!(judged(&routes, None, "/rooms/caf%C3%A9/x"), "/rooms/{room}/{*rest} /rooms/caf%C3%A9/x");
    assert_eq!(judged(&routes, None, "/rooms/a/x%2Fy"), "/rooms/{room}/{*rest} /rooms/a/x%2Fy");
    for raw in ["/rooms/a%2541/x", "/rooms/a;b/x", "/rooms/a/../b/x", "/rooms/a%2Fb/x"] {
        assert_eq!(judged(&routes, None, raw), "400", "{raw}");
    }
}

#[test]
fn routes_count_for_their_hosts_only() {
    let routes = routes(
        "- {path: '/x/{*rest}', upstream: a, hosts: [a.example.com]}\n\
         - {path: '/x/{*rest}', upstream: b, hosts: [b.example.com, c.example.com]}\n\
         - {path: '/x/1', upstream: a}\n",
    );
    let upstream = |host| match routes.find(host, "/x/2/2") {
        Match::Covered { route, .. } => route.upstream.name.clone(),
        _ => "none".to_owned(),
    };
    for (host, wanted) in [
        (Some("a.example.com"), "a"),
        (Some("A.example.com.:8080"), "a"),
        (Some("c.example.com"), "b"),
        (Some("d.example.com"), "none"),
        (None, "none"),
    ] {
        assert_eq!(upstream(host), wanted, "{host:?}");
    }
    // The most specific path wins, whatever says a host.
    assert_eq!(judged(&routes, Some("a.example.com"), "/x/1"), "/x/1 /x/1");
}

#[test]
fn escapes_of_signs_are_read_as_the_signs() {
    let routes = routes(&format!(
        "- {{path: '/v1/books:search', upstream: a, {KEYS}}}\n- {{path: '/v1/{{open}}', upstream: a}}\n"
    ));
    assert_eq!(judged(&routes, None, "/v1/books%3Asearch"), "400");
    assert_eq!(judged(&routes, None, "/v1/books%3Afind"), "/v1/{open} /v1/books%3Afind");
}
