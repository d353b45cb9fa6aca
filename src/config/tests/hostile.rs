//! Claims about texts that no operator would write on purpose: they end in a configuration or in problems.

use proptest::prelude::*;

use super::super::schema::schema;
use super::{SMALLEST, load_text, refused};

const REFERENCE: &str = include_str!("../../../conf/reference.yaml");

const VALUES: &[&str] = &[
    "",
    "~",
    "[]",
    "{}",
    "[~]",
    "[[a]]",
    "{ a: b }",
    "{ min: 1s, max: 2s }",
    "{ by: [a] }",
    "{ $: 1 }",
    "\"$[\"",
    "$..*",
    "/~2",
    "https://a:b@c",
    "off",
    "true",
    "-1",
    "0",
    "99999999999999999999",
    "1.5",
    "\"\"",
    "\"\\0\"",
    "\"é\"",
    "${X}",
    "$${",
    "${",
    "*a",
    "&a b",
    "!t b",
    "|",
    "/",
    "/{a}{b}",
    "/{*a}/b",
    "/%2f",
    "1h 99999999999999999999y",
    "9999999999999TiB",
    "1e308/s",
    ":",
    "\"[\"",
    "- a",
    "\t",
];

fn judged(text: &str) {
    if let Err(problems) = load_text(text, &[("X", "s3cr3t")]) {
        assert!(!problems.0.is_empty());
        let shown = problems.to_string();
        assert!(!shown.contains("its schema allows"), "schema and types disagree:\n{text}\n{shown}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}

#[test]
fn any_value_at_any_key_is_judged() {
    let plain = |line: &&str| !line.trim_start().starts_with('#') && line.contains(':');
    let lines: Vec<&str> =
        REFERENCE.lines().filter(plain).map(|line| line.split(" # ").next().unwrap_or(line)).collect();
    load_text(&lines.join("\n"), &[]).expect("it loads before a value is put in");
    for at in 0..lines.len() {
        let (before, after) = (lines[..at].join("\n"), lines[at + 1..].join("\n"));
        let (key, _) = lines[at].split_once(':').expect("lines without a key were left out");
        for value in VALUES {
            judged(&format!("{before}\n{key}: {value}\n{after}\n"));
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_judged(text in any::<String>()) {
        judged(&text);
    }

    #[test]
    fn any_soup_of_yaml_is_judged(parts in prop::collection::vec(prop::sample::select(vec![
        "a", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "\"", "'", "&a", "*a", "|", ">", "#", "!", "%", "@", "?",
        "---", "...", "routes", "listeners", "poll", "${X}", "<<", "\t", "\r", "\u{feff}", "\u{0}",
    ]), 0..60)) {
        judged(&parts.concat());
    }

    #[test]
    fn a_reference_with_torn_lines_is_judged(start in 0..REFERENCE.len(), length in 0usize..400) {
        let mut text = REFERENCE.as_bytes().to_vec();
        let end = (start + length).min(text.len());
        text.drain(start..end);
        judged(&String::from_utf8_lossy(&text));
    }
}

#[test]
fn depth_and_aliases_are_bounded() {
    let deep: String = (0..40).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert_eq!(refused(&deep), "pollcast.yaml:33: nested deeper than 32 levels");
    assert!(refused(&"[".repeat(500_000)).contains("recursion limit"));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(refused(&bomb).contains("more than 100000 values, aliases included"));
    assert_eq!(refused("a: &a [*a]"), "pollcast.yaml:1: an alias stands inside its own anchor");
    assert_eq!(refused(&format!("#{}", " ".repeat(1 << 20))), "pollcast.yaml: longer than 1MiB");
}

#[test]
fn a_byte_order_mark_does_no_harm() {
    load_text(&format!("\u{feff}{SMALLEST}"), &[]).expect("loads");
}

#[test]
fn the_schema_has_no_references() {
    // The walk over the file follows none.
    assert!(!schema().to_string().contains("$ref"));
}
