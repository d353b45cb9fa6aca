//! Tables of credentials and classes.

use super::*;
use crate::front::access::reason::Reason;

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

fn class(route: &Route, headers: &HeaderMap, identity: Option<&Identity>) -> Result<ClassValues, Reason> {
    sharing(route, headers, identity, false, |_| Vec::new())
}

fn shared(pairs: &[(&str, &str)]) -> Result<ClassValues, Reason> {
    Ok(headers(pairs).into_iter().map(|(n, v)| (n.unwrap(), v)).collect())
}

const CREDENTIALS: Result<ClassValues, Reason> = Err(Reason::Credentials);
const ONE_REQUEST: Result<ClassValues, Reason> = Err(Reason::OneRequest);

fn doubt(name: &'static str) -> Result<ClassValues, Reason> {
    Err(Reason::Doubt(HeaderName::from_static(name)))
}

#[test]
fn credentials_without_a_share_are_never_shared() {
    let route = route("");
    for (name, value) in [
        ("authorization", "Bearer x"),
        ("proxy-authorization", "Basic x"),
        ("x-api-key", "k"),
        ("x-auth-token", "t"),
        ("private-token", "t"),
        ("x-forwarded-user", "ann"),
        ("cookie", "session=1"),
        ("cookie", "_ga=1; session=1"),
        ("cookie", "no-name"),
    ] {
        assert_eq!(class(&route, &headers(&[(name, value)]), None), CREDENTIALS, "{name}: {value}");
    }
    assert_eq!(class(&route, &headers(&[("accept", "*/*")]), None), shared(&[]));
    assert_eq!(class(&route, &headers(&[("cookie", "_ga=1; __cf_bm=2")]), None), shared(&[]));
}

#[test]
fn a_client_with_a_certificate_shares_nothing_without_a_share() {
    let (robot, none) = (Identity::named("CN=robot"), headers(&[]));
    assert_eq!(class(&route(""), &none, Some(&robot)), CREDENTIALS);
    assert_eq!(class(&route("share: {by: [x-tenant]}"), &none, Some(&robot)), CREDENTIALS);
    assert_eq!(class(&route("share: public"), &none, Some(&robot)), shared(&[]));
}

#[test]
fn a_public_route_does_not_look_at_credentials() {
    for (name, value) in [("authorization", "x"), ("authorization", "Digest x"), ("api-version", "2")] {
        assert_eq!(class(&route("share: public"), &headers(&[(name, value)]), None), shared(&[]), "{name}");
    }
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
fn credentials_of_which_none_is_named_are_as_without_a_share() {
    let route = route("share: {by: [authorization, 'cookie:session']}");
    for (name, value) in [("x-api-key", "k"), ("cookie", "theme=dark"), ("x-emby-token", "t")] {
        assert_eq!(class(&route, &headers(&[(name, value)]), None), CREDENTIALS, "{name}");
    }
    let beside = headers(&[("x-api-key", "k"), ("authorization", "Bearer a")]);
    assert_eq!(class(&route, &beside, None), shared(&[("authorization", "Bearer a")]));
}

#[test]
fn what_is_good_for_one_request_or_connection_is_in_no_class() {
    let (by, authorize, unset) =
        (route("share: {by: [authorization]}"), route("share: authorize"), route(""));
    for (name, value) in [
        ("authorization", "Digest username=\"ann\", nonce=\"1\""),
        ("authorization", "DPoP token"),
        ("authorization", "OAuth oauth_consumer_key=\"k\", oauth_nonce=\"1\""),
        ("authorization", "AWS4-HMAC-SHA256 Credential=a, Signature=b"),
        ("authorization", "TC3-HMAC-SHA256 Credential=a"),
        ("authorization", "SharedKey account:signature"),
        ("authorization", "SharedKeyLite account:signature"),
        ("authorization", "hawk id=\"1\", mac=\"2\""),
        ("authorization", "Signature keyId=\"1\""),
        ("authorization", "  digest\tx"),
        ("authorization", "NTLM YW5u"),
        ("authorization", "Negotiate YW5u"),
        ("proxy-authorization", "Digest x"),
        ("signature-input", "sig1=()"),
        ("dpop", "proof"),
    ] {
        let request = headers(&[(name, value)]);
        assert_eq!(class(&by, &request, None), ONE_REQUEST, "{name}: {value}");
        assert_eq!(class(&authorize, &request, None), ONE_REQUEST, "{name}: {value}");
        assert!(class(&unset, &request, None).is_err(), "{name}: {value}");
    }
    for value in ["Bearer a", "Basic a", "OAuth a-plain-token", "Token a", "", "digestible"] {
        let request = headers(&[("authorization", value)]);
        assert_eq!(class(&by, &request, None), shared(&[("authorization", value)]), "{value}");
    }
}

#[test]
fn a_header_in_doubt_shares_nothing_but_on_public_routes() {
    let request = headers(&[("accept", "*/*"), ("api-version", "2")]);
    for said in ["", "share: authorize", "share: {by: [authorization]}"] {
        let route = route(said);
        assert_eq!(class(&route, &request, None), doubt("api-version"), "{said}");
        let own = |_: &ClassValues| vec![HeaderName::from_static("api-version")];
        assert_eq!(
            sharing(&route, &request, None, false, own),
            shared(&[]),
            "{said}: the resource's Vary names it"
        );
    }
    for said in ["vary: [api-version]", "ignore_headers: [api-version]"] {
        assert_eq!(class(&route(said), &request, None), shared(&[]), "{said}");
    }
    // Credentials count before doubtful headers.
    let who = headers(&[("api-version", "2"), ("authorization", "Bearer a")]);
    assert_eq!(class(&route(""), &who, None), CREDENTIALS);
    assert_eq!(class(&route("share: {by: [authorization]}"), &who, None), doubt("api-version"));
}

#[test]
fn a_class_value_given_twice_is_no_class() {
    let route = route("share: {by: [authorization, 'cookie:s']}");
    let twice = headers(&[("authorization", "a"), ("authorization", "b")]);
    assert_eq!(class(&route, &twice, None), Err(Reason::Ambiguous));
    assert_eq!(class(&route, &headers(&[("cookie", "s=1; s=2")]), None), Err(Reason::Ambiguous));
    assert_eq!(
        class(&route, &headers(&[("cookie", "s=1"), ("cookie", "s=2")]), None),
        Err(Reason::Ambiguous)
    );
}
