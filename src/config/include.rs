//! `include`: the files that a configuration is made of, read one after the other and joined into one tree.
//!
//! Lists are appended and mappings merged key by key; a key that two files say is a problem, as are files that include
//! themselves or come twice. Must not know: any other key.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::environment::{self, Lookup};
use super::files::{self, Files};
use super::problem::{Findings, Line, Place, quoted};
use super::yaml::{self, Entry, Kind, Node};

/// Most files of one configuration.
const FILES_MAX: usize = 2000;
/// Deepest chain of files that include each other; the first one counts.
const DEPTH_MAX: usize = 8;
/// Longest all files may be together, bytes.
const BYTES_MAX: usize = 16 << 20;
/// Most values in all files together.
const VALUES_MAX: usize = yaml::NODES_MAX;

/// The key that names further files.
const KEY: &str = "include";

/// Joins the files of one configuration.
pub struct Join<'a> {
    lookup: Lookup<'a>,
    findings: &'a mut Findings,
    files: Files,
    /// The resolved paths of the files that were read.
    known: HashSet<PathBuf>,
    bytes: usize,
    values: usize,
}

/// A text that was read, and where it comes from.
pub struct Source<'a> {
    /// The number of the file in the findings.
    pub file: usize,
    /// The text of the file.
    pub text: &'a str,
    /// How messages call the directory that its patterns are relative to.
    pub shown: &'a Path,
    /// That directory.
    pub directory: &'a Path,
}

impl<'a> Join<'a> {
    /// Nothing is read so far.
    pub fn new(lookup: Lookup<'a>, findings: &'a mut Findings) -> Join<'a> {
        Join { lookup, findings, files: Files::default(), known: HashSet::new(), bytes: 0, values: 0 }
    }

    /// The tree of the first text, which may be no file, with everything that it includes. Returns `None` if it cannot
    /// be read, which has been told.
    pub fn tree(&mut self, first: Option<&Path>, source: &Source<'_>) -> Option<Node> {
        let resolved = first.map(files::resolved).unwrap_or_default();
        self.files.files.extend(first.map(Path::to_owned));
        self.known.insert(resolved.clone());
        self.joined(source, &mut vec![resolved])
    }

    /// The files that were read.
    pub fn files(self) -> Files {
        self.files
    }

    fn joined(&mut self, source: &Source<'_>, above: &mut Vec<PathBuf>) -> Option<Node> {
        let mut tree = self.parsed(source)?;
        let Kind::Mapping(entries) = &mut tree.kind else { return Some(tree) };
        let Some(at) = entries.iter().position(|entry| entry.key == KEY) else { return Some(tree) };
        let include = entries.remove(at);
        if let Some(again) = entries.iter().find(|entry| entry.key == KEY) {
            let message = format!("key {} is already on line {}", quoted(KEY), include.line.number);
            self.findings.problem_on(again.line, &Place::root().key(KEY), message);
        }
        entries.retain(|entry| entry.key != KEY);
        if above.len() >= DEPTH_MAX {
            let message = format!("files include each other more than {DEPTH_MAX} deep");
            self.findings.problem_on(include.line, &Place::root().key(KEY), message);
            return Some(tree);
        }
        for (line, pattern) in self.patterns(&include) {
            for (path, shown) in self.matches(&pattern, line, source) {
                let included = self.included(&path, &shown, line, above);
                let Kind::Mapping(entries) = &mut tree.kind else { continue };
                if let Some(included) = included {
                    self.merge(entries, included);
                }
            }
        }
        Some(tree)
    }

    fn parsed(&mut self, source: &Source<'_>) -> Option<Node> {
        self.bytes += source.text.len();
        let text = source.text.strip_prefix('\u{feff}').unwrap_or(source.text);
        let problem = match yaml::parse(text, source.file) {
            Ok(tree) => {
                self.values += yaml::size(&tree);
                if self.bytes <= BYTES_MAX && self.values <= VALUES_MAX {
                    return Some(tree);
                }
                let message =
                    format!("with this file there are more than {VALUES_MAX} values, or 16MiB, in all");
                (Line { file: source.file, number: 0 }, message)
            }
            Err(error) => (Line { file: source.file, number: error.line }, error.message),
        };
        self.findings.problem_on(problem.0, &Place::root(), problem.1);
        None
    }

    /// The patterns that are said, with their lines.
    fn patterns(&mut self, include: &Entry) -> Vec<(Line, String)> {
        let place = Place::root().key(KEY);
        let Kind::List(items) = &include.value.kind else {
            if !matches!(include.value.kind, Kind::Nothing) {
                self.findings.problem_on(include.line, &place, "expected a list");
            }
            return Vec::new();
        };
        let mut patterns = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let read = match &item.kind {
                Kind::Scalar(text) => environment::expand(text, self.lookup).map(|text| text.into_owned()),
                _ => Err("expected a plain value: a file, or a pattern as routes/*.yaml".to_owned()),
            };
            match read {
                Ok(pattern) => patterns.push((item.line, pattern)),
                Err(message) => self.findings.problem_on(item.line, &place.index(index), message),
            }
        }
        patterns
    }

    /// The files that a pattern names, sorted, with what messages call them.
    fn matches(&mut self, pattern: &str, line: Line, source: &Source<'_>) -> Vec<(PathBuf, PathBuf)> {
        let place = Place::root().key(KEY);
        let pattern = Path::new(pattern);
        let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let parent = pattern.parent().unwrap_or(Path::new(""));
        if name.is_empty() || files::is_pattern(&parent.to_string_lossy()) {
            let message = format!(
                "{} names no files: * and ? stand in the last part of a path alone, as routes/*.yaml",
                quoted(&pattern.to_string_lossy())
            );
            self.findings.problem_on(line, &place, message);
            return Vec::new();
        }
        let (directory, shown) = (source.directory.join(parent), source.shown.join(parent));
        if !files::is_pattern(name) {
            return vec![(directory.join(name), shown.join(name))];
        }
        self.files.patterns.push((directory.clone(), name.to_owned()));
        match files::matching(&directory, name, FILES_MAX) {
            Ok(names) if names.is_empty() => {
                let message = format!("no file is {}", quoted(&shown.join(name).to_string_lossy()));
                self.findings.warning_on(line, &place, message);
                Vec::new()
            }
            Ok(names) => names.iter().map(|name| (directory.join(name), shown.join(name))).collect(),
            Err(reason) => {
                let message = format!("{} {reason}", quoted(&shown.to_string_lossy()));
                self.findings.problem_on(line, &place, message);
                Vec::new()
            }
        }
    }

    /// The tree of an included file. Returns `None` if there is none, which has been told.
    fn included(
        &mut self,
        path: &Path,
        shown: &Path,
        line: Line,
        above: &mut Vec<PathBuf>,
    ) -> Option<Vec<Entry>> {
        let place = Place::root().key(KEY);
        let name = shown.display().to_string();
        let resolved = files::resolved(path);
        let refusal = match self.known.contains(&resolved) {
            true if above.contains(&resolved) => Some(format!("{} includes itself", quoted(&name))),
            true => Some(format!("{} is included already", quoted(&name))),
            false if self.known.len() >= FILES_MAX => Some(format!("there are more than {FILES_MAX} files")),
            false => None,
        };
        if let Some(message) = refusal {
            self.findings.problem_on(line, &place, message);
            return None;
        }
        self.known.insert(resolved.clone());
        self.files.files.push(path.to_owned());
        let text = match files::text(path) {
            Ok(text) => text,
            Err(reason) => {
                self.findings.problem_on(line, &place, format!("{} {reason}", quoted(&name)));
                return None;
            }
        };
        let file = self.findings.add_file(&name);
        let directory = path.parent().unwrap_or(Path::new(""));
        let source = Source { file, text: &text, shown: shown.parent().unwrap_or(Path::new("")), directory };
        above.push(resolved);
        let tree = self.joined(&source, above);
        above.pop();
        match tree?.kind {
            Kind::Mapping(entries) => Some(entries),
            Kind::Nothing => None,
            _ => {
                self.findings.problem_on(Line { file, number: 1 }, &Place::root(), "expected a mapping");
                None
            }
        }
    }

    /// Puts the keys of an included file beside those of the one that includes it.
    fn merge(&mut self, entries: &mut Vec<Entry>, included: Vec<Entry>) {
        for entry in included {
            let Some(known) = entries.iter_mut().find(|known| known.key == entry.key) else {
                entries.push(entry);
                continue;
            };
            let place = Place::root().key(&entry.key);
            match (&mut known.value.kind, entry.value.kind) {
                (_, Kind::Nothing) => {}
                (Kind::Nothing, kind) => {
                    known.line = entry.line;
                    known.value = Node { line: entry.value.line, kind };
                }
                (Kind::List(items), Kind::List(more)) => items.extend(more),
                (Kind::Mapping(keys), Kind::Mapping(more)) => {
                    for entry in more {
                        match keys.iter().find(|known| known.key == entry.key) {
                            Some(known) => {
                                self.said_twice(&place.key(&entry.key), &entry.key, entry.line, known.line)
                            }
                            None => keys.push(entry),
                        }
                    }
                }
                _ => self.said_twice(&place, &entry.key, entry.line, known.line),
            }
        }
    }

    fn said_twice(&mut self, place: &Place, key: &str, line: Line, first: Line) {
        let first = format!("{}:{}", self.findings.file(first.file), first.number);
        self.findings.problem_on(line, place, format!("key {} is already in {first}", quoted(key)));
    }
}
