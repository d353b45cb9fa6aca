//! Bounds, validators and credentials of a probe, and what its report says.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::super::destination::{Destination, destination};
use super::super::fields::{Condition, condition};
use super::super::flapping::{Flapping, Flaps};
use super::super::identity::Effect;
use super::super::listing::Listing;
use super::super::polls::{Observed, Said, Trial};
use super::super::report::report;
use super::super::suggestion::Suggestion;
use super::super::{POLLS_MAX, difference, identity, printed};
use super::{FILE, answer, here, loaded, question, seen, yaml};
use crate::config::Change;
use crate::hub::tests::route::route;
use crate::resource::header_field;
use crate::upstream::Answer;

#[test]
fn a_longer_look_has_no_more_polls_than_are_kept() {
    let minutes = question("/a", &[]).looking_for(Duration::from_secs(300));
    assert_eq!((minutes.polls, minutes.every > Duration::from_secs(3)), (POLLS_MAX, true));
    let seconds = question("/a", &[]).looking_for(Duration::from_secs(10));
    assert_eq!((seconds.polls, seconds.every), (11, Duration::from_secs(1)));
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
                said: Said::Without(names()),
                answer: Answer { headers: answer(200, &json, "").headers, ..without },
            }],
            after: Some(answer(200, &json, after)),
            ..seen(vec![answer(200, &json, before)])
        };
        let effects = identity::effects(&observed, &Change::default());
        assert_eq!(effects, [(Said::Without(names()), wanted)], "{claim}");
        let matters = matches!(wanted, Effect::Status(_) | Effect::Content);
        assert_eq!(identity::that_matter(&effects).len(), usize::from(matters), "{claim}");
    }
}

#[test]
fn patches_are_measured_with_the_noise_left_out() {
    let destination = Destination { route: Arc::new(route()), ..here("/a") };
    let json = [("content-type", "application/json")];
    let body = |n: u32, at: u32| format!("{{\"pad\":\"{}\",\"n\":{n},\"at\":{at}}}", "x".repeat(200));
    let polls = [body(1, 1), body(1, 2), body(2, 3)].map(|body| answer(200, &json, &body));
    let ignored = [Flapping { place: "/at".to_owned(), is_noise: true }];
    let found = difference::differences(&destination, &difference::rules(&destination, &ignored), &polls);
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
        let found = destination(&config, url).unwrap();
        let name = found.route.upstream.name.as_str();
        assert_eq!((name, found.is_route, found.query.as_deref()), (upstream, is_route, query), "{url}");
    }
    for url in ["", "prices", "http://", "//a/b", "http://user:secret@api.test/", "/prices//..%2fA"] {
        let refused = destination(&config, url);
        assert!(refused.is_err_and(|why| !why.contains("secret")), "{url}");
    }
    let without = loaded(&FILE.replace("passthrough: api\n", "routes: [{path: /a, upstream: api}]\n"));
    assert!(destination(&without, "/b").is_err_and(|why| why.contains("api, other")));
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
                id: vec!["/vhost".into(), "/id".into()],
                order: "newest_first",
                count: 2,
                is_page: false,
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
                // A rule must not be there twice.
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
    let question = question("/a?key=hidden", &["Authorization: Bearer hidden"]);
    let observed = Observed { conditional: Some(answer(304, &headers, "")), ..seen(polls.into()) };
    let report = report(&here(&question.url), &question, &observed);
    let text = printed(&[&report]);
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
        "authorization is credential: says who asks",
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
        let report =
            report(&destination(&config, path).unwrap(), &question(path, &[]), &seen(polls().into()));
        let text = printed(&[&report]);
        assert!(text.contains(wanted), "{text}");
        assert!(path == "/a" || !text.contains(" change: {"), "{text}");
    }
}

#[test]
fn a_header_that_is_none_is_refused_without_its_value() {
    for text in ["hidden", "a b: hidden", "x: hidden\n"] {
        if let Err(why) = header_field(text) {
            assert!(!why.contains("hidden"), "{why}");
        }
    }
    assert!(header_field("hidden").is_err() && header_field("a b: hidden").is_err());
    assert_eq!(header_field("X-Key:  v ").unwrap().1, "v");
}
