//! The canonical form beside an independent one.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::resource::Json;

fn canonical(text: &str) -> String {
    let json = Json::parse(text.to_owned().into()).expect(text);
    let change = Change { canonical: true, ..Change::default() };
    let written = write(&change, &Marks::of(&change, json.root()), json.root(), None);
    assert!(written.counted.is_none() && written.ignored.is_empty());
    String::from_utf8(written.body).unwrap()
}

#[test]
fn members_stand_in_the_order_of_utf_16() {
    // The example of RFC 8785 §3.2.3.
    let text = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
        "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
    let names: Vec<String> = serde_json::from_str::<serde_json::Map<String, Value>>(&canonical(text))
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(names, ["\r", "1", "\u{80}", "ö", "€", "😀", "\u{fb33}"]);
}

#[test]
fn of_members_with_one_name_the_last_stays() {
    assert_eq!(canonical(r#"{"b":1,"a":1,"\u0061":2,"b":0}"#), r#"{"a":2,"b":0}"#);
}

#[test]
fn integers_keep_all_their_digits() {
    assert_eq!(canonical("[9007199254740993, 1.0, -0]"), "[9007199254740993,1,0]");
}

#[test]
fn half_a_surrogate_pair_stays_as_it_is() {
    assert_eq!(canonical(r#"{"\ud800":"\udc00\u0041"}"#), r#"{"\ud800":"\udc00\u0041"}"#);
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1i64 << 53)..(1i64 << 53)).prop_map(Value::from),
        any::<f64>().prop_filter("finite", |n| n.is_finite() && n.abs() < 1e15).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn it_is_the_form_of_rfc_8785(value in values()) {
        let wanted = serde_json_canonicalizer::to_string(&value).unwrap();
        prop_assert_eq!(canonical(&value.to_string()), wanted.clone());
        prop_assert_eq!(canonical(&serde_json::to_string_pretty(&value).unwrap()), wanted.clone());
        prop_assert_eq!(canonical(&wanted), wanted);
    }
}
