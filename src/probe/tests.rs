//! What the analysis makes of answers: tables, and a route that loads.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::aim::{Aim, aim};
use super::asking::{Observed, Said, Trial};
use super::fields::{Condition, Cors, condition};
use super::findings::findings;
use super::flapping::{Flapping, Flaps, flaps};
use super::identity::{self, Effect};
use super::listing::{Listing, listing};
use super::noise::looks_like_noise;
use super::pollable::{Unpollable, revision, unpollable};
use super::report::report;
use super::suggestion::{self, Suggestion};
use super::{Item, POLLS_MAX, Question, difference, file, header, printed};
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
        held: None,
    }
}

fn seen(polls: Vec<Answer>) -> Observed {
    Observed { polls, ..Observed::default() }
}

fn question(url: &str, headers: &[&str]) -> Question {
    let headers = headers.iter().map(|text| header(text).unwrap()).collect();
    Question { url: url.into(), polls: 3, every: Duration::from_secs(1), headers }
}

/// The one suggestion as a section.
fn yaml(aim: &Aim, suggestion: &Suggestion) -> String {
    let yaml = suggestion::item(aim, suggestion);
    file::section(&[&Item { path: suggestion::path(aim, suggestion), is_new: true, yaml }])
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
        (
            "a position of an array whose length stays, and nothing beside it",
            vec![
                json!({"r": [{"value": [1.5, "1"]}, {"value": [1.5, "0"]}]}),
                json!({"r": [{"value": [2.5, "1"]}, {"value": [2.5, "0"]}]}),
                json!({"r": [{"value": [3.5, "1"]}, {"value": [3.5, "0"]}]}),
            ],
            vec![data("$.r[*].value[0]")],
            2,
        ),
        (
            "one item of a list, not those that did not differ",
            vec![
                json!([{"n": 1, "k": 1}, {"n": 1}]),
                json!([{"n": 2, "k": 1}, {"n": 1}]),
                json!([{"n": 3, "k": 1}, {"n": 1}]),
            ],
            vec![data("$[0].n")],
            2,
        ),
        (
            "nothing of a list whose length changes",
            vec![json!([{"n": 1}]), json!([{"n": 2}, {"n": 1}]), json!([{"n": 3}, {"n": 2}, {"n": 1}])],
            vec![],
            0,
        ),
        (
            "beside a list whose length changes",
            vec![json!({"now": 1, "l": [1]}), json!({"now": 2, "l": [1, 2]}), json!({"now": 3, "l": [1, 2]})],
            vec![noise("/now")],
            1,
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
fn what_is_all_there_is_is_the_data() {
    let rows = |n: u32| json!({"data": [[n, n + 1], [n + 2, n + 3]]});
    let found = flaps(&[rows(1), rows(11), rows(21)]);
    assert!(found.are_all && !found.members.is_empty(), "{found:?}");
    let text = yaml(&here("/a"), &Suggestion { flaps: found, ..Suggestion::default() });
    assert!(!text.contains("ignore"), "{text}");
    assert!(!flaps(&[json!({"a": 1, "b": 1}), json!({"a": 2, "b": 1})]).are_all);
}

#[test]
fn names_say_what_is_no_data() {
    for name in [
        "query_ms",
        "lastScrape_at",
        "elapsed",
        "elapsed_ms",
        "uptime",
        "sysUptime",
        "alloc",
        "heapalloc",
        "generatedAt",
        "took",
        "tookMillis",
    ] {
        assert!(looks_like_noise(name, &json!(1)), "{name}");
    }
    for name in ["price", "ms", "items", "status", "bonus", "alerts", "matched"] {
        assert!(!looks_like_noise(name, &json!(1)), "{name}");
    }
}

#[test]
fn lists_are_found_with_what_names_their_items() {
    let found = |items: &str, id: &[&str], order, count| {
        let id = id.iter().map(ToString::to_string).collect();
        Some(Listing { items: items.to_owned(), id, order, count, is_page: false })
    };
    let ids = |ids: &[u32]| Value::Array(ids.iter().map(|id| json!({"id": id})).collect());
    let cases = [
        ("no list", json!({"a": 1}), None),
        ("one item tells nothing", json!([{"id": 1}]), None),
        ("the body itself", ids(&[5, 4, 3, 2, 1]), found("", &["/id"], "newest_first", 5)),
        ("an order of few may be chance", ids(&[3, 2]), found("", &["/id"], "none", 2)),
        (
            "rising",
            json!({"messages": ids(&[1, 2, 3, 4, 5])}),
            found("/messages", &["/id"], "oldest_first", 5),
        ),
        (
            "by time, before any id",
            json!({"data": {"rows": (1..=5).map(|n| json!({"id": n, "created": format!("2026-11-2{}T04:00:00Z", 6 - n)})).collect::<Vec<_>>()}}),
            found("/data/rows", &["/id"], "newest_first", 5),
        ),
        ("no order", json!([{"symbol": "B"}, {"symbol": "A"}]), found("", &["/symbol"], "none", 2)),
        ("ids that repeat", json!([{"id": 1}, {"id": 1}]), None),
        (
            "another member then",
            json!([{"id": 1, "uuid": "a"}, {"id": 1, "uuid": "b"}]),
            found("", &["/uuid"], "none", 2),
        ),
        (
            "an alert's fingerprint",
            json!([{"fingerprint": "b1", "labels": {}}, {"fingerprint": "a2", "labels": {}}]),
            found("", &["/fingerprint"], "none", 2),
        ),
        ("a name", json!([{"name": "a", "n": 1}, {"name": "b", "n": 1}]), found("", &["/name"], "none", 2)),
        (
            "a name and where it counts",
            json!([{"name": "q", "vhost": "/"}, {"name": "q", "vhost": "b"}]),
            found("", &["/vhost", "/name"], "none", 2),
        ),
        (
            "in metadata",
            json!({"items": [{"kind": "Pod", "metadata": {"uid": "a"}}, {"kind": "Pod", "metadata": {"uid": "b"}}]}),
            found("/items", &["/metadata/uid"], "none", 2),
        ),
        ("not all objects", json!([{"id": 1}, 2]), None),
        (
            "the longest",
            json!({"a": [{"id": 1}, {"id": 2}], "b": [{"id": 1}, {"id": 3}, {"id": 2}]}),
            found("/b", &["/id"], "none", 3),
        ),
    ];
    for (claim, body, wanted) in cases {
        assert_eq!(listing(&body), wanted, "{claim}");
    }
    let page = listing(&ids(&(1..=20).collect::<Vec<_>>())).unwrap();
    assert!(page.is_page && page.order == "oldest_first", "{page:?}");
}

#[test]
fn what_takes_away_or_is_for_one_asker_is_not_polled() {
    let json = |body: Value| answer(200, &[("content-type", "application/json")], &body.to_string());
    let text = |body: &str| answer(200, &[("content-type", "text/plain")], body);
    let once = |field: (&str, &str), body: &str| answer(200, &[field], body);
    let sid = |n: u32| format!("0{{\"sid\":\"lv_VI97HAXpY6yYWAAA{n}\",\"pingInterval\":25000}}");
    let cookie = |n: u32| {
        (
            "set-cookie",
            ["csrf=aaaaaaaa; Path=/", "csrf=bbbbbbbb; Path=/", "csrf=cccccccc; Path=/"][n as usize],
        )
    };
    let each = |make: &dyn Fn(u32) -> Answer| (0..3).map(make).collect::<Vec<_>>();
    let cases = [
        ("a document", each(&|_| json(json!({"a": 1}))), None),
        ("fast data", each(&|n| json(json!({"price": n, "size": n + 7}))), None),
        ("readings of meters", each(&|n| json(json!({"cpu": n, "unit": format!("{n} W")}))), None),
        ("a reading as text", each(&|n| text(&format!("{n}.5 °C"))), None),
        ("a labelled reading as text", each(&|n| text(&format!("load {n}.5"))), None),
        ("a time beside data", each(&|n| json(json!({"now": n, "a": "x"}))), None),
        ("204 after 200", vec![text("m1"), answer(204, &[], "")], Some(Unpollable::Empties)),
        ("nothing after something", vec![text("m1"), text("")], Some(Unpollable::Empties)),
        ("204 all the time", vec![answer(204, &[], ""), answer(204, &[], "")], None),
        (
            "a message of a queue each time",
            each(&|n| json(json!({"id": n, "text": format!("m{n}")}))),
            Some(Unpollable::NewEachTime),
        ),
        (
            "other items each time",
            each(&|n| json(json!([{"id": n}, {"id": n + 10}]))),
            Some(Unpollable::NewEachTime),
        ),
        (
            "lines each time",
            each(&|n| text(["anna\n", "bert\n", "carl\n"][n as usize])),
            Some(Unpollable::NewEachTime),
        ),
        (
            "a handshake that is not stored",
            each(&|n| once(("cache-control", "no-store"), &sid(n))),
            Some(Unpollable::OneTime),
        ),
        ("the same, stored", each(&|n| text(&sid(n))), None),
        (
            "a form's token with its cookie",
            each(&|n| once(cookie(n), &format!("<input value=\"tok{n}en{n}aAbBcCdDeE12\">"))),
            Some(Unpollable::OneTime),
        ),
        ("a session for each visitor of one page", each(&|n| once(cookie(n), "page")), None),
        (
            "a member that is a token",
            each(&|n| {
                let body = json!({"token": n, "type": "bearer"}).to_string();
                answer(200, &[("content-type", "application/json"), ("cache-control", "no-store")], &body)
            }),
            Some(Unpollable::OneTime),
        ),
        (
            "meters that are not stored",
            each(&|n| {
                answer(
                    200,
                    &[("content-type", "application/json"), ("cache-control", "no-store")],
                    &json!({"cpu": n, "a": 1}).to_string(),
                )
            }),
            None,
        ),
    ];
    for (claim, polls, wanted) in cases {
        assert_eq!(unpollable(&polls, &route()), wanted, "{claim}");
    }
}

#[test]
fn tags_that_look_like_revisions_are_told() {
    let tagged =
        |tag: &str, body: &str| [answer(200, &[("etag", tag), ("content-type", "application/json")], body)];
    for (tag, body) in [
        ("\"3-967a00dff5e02add41819138abb3284d\"", "{}"),
        ("\"17\"", "{}"),
        ("W/\"abc\"", r#"{"meta":{"rev":"abc"}}"#),
        ("\"x1\"", r#"{"_rev":"x1"}"#),
    ] {
        assert!(revision(&tagged(tag, body)).is_some(), "{tag} {body}");
    }
    for tag in ["\"5d8c72a5edda8d6a4a\"", "W/\"2-xyz\"", "\"\""] {
        assert_eq!(revision(&tagged(tag, r#"{"a":"b"}"#)), None, "{tag}");
    }
}

/// A trial of a header that the polls did not say.
fn with(name: &str, value: &'static str, answer: Answer) -> Trial {
    Trial { said: Said::With(HeaderName::try_from(name).unwrap(), value), answer }
}

fn without(name: &str, answer: Answer) -> Trial {
    Trial { said: Said::Without(vec![HeaderName::try_from(name).unwrap()]), answer }
}

#[test]
#[expect(clippy::type_complexity, reason = "a table whose columns are said by its rows")]
fn a_suggestion_follows_from_what_was_seen() {
    let json = |more: &[(&str, &str)], body: &str| {
        answer(200, &[&[("content-type", "application/json")], more].concat(), body)
    };
    let cases: [(&str, &[&str], Answer, Vec<Trial>, &[&str], &[&str]); 15] = [
        (
            "nothing special",
            &[],
            json(&[], "1"),
            vec![],
            &["interval: 5s"],
            &["vary", "share", "cors", "ignore_"],
        ),
        (
            "a header that no Vary names chooses",
            &["node-red-api-version: v2"],
            json(&[], "2"),
            vec![without("node-red-api-version", json(&[], "1"))],
            &["vary: [\"node-red-api-version\"]"],
            &["share"],
        ),
        (
            "a header that changes nothing",
            &["x-app-version: 7"],
            json(&[], "1"),
            vec![without("x-app-version", json(&[], "1"))],
            &["ignore_headers: [\"x-app-version\"]"],
            &["vary"],
        ),
        (
            "a header without which access is denied",
            &["x-odd: s"],
            json(&[], "1"),
            vec![without("x-odd", answer(401, &[], ""))],
            &["share: { by: [\"x-odd\"] }"],
            &["vary"],
        ),
        (
            "a key of the API's own",
            &["x-api-key: s"],
            json(&[], "1"),
            vec![without("x-api-key", answer(403, &[], ""))],
            &["share: { by: [\"x-api-key\"] }"],
            &["vary"],
        ),
        (
            "a language that no Vary names",
            &[],
            json(&[], "1"),
            vec![with("accept-language", "fr", json(&[], "2"))],
            &["vary: [\"accept-language\"]"],
            &[],
        ),
        (
            "a language that Vary names is in the key anyway",
            &[],
            json(&[("vary", "Accept-Language")], "1"),
            vec![with("accept-language", "fr", json(&[], "2"))],
            &[],
            &["vary:"],
        ),
        (
            "a phone's form",
            &[],
            json(&[("vary", "User-Agent")], "1"),
            vec![with("user-agent", "phone", json(&[], "2"))],
            &["vary: [\"user-agent\"]"],
            &["ignore_vary"],
        ),
        (
            "a Vary that means nothing",
            &[],
            json(&[("vary", "User-Agent")], "1"),
            vec![with("user-agent", "phone", json(&[], "1"))],
            &["# ignore_vary: [\"user-agent\"]"],
            &["    vary"],
        ),
        (
            "Vary: Cookie, and a session's cookie",
            &["cookie: sessionid=s; csrftoken=t"],
            json(&[("vary", "Accept, Cookie")], "1"),
            vec![without("cookie", answer(403, &[], ""))],
            &["\"cookie:sessionid\"", "\"cookie:csrftoken\""],
            &["add \"cookie:NAME\""],
        ),
        (
            "Vary: Cookie, and another credential",
            &["authorization: Bearer s"],
            json(&[("vary", "Cookie")], "1"),
            vec![without("authorization", answer(401, &[], ""))],
            &["share: { by: [\"authorization\"] }", "add \"cookie:NAME\""],
            &[],
        ),
        (
            "credentials that are good for one request",
            &["authorization: Digest username=\"a\""],
            json(&[], "1"),
            vec![without("authorization", answer(401, &[], ""))],
            &[],
            &["share: {"],
        ),
        (
            "JSON only where it is asked for, and another type where no preference is stated",
            &[],
            answer(200, &[("content-type", "application/xml")], "<a/>"),
            vec![with("accept", "application/json", json(&[], "1"))],
            &["accept: application/json", "plain: pass   # clients that state no preference"],
            &[],
        ),
        (
            "CORS only when asked",
            &[],
            json(&[], "1"),
            vec![with("origin", "https://probe.example", json(&[("access-control-allow-origin", "*")], "1"))],
            &["# cors: { origins:"],
            &[],
        ),
        (
            "a lifetime longer than the interval, and an ETag that is a revision",
            &[],
            json(&[("cache-control", "max-age=60"), ("etag", "\"7\"")], "1"),
            vec![],
            &["interval: 60s", "# the API says max-age=60", "plain: pass"],
            &[],
        ),
    ];
    for (claim, headers, last, trials, wanted, unwanted) in cases {
        let aim = here("/a");
        let after = Some(last.clone());
        let observed = Observed { trials, after, ..seen(vec![last.clone(), last]) };
        let text = yaml(&aim, &findings(&aim, &question("/a", headers), &observed).suggestion);
        loaded(&format!("{FILE}{text}"));
        for part in wanted {
            assert!(text.contains(part), "{claim}: {part} is missing in:\n{text}");
        }
        for part in unwanted {
            assert!(!text.contains(part), "{claim}: {part} is in:\n{text}");
        }
    }
}

#[test]
fn cors_that_all_may_read_needs_none() {
    let open =
        answer(200, &[("access-control-allow-origin", "*"), ("content-type", "application/json")], "1");
    let aim = here("/a");
    let found = findings(&aim, &question("/a", &[]), &seen(vec![open.clone(), open]));
    assert_eq!(found.suggestion.cors, Some(Cors::Everybody));
    assert!(!yaml(&aim, &found.suggestion).contains("cors"));
}

#[test]
fn a_member_that_counts_the_polls_is_told() {
    let body = |n: u32| answer(200, &[("content-type", "application/json")], &format!("{{\"stopped\":{n}}}"));
    for (numbers, is_counter) in [([7, 8, 9], true), ([7, 9, 10], false), ([7, 7, 7], false)] {
        let report = report(&here("/stop"), &question("/stop", &[]), &seen(numbers.map(body).into()));
        assert_eq!(
            report.text.contains("/stopped rose by one with each poll"),
            is_counter,
            "{}",
            report.text
        );
    }
}

#[test]
fn beside_a_wide_route_a_narrow_one_is_suggested() {
    let config = loaded(&format!("{FILE}routes: [{{path: '/api/{{*rest}}', upstream: api}}]\n"));
    let aim = aim(&config, "/api/orders/17").unwrap();
    let one = answer(200, &[("content-type", "application/json")], "1");
    let report = report(&aim, &question("/api/orders/17", &[]), &seen(vec![one.clone(), one]));
    let item = report.item.as_ref().expect("a route");
    assert!(item.is_new && item.path == "/api/orders/{id}", "{item:?}");
    assert!(report.text.contains("plain requests are answered from the snapshot"), "{}", report.text);
}

#[test]
fn beside_a_wide_route_too_tags_that_are_revisions_leave_plain_requests_to_the_api() {
    let config = loaded(&format!("{FILE}routes: [{{path: '/api/{{*rest}}', upstream: api}}]\n"));
    let aim = aim(&config, "/api/orders/17").unwrap();
    let one = answer(200, &[("content-type", "application/json"), ("etag", "\"7\"")], "1");
    let report = report(&aim, &question("/api/orders/17", &[]), &seen(vec![one.clone(), one]));
    let item = report.item.as_ref().expect("a route");
    assert!(item.yaml.contains("plain: pass"), "{item:?}");
    assert!(report.text.contains("plain requests are the API's"), "{}", report.text);
}

#[test]
fn routes_are_added_to_a_file_whatever_its_indentation() {
    let item = |path: &str, is_new| Item {
        path: path.into(),
        is_new,
        yaml: format!("  - path: {path}\n    upstream: api\n"),
    };
    let (a, b, again, known) = (item("/a", true), item("/b", true), item("/a", true), item("/k", false));
    let all = [&a, &b, &again, &known];
    for routes in [
        "",
        "routes:\n- path: /k\n  upstream: api\n",
        "routes:   # these\n  # first\n    - path: /k\n      upstream: api\nlog: {format: text}\n",
    ] {
        let text = file::merged(&format!("{FILE}{routes}"), &all).unwrap_or_else(|why| panic!("{why}"));
        let config = loaded(&text);
        let mut paths: Vec<&str> = config.routes.iter().map(|route| route.path.as_str()).collect();
        paths.sort_unstable();
        assert!(
            paths.starts_with(&["/a", "/b"]) && paths.len() == if routes.is_empty() { 2 } else { 3 },
            "{text}"
        );
        assert!(text.contains("#  - path: /k"), "{text}");
    }
    assert!(file::merged(&format!("{FILE}routes: [{{path: /k, upstream: api}}]\n"), &all).is_err());
}

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
        let report = report(&aim(&config, path).unwrap(), &question(path, &[]), &seen(polls().into()));
        let text = printed(&[&report]);
        assert!(text.contains(wanted), "{text}");
        assert!(path == "/a" || !text.contains(" change: {"), "{text}");
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
