//! Patches, applied by an independent implementation.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::change::tests::{json_content, rules};
use crate::change::{Rules, Unfit};
use crate::config::{ArrayKey, Change, Members as Places};
use crate::resource::{Content, Validators, VersionNamer};

fn snapshot(text: &str) -> Snapshot {
    let content = Content {
        status: StatusCode::OK,
        content_type: Some(HeaderValue::from_static("application/json")),
        headers: HeaderMap::new(),
        validators: Validators::default(),
        vary: Vec::new(),
        body: Bytes::copy_from_slice(text.as_bytes()),
    };
    let version = content.version(&VersionNamer::new(None), text.as_bytes());
    content.into_snapshot(version)
}

fn applied(base: &Value, patch: &[u8]) -> Value {
    let mut state = base.clone();
    let patch: json_patch::Patch = serde_json::from_slice(patch).expect("a JSON Patch");
    json_patch::patch(&mut state, &patch).expect("it applies");
    state
}

fn between(base: &Value, target: &Value) -> Bytes {
    json_patch(&snapshot(&base.to_string()), &snapshot(&target.to_string()), usize::MAX).expect("JSON")
}

fn merge_between(base: &Value, target: &Value) -> Option<Bytes> {
    merge_patch(&snapshot(&base.to_string()), &snapshot(&target.to_string()), usize::MAX)
}

/// Their operations one after the other.
fn joined(patches: &[Bytes]) -> Vec<u8> {
    let operations = patches.iter().map(|patch| serde_json::from_slice::<Vec<Value>>(patch).unwrap());
    serde_json::to_vec(&operations.flatten().collect::<Vec<_>>()).unwrap()
}

#[test]
fn only_what_differs_is_said() {
    let list = |ids: &[u32]| json!({"items": ids.iter().map(|id| json!({"id": id, "text": format!("item number {id}")})).collect::<Vec<_>>()});
    let thousand: Vec<u32> = (0..1000).collect();
    let mut newer = vec![5000];
    newer.extend(&thousand[..999]);
    let cases = [
        (json!({"a": 1, "b": 2}), json!({"a": 1, "b": 3}), r#"[{"op":"replace","path":"/b","value":3}]"#),
        (json!({"a/b": {"~": "x"}}), json!({"a/b": {}}), r#"[{"op":"remove","path":"/a~1b/~0"}]"#),
        (json!({"a": [1, 2, 3]}), json!({"a": [1, 3]}), r#"[{"op":"remove","path":"/a/1"}]"#),
        (json!([1]), json!({}), r#"[{"op":"replace","path":"","value":{}}]"#),
        (
            list(&thousand),
            list(&newer),
            r#"[{"op":"add","path":"/items/0","value":{"id":5000,"text":"item number 5000"}},{"op":"remove","path":"/items/1000"}]"#,
        ),
        (json!({"a\n\"": 1}), json!({"a\n\"": 2}), r#"[{"op":"replace","path":"/a\n\"","value":2}]"#),
        (json!({"a": 1}), json!({"a": 1}), "[]"),
    ];
    for (base, target, wanted) in cases {
        assert_eq!(between(&base, &target), wanted);
    }
}

#[test]
fn an_item_that_changed_is_found_by_its_name() {
    let base = json!([{"id": 1, "state": "running", "log": "a long text that stays as it is"},
                      {"id": 2, "state": "running", "log": "another long text that stays"}]);
    let target = json!([{"id": 3, "state": "queued", "log": ""},
                        {"id": 1, "state": "failed", "log": "a long text that stays as it is"},
                        {"id": 2, "state": "passed", "log": "another long text that stays"}]);
    let wanted = r#"[{"op":"add","path":"/0","value":{"id":3,"state":"queued","log":""}},{"op":"replace","path":"/1/state","value":"failed"},{"op":"replace","path":"/2/state","value":"passed"}]"#;
    assert_eq!(between(&base, &target), wanted);
}

#[test]
fn values_are_copied_digit_by_digit() {
    let state = |rest: &str| snapshot(&format!("{{\"same\":\"{}\",{rest}}}", "x".repeat(200)));
    let base = state(r#""id":1,"price":1.1,"text":1"#);
    let target = state(r#""id":12345678901234567890123,"price":1.10,"text":"\u00e9""#);
    let patch = json_patch(&base, &target, usize::MAX).unwrap();
    let patch = String::from_utf8_lossy(&patch).into_owned();
    for kept in [r#""value":12345678901234567890123}"#, r#""value":1.10}"#, r#""value":"\u00e9"}"#] {
        assert!(patch.contains(kept), "{patch}");
    }
}

#[test]
fn spelling_alone_is_no_difference() {
    let (base, target) = (snapshot(r#"{"a": "é", "b":[1]}"#), snapshot(r#"{"b":[1],"\u0061":"\u00e9"}"#));
    assert_eq!(json_patch(&base, &target, usize::MAX).unwrap(), "[]");
    assert_eq!(merge_patch(&base, &target, usize::MAX).unwrap(), "{}");
}

#[test]
fn what_is_no_json_or_too_long_has_no_patch() {
    let (json, xml) = (snapshot("{}"), snapshot("<rss/>"));
    assert_eq!(json_patch(&json, &xml, usize::MAX), None);
    assert_eq!(merge_patch(&xml, &json, usize::MAX), None);
    let long = snapshot(r#"{"a":"0123456789012345678901234567890123456789"}"#);
    assert_eq!(json_patch(&json, &long, 40), None);
    assert_eq!(merge_patch(&json, &long, 40), None);
}

#[test]
fn a_merge_patch_cannot_say_null() {
    for (base, target) in [
        (json!({}), json!({"a": null})),
        (json!({"a": 1}), json!({"a": null})),
        (json!({"a": 1}), json!({"a": {"b": {"c": null}}})),
        (json!(1), json!({"a": null})),
    ] {
        assert_eq!(merge_between(&base, &target), None, "{base} {target}");
    }
    assert_eq!(merge_between(&json!({"a": null, "b": 1}), &json!({"a": null})).unwrap(), r#"{"b":null}"#);
    assert_eq!(
        merge_between(&json!({"a": 1}), &json!({"a": [null, {"b": null}]})).unwrap(),
        r#"{"a":[null,{"b":null}]}"#
    );
}

/// JSON that often agrees in parts with other JSON from here.
fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0..4u32).prop_map(Value::from),
        (-2.0..2.0f64).prop_map(|n| json!((n * 4.0).round() / 4.0)),
        "[ab/~\"é]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            2 => proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            1 => proptest::collection::vec((0..5u32, inner.clone()), 0..6).prop_map(|items| {
                Value::from(items.iter().map(|(id, v)| json!({"id": id, "v": v})).collect::<Vec<_>>())
            }),
            2 => proptest::collection::btree_map("(id|[abt]|[a/~\"]{1,2}|)", inner, 0..5).prop_map(object),
        ]
    })
}

fn object(members: BTreeMap<String, Value>) -> Value {
    Value::Object(members.into_iter().collect())
}

/// A state after another one: changed here and there, rarely all of it.
fn mutated(value: Value, seed: u64) -> Value {
    let mut random = fastrand::Rng::with_seed(seed);
    change(value, &mut random)
}

fn change(value: Value, random: &mut fastrand::Rng) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items
                .into_iter()
                .filter_map(|item| (random.u8(..) > 25).then(|| change(item, random)))
                .collect();
            if random.u8(..) < 60 {
                items.insert(random.usize(..=items.len()), json!({"id": random.u8(..9), "new": true}));
            }
            if random.u8(..) < 25 {
                random.shuffle(&mut items);
            }
            Value::Array(items)
        }
        Value::Object(members) => {
            let mut members: serde_json::Map<String, Value> = members
                .into_iter()
                .filter_map(|(name, value)| (random.u8(..) > 25).then(|| (name, change(value, random))))
                .collect();
            if random.u8(..) < 60 {
                members.insert(random.alphabetic().to_string(), json!([random.u8(..)]));
            }
            Value::Object(members)
        }
        scalar if random.u8(..) > 50 => scalar,
        _ => json!(random.u8(..5)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_patch_gives_the_target(base in values(), other in values(), seed in any::<u64>()) {
        for target in [other, mutated(base.clone(), seed)] {
            let patch = between(&base, &target);
            prop_assert_eq!(applied(&base, &patch), target.clone(), "{}", String::from_utf8_lossy(&patch));
            let most = target.to_string().len() + r#"[{"op":"replace","path":"","value":}]"#.len();
            prop_assert!(patch.len() <= most, "longer than the whole");
        }
    }

    #[test]
    fn a_merge_patch_gives_the_target(base in values(), other in values(), seed in any::<u64>()) {
        for target in [other, mutated(base.clone(), seed)] {
            if let Some(patch) = merge_between(&base, &target) {
                let mut state = base.clone();
                json_patch::merge(&mut state, &serde_json::from_slice(&patch).unwrap());
                prop_assert_eq!(state, target, "{}", String::from_utf8_lossy(&patch));
            }
        }
    }

    #[test]
    fn a_chain_of_patches_is_one_patch(base in values(), seeds in proptest::collection::vec(any::<u64>(), 0..5)) {
        let mut state = base.clone();
        let mut patches = Vec::new();
        for seed in seeds {
            let next = mutated(state.clone(), seed);
            patches.push(between(&state, &next));
            state = next;
        }
        prop_assert_eq!(applied(&base, &joined(&patches)), state);
    }
}

/// The published states of a resource with ignored members, and a client that follows them by
/// patches alone.
fn followed(rules: &Rules, bodies: &[Value], merge: bool) -> Result<Option<(Value, Snapshot)>, Unfit> {
    let namer = VersionNamer::new(None);
    let mut published: Option<Snapshot> = None;
    let mut client = Value::Null;
    for body in bodies {
        let snapshot = rules.snapshot(json_content(&body.to_string()), published.as_ref(), &namer)?;
        match &published {
            Some(base) if base.version == snapshot.version => assert_eq!(base.body, snapshot.body),
            Some(base) if merge => match merge_patch(base, &snapshot, usize::MAX) {
                Some(patch) => json_patch::merge(&mut client, &serde_json::from_slice(&patch).unwrap()),
                None => return Ok(None),
            },
            Some(base) => client = applied(&client, &json_patch(base, &snapshot, usize::MAX).unwrap()),
            None => client = serde_json::from_slice(&snapshot.body).unwrap(),
        }
        published = Some(snapshot);
    }
    Ok(published.map(|published| (client, published)))
}

/// The value without what is named `t`, and without the second of every array's items.
fn without(value: &Value, by_name: bool) -> Value {
    match value {
        Value::Array(items) => {
            let kept = items
                .iter()
                .enumerate()
                .map(|(at, item)| if !by_name && at == 1 { Value::Null } else { without(item, by_name) });
            Value::Array(kept.collect())
        }
        Value::Object(members) => {
            let kept = members.iter().filter(|(name, _)| !by_name || *name != "t");
            Value::Object(kept.map(|(name, value)| (name.clone(), without(value, by_name))).collect())
        }
        scalar => scalar.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_follower_differs_in_ignored_values_alone(
        first in values(),
        seeds in proptest::collection::vec(any::<u64>(), 1..6),
        merge in any::<bool>(),
        by_name in any::<bool>(),
        more in any::<bool>(),
    ) {
        let path = if by_name { "$..t" } else { "$..[1]" };
        let ignore = vec![Places::Path(Box::new(serde_json_path::JsonPath::parse(path).unwrap()))];
        let mut change = Change { ignore, ..Change::default() };
        if more {
            change.tolerance = vec![(Places::Pointer(String::new()), 1.0)];
            // Sets have no second item that could be ignored.
            let key = ArrayKey { of: None, key: "/id".into() };
            change.array_keys = by_name.then_some(key).into_iter().collect();
        }
        let rules = rules(change);
        let mut bodies = vec![first];
        for seed in seeds {
            let last = bodies.last().cloned().unwrap_or_default();
            bodies.push(mutated(last, seed));
        }
        if let Some((client, published)) = followed(&rules, &bodies, merge).unwrap() {
            let published: Value = serde_json::from_slice(&published.body).unwrap();
            prop_assert_eq!(without(&client, by_name), without(&published, by_name));
        }
    }
}
