//! Tables of answers and what they are judged to be.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;

use super::*;
use crate::hub::tests::route::route;

type Fields = &'static [(&'static str, &'static str)];

const JSON: Fields = &[("content-type", "application/json")];

fn answer(status: u16, fields: Fields, body: &'static [u8]) -> Answer {
    Answer {
        phrase: None,
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers(fields),
        body: Bytes::from_static(body),
        close_delimited: false,
        head_bytes: 0,
        body_bytes: body.len(),
        elapsed: Duration::ZERO,
        held: None,
    }
}

fn headers(fields: Fields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::try_from(*name).unwrap();
        headers.append(name, HeaderValue::try_from(*value).unwrap());
    }
    headers
}

/// The verdict in a word, with the class or the sign where it has one.
fn word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Data(_) => "data".into(),
        Verdict::NotModified => "not-modified".into(),
        Verdict::Gone => "gone".into(),
        Verdict::Denied => "denied".into(),
        Verdict::Refused => "refused".into(),
        Verdict::Failed { .. } => "failed".into(),
        Verdict::Unfit { class, .. } => format!("unfit {class}"),
        Verdict::Uncoverable(what) => format!("uncoverable {what}"),
        Verdict::NotShareable(sign) => format!("not-shareable {sign}"),
        Verdict::SessionRotated => "session-rotated".into(),
    }
}

struct Case {
    route: Route,
    private: bool,
    known: Option<&'static str>,
}

fn shared(share: Share) -> Case {
    Case { private: matches!(share, Share::By(_)), route: Route { share, ..route() }, known: None }
}

fn public() -> Case {
    shared(Share::Public)
}

impl Case {
    fn judge(&self, answer: &Answer) -> Verdict {
        let known = self.known.and_then(MediaType::parse);
        let terms = Terms { route: &self.route, private: self.private, known_type: known.as_ref() };
        judge(answer, &terms)
    }

    fn word(&self, answer: &Answer) -> String {
        word(&self.judge(answer))
    }

    fn content(&self, answer: &Answer) -> Content {
        match self.judge(answer) {
            Verdict::Data(content) => *content,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn statuses_have_their_verdicts() {
    let session = || shared(Share::By(vec![ClassValue::Cookie("session".into())]));
    let cases = [
        (200, "data", "data"),
        (201, "data", "data"),
        (202, "data", "data"),
        (207, "data", "data"),
        (226, "data", "data"),
        (203, "data", "data"),
        (204, "data", "data"),
        (205, "data", "data"),
        (206, "failed", "failed"),
        (299, "data", "data"),
        (300, "refused", "denied"),
        (302, "refused", "denied"),
        (304, "not-modified", "not-modified"),
        (307, "refused", "denied"),
        (400, "refused", "refused"),
        (401, "denied", "denied"),
        (403, "denied", "denied"),
        (404, "gone", "gone"),
        (410, "gone", "gone"),
        (429, "failed", "failed"),
        (500, "failed", "failed"),
        (503, "failed", "failed"),
        (599, "failed", "failed"),
    ];
    for (status, wanted, private) in cases {
        let answer = answer(status, &[], b"");
        assert_eq!(public().word(&answer), wanted, "{status}");
        assert_eq!(session().word(&answer), private, "{status} with a client's credentials");
    }
}

#[test]
fn a_refusal_that_speaks_of_a_quota_is_a_failure() {
    let used_up: Fields = &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")];
    let left: Fields = &[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "30")];
    let wait: Fields = &[("retry-after", "5")];
    let cases = [
        (403, used_up, "failed"),
        (403, left, "denied"),
        (403, wait, "failed"),
        (401, wait, "failed"),
        (401, used_up, "denied"),
        (404, wait, "gone"),
    ];
    for (status, fields, wanted) in cases {
        assert_eq!(public().word(&answer(status, fields, b"")), wanted, "{status} {fields:?}");
    }
}

#[test]
fn no_content_has_no_body_whatever_came() {
    for status in [204, 205] {
        assert!(public().content(&answer(status, &[], b"{}")).body.is_empty(), "{status}");
    }
}

#[test]
fn another_type_with_200_is_no_data() {
    const HTML: Fields = &[("content-type", "text/html; charset=utf-8")];
    const PLAIN: Fields = &[("content-type", "text/plain")];
    let known = |known| Case { known: Some(known), ..public() };
    let of_any_type = |wanted| {
        let mut case = known(wanted);
        case.route.poll.accept = HeaderValue::from_static("*/*");
        case
    };
    let expecting = |wanted: &str| {
        let mut case = public();
        case.route.poll.expect = vec![wanted.to_owned()];
        case
    };
    let cases = [
        ("the first one is taken", public(), HTML, "data"),
        ("a login page", known("application/json"), HTML, "unfit unexpected-type"),
        ("no type at all", known("application/json"), &[], "unfit unexpected-type"),
        ("the same with a charset", known("application/json; charset=utf-8"), JSON, "data"),
        ("as good as the known one", known("text/html"), PLAIN, "unfit unexpected-type"),
        ("the first one was the error page", known("text/html"), JSON, "data"),
        ("the same where all types are asked for alike", of_any_type("text/html"), JSON, "data"),
        ("a login page behind that", of_any_type("application/json"), HTML, "unfit unexpected-type"),
        ("a page for people either way", of_any_type("text/html"), PLAIN, "unfit unexpected-type"),
        ("what is expected", expecting("application/json"), JSON, "data"),
        ("not what is expected", expecting("application/json"), HTML, "unfit unexpected-type"),
    ];
    for (claim, case, fields, wanted) in cases {
        assert_eq!(case.word(&answer(200, fields, b"{}")), wanted, "{claim}");
    }
    let Verdict::Unfit { reason, .. } = known("application/json").judge(&answer(200, HTML, b"")) else {
        panic!("unfit");
    };
    assert!(reason.contains("text/html") && reason.contains("application/json"), "{reason}");
}

#[test]
fn the_most_specific_range_says_how_much_a_type_is_wanted() {
    let accept = HeaderValue::from_static("application/json, text/*;q=0.7, text/csv;q=0.1 , */*; q=0.5");
    let wanted = [("application/json", 1000), ("text/html", 700), ("text/csv", 100), ("image/png", 500)];
    for (essence, q) in wanted {
        assert_eq!(quality(&accept, essence), q, "{essence}");
    }
    assert_eq!(quality(&HeaderValue::from_static("text/plain"), "image/png"), 0);
    assert_eq!(quality(&HeaderValue::from_static(";;q=,/"), "image/png"), 0);
}

#[test]
fn a_body_that_ends_with_the_connection_has_to_prove_that_it_is_whole() {
    let close_delimited = |fields, body| Answer { close_delimited: true, ..answer(200, fields, body) };
    assert_eq!(public().word(&close_delimited(JSON, b"[1]")), "data");
    assert_eq!(public().word(&close_delimited(&[], b"text")), "unfit close-delimited");
    let mut allowed = public();
    allowed.route.poll.allow_close_delimited = true;
    assert_eq!(allowed.word(&close_delimited(&[], b"text")), "data");
}

#[test]
fn without_share_signs_of_one_users_answer_stop_the_sharing() {
    let cases: [(Fields, &str); 20] = [
        (&[("vary", "X-Forwarded-For")], "not-shareable vary-address"),
        (&[("vary", "accept, forwarded")], "not-shareable vary-address"),
        (&[("cache-control", "Private")], "not-shareable private"),
        (&[("cache-control", "max-age=1"), ("cache-control", "no-store")], "not-shareable no-store"),
        (&[("vary", "Accept"), ("vary", "origin, *")], "not-shareable vary-star"),
        (&[("set-cookie", "id=1; Path=/")], "not-shareable set-cookie"),
        (&[("set-cookie", "_ga=1")], "data"),
        (&[("set-cookie", "AWSALBCORS=1")], "data"),
        (&[("set-cookie", "_ga=1"), ("set-cookie", "_gax=1")], "not-shareable set-cookie"),
        (&[("set-cookie", "broken")], "not-shareable set-cookie"),
        (&[("cache-control", "no-cache")], "data"),
        (&[("authorization", "Bearer x")], "not-shareable credential-field"),
        (&[("x-api-key", "x")], "not-shareable credential-field"),
        (&[("x_csrf_token", "x")], "not-shareable credential-field"),
        (&[("X-Session-Id", "x")], "not-shareable credential-field"),
        (&[("x-next-page-token", "x")], "not-shareable credential-field"),
        (&[("x-ratelimit-remaining-tokens", "9")], "data"),
        (&[("strict-transport-security", "max-age=1")], "data"),
        (&[("cache-control", "x-private, private-ish")], "data"),
        (&[("vary", "Accept-Language")], "data"),
    ];
    for (fields, wanted) in cases {
        let found = shared(Share::Unset).word(&answer(200, fields, b""));
        assert_eq!(found, wanted, "{fields:?}");
        let found = public().word(&answer(200, fields, b""));
        assert_eq!(found, "data", "{fields:?} on a public route");
    }
    let unchanged = answer(304, &[("set-cookie", "id=1")], b"");
    assert_eq!(shared(Share::Unset).word(&unchanged), "not-shareable set-cookie");
}

#[test]
fn a_class_ends_when_its_own_cookie_is_set_again() {
    let case = shared(Share::By(vec![
        ClassValue::Header(header::AUTHORIZATION),
        ClassValue::Cookie("session".into()),
    ]));
    let cases: [(u16, Fields, &str); 7] = [
        (200, &[("set-cookie", "session=2; HttpOnly")], "session-rotated"),
        (200, &[("set-cookie", "Session=2")], "data"),
        (200, &[("set-cookie", "theme=dark"), ("set-cookie", "session=2")], "session-rotated"),
        (200, &[("set-cookie", "theme=session")], "data"),
        (200, &[("cache-control", "private")], "data"),
        (304, &[("set-cookie", "session=2")], "session-rotated"),
        (302, &[("set-cookie", "session=2")], "denied"),
    ];
    for (status, fields, wanted) in cases {
        assert_eq!(case.word(&answer(status, fields, b"")), wanted, "{status} {fields:?}");
    }
}

#[test]
fn streams_can_never_be_snapshots() {
    for (content_type, wanted) in [
        ("text/event-stream; charset=utf-8", "uncoverable event-stream"),
        ("Multipart/Mixed; boundary=x", "uncoverable multipart"),
    ] {
        let mut stream = answer(200, &[], b"");
        stream.headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        assert_eq!(public().word(&stream), wanted);
    }
}

#[test]
fn vary_names_what_is_not_the_same_on_every_poll() {
    let mut case = shared(Share::By(vec![ClassValue::Header(HeaderName::from_static("x-tenant"))]));
    case.route.poll.headers = vec![(HeaderName::from_static("x-region"), HeaderValue::from_static("eu"))];
    let fields: Fields = &[
        ("vary", "Accept, Accept-Encoding, X-Tenant, Accept-Language"),
        ("vary", "User-Agent,Authorization, x-region, Origin, accept-language, bad name"),
    ];
    let content = case.content(&answer(200, fields, b""));
    assert_eq!(content.vary, ["accept-language", "origin", "user-agent"]);
}

#[test]
fn what_the_operator_says_means_nothing_is_not_in_the_key() {
    let mut case = public();
    let names = ["user-agent", "x-region", "x-forwarded-for"];
    case.route.headers.ignore_vary = names.iter().map(|name| HeaderName::from_static(name)).collect();
    let fields: Fields = &[("vary", "User-Agent, X-Region, X-Color, Private-Token, X-Forwarded-User")];
    assert_eq!(case.content(&answer(200, fields, b"")).vary, ["x-color"]);
    let address = headers(&[("vary", "X-Forwarded-For")]);
    assert_eq!(not_shareable(&address, &case.route), None);
    assert_eq!(not_shareable(&address, &public().route), Some("vary-address"));
}

#[test]
fn the_class_without_credentials_is_judged_as_without_a_share() {
    let by = || shared(Share::By(vec![ClassValue::Header(header::AUTHORIZATION)]));
    let fields: Fields = &[("content-type", "text/html"), ("set-cookie", "csrftoken=1; Path=/")];
    let login = answer(200, fields, b"<form>");
    let judged = |private: bool| {
        let case = by();
        let terms = Terms { route: &case.route, private, known_type: None };
        matches!(judge(&login, &terms), Verdict::NotShareable("set-cookie"))
    };
    assert!(judged(false) && !judged(true));
    let private = headers(&[("cache-control", "private")]);
    assert!(is_one_users(&private, &by().route, false) && !is_one_users(&private, &by().route, true));
}

#[test]
fn a_client_cannot_say_what_only_pollcast_says() {
    let fields: Fields = &[
        ("vary", "X-Pollcast-Subject, x_pollcast_org, X-Forwarded-For"),
        ("vary", "X_Forwarded_For, Forwarded, X-Region"),
    ];
    let content = public().content(&answer(200, fields, b""));
    assert_eq!(content.vary, ["x-region"]);
}

#[test]
fn a_content_has_the_upstreams_validators_and_type() {
    let fields: Fields = &[("content-type", "a/b"), ("etag", "\"1\""), ("last-modified", "yesterday")];
    let content = public().content(&answer(200, fields, b"{}"));
    assert_eq!(content.validators.etag.as_ref().unwrap(), "\"1\"");
    assert_eq!(content.validators.last_modified.as_ref().unwrap(), "yesterday");
    assert_eq!(content.content_type.as_ref().unwrap(), "a/b");
    let empty = public().content(&answer(204, &[], b""));
    assert!(empty.body.is_empty() && empty.status == StatusCode::NO_CONTENT);
}
