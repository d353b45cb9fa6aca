//! What the analysis makes of answers: tables, and a route that loads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::aim::{Aim, aim};
use super::asking::{Observed, Trial};
use super::fields::{Condition, condition};
use super::flapping::{Flapping, Flaps, flaps};
use super::identity::{self, Effect};
use super::listing::{Listing, listing};
use super::report::report;
use super::suggestion::{Suggestion, yaml};
use super::{Question, difference, header};
use crate::config::{Change, Config, load_str};
use crate::hub::tests::route::route;
use crate::upstream::Answer;

const FILE: &str = "listeners: [{address: '127.0.0.1:0'}]\n\
                    upstreams:\n  api: {servers: ['api.test:80']}\n  other: {servers: ['127.0.0.1:8001'], host: other.test}\n\
                    passthrough: api\n";

fn loaded(text: &str) -> Config {
    load_str(text, "probe.yaml", std::path::Path::new("."))
        .unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
    }
    Answer {
        phrase: None,
        status: StatusCode::from_u16(status).unwrap(),
        headers: map,
        body: Bytes::from(body.to_owned()),
        close_delimited: false,
        head_bytes: 100,
        body_bytes: body.len(),
        elapsed: Duration::from_millis(3),
    }
}

fn seen(polls: Vec<Answer>) -> Observed {
    Observed { polls, conditional: None, trials: Vec::new(), after: None }
}

fn here(path: &str) -> Aim {
    aim(&loaded(FILE), path).unwrap()
}

#[test]
fn what_differs_on_every_poll_is_told_from_what_changes_now_and_then() {
    let noise = |place: &str| Flapping { place: place.to_owned(), is_noise: true };
    let data = |place: &str| Flapping { place: place.to_owned(), is_noise: false };
    let cases = [
        ("equal bodies", vec![json!({"a": 1}), json!({"a": 1}), json!({"a": 1})], vec![], 0),
        (
            "a time",
            vec![
                json!({"a": 1, "generated_at": 1}),
                json!({"a": 1, "generated_at": 2}),
                json!({"a": 2, "generated_at": 3}),
            ],
            vec![noise("/generated_at")],
            1,
        ),
        (
            "by its value, in a name with a slash",
            vec![json!({"x/y": "2026-11-21T04:00:00Z"}), json!({"x/y": "2026-11-21T04:00:02Z"})],
            vec![noise("/x~1y")],
            1,
        ),
        (
            "data that is fast",
            vec![json!({"price": 1}), json!({"price": 2}), json!({"price": 3})],
            vec![data("/price")],
            2,
        ),
        ("now and then", vec![json!({"price": 1}), json!({"price": 2}), json!({"price": 2})], vec![], 0),
        (
            "in every item, whichever it is",
            vec![
                json!({"items": [{"id": 1, "servedAt": 1}, {"id": 2, "servedAt": 1}]}),
                json!({"items": [{"id": 1, "servedAt": 2}, {"id": 2, "servedAt": 1}]}),
                json!({"items": [{"id": 1, "servedAt": 2}, {"id": 2, "servedAt": 2}]}),
            ],
            vec![noise("$.items[*].servedAt")],
            2,
        ),
        (
            "a member that comes and goes",
            vec![json!({"a": 1}), json!({"a": 1, "now": 1}), json!({"a": 1})],
            vec![noise("/now")],
            2,
        ),
        ("another body altogether", vec![json!(1), json!([2]), json!(3)], vec![], 0),
        ("one poll", vec![json!({"a": 1})], vec![], 0),
    ];
    for (claim, bodies, members, alone) in cases {
        let found = flaps(&bodies);
        assert_eq!((found.members, found.alone), (members, alone), "{claim}");
    }
}

#[test]
fn a_body_of_which_everything_differs_is_no_endless_list() {
    let body = |n: usize| Value::Object((0..5000).map(|i| (format!("m{i}"), json!(n))).collect());
    assert_eq!(flaps(&[body(1), body(2)]), Flaps::default());
}

#[test]
fn lists_are_found_with_what_names_their_items() {
    let found = |items: &str, id: &str, order, count| {
        Some(Listing { items: items.to_owned(), id: id.to_owned(), order, count })
    };
    let cases = [
        ("no list", json!({"a": 1}), None),
        ("one item tells nothing", json!([{"id": 1}]), None),
        ("the body itself", json!([{"id": 3}, {"id": 2}]), found("", "/id", Some("newest_first"), 2)),
        (
            "rising",
            json!({"messages": [{"id": 1}, {"id": 2}]}),
            found("/messages", "/id", Some("oldest_first"), 2),
        ),
        (
            "by time, before any id",
            json!({"data": {"rows": [{"id": 1, "created": "2026-11-21T04:00:00Z"}, {"id": 2, "created": "2026-11-20T04:00:00Z"}]}}),
            found("/data/rows", "/id", Some("newest_first"), 2),
        ),
        ("no order", json!([{"symbol": "B"}, {"symbol": "A"}]), found("", "/symbol", None, 2)),
        ("ids that repeat", json!([{"id": 1}, {"id": 1}]), None),
        (
            "another member then",
            json!([{"id": 1, "uuid": "a"}, {"id": 1, "uuid": "b"}]),
            found("", "/uuid", None, 2),
        ),
        ("not all objects", json!([{"id": 1}, 2]), None),
        (
            "the longest",
            json!({"a": [{"id": 1}, {"id": 2}], "b": [{"id": 1}, {"id": 3}, {"id": 2}]}),
            found("/b", "/id", None, 3),
        ),
    ];
    for (claim, body, wanted) in cases {
        assert_eq!(listing(&body), wanted, "{claim}");
    }
}

#[test]
fn a_conditional_request_shows_what_validators_are_worth() {
    let tag = [("etag", "W/\"1\"")];
    let cases = [
        (None, Condition::None),
        (Some(answer(304, &tag, "")), Condition::NotModified),
        (Some(answer(200, &tag, "1")), Condition::Ignored),
        (Some(answer(200, &tag, "2")), Condition::Changed),
        (Some(answer(412, &tag, "")), Condition::Other(StatusCode::PRECONDITION_FAILED)),
    ];
    for (conditional, wanted) in cases {
        let observed = Observed { conditional, ..seen(vec![answer(200, &tag, "1")]) };
        assert_eq!(condition(&observed), wanted);
    }
}

#[test]
fn credentials_matter_if_their_absence_changes_the_answer_and_nothing_else_does() {
    let names = || vec![http::header::AUTHORIZATION];
    let cases = [
        ("the same", "1", answer(200, &[], "1"), "1", Effect::Same),
        ("refused", "1", answer(401, &[], "1"), "1", Effect::Status(StatusCode::UNAUTHORIZED)),
        ("other content", "1", answer(200, &[], "2"), "1", Effect::Content),
        ("as it is afterwards", "1", answer(200, &[], "2"), "2", Effect::Same),
        ("all differ", "1", answer(200, &[], "2"), "3", Effect::Unclear),
    ];
    for (claim, before, without, after, wanted) in cases {
        let json = [("content-type", "application/json")];
        let observed = Observed {
            trials: vec![Trial {
                without: names(),
                answer: Answer { headers: answer(200, &json, "").headers, ..without },
            }],
            after: Some(answer(200, &json, after)),
            ..seen(vec![answer(200, &json, before)])
        };
        let effects = identity::effects(&observed, &Change::default());
        assert_eq!(effects, [(names(), wanted)], "{claim}");
        let matters = matches!(wanted, Effect::Status(_) | Effect::Content);
        assert_eq!(identity::that_matter(&effects).len(), usize::from(matters), "{claim}");
    }
}

#[test]
fn patches_are_measured_with_the_noise_left_out() {
    let aim = Aim { route: Arc::new(route()), ..here("/a") };
    let json = [("content-type", "application/json")];
    let body = |n: u32, at: u32| format!("{{\"pad\":\"{}\",\"n\":{n},\"at\":{at}}}", "x".repeat(200));
    let polls = [body(1, 1), body(1, 2), body(2, 3)].map(|body| answer(200, &json, &body));
    let ignored = [Flapping { place: "/at".to_owned(), is_noise: true }];
    let found = difference::differences(&aim, &difference::rules(&aim, &ignored), &polls);
    assert_eq!((found.steps, found.changed), (2, 1));
    let (patches, bodies) = found.patches.unwrap();
    assert!(patches > 0 && patches < 80 && bodies > 200, "{patches} {bodies}");
}

#[test]
fn a_url_is_a_route_or_an_upstreams() {
    let config = loaded(&format!(
        "{FILE}routes: [{{path: '/prices/{{symbol}}', upstream: api, query: [currency]}}]\n"
    ));
    let cases = [
        ("/prices/A?currency=EUR&x=1", "api", true, Some("currency=EUR")),
        ("http://api.test/prices/A", "api", true, None),
        ("http://other.test/prices/A", "other", false, None),
        ("http://127.0.0.1:8001/x?y", "other", false, Some("y")),
        ("/elsewhere", "api", false, None),
    ];
    for (url, upstream, is_route, query) in cases {
        let found = aim(&config, url).unwrap();
        let name = found.route.upstream.name.as_str();
        assert_eq!((name, found.is_route, found.query.as_deref()), (upstream, is_route, query), "{url}");
    }
    for url in ["", "prices", "http://", "//a/b", "http://user:secret@api.test/", "/prices//..%2fA"] {
        let refused = aim(&config, url);
        assert!(refused.is_err_and(|why| !why.contains("secret")), "{url}");
    }
    let without = loaded(&FILE.replace("passthrough: api\n", "routes: [{path: /a, upstream: api}]\n"));
    assert!(aim(&without, "/b").is_err_and(|why| why.contains("api, other")));
}

#[test]
fn the_suggested_route_loads_with_and_without_its_comments() {
    let suggestions = [
        Suggestion::default(),
        Suggestion {
            max_age: Some(Duration::from_secs(7)),
            share_by: vec!["authorization".into(), "cookie:sid".into()],
            flaps: Flaps {
                members: vec![
                    Flapping { place: "/a\"b~1".into(), is_noise: true },
                    Flapping { place: "$.items[*][\"x y\"]".into(), is_noise: true },
                ],
                ..Flaps::default()
            },
            ..Suggestion::default()
        },
        Suggestion { public: true, ..Suggestion::default() },
        Suggestion {
            doubtful: true,
            flaps: Flaps {
                members: vec![Flapping { place: "/n".into(), is_noise: false }],
                ..Flaps::default()
            },
            listing: Some(Listing {
                items: String::new(),
                id: "/id".into(),
                order: Some("newest_first"),
                count: 2,
            }),
            ..Suggestion::default()
        },
    ];
    for path in ["/a", "/rooms/12/messages/6f9619ff-8b86-d011-b42d-00cf4fc964ff", "/a%20b/'x'"] {
        for suggestion in &suggestions {
            let text = yaml(&here(path), suggestion);
            loaded(&format!("{FILE}{text}"));
            for key in ["# share:", "# change:", "# feed:"] {
                let without = |line: &&str| key != "# feed:" || !line.trim().starts_with("change:");
                let said = text.lines().filter(without).map(|line| line.replace(key, &key[2..]) + "\n");
                // A rule twice is none.
                if !(key == "# change:" && text.contains("    change:")) {
                    loaded(&format!("{FILE}{}", said.collect::<String>()));
                }
            }
        }
    }
    let text = yaml(&here("/rooms/12/messages/34"), &suggestions[1]);
    assert!(text.contains("/rooms/{id}/messages/{id2}") && text.contains("interval: 7s"), "{text}");
}

#[test]
fn the_report_says_what_was_seen_and_no_secret() {
    let headers = [
        ("content-type", "application/json"),
        ("cache-control", "private, max-age=3"),
        ("set-cookie", "sid=hidden; Path=/"),
        ("vary", "Authorization"),
        ("x-ratelimit-remaining", "17"),
        ("etag", "\"1\""),
    ];
    let polls = ["{\"now\":1}", "{\"now\":2}", "{\"now\":3}"].map(|body| answer(200, &headers, body));
    let question = Question {
        url: "/a?key=hidden".into(),
        polls: 3,
        every: Duration::from_secs(1),
        headers: vec![header("Authorization: Bearer hidden").unwrap()],
    };
    let observed = Observed { conditional: Some(answer(304, &headers, "")), ..seen(polls.into()) };
    let report = report(&here(&question.url), &question, &observed);
    let text = report.text;
    assert!(report.has_data && !text.contains("hidden"), "{text}");
    for wanted in [
        "GET /a?…",
        "ETag (strong); a conditional request got 304",
        "0 of 2 polls brought something new",
        "private, max-age=3",
        "Set-Cookie (sid)",
        "vary: Authorization",
        "x-ratelimit-remaining: 17",
        "/now differ",
        "share: { by: [\"authorization\"] }",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in:\n{text}");
    }
}

#[test]
fn places_are_those_of_what_the_route_publishes() {
    let routes = "routes: [{path: /a, upstream: api, change: {select: /data}}, \
                  {path: /b, upstream: api, feed: {items: /data/rows, id: /id}}]\n";
    let config = loaded(&format!("{FILE}{routes}"));
    let headers = [("content-type", "application/json")];
    let polls =
        || [1, 2, 3].map(|n| answer(200, &headers, &format!("{{\"n\":{n},\"data\":{{\"now\":{n}}}}}")));
    for (path, wanted) in
        [("/a", "change: { select: \"/data\", ignore: [\"/now\"] }"), ("/b", "interval: 5s }\n")]
    {
        let question = Question { url: path.into(), polls: 3, every: Duration::ZERO, headers: Vec::new() };
        let report = report(&aim(&config, path).unwrap(), &question, &seen(polls().into()));
        assert!(report.text.contains(wanted), "{}", report.text);
        assert!(path == "/a" || !report.text.contains(" change: {"), "{}", report.text);
    }
}

#[test]
fn a_header_that_is_none_is_refused_without_its_value() {
    for text in ["hidden", "a b: hidden", "x: hidden\n"] {
        if let Err(why) = header(text) {
            assert!(!why.contains("hidden"), "{why}");
        }
    }
    assert!(header("hidden").is_err() && header("a b: hidden").is_err());
    assert_eq!(header("X-Key:  v ").unwrap().1, "v");
}
