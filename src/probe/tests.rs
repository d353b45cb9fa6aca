//! What the analysis makes of answers: tables, and a route that loads.

mod lists;
mod reports;
mod suggestions;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::destination::{Destination, destination};
use super::flapping::{Flapping, Flaps, flaps};
use super::noise::looks_like_noise;
use super::polls::{Observed, Said, Trial};
use super::suggestion::Suggestion;
use super::{Item, Question, file, suggestion};
use crate::config::{Config, load_str};
use crate::resource::header_field;
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
    let headers = headers.iter().map(|text| header_field(text).unwrap()).collect();
    Question { url: url.into(), polls: 3, every: Duration::from_secs(1), headers }
}

/// The one suggestion as a section.
fn yaml(destination: &Destination, suggestion: &Suggestion) -> String {
    let yaml = suggestion::item(destination, suggestion);
    file::section(&[&Item { path: suggestion::path(destination, suggestion), is_new: true, yaml }])
}

fn here(path: &str) -> Destination {
    destination(&loaded(FILE), path).unwrap()
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

/// A trial of a header that the polls did not say.
fn with(name: &str, value: &'static str, answer: Answer) -> Trial {
    Trial { said: Said::With(HeaderName::try_from(name).unwrap(), value), answer }
}

fn without(name: &str, answer: Answer) -> Trial {
    Trial { said: Said::Without(vec![HeaderName::try_from(name).unwrap()]), answer }
}
