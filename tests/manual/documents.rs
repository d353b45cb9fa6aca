//! What the pages say exists: links, files, keys, configurations, and each other.

use std::path::{Component, Path, PathBuf};

use pollcast::config::{self, Config};
use serde_json::Value;

use super::pages::{self, MANUAL, Page};

fn load(text: &str, name: &str) -> Config {
    config::load_str(text, name, pages::root()).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

/// A configuration without routes: what a part of one needs beside it.
const REST: &str = "listeners: [{address: '127.0.0.1:8080'}]\n\
                    upstreams: {api: {servers: ['127.0.0.1:3000']}}\npassthrough: api\n";

/// A whole configuration of a block that may be a part of one.
fn completed(block: &str) -> String {
    if block.starts_with("listeners:") {
        return block.to_owned();
    }
    let block = block.replace("path: /prices/{symbol}\n", "path: /prices/{symbol}\n    upstream: api\n");
    if block.trim_start().starts_with("- ") {
        format!("{REST}routes:\n{block}")
    } else {
        format!("{REST}{block}")
    }
}

#[test]
fn every_configuration_on_the_pages_loads() {
    let mut loaded = 0;
    for page in pages::all() {
        let name = page.name();
        for block in page.blocks().iter().filter(|block| block.language == "yaml") {
            load(&completed(&block.text), &name);
            loaded += 1;
        }
    }
    assert!(loaded > 8, "the pages show {loaded} configurations");
}

#[test]
fn the_beginning_that_the_pages_show_is_the_file_in_conf() {
    let file = std::fs::read_to_string(pages::root().join("conf/pollcast.yaml")).expect("conf/pollcast.yaml");
    let file = format!("{:?}", load(&file, "x"));
    for path in ["README.md", "src/manual/quick-start.md"] {
        let blocks = Page::read(path).blocks();
        let first = blocks.iter().find(|block| block.language == "yaml").expect("a configuration");
        assert_eq!(format!("{:?}", load(&first.text, "x")), file, "{path} shows another conf/pollcast.yaml");
    }
}

/// Whether the schema has this key: `a.b`, `a[].b` for lists, `a.<name>.b` for any name.
fn has_key(schema: &Value, key: &str) -> bool {
    if schema["x-pollcast-later"] == true {
        return false;
    }
    for branches in ["anyOf", "oneOf"] {
        if let Some(branches) = schema[branches].as_array() {
            return branches.iter().any(|branch| has_key(branch, key));
        }
    }
    if key.is_empty() {
        return true;
    }
    if let Some(rest) = key.strip_prefix("[]") {
        return schema["items"].is_object() && has_key(&schema["items"], rest);
    }
    let key = key.strip_prefix('.').unwrap_or(key);
    let end = key.find(['.', '[']).unwrap_or(key.len());
    let (name, rest) = key.split_at(end);
    let below =
        if name.starts_with('<') { &schema["additionalProperties"] } else { &schema["properties"][name] };
    below.is_object() && has_key(below, rest)
}

#[test]
fn every_key_in_the_pages_tables_is_in_the_schema() {
    let schema = config::schema();
    let mut count = 0;
    for page in pages::all() {
        for key in page.cells("Key") {
            assert!(has_key(&schema, &key), "{} names {key}, the schema does not", page.name());
            count += 1;
        }
    }
    assert!(count > 80, "the pages' tables name {count} keys");
    for wrong in ["limits.clints", "listeners[].tls.clients_ca", "listeners.address"] {
        assert!(!has_key(&schema, wrong), "this test would let {wrong} pass");
    }
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{} leads out", path.display()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let all = pages::all();
    let mut count = 0;
    for page in &all {
        let name = page.name();
        let defined = page.definitions();
        let undefined = page.references().into_iter().find(|name| !defined.contains_key(name));
        assert_eq!(undefined, None, "{name} uses a link that it does not define");
        let unused = defined.keys().find(|name| !page.references().contains(*name));
        assert_eq!(unused, None, "{name} defines a link that it does not use");
        for target in page.inline_links().into_iter().chain(defined.into_values()) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let folder = page.path.parent().expect("a file");
            let file = if file.is_empty() { page.path.clone() } else { plain(&folder.join(file)) };
            assert!(pages::root().join(&file).exists(), "{name} links to {target}");
            if !anchor.is_empty() {
                let anchors = all.iter().find(|page| page.path == file).map(Page::anchors);
                let leads = anchors.is_some_and(|anchors| anchors.iter().any(|one| one == anchor));
                assert!(leads, "{name} links to {target}, which has no such heading");
            }
            count += 1;
        }
    }
    assert!(count > 60, "the pages have {count} links");
}

/// Whether a code span is the name of a file of this repository.
fn is_file(span: &str) -> bool {
    let folders = ["src/", "tests/", "benches/", "conf/", ".github/"];
    let is_plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    is_plain && (span.ends_with(".rs") || folders.iter().any(|folder| span.starts_with(folder)))
}

#[test]
fn every_file_that_the_pages_name_exists() {
    let mut count = 0;
    for page in pages::all() {
        let is_architecture = page.path.ends_with("architecture.md");
        for span in page.spans().iter().filter(|span| is_file(span)) {
            let below = if is_architecture { "src" } else { "" };
            let exists = [below, ""].iter().any(|folder| pages::root().join(folder).join(span).exists());
            assert!(exists, "{} names {span}", page.name());
            count += 1;
        }
    }
    assert!(count > 100, "the pages name {count} files");
}

#[test]
fn every_page_is_listed_and_in_the_documentation() {
    let index = Page::read(format!("{MANUAL}/README.md"));
    let module = Page::read(format!("{MANUAL}/mod.rs")).text;
    let links = Page::read(format!("{MANUAL}/links.txt")).definitions();
    let pages = pages::all().into_iter().filter(|page| page.path.starts_with(MANUAL));
    let mut count = 0;
    for page in pages.filter(|page| !page.path.ends_with("README.md")) {
        let file = page.path.file_name().expect("a file").to_string_lossy().into_owned();
        let name = file.trim_end_matches(".md");
        assert_eq!(index.definitions().get(name), Some(&file), "the manual's README does not list {file}");
        let item = name.replace(['-', '.'], "_");
        assert!(module.contains(&format!("{item}: \"{file}\",")), "mod.rs does not include {file}");
        let told = links.get(name).map(String::as_str);
        assert_eq!(told, Some(format!("crate::manual::{item}").as_str()), "links.txt does not say {name}");
        count += 1;
    }
    assert!(count > 15, "the manual has {count} pages");
}

#[test]
fn every_code_block_names_its_language() {
    for page in pages::all() {
        for block in page.blocks() {
            // Without one, the documentation's tests would take it for Rust.
            assert!(
                !block.language.is_empty(),
                "{}: a block without a language:\n{}",
                page.name(),
                block.text
            );
        }
    }
}

#[test]
fn readme_is_short() {
    const LINES_MAX: usize = 200;
    let lines = Page::read("README.md").text.lines().count();
    assert!(lines <= LINES_MAX, "README has {lines} lines: the manual has room");
}
