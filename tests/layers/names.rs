//! Whether the words in names of files are words that a reader brings along: keys of the configuration, metrics, words
//! of the pages that users read first, or terms of the field.
//!
//! Must not know: what a file holds.

use std::collections::BTreeSet;

use pollcast::config;
use serde_json::Value;

use super::source::Code;

/// What users read: the words of these texts are known.
const TEXTS: [&str; 3] = [
    include_str!("../../README.md"),
    include_str!("../../src/manual/concepts.md"),
    include_str!("../../src/manual/protocol.md"),
];

const METRICS: &str = include_str!("../../src/metrics.rs");

/// Terms of the field and of the architecture that no user has to know.
const TERMS: &str = "
    activity adaptive clock dashboard entry label openmetrics operator summary scrape admission align ambiguous app arrivals attend attendance backplane bind bridge bucket
    bundle canonical charged chunks classify cli compact comparison compute connector counters crowd crypto
    deadlines decision decode deflate demand descriptors diagnosis dial dialer difference draft egress engine
    entitlement environment exceptions exchange exemplars printable explain explanation fallback fanout fetch findings flapping framing freshness fuzzing gate
    generation goaway hand hub inbox index instant interner ledger lingering listing loss malformed membership memory
    merge mirror naming nats noise normalized notice operations ownership pacing pagination parser permit plan pollable
    preamble principal priority publish publisher quarantine question queue receive record redis rejected
    replay respond response room rules scalar schedule schema seal series service settings source spans staleness standing step
    subscription suggestion supervisor takeover tenure timers timing topic traffic trial trust units unpolled
    unshared validate validated validators value view views wire workaround
";

/// Common words that say nothing of what a file holds, although a text has them.
const EMPTY: &[&str] = &["place", "seen", "thing", "way", "whoever", "whose"];

/// Files whose names have other words.
pub fn check(files: &[(Vec<String>, &str, Code)]) -> Vec<String> {
    let known = known();
    let words = |module: &[String]| {
        module.iter().flat_map(|part| part.split('_')).map(str::to_owned).collect::<Vec<String>>()
    };
    let mut violations = Vec::new();
    for (module, file, _) in files {
        for word in words(module) {
            let is_known = known.contains(stem(&word)) && !EMPTY.contains(&word.as_str());
            if !is_known {
                violations.push(format!(
                    "src/{file}: `{word}` is no key, metric or word of README: take the word that a reader would \
                     search for, or add a term of the field to TERMS in tests/layers/names.rs"
                ));
            }
        }
    }
    violations
}

fn known() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut add = |text: &str| {
        let found = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.extend(found.map(|word| stem(&word.to_ascii_lowercase()).to_owned()));
    };
    keys(&config::schema(), &mut add);
    METRICS.split('"').skip(1).step_by(2).for_each(&mut add);
    TEXTS.iter().chain([&TERMS]).for_each(|text| add(text));
    add("main mod lib manual metrics");
    words
}

/// The names of all properties of a schema.
fn keys(schema: &Value, add: &mut impl FnMut(&str)) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                properties.keys().for_each(|key| add(key));
            }
            members.values().for_each(|value| keys(value, add));
        }
        Value::Array(items) => items.iter().for_each(|value| keys(value, add)),
        _ => {}
    }
}

/// The singular of a word, roughly.
fn stem(word: &str) -> &str {
    if word.len() > 3 { word.strip_suffix('s').unwrap_or(word) } else { word }
}

#[test]
fn a_name_that_no_reader_would_search_for_is_caught() {
    let file = |module: &[&str]| {
        (module.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>(), "a.rs", Code::of("//! x"))
    };
    let found = check(&[file(&["hub", "turnstile"]), file(&["hub", "max_clients"]), file(&["hub", "place"])]);
    let caught: Vec<&str> = found.iter().filter_map(|found| found.strip_prefix("src/a.rs: `")).collect();
    assert_eq!(caught.len(), 2, "{found:#?}");
    assert!(caught[0].starts_with("turnstile") && caught[1].starts_with("place"), "{found:#?}");
}
