//! Claims about spellings of field names.

use std::sync::Arc;

use http::HeaderValue;

use super::*;
use crate::config::Upstream;

fn judged(names: &[&str], route: Option<&Route>) -> Result<(), BadHead> {
    let mut headers = HeaderMap::new();
    for name in names {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_static("forged"));
    }
    check(&headers, route)
}

fn route() -> Route {
    Route::unsaid(Arc::new(Upstream::unsaid("api")))
}

#[test]
fn other_spellings_of_what_pollcast_sets_or_what_frames_are_refused() {
    for name in [
        "x_forwarded_for",
        "x-forwarded_proto",
        "x.forwarded.host",
        "x_forwarded_user",
        "x_real_ip",
        "x.pollcast.subject",
        "x-pollcast.subject",
        "x_pollcast_way",
        "content_length",
        "transfer.encoding",
        "transfer_encoding",
        "proxy_connection",
        "x~forwarded~for",
        "authorization",
    ] {
        let is_plain = name == "authorization";
        assert_eq!(judged(&[name], None).is_ok(), is_plain, "{name}");
    }
    for name in ["proxy_authorization", "proxy.authorization"] {
        assert!(judged(&[name], None).is_err(), "{name}");
    }
}

#[test]
fn names_of_apis_that_use_such_signs_go_through() {
    for name in ["access_token", "api_key", "client_secret", "x_request_id", "jenkins.crumb", "user_id"] {
        assert_eq!(judged(&[name], Some(&route())), Ok(()), "{name}");
    }
}

#[test]
fn what_a_route_lists_has_one_spelling() {
    let by =
        |name| Route { share: Share::By(vec![ClassValue::Header(HeaderName::from_static(name))]), ..route() };
    assert!(judged(&["x_tenant"], Some(&by("x-tenant"))).is_err());
    assert!(judged(&["x.tenant"], Some(&by("x-tenant"))).is_err());
    assert_eq!(judged(&["x_tenant"], Some(&by("x_tenant"))), Ok(()));
    assert!(judged(&["x.tenant"], Some(&by("x_tenant"))).is_err());
    assert_eq!(judged(&["x_tenant"], None), Ok(()));
    let mut listed = route();
    listed.credentials.push(HeaderName::from_static("x-own-token"));
    assert!(judged(&["x_own_token"], Some(&listed)).is_err());
}

#[test]
fn an_identity_is_said_once_where_a_route_authenticates() {
    let mut guarded = route();
    guarded.authenticate = Some(crate::config::Authenticate::default());
    assert!(judged(&["authorization", "authorization"], Some(&guarded)).is_err());
    assert_eq!(judged(&["authorization"], Some(&guarded)), Ok(()));
    assert_eq!(judged(&["authorization", "authorization"], Some(&route())), Ok(()));
}

#[test]
fn what_a_client_may_not_say_is_removed_as_a_family() {
    let said = [
        "X-Forwarded-For",
        "X-Forwarded-User",
        "X-Real-IP",
        "Forwarded",
        "X-Pollcast-Way",
        "X-Other",
        "From",
    ];
    let left = |trusted| {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for name in said {
            request.append_header(name, "forged").unwrap();
        }
        remove_unproven(&mut request, trusted);
        request.headers.keys().map(|name| name.as_str().to_owned()).collect::<BTreeSet<String>>()
    };
    let names =
        |names: &[&str]| names.iter().map(|name| name.to_ascii_lowercase()).collect::<BTreeSet<String>>();
    assert_eq!(left(false), names(&["x-other", "from"]));
    assert_eq!(
        left(true),
        names(&["X-Forwarded-For", "X-Forwarded-User", "X-Real-IP", "Forwarded", "X-Other", "From"])
    );
}
