//! The reader of JSON beside an independent one, and the ways to a value.

use proptest::prelude::*;

use super::*;

fn json(text: &str) -> Json {
    Json::parse(Bytes::copy_from_slice(text.as_bytes())).expect(text)
}

#[test]
fn values_keep_their_text() {
    let json = json("\u{feff} {\"a\": [1.50, 12345678901234567890123, \"\\u00e9\"], \"b\": {\"~/\": null}} ");
    let at =
        |pointer: &str| json.root().pointer(pointer).map(|e| String::from_utf8_lossy(e.raw()).into_owned());
    assert_eq!(at("/a/0").as_deref(), Some("1.50"));
    assert_eq!(at("/a/1").as_deref(), Some("12345678901234567890123"));
    assert_eq!(at("/b/~0~1").as_deref(), Some("null"));
    assert_eq!(json.root().pointer("/a/2").and_then(|e| e.string()).as_deref(), Some("é"));
    for nothing in ["/a/3", "/a/00", "/a/-", "/c", "a", "/b/~0~1/x"] {
        assert_eq!(at(nothing), None, "{nothing}");
    }
}

#[test]
fn of_members_with_one_name_the_last_counts() {
    let json = json(r#"{"a":1,"\u0061":2}"#);
    assert_eq!(json.root().get("a").map(|e| e.raw()), Some(&b"2"[..]));
    assert_eq!(json.root().value(), serde_json::json!({"a": 2}));
}

#[test]
fn a_reason_names_the_place() {
    let error = Json::parse(Bytes::from_static(b"{\"a\":[1")).unwrap_err();
    assert_eq!(error.to_string(), "a comma or ] was expected at byte 7");
    assert_eq!(Json::parse(Bytes::from_static(b"\"\xff\"")).unwrap_err().wanted, "UTF-8");
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| Bytes::from("[".repeat(depth) + &"]".repeat(depth));
    assert!(Json::parse(nested(DEPTH_MAX)).is_ok());
    assert!(Json::parse(nested(DEPTH_MAX + 1)).is_err());
    assert!(Json::parse(nested(1 << 20)).is_err());
}

#[test]
fn ignored_values_are_known_from_above() {
    let text = r#"{"a":{"t":1},"b":[2,3]}"#;
    let starts = [text.find("1}").unwrap() as u32, text.find('3').unwrap() as u32];
    let json = json(text).ignoring(&starts);
    let at = |pointer: &str| json.root().pointer(pointer).unwrap();
    assert!(at("/a/t").is_ignored() && at("/b/1").is_ignored() && !at("/b/0").is_ignored());
    assert!(at("/a").has_ignored() && at("/b").has_ignored() && at("").has_ignored());
    assert!(!at("/b/0").has_ignored());
}

/// Texts that are JSON, or nearly.
fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[ \\[\\]{}:,\"]",
        "-?[0-9]{1,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
        "\"[a-z\\\\\"/unbé]{0,6}\"",
        Just("\"\\u00e9\"".to_owned()),
        Just("true".to_owned()),
        Just("null".to_owned()),
        Just("\"a\":".to_owned()),
        Just("\u{1}".to_owned()),
    ];
    let free = proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat());
    prop_oneof![free, any::<u64>().prop_map(|n| format!("[{n},{{\"a\":{}}}]", n as f64 / 1e9))]
}

proptest! {
    #[test]
    fn it_reads_what_another_reader_reads(text in texts()) {
        let ours = Json::parse(Bytes::copy_from_slice(text.as_bytes()));
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!(ours.root().value(), theirs);
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = Json::parse(Bytes::from(bytes));
    }
}
