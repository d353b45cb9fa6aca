//! The pages that people read, taken apart: code blocks, tables, links, headings.
//!
//! Owns the reading of Markdown as far as the tests need it. Must not know: what the pages say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the manual.
pub const MANUAL: &str = "src/manual";

pub struct Page {
    /// From the root of the repository.
    pub path: PathBuf,
    pub text: String,
}

/// A fenced block: its language and its lines without their common indentation.
pub struct Block {
    pub language: String,
    pub text: String,
}

/// README.md, the files of .github, the benchmarks' page and the manual.
pub fn all() -> Vec<Page> {
    let mut paths = vec![PathBuf::from("README.md"), PathBuf::from("benches/README.md")];
    for folder in [".github", MANUAL] {
        let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
        let names = entries.map(|entry| Path::new(folder).join(entry.expect("readable").file_name()));
        paths.extend(names.filter(|path| path.extension().is_some_and(|end| end == "md")));
    }
    paths.sort();
    paths.into_iter().map(Page::read).collect()
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

impl Page {
    pub fn read(path: impl Into<PathBuf>) -> Page {
        let path = path.into();
        let text = std::fs::read_to_string(root().join(&path));
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Page { path, text }
    }

    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut lines = self.text.lines();
        while let Some(open) = lines.find(|line| line.trim_start().starts_with("```")) {
            let indent = open.len() - open.trim_start().len();
            let language = open.trim_start().trim_start_matches('`').to_owned();
            let inside = lines.by_ref().take_while(|line| line.trim_start() != "```");
            let text = inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default())).collect();
            blocks.push(Block { language, text });
        }
        blocks
    }

    /// The text without its fenced blocks.
    pub fn prose(&self) -> String {
        let mut is_inside = false;
        let mut prose = String::new();
        for line in self.text.lines() {
            let is_fence = line.trim_start().starts_with("```");
            if !is_inside && !is_fence {
                prose.push_str(line);
                prose.push('\n');
            }
            is_inside ^= is_fence;
        }
        prose
    }

    /// The prose without its code spans: links in these are none.
    fn linking(&self) -> String {
        let prose = self.prose();
        let lines = prose.lines().map(|line| line.split('`').step_by(2).collect::<Vec<_>>().join(""));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The code spans of the prose.
    pub fn spans(&self) -> Vec<String> {
        let prose = self.prose();
        let lines = prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        lines.map(str::to_owned).collect()
    }

    /// The code spans in a column of the tables, label selectors cut off.
    pub fn cells(&self, column: &str) -> Vec<String> {
        let mut place = None;
        let mut found = Vec::new();
        for line in self.text.lines() {
            let Some(row) = line.strip_prefix('|') else {
                place = None;
                continue;
            };
            let row: Vec<&str> = row.split('|').map(str::trim).collect();
            match place {
                // The first row of a table; without the column, no row of it is looked at.
                None => place = Some(row.iter().position(|cell| *cell == column)),
                Some(Some(at)) => {
                    let spans = row.get(at).copied().unwrap_or_default().split('`');
                    let spans = spans.skip(1).step_by(2);
                    found.extend(spans.map(|span| span.split('{').next().unwrap_or(span).to_owned()));
                }
                Some(None) => {}
            }
        }
        found
    }

    /// Where links of the form `[text](target)` lead.
    pub fn inline_links(&self) -> Vec<String> {
        let prose = self.linking();
        let targets = prose.split("](").skip(1);
        targets.filter_map(|rest| rest.split(')').next()).map(str::to_owned).collect()
    }

    /// `[name]: target` by name.
    pub fn definitions(&self) -> BTreeMap<String, String> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
        lines.map(|(name, target)| (name.to_owned(), target.to_owned())).collect()
    }

    /// The names that links of the form `[text][name]` use.
    pub fn references(&self) -> BTreeSet<String> {
        let prose = self.linking();
        let names = prose.split("][").skip(1).filter_map(|rest| rest.split(']').next());
        names.map(str::to_owned).collect()
    }

    pub fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose.lines().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
    }
}

#[test]
fn a_page_is_taken_apart() {
    let text = "# A page: `x`\n\n```yaml\nlisteners: [a](b)\n```\n\nSee [`it`](c.md#d) and [that][name], `span`.\n\n\
                | Key | What |\n|---|---|\n| `a.b{c}` | no `key` |\n\n[name]: e.md\n";
    let page = Page { path: "x.md".into(), text: text.to_owned() };
    assert_eq!(page.anchors(), ["a-page-x"]);
    assert_eq!(page.blocks()[0].language, "yaml");
    assert_eq!(page.blocks()[0].text, "listeners: [a](b)\n");
    assert_eq!(page.inline_links(), ["c.md#d"]);
    assert!(page.references().contains("name"));
    assert_eq!(page.definitions()["name"], "e.md");
    assert_eq!(page.cells("Key"), ["a.b"]);
    assert_eq!(page.spans(), ["x", "it", "span", "a.b{c}", "key"]);
}
