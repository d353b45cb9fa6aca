//! Two states of a resource, as the upstream may send them, under rules that the first byte chooses: equal
//! names mean equal bodies, and patches lead from one state to the other.
#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use libfuzzer_sys::fuzz_target;
use pollcast::change::{Rules, json_patch, merge_patch};
use pollcast::config::{ArrayKey, Change, Members};
use pollcast::resource::{Content, Json, Snapshot, Validators, VersionNamer};
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((&how, data)) = data.split_first() else { return };
    let at = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (before, after) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    read(before);
    read(after);
    let rules = Rules::new(&change(how));
    let namer = VersionNamer::new(None);
    let Ok(old) = rules.snapshot(content(before), None, &namer) else { return };
    let Ok(new) = rules.snapshot(content(after), Some(&old), &namer) else { return };
    if old.version == new.version {
        assert_eq!(old.body, new.body, "one name, one body");
        return;
    }
    let (Ok(old_value), Ok(new_value)) = (value(&old), value(&new)) else { return };
    // What does not count may be left as it was.
    let exact = how & 2 == 0;
    if let Some(text) = json_patch(&old, &new, usize::MAX) {
        let patch: json_patch::Patch = serde_json::from_slice(&text).expect("a patch is JSON");
        let mut patched = old_value.clone();
        json_patch::patch(&mut patched, &patch).expect("a patch applies to what it was made from");
        assert!(!exact || patched == new_value, "{patched} instead of {new_value}");
    }
    if let Some(text) = merge_patch(&old, &new, usize::MAX) {
        let patch: Value = serde_json::from_slice(&text).expect("a patch is JSON");
        let mut patched = old_value;
        json_patch::merge(&mut patched, &patch);
        assert!(!exact || patched == new_value, "{patched} instead of {new_value}");
    }
});

fn change(how: u8) -> Change {
    let member = |name: &str| Members::Pointer(name.to_owned());
    Change {
        canonical: how & 1 == 1,
        ignore: if how & 2 == 2 { vec![member("/a"), member("/b/0")] } else { Vec::new() },
        select: (how & 4 == 4).then(|| "/a".to_owned()),
        tolerance: if how & 8 == 8 { vec![(member("/n"), 0.5)] } else { Vec::new() },
        array_keys: if how & 16 == 16 {
            vec![ArrayKey { of: None, key: "/id".to_owned() }]
        } else {
            Vec::new()
        },
        ignore_lines: Vec::new(),
    }
}

fn content(text: &[u8]) -> Content {
    Content {
        status: StatusCode::OK,
        content_type: Some(HeaderValue::from_static("application/json")),
        headers: HeaderMap::new(),
        validators: Validators::default(),
        vary: Vec::new(),
        body: Bytes::copy_from_slice(text),
    }
}

fn value(snapshot: &Snapshot) -> serde_json::Result<Value> {
    serde_json::from_slice(&snapshot.body)
}

/// What both read they read the same.
fn read(text: &[u8]) {
    let ours = Json::parse(Bytes::copy_from_slice(text));
    let theirs = serde_json::from_slice::<Value>(text);
    if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
        assert_eq!(ours.root().value(), theirs);
    }
}
