//! Tables of fields, and what becomes of them.

use super::*;
use crate::config::{Cors, Members};
use crate::hub::tests::route::route;

type Fields = &'static [(&'static str, &'static str)];

fn headers(fields: Fields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::try_from(*name).unwrap();
        headers.append(name, HeaderValue::try_from(*value).unwrap());
    }
    headers
}

fn names(headers: &HeaderMap) -> Vec<String> {
    let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
    names.sort();
    names
}

fn kept(fields: Fields) -> Vec<String> {
    names(&of_snapshot(&headers(fields), &route(), StatusCode::OK))
}

#[test]
fn what_speaks_of_one_exchange_is_not_kept() {
    let never: Fields = &[
        ("set-cookie", "a=1"),
        ("set-cookie2", "a=1"),
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("te", "trailers"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("etag", "\"1\""),
        ("age", "1"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("clear-site-data", "*"),
        ("www-authenticate", "Basic"),
        ("authentication-info", "x"),
        ("alt-svc", "h3=\":443\""),
        ("x-request-id", "1"),
        ("x-runtime", "1"),
        ("server-timing", "a"),
        ("x-ratelimit-remaining", "1"),
        ("ratelimit", "a"),
        ("x-rate-limit-reset", "1"),
        ("retry-after", "1"),
        ("accept-ranges", "bytes"),
        ("content-encoding", "gzip"),
        ("content-length", "1"),
        ("cache-control", "max-age=1"),
        ("expires", "0"),
        ("pragma", "no-cache"),
    ];
    assert_eq!(kept(never), [""; 0]);
    let own: Fields = &[
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("content-language", "en"),
        ("link", "</next>; rel=next"),
        ("refresh", "5; url=/status"),
        ("vary", "Cookie"),
        ("x-total-count", "7"),
    ];
    assert_eq!(kept(own), ["content-language", "last-modified", "link", "refresh", "vary", "x-total-count"]);
}

#[test]
fn what_may_be_a_credential_is_never_published() {
    let doubtful: Fields = &[
        ("authorization", "x"),
        ("x-api-key", "x"),
        ("x-auth-token", "x"),
        ("x_csrf", "x"),
        ("X-XSRF-TOKEN", "x"),
        ("x-session", "x"),
        ("client-secret", "x"),
        ("x-password-hint", "x"),
        ("x-my-apikey", "x"),
        ("x-next-page-token", "x"),
        ("x-jwt-assertion", "x"),
        ("x-goog-iap-jwt-assertion", "x"),
        ("x-amzn-oidc-data", "x"),
        ("x-credentials", "x"),
        ("x-passwd", "x"),
        ("x_phpsessid", "x"),
        ("x-saml-response", "x"),
        ("x-private-key", "x"),
        ("x-access-key", "x"),
        ("x-client-cert", "x"),
        ("x-set-cookie", "x"),
        ("x-auth", "x"),
        ("x-sid", "x"),
    ];
    assert_eq!(kept(doubtful), [""; 0]);
    let mut route = route();
    route.keep_fields = vec![HeaderName::from_static("x-next-page-token")];
    let kept = of_snapshot(&headers(doubtful), &route, StatusCode::OK);
    assert_eq!(names(&kept), ["x-next-page-token"]);
}

#[test]
fn names_that_hold_such_a_word_by_accident_are_content() {
    let content: Fields =
        &[("x-author", "x"), ("x-auth-required", "no"), ("x-cookie-policy", "x"), ("x-side", "x")];
    assert_eq!(kept(content).len(), content.len());
}

#[test]
fn no_snapshot_tells_a_cdn_how_long_it_lives() {
    let told: Fields = &[
        ("surrogate-control", "max-age=600"),
        ("edge-control", "max-age=600"),
        ("x-accel-expires", "600"),
        ("cdn-cache-control", "max-age=600"),
        ("cloudflare-cdn-cache-control", "max-age=600"),
        ("akamai-cache-control", "max-age=600"),
        ("x-litespeed-cache-control", "public,max-age=600"),
    ];
    assert_eq!(kept(told), [""; 0]);
    assert_eq!(kept(&[("cache-tag", "a"), ("surrogate-key", "a")]), ["cache-tag", "surrogate-key"]);
}

#[test]
fn how_long_to_wait_belongs_to_not_yet() {
    let wait: Fields = &[("retry-after", "1")];
    for (status, wanted) in [(200, false), (201, false), (202, true)] {
        let status = StatusCode::from_u16(status).unwrap();
        let kept = of_snapshot(&headers(wait), &route(), status);
        assert_eq!(kept.contains_key("retry-after"), wanted, "{status}");
    }
}

#[test]
fn cors_of_the_upstream_gives_way_to_the_routes_own() {
    let fields: Fields = &[("access-control-allow-origin", "*"), ("access-control-expose-headers", "x")];
    assert_eq!(kept(fields), ["access-control-allow-origin", "access-control-expose-headers"]);
    let mut route = route();
    route.cors =
        Some(Cors { origins: vec!["*".into()], credentials: false, max_age: std::time::Duration::ZERO });
    assert!(of_snapshot(&headers(fields), &route, StatusCode::OK).is_empty());
    assert!(of_relay(&headers(fields), &route, true).is_empty());
}

#[test]
fn fields_that_connection_names_are_dropped() {
    let fields: Fields = &[
        ("connection", "close, X-Hop"),
        ("connection", "x-other"),
        ("x-hop", "1"),
        ("x-other", "1"),
        ("x-end", "1"),
    ];
    assert_eq!(kept(fields), ["x-end"]);
    assert_eq!(names(&of_relay(&headers(fields), &route(), false)), ["x-end"]);
}

#[test]
fn digests_are_dropped_with_the_bytes_that_they_speak_of() {
    let plain: Fields = &[("content-md5", "x"), ("repr-digest", "x"), ("digest", "x")];
    assert_eq!(kept(plain), ["content-md5", "digest", "repr-digest"]);
    let coded: Fields = &[
        ("content-encoding", "gzip"),
        ("content-md5", "x"),
        ("repr-digest", "x"),
        ("content-digest", "x"),
        ("digest", "x"),
    ];
    assert_eq!(kept(coded), [""; 0]);
    let mut rewriting = route();
    rewriting.change.ignore = vec![Members::Pointer("/at".into())];
    assert!(of_snapshot(&headers(plain), &rewriting, StatusCode::OK).is_empty());
}

#[test]
fn what_a_downstream_has_to_obey_is_kept() {
    let table = [
        ("no-store, max-age=0", Some("no-store")),
        ("public, no-transform", Some("no-transform")),
        ("no-transform, no-store", Some("no-store, no-transform")),
        ("max-age=5", None),
    ];
    for (said, wanted) in table {
        let headers: HeaderMap =
            [(header::CACHE_CONTROL, HeaderValue::from_static(said))].into_iter().collect();
        let kept = of_snapshot(&headers, &route(), StatusCode::OK);
        assert_eq!(kept.get(header::CACHE_CONTROL).map(|v| v.to_str().unwrap()), wanted, "{said}");
    }
}

#[test]
fn a_304_renews_the_fields_that_it_names() {
    let held = of_snapshot(
        &headers(&[
            ("x-total-count", "7"),
            ("x-a", "1"),
            ("x-a", "2"),
            ("vary", "Cookie"),
            ("cache-control", "no-transform"),
            ("content-language", "en"),
            ("x-kept", "1"),
        ]),
        &route(),
        StatusCode::OK,
    );
    let answered = headers(&[
        ("x-total-count", "8"),
        ("x-a", "3"),
        ("vary", "Cookie, Accept-Language"),
        ("cache-control", "max-age=1"),
        ("content-language", "de"),
        ("content-length", "0"),
        ("x-request-id", "9"),
        ("x-auth-token", "9"),
        ("x-new", "1"),
    ]);
    let renewed = renewed(&held, &answered, &route(), StatusCode::OK);
    let wanted = headers(&[
        ("x-total-count", "8"),
        ("x-a", "3"),
        ("vary", "Cookie, Accept-Language"),
        ("content-language", "en"),
        ("x-kept", "1"),
        ("x-new", "1"),
    ]);
    assert_eq!(renewed, wanted);
}

#[test]
fn what_is_passed_on_keeps_all_but_the_connections_fields() {
    let fields: Fields = &[
        ("etag", "\"1\""),
        ("date", "x"),
        ("x-ratelimit-remaining", "1"),
        ("refresh", "5"),
        ("alt-svc", "x"),
        ("clear-site-data", "x"),
        ("server-timing", "x"),
        ("x-request-id", "x"),
        ("www-authenticate", "x"),
        ("retry-after", "1"),
    ];
    let mut all: Vec<String> = fields.iter().map(|(name, _)| (*name).to_owned()).collect();
    all.sort();
    assert_eq!(names(&of_relay(&headers(fields), &route(), true)), all);
    let own: Fields = &[
        ("set-cookie", "a=1"),
        ("x-csrf-token", "1"),
        ("content-encoding", "gzip"),
        ("content-md5", "x"),
        ("content-length", "7"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "x"),
    ];
    assert_eq!(names(&of_relay(&headers(own), &route(), false)), ["set-cookie", "x-csrf-token"]);
    assert!(of_relay(&headers(own), &route(), true).is_empty());
}
