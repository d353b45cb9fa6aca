//! Tables of the four kinds (contract §11).

use super::*;
use crate::resource::known_headers;

fn route(more: &str) -> std::sync::Arc<Route> {
    let text = format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{a: {{servers: ['127.0.0.1:1']}}}}\n\
         routes: [{{path: /a, upstream: a{more}}}]\n"
    );
    crate::config::load_str(&text, "test.yaml", std::path::Path::new(".")).unwrap().routes[0].clone()
}

fn names(names: &[&str]) -> Vec<HeaderName> {
    names.iter().map(|name| HeaderName::try_from(*name).unwrap()).collect()
}

fn kind(route: &Route, own_vary: &[&str], name: &str, value: &str) -> HeaderKind {
    let (name, value) = (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
    header_kind(route, &names(own_vary), &name, &value)
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    map
}

#[test]
fn the_known_names_are_in_order_and_none_says_credential_but_by_accident() {
    let list = known_headers::KNOWN;
    assert!(list.is_sorted_by(|(a, _), (b, _)| a < b), "the list is searched by halves");
    for (name, why) in list {
        assert!(name.parse::<HeaderName>().is_ok_and(|parsed| parsed.as_str() == name), "{name}");
        assert!(!why.is_empty() && !name.starts_with(known_headers::KNOWN_PREFIX), "{name}");
        assert!(!says_credential(name), "{name} says who asks");
    }
}

#[test]
fn names_that_say_who_asks_are_credentials_whatever_adds_them() {
    let route = route("");
    for name in [
        "authorization",
        "proxy-authorization",
        "x-api-key",
        "x-auth-token",
        "private-token",
        "x-emby-token",
        "apikey",
        "ocp-apim-subscription-key",
        "circle-token",
        "x-session-id",
        "x-csrf-token",
        "x-forwarded-user",
        "x-forwarded-email",
        "x-forwarded-groups",
        "x-auth-request-preferred-username",
        "remote-user",
        "x-webauth-user",
        "x-amzn-oidc-identity",
        "x-amzn-oidc-data",
        "cf-access-jwt-assertion",
        "x-goog-iap-jwt-assertion",
        "x-ms-client-principal",
        "tailscale-user-login",
        "x-forwarded-client-cert",
        "x-ssl-cert",
        "ssl-client-cert",
        "x-saml-subject",
        "client_secret",
        "access_token",
        "idempotency-key",
    ] {
        assert_eq!(kind(&route, &[], name, "x"), HeaderKind::Credential, "{name}");
        // The resource's own Vary never makes a choice of a credential.
        let own = crate::upstream::classify::secondary_names(&headers(&[("vary", name)]), &route);
        assert_eq!(own, names(&[]), "{name}");
    }
}

#[test]
fn what_browsers_http_and_tracing_add_means_nothing() {
    let route = route("");
    for name in [
        "accept",
        "accept-language",
        "user-agent",
        "referer",
        "origin",
        "sec-fetch-mode",
        "sec-ch-ua-mobile",
        "sec-websocket-key",
        "cache-control",
        "if-none-match",
        "last-event-id",
        "range",
        "traceparent",
        "b3",
        "x-request-id",
        "x-amzn-trace-id",
        "via",
        "x-forwarded-for",
        "x-real-ip",
        "cf-ray",
        "connection",
        "upgrade",
        "content-length",
        "wait",
        "dnt",
        "save-data",
    ] {
        assert_eq!(kind(&route, &[], name, "1"), HeaderKind::Known, "{name}");
    }
}

#[test]
fn any_other_header_is_doubt() {
    let route = route("");
    for (name, value) in [
        ("content-type", "application/json"),
        ("apollo-require-preflight", "true"),
        ("x-apollo-operation-name", "Q"),
        ("node-red-api-version", "v2"),
        ("api-version", "2"),
        ("accept-version", "~2"),
        ("accept-profile", "private"),
        ("x-device-id", "7"),
        ("cf-ipcountry", "DE"),
        ("cloudfront-is-mobile-viewer", "true"),
        ("x-forwarded-prefix", "/api"),
        ("x-original-url", "/admin"),
        ("x-http-method-override", "DELETE"),
        ("prefer", "return=minimal"),
        ("prefer", "respond-async, wait=5"),
        ("x-secx", "1"),
        ("section", "1"),
    ] {
        assert_eq!(kind(&route, &[], name, value), HeaderKind::Doubt, "{name}: {value}");
    }
}

#[test]
fn the_operator_and_the_resources_vary_have_the_first_word() {
    let said = route(", vary: [Api-Version, user-agent], ignore_headers: [x-app-version, x-csrf-token]");
    for (own, name, value, wanted) in [
        (&[][..], "api-version", "2", HeaderKind::Choosing),
        (&[], "user-agent", "curl/8", HeaderKind::Choosing),
        (&[], "x-app-version", "7", HeaderKind::Known),
        (&[], "x-csrf-token", "7", HeaderKind::Known),
        (&[], "x-other", "7", HeaderKind::Doubt),
        (&["x-other"], "x-other", "7", HeaderKind::Choosing),
        (&["accept-language"], "accept-language", "de", HeaderKind::Choosing),
        (&["content-type"], "content-type", "a/b", HeaderKind::Choosing),
        (&["prefer"], "prefer", "return=minimal", HeaderKind::Choosing),
        (&["prefer"], "prefer", "wait=3", HeaderKind::Known),
    ] {
        assert_eq!(kind(&said, own, name, value), wanted, "{name}: {value} with Vary {own:?}");
    }
    assert_eq!(kind(&route(""), &["user-agent"], "user-agent", "curl/8"), HeaderKind::Known);
}

#[test]
fn a_script_of_a_page_says_so_by_x_requested_with() {
    let usual = route("");
    for (route, own, value, wanted) in [
        (&usual, &[][..], "XMLHttpRequest", HeaderKind::Choosing),
        (&usual, &[], "xmlhttprequest", HeaderKind::Choosing),
        (&usual, &[], "com.example.app", HeaderKind::Known),
        (&usual, &["x-requested-with"], "com.example.app", HeaderKind::Choosing),
        (&route(", vary: [x-requested-with]"), &[], "com.example.app", HeaderKind::Choosing),
        (&route(", ignore_headers: [x-requested-with]"), &[], "XMLHttpRequest", HeaderKind::Known),
        (&route(", vary: [api-version]"), &[], "XMLHttpRequest", HeaderKind::Choosing),
    ] {
        assert_eq!(kind(route, own, "x-requested-with", value), wanted, "{value} with Vary {own:?}");
    }
}

#[test]
fn what_a_route_proves_itself_by_is_a_credential() {
    let by = route(", share: {by: [x-tenant]}");
    assert_eq!(kind(&by, &[], "x-tenant", "t1"), HeaderKind::Credential);
    let own = route(", credentials: [x-tenant]");
    assert_eq!(kind(&own, &[], "x-tenant", "t1"), HeaderKind::Credential);
    let keys = route(", authenticate: {keys: {header: x-partner, clients: {a: change-me-please-now}}}");
    assert_eq!(kind(&keys, &[], "x-partner", "1"), HeaderKind::Credential);
    let wait = route(", switches: {wait_header: off}");
    assert_eq!(kind(&wait, &[], "wait", "3"), HeaderKind::Doubt);
}

#[test]
fn cookies_that_say_nothing_of_who_asks_are_known() {
    let route = route("");
    assert_eq!(kind(&route, &[], "cookie", "_ga=1; __cf_bm=2"), HeaderKind::Known);
    assert_eq!(kind(&route, &[], "cookie", "_ga=1; theme=dark"), HeaderKind::Credential);
    assert_eq!(kind(&route, &[], "cookie", "no-name"), HeaderKind::Credential);
    let unreadable = HeaderValue::from_bytes(b"_ga=\xff").unwrap();
    assert_eq!(header_kind(&route, &[], &header::COOKIE, &unreadable), HeaderKind::Credential);
}

#[test]
fn what_chooses_is_in_the_key_in_one_order() {
    let route = route(", vary: [x-b, api-version]");
    let request = headers(&[
        ("x-requested-with", "XMLHttpRequest"),
        ("api-version", "2"),
        ("api-version", "3"),
        ("prefer", "wait=3, return=minimal"),
        ("accept-language", "de"),
        ("user-agent", "curl/8"),
    ]);
    let said = |own: &[&str]| -> Vec<String> {
        let found = choosing(&route, &names(own), &request);
        found.iter().map(|(n, v)| format!("{n}={}", v.as_ref().unwrap().to_str().unwrap())).collect()
    };
    let usual = ["api-version=2, 3", "x-requested-with=XMLHttpRequest"];
    assert_eq!(said(&[]), usual);
    assert_eq!(said(&["user-agent", "api-version"]), usual);
    let more = ["accept-language=de", usual[0], "prefer=return=minimal", usual[1]];
    assert_eq!(said(&["accept-language", "prefer"]), more);
    let waits = headers(&[("prefer", "wait=3")]);
    assert!(choosing(&route, &names(&["prefer"]), &waits).is_empty());
    assert!(choosing(&route, &[], &headers(&[("accept", "*/*")])).is_empty());
}

#[test]
fn the_first_doubt_is_found_unless_the_resource_says_that_it_chooses() {
    let route = route("");
    let request = headers(&[("accept", "*/*"), ("x-tenant-region", "eu"), ("cookie", "session=1")]);
    assert_eq!(first_doubt(&route, &[], &request).map(HeaderName::as_str), Some("x-tenant-region"));
    assert_eq!(first_doubt(&route, &names(&["x-tenant-region"]), &request), None);
    let who: Vec<&str> = credentials(&route, &request).map(|(name, _)| name.as_str()).collect();
    assert_eq!(who, ["cookie"]);
}

#[test]
fn the_names_of_tracing_are_found_in_any_case_and_no_others() {
    for (name, why) in known_headers::KNOWN {
        let is_tracing = why == known_headers::TRACING;
        for name in [name.to_owned(), name.to_uppercase()] {
            assert_eq!(known_headers::is_tracing(name.as_bytes()), is_tracing, "{name}");
        }
    }
    for other in ["", "x-tenant-id", "tracestates", "traceparenu", "b4", "x-datadog-sampling-prioritys"] {
        assert!(!known_headers::is_tracing(other.as_bytes()), "{other}");
    }
}

#[test]
fn a_route_that_names_a_header_of_tracing_reads_it() {
    assert!(!reads_tracing(&route("")));
    assert!(!reads_tracing(&route(", vary: [x-tenant], share: {by: [x-team]}")));
    for more in [", vary: [X-Request-Id]", ", share: {by: [x-trace-id]}", ", credentials: [x-correlation-id]"]
    {
        assert!(reads_tracing(&route(more)), "{more}");
    }
}
