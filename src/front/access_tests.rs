//! Tables of classes, origins and addresses.

use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    map
}

fn route(share: &str) -> std::sync::Arc<Route> {
    let text = format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{a: {{servers: ['127.0.0.1:1']}}}}\n\
         routes: [{{path: /a, upstream: a, {share}}}]\n"
    );
    let config = crate::config::load_str(&text, "test.yaml", std::path::Path::new(".")).unwrap();
    config.routes[0].clone()
}

fn shared(pairs: &[(&str, &str)]) -> Class {
    Class::Shared(headers(pairs).into_iter().map(|(n, v)| (n.unwrap(), v)).collect())
}

#[test]
fn credentials_without_a_share_are_never_shared() {
    let route = route("");
    for (name, value) in [
        ("authorization", "Bearer x"),
        ("proxy-authorization", "Basic x"),
        ("x-api-key", "k"),
        ("x-auth-token", "t"),
        ("cookie", "session=1"),
        ("cookie", "_ga=1; session=1"),
        ("cookie", "no-name"),
    ] {
        assert_eq!(class(&route, &headers(&[(name, value)]), None), Class::Unshared, "{name}: {value}");
    }
    assert_eq!(class(&route, &headers(&[("accept", "*/*")]), None), shared(&[]));
    assert_eq!(class(&route, &headers(&[("cookie", "_ga=1; __cf_bm=2")]), None), shared(&[]));
}

#[test]
fn a_public_route_does_not_look_at_credentials() {
    assert_eq!(class(&route("share: public"), &headers(&[("authorization", "x")]), None), shared(&[]));
}

#[test]
fn a_class_is_made_of_the_values_the_route_names() {
    let route = route("share: {by: [authorization, 'cookie:session', x-tenant]}");
    let request = headers(&[
        ("cookie", "other=1; session=s1"),
        ("authorization", "Bearer a"),
        ("x-tenant", "t"),
        ("x-api-key", "not named, not forwarded"),
    ]);
    let wanted = shared(&[("authorization", "Bearer a"), ("x-tenant", "t"), ("cookie", "session=s1")]);
    assert_eq!(class(&route, &request, None), wanted);
    assert_eq!(class(&route, &headers(&[]), None), shared(&[]));
}

#[test]
fn a_class_value_given_twice_is_no_class() {
    let route = route("share: {by: [authorization, 'cookie:s']}");
    let twice = headers(&[("authorization", "a"), ("authorization", "b")]);
    assert_eq!(class(&route, &twice, None), Class::Ambiguous);
    assert_eq!(class(&route, &headers(&[("cookie", "s=1; s=2")]), None), Class::Ambiguous);
    assert_eq!(class(&route, &headers(&[("cookie", "s=1"), ("cookie", "s=2")]), None), Class::Ambiguous);
}

#[test]
fn an_origin_is_the_same_host_or_listed() {
    let same = route("");
    assert!(origin_allowed(&same, None, Some("a.example")));
    assert!(origin_allowed(&same, Some("https://a.example"), Some("A.example")));
    assert!(!origin_allowed(&same, Some("https://evil.example"), Some("a.example")));
    assert!(!origin_allowed(&same, Some("null"), Some("a.example")));
    let listed = route("websocket: {origins: ['https://shop.example']}");
    assert!(origin_allowed(&listed, Some("https://shop.example"), Some("a.example")));
    assert!(!origin_allowed(&listed, Some("https://a.example"), Some("a.example")));
}

#[test]
fn only_trusted_proxies_are_believed() {
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    let peer = |ip: &str| Some(format!("{ip}:1234").parse().unwrap());
    let forwarded = headers(&[("x-forwarded-for", "6.6.6.6, 1.2.3.4"), ("x-forwarded-for", "10.0.0.9")]);
    let seen = |peer| client_address(peer, &forwarded, &trusted).unwrap().to_string();
    assert_eq!(seen(peer("10.1.1.1")), "1.2.3.4");
    assert_eq!(seen(peer("9.9.9.9")), "9.9.9.9");
    let garbage = headers(&[("x-forwarded-for", "1.2.3.4, unknown")]);
    assert_eq!(client_address(peer("10.1.1.1"), &garbage, &trusted).unwrap().to_string(), "10.1.1.1");
}
