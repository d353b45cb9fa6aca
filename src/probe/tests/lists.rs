//! Lists of items, and what must not be polled.

use serde_json::{Value, json};

use super::super::listing::{Listing, listing};
use super::super::pollable::{Unpollable, revision, unpollable};
use super::answer;
use crate::hub::tests::route::route;
use crate::upstream::Answer;

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
