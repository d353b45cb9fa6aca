//! The manual is held to the code: what a comment cites exists, and what the pages say is so.
//!
//! Reads `src/`, `tests/`, `benches/` and the manual as text. Must not know: what any module does.

mod commands;
mod documents;
pub mod pages;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const PROTOCOL: &str = include_str!("../src/manual/protocol.md");

/// This test names sections that do not exist.
const ITSELF: &str = "tests/manual.rs";

/// The numbers of the protocol's sections, from its headings.
fn sections(protocol: &str) -> Vec<u32> {
    let headings = protocol.lines().filter_map(|line| line.strip_prefix("## "));
    headings.filter_map(|heading| heading.split('.').next()?.parse().ok()).collect()
}

/// The sections that a text cites as "contract §N", further ones of the same list included.
fn cited(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for citation in text.split("contract §").skip(1) {
        let mut rest = citation;
        loop {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if let Ok(number) = rest[..digits].parse() {
                found.push(number);
            }
            rest = &rest[digits..];
            let next = [", §", "–§", " and §"].iter().find_map(|joint| rest.strip_prefix(joint));
            match next {
                Some(next) => rest = next,
                None => break,
            }
        }
    }
    found
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn every_section_of_the_contract_that_code_cites_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        rust_files(&root.join(folder), &mut files);
    }
    let sections = sections(PROTOCOL);
    assert!(sections.len() > 10, "the protocol has sections {sections:?}");
    let mut citations = 0;
    let mut unknown: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.ends_with(ITSELF)) {
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for section in cited(&text) {
            citations += 1;
            if !sections.contains(&section) {
                unknown.entry(file.display().to_string()).or_default().push(section);
            }
        }
    }
    assert!(citations > 100, "only {citations} citations were found");
    assert!(unknown.is_empty(), "sections that do not exist: {unknown:?}");
}

#[test]
fn a_list_of_sections_is_read_whole() {
    let text = "(contract §4–§6), (contract §1, §11, §12) and contract §99";
    assert_eq!(cited(text), [4, 6, 1, 11, 12, 99]);
}
