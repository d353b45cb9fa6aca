//! What counts as a change, by rule.

use http::HeaderMap;
use serde_json_path::JsonPath;

use super::*;
use crate::config::{ArrayKey, Members};
use crate::resource::Validators;

pub(super) fn rules(change: Change) -> Rules {
    Rules::new(&change)
}

pub(super) fn json_content(body: &str) -> Content {
    content("application/json", body.as_bytes())
}

fn content(content_type: &'static str, body: &[u8]) -> Content {
    Content {
        status: StatusCode::OK,
        content_type: Some(HeaderValue::from_static(content_type)),
        headers: HeaderMap::new(),
        validators: Validators::default(),
        vary: Vec::new(),
        body: Bytes::copy_from_slice(body),
    }
}

fn pointer(pointer: &str) -> Members {
    Members::Pointer(pointer.into())
}

fn path(path: &str) -> Members {
    Members::Path(Box::new(JsonPath::parse(path).unwrap()))
}

fn namer() -> VersionNamer {
    VersionNamer::new(None)
}

fn text(snapshot: &Snapshot) -> &str {
    std::str::from_utf8(&snapshot.body).unwrap()
}

/// What is published after each of these bodies; an unfit one publishes nothing.
fn published(change: Change, bodies: &[&str]) -> Vec<String> {
    let rules = rules(change);
    let mut last: Option<Snapshot> = None;
    let mut texts = Vec::new();
    for body in bodies {
        match rules.snapshot(json_content(body), last.as_ref(), &namer()) {
            Ok(snapshot) => {
                if let Some(last) = last.filter(|last| last.version == snapshot.version) {
                    assert_eq!(last.body, snapshot.body, "one version, one body");
                }
                texts.push(text(&snapshot).to_owned());
                last = Some(snapshot);
            }
            Err(unfit) => texts.push(unfit.class.to_owned()),
        }
    }
    texts
}

#[test]
fn without_rules_bytes_are_compared() {
    let bodies = [r#"{"a": 1.0}"#, r#"{"a":1}"#, "{", "[1e2,\u{20}\"\\u00e9\"]"];
    assert_eq!(published(Change::default(), &bodies), [bodies[0], bodies[1], "not-json", bodies[3]]);
    let rules = rules(Change::default());
    let xml = rules.snapshot(content("text/xml", b"<a>\xff"), None, &namer()).unwrap();
    assert_eq!(&xml.body[..], b"<a>\xff");
    let empty = Content { status: StatusCode::NO_CONTENT, ..json_content("") };
    assert!(rules.snapshot(empty, None, &namer()).is_ok());
}

#[test]
fn json_has_to_parse() {
    let cases: [(&str, &[u8], bool); 7] = [
        ("application/json", b"{\"a\":[1]}", true),
        ("application/json", b"{\"a\":[1", false),
        ("application/json", b"", false),
        ("application/problem+json", b"<html>", false),
        ("application/json", b"\xef\xbb\xbf{}", true),
        ("application/json", b"{} trailing", false),
        ("text/plain", b"{\"a\":", true),
    ];
    for (content_type, body, fits) in cases {
        let found = rules(Change::default()).snapshot(content(content_type, body), None, &namer());
        let what = String::from_utf8_lossy(body);
        assert_eq!(
            found.as_ref().map_err(|unfit| unfit.class).err(),
            (!fits).then_some("not-json"),
            "{what}"
        );
    }
}

#[test]
fn a_snapshot_is_named_by_status_type_and_body_alone() {
    let named =
        |content: Content| rules(Change::default()).snapshot(content, None, &namer()).unwrap().version;
    let first = json_content("{}");
    let mut second = content("Application/JSON; v=2", b"{}");
    second.headers.insert("x-a", HeaderValue::from_static("1"));
    second.validators.etag = Some(HeaderValue::from_static("\"2\""));
    assert_eq!(named(first), named(second.clone()));
    second.status = StatusCode::ACCEPTED;
    assert_ne!(named(json_content("{}")), named(second), "not yet is another state");
    assert_ne!(named(json_content("{}")), named(json_content("{} ")));
}

#[test]
fn what_should_be_json_and_is_not_is_refused_with_a_reason() {
    let unfit = rules(Change::default()).snapshot(json_content("<html>"), None, &namer()).unwrap_err();
    assert_eq!(unfit.class, "not-json");
    assert!(unfit.reason.starts_with("the body says it is application/json but does not parse: "));
    let ruled = Rules::new(&Change { canonical: true, ..Change::default() });
    for body in [&b"<rss/>"[..], b"\"\xff\""] {
        let unfit = ruled.snapshot(content("text/xml", body), None, &namer()).unwrap_err();
        assert_eq!(unfit.class, "not-json");
        assert!(unfit.reason.contains("the body (text/xml) does not parse as JSON"), "{}", unfit.reason);
    }
}

#[test]
fn a_selection_is_published_as_it_was_written() {
    let change = Change { select: Some("/data/0".into()), ..Change::default() };
    let bodies = [r#"{"data": [ {"n": 1.50, "id":12345678901234567890} ], "t": 1}"#, r#"{"data":[]}"#];
    assert_eq!(
        published(change.clone(), &bodies),
        [r#"{"n": 1.50, "id":12345678901234567890}"#, "no-selection"]
    );
    let rules = rules(change);
    let unfit = rules.snapshot(json_content("{}"), None, &namer()).unwrap_err();
    assert_eq!(unfit.reason, "the body has nothing at \"/data/0\", which `change.select` publishes");
    let one = rules.snapshot(json_content(r#"{"data":[7],"t":1}"#), None, &namer()).unwrap();
    let two = rules.snapshot(json_content(r#"{"data":[7],"t":2}"#), Some(&one), &namer()).unwrap();
    assert_eq!(one.version, two.version);
    // What is selected is all that stays in memory.
    let whole = json_content(&format!(r#"{{"data":[7],"rest":"{}"}}"#, "x".repeat(50_000)));
    let body = whole.body.clone();
    let _kept = rules.snapshot(whole, None, &namer()).unwrap();
    assert!(body.is_unique());
}

#[test]
fn canonical_bodies_do_not_know_order_and_forms() {
    let change = Change { canonical: true, ..Change::default() };
    let bodies = ["{\"b\":[1.0,\"\\u00e9\\/\"],\n \"a\":10e1}", r#"{"a":100,"b":[1,"é/"]}"#];
    let one = r#"{"a":100,"b":[1,"é/"]}"#;
    assert_eq!(published(change, &bodies), [one, one]);
}

#[test]
fn ignored_members_are_as_they_were_when_the_version_was_made() {
    let change = Change { ignore: vec![pointer("/at"), path("$.items[*].seen")], ..Change::default() };
    let bodies = [
        r#"{"at":1,"items":[{"n":1,"seen":1}]}"#,
        r#"{"items":[{"n":1,"seen":5}],"at":2}"#,
        r#"{"items":[{"n":1}]}"#,
        r#"{"at":3,"items":[{"n":2,"seen":9}]}"#,
    ];
    assert_eq!(published(change.clone(), &bodies), [bodies[0], bodies[0], bodies[0], bodies[3]]);
    let snapshot = rules(change).snapshot(json_content(bodies[0]), None, &namer()).unwrap();
    assert!(snapshot.ignored().by_name);
    assert_eq!(snapshot.ignored().starts.len(), 2);
}

#[test]
fn expressions_find_members_beside_names_that_come_twice() {
    let change = Change { ignore: vec![path("$..t")], ..Change::default() };
    let bodies = [
        r#"{"a":{"x":1,"t":1,"x":2},"t":0,"b":[{"t":3}]}"#,
        r#"{"a":{"x":2,"t":7},"t":8,"b":[{"t":9,"t":1}]}"#,
    ];
    let one = r#"{"a":{"t":1,"x":2},"b":[{"t":3}],"t":0}"#;
    assert_eq!(published(change, &bodies), [one, one]);
}

#[test]
fn versions_with_ignored_members_are_the_same_everywhere() {
    let rules = rules(Change { ignore: vec![pointer("/at"), pointer("/z/1")], ..Change::default() });
    let version = |body: &str| rules.snapshot(json_content(body), None, &namer()).unwrap().version;
    let same =
        [r#"{"at":1,"b":2,"z":[1,2]}"#, r#"{"b":2,"z":[1,[]]}"#, r#"{"z":[1.0,{"a":1}],"b":2,"at":{"x":1}}"#];
    assert!(same.iter().all(|body| version(body) == version(same[0])));
    for other in [r#"{"b":2,"z":[1]}"#, r#"{"b":2,"z":[1,2,3]}"#, r#"{"b":2}"#, r#"{"b":2,"z":[1,2],"c":0}"#]
    {
        assert_ne!(version(other), version(same[0]), "{other}");
    }
}

#[test]
fn a_slow_drift_is_seen_in_the_end() {
    let change = Change { tolerance: vec![(pointer("/p"), 0.1)], ..Change::default() };
    let bodies = [r#"{"p":1.0,"q":1}"#, r#"{"p":1.06,"q":1}"#, r#"{"p":1.06,"q":2}"#, r#"{"p":1.12,"q":2}"#];
    let wanted = [r#"{"p":1,"q":1}"#, r#"{"p":1,"q":1}"#, r#"{"p":1,"q":2}"#, r#"{"p":1.12,"q":2}"#];
    assert_eq!(published(change, &bodies), wanted);
}

#[test]
fn the_first_tolerance_that_names_a_number_counts() {
    let tolerance = vec![(path("$..rate"), 0.0), (pointer(""), 5.0)];
    let change = Change { tolerance, ..Change::default() };
    let bodies = [r#"[{"rate":1,"n":1},10]"#, r#"[{"rate":1,"n":3},12]"#, r#"[{"rate":2,"n":3},12]"#];
    assert_eq!(
        published(change, &bodies),
        [r#"[{"n":1,"rate":1},10]"#, r#"[{"n":1,"rate":1},10]"#, r#"[{"n":1,"rate":2},10]"#]
    );
}

#[test]
fn arrays_with_a_key_are_sets() {
    let key = |of: Option<Members>| Change {
        array_keys: vec![ArrayKey { of, key: "/id".into() }],
        tolerance: vec![(path("$..p"), 1.0)],
        ..Change::default()
    };
    let bodies = [
        r#"{"items":[{"id":10,"p":1},{"id":9,"p":5}]}"#,
        r#"{"items":[{"id":9,"p":5.5},{"id":10,"p":1}]}"#,
        r#"{"items":[{"id":11,"p":2},{"id":9,"p":5.5},{"id":10,"p":1}]}"#,
    ];
    let one = r#"{"items":[{"id":9,"p":5},{"id":10,"p":1}]}"#;
    let two = r#"{"items":[{"id":9,"p":5},{"id":10,"p":1},{"id":11,"p":2}]}"#;
    assert_eq!(published(key(None), &bodies), [one, one, two]);
    assert_eq!(published(key(Some(pointer("/items"))), &bodies), [one, one, two]);
    let elsewhere = published(key(Some(pointer("/other"))), &bodies[..2]);
    assert_ne!(elsewhere[0], elsewhere[1]);
    let partly = r#"[{"id":2},{"x":1},{"id":1}]"#;
    assert_eq!(published(key(None), &[partly]), [partly], "not every item has the key");
}

#[test]
fn a_rewritten_body_has_no_digest_and_is_utf_8() {
    let rules = rules(Change { canonical: true, ..Change::default() });
    let mut upstream = content("application/json; charset=iso-8859-1", b"{ \"a\":\"\xe9\"}");
    upstream.headers.insert("content-md5", HeaderValue::from_static("x"));
    upstream.headers.insert("x-a", HeaderValue::from_static("1"));
    let snapshot = rules.snapshot(upstream, None, &namer()).unwrap();
    assert_eq!(text(&snapshot), r#"{"a":"é"}"#);
    assert_eq!(snapshot.content_type.as_ref().unwrap(), "application/json");
    assert_eq!((snapshot.headers.get("content-md5"), snapshot.headers.len()), (None, 1));
}

#[test]
fn the_same_bytes_are_the_same_snapshot_with_newer_headers() {
    for change in [Change::default(), Change { ignore: vec![pointer("/t")], ..Change::default() }] {
        let mut detector = Detector::new(&change);
        let one = detector.snapshot(json_content(r#"{"t": 1}"#), None, &namer()).unwrap();
        let mut again = json_content(r#"{"t": 1}"#);
        again.headers.insert("x-a", HeaderValue::from_static("1"));
        again.validators.etag = Some(HeaderValue::from_static("\"2\""));
        let two = detector.snapshot(again, Some(&one), &namer()).unwrap();
        assert_eq!((two.version, &two.body, two.ignored()), (one.version, &one.body, one.ignored()));
        assert_eq!((two.headers.len(), two.validators.etag.is_some()), (1, true));
        let typed = content("application/hal+json", br#"{"t": 1}"#);
        assert_ne!(detector.snapshot(typed, Some(&two), &namer()).unwrap().version, one.version);
    }
}
