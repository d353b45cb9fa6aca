//! Circles of files: which file needs which, and which need each other.
//!
//! A name that a folder's `mod.rs` passes on counts as an import of the file that defines it. Test code is left out.
//! Must not know: layers, what a file is for.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Code;

/// How many files of a folder need each other in a circle. The numbers only fall: a circle is no layer's, and none of
/// its files can be read alone.
const CIRCLING: &[(&str, usize)] = &[];

/// Names that are passed on lead no further than this.
const REEXPORTS_MAX: usize = 8;

/// The files of a crate, by module.
pub struct Files<'a> {
    files: BTreeMap<Vec<String>, (&'a str, Uses)>,
}

/// The paths that a file names.
struct Uses {
    /// All that the code needs.
    needed: Vec<Vec<String>>,
    /// What `pub use` passes on: the name, and the path behind it.
    passed_on: BTreeMap<String, Vec<String>>,
}

impl<'a> Files<'a> {
    /// `files`: the module, the file's name and its code.
    pub fn of(files: &[(Vec<String>, &'a str, Code)]) -> Files<'a> {
        let modules: BTreeSet<Vec<String>> = files.iter().map(|(module, ..)| module.clone()).collect();
        let with_uses = files.iter().map(|(module, file, code)| {
            let uses = Reader { code, module, modules: &modules }.uses();
            (module.clone(), (*file, uses))
        });
        Files { files: with_uses.collect() }
    }

    /// The file that defines what a path from the crate's root names.
    fn file_of(&self, path: &[String], depth: usize) -> Option<&Vec<String>> {
        let length = (1..=path.len()).rev().find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, (_, uses)) = self.files.get_key_value(&path[..length])?;
        let behind = path.get(length).and_then(|name| uses.passed_on.get(name));
        match behind {
            Some(behind) if depth < REEXPORTS_MAX => self.file_of(behind, depth + 1).or(Some(module)),
            _ => Some(module),
        }
    }

    /// Which files each file needs.
    pub fn imports(&self) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
        let needs = |module: &Vec<String>, uses: &Uses| {
            let files = uses.needed.iter().filter_map(|path| self.file_of(path, 0));
            files.filter(|other| *other != module).map(|other| self.files[other].0).collect()
        };
        self.files.iter().map(|(module, (file, uses))| (*file, needs(module, uses))).collect()
    }
}

/// The circles, each in the order of the alphabet.
pub fn circles(imports: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Vec<String>> {
    let reached = |from: &str| {
        let mut reached = BTreeSet::new();
        let mut waiting: Vec<&str> = imports.get(from).into_iter().flatten().copied().collect();
        while let Some(file) = waiting.pop() {
            if reached.insert(file) {
                waiting.extend(imports.get(file).into_iter().flatten());
            }
        }
        reached
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> = imports.keys().map(|file| (*file, reached(file))).collect();
    let mut found = BTreeSet::new();
    for (file, others) in reached.iter().filter(|(file, others)| others.contains(*file)) {
        let circle =
            others.iter().filter(|other| reached.get(*other).is_some_and(|back| back.contains(file)));
        found.insert(circle.map(|file| (*file).to_owned()).collect::<Vec<_>>());
    }
    found.into_iter().collect()
}

/// Circles that are more than the known ones, and numbers of known ones that have fallen.
pub fn check(imports: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let circles = circles(imports);
    let folder = |file: &str| file.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for circle in &circles {
        *found.entry(folder(&circle[0])).or_default() += circle.len();
    }
    let known = |name: &str| CIRCLING.iter().find(|(known, _)| *known == name).map_or(0, |(_, files)| *files);
    let more = found.iter().filter(|(name, files)| **files > known(name)).map(|(name, files)| {
        let of_folder = circles.iter().filter(|circle| folder(&circle[0]) == *name);
        let told: Vec<String> = of_folder.map(|circle| circle.join(" ↔ ")).collect();
        let known = known(name);
        format!(
            "src/{name}: {files} files import each other in circles, at most {known}:\n    {}",
            told.join("\n    ")
        )
    });
    let fewer = CIRCLING.iter().filter(|(name, files)| found.get(*name).copied().unwrap_or(0) < *files);
    let fewer = fewer.map(|(name, _)| {
        let now = found.get(*name).copied().unwrap_or(0);
        format!("src/{name}: only {now} files are in circles now: write that into CIRCLING in tests/layers/circles.rs")
    });
    more.chain(fewer).collect()
}

/// Reads the paths that one file names.
struct Reader<'a> {
    code: &'a Code,
    module: &'a [String],
    modules: &'a BTreeSet<Vec<String>>,
}

impl Reader<'_> {
    fn uses(&self) -> Uses {
        let mut uses = Uses { needed: Vec::new(), passed_on: BTreeMap::new() };
        let mut at = 0;
        while at < self.code.tokens.len() {
            if self.code.token(at) == "use" && self.code.token(at + 1) != "<" {
                let is_passed_on = at > 0 && matches!(self.code.token(at - 1), "pub" | ")");
                let mut leaves = Vec::new();
                let end = self.tree(at + 1, &[], &mut leaves);
                for (path, name) in leaves {
                    self.note(path, name, is_passed_on, &mut uses);
                }
                at = end;
            } else {
                at = self.plain_path(at, &mut uses);
            }
        }
        uses
    }

    fn note(&self, path: Vec<String>, name: String, is_passed_on: bool, uses: &mut Uses) {
        let Some(path) = self.of_root(&path) else { return };
        if !is_passed_on || self.is_used(&name) {
            uses.needed.push(path.clone());
        }
        if is_passed_on {
            uses.passed_on.insert(name, path);
        }
    }

    /// Whether the file names it in its code: `mod name;` and what `use` says are none.
    fn is_used(&self, name: &str) -> bool {
        let mut is_import = false;
        (0..self.code.tokens.len()).any(|at| {
            match self.code.token(at) {
                "use" if self.code.token(at + 1) != "<" => is_import = true,
                ";" => is_import = false,
                _ => {}
            }
            let is_declaration = at > 0 && self.code.token(at - 1) == "mod";
            !is_import && !is_declaration && self.code.token(at) == name
        })
    }

    /// A path outside of `use`; returns the place behind its first word.
    fn plain_path(&self, at: usize, uses: &mut Uses) -> usize {
        // `pub(in crate::front)` says where a name is seen: nothing is needed from there.
        let continues = at > 0 && matches!(self.code.token(at - 1), "::" | "." | "in");
        if continues || self.code.token(at + 1) != "::" {
            return at + 1;
        }
        let mut path = vec![self.code.token(at).to_owned()];
        let mut next = at + 1;
        while self.code.token(next) == "::" && is_name(self.code.token(next + 1)) {
            path.push(self.code.token(next + 1).to_owned());
            next += 2;
        }
        uses.needed.extend(self.of_root(&path));
        at + 1
    }

    /// The leaves of a tree of `use`, and the place behind it.
    fn tree(&self, at: usize, before: &[String], leaves: &mut Vec<(Vec<String>, String)>) -> usize {
        let mut path = before.to_vec();
        let mut at = at;
        loop {
            match self.code.token(at) {
                "::" => at += 1,
                "{" => {
                    at += 1;
                    while !matches!(self.code.token(at), "}" | ";" | "") {
                        at = self.tree(at, &path, leaves);
                        at += usize::from(self.code.token(at) == ",");
                    }
                    return at + 1;
                }
                "as" => {
                    let name = self.code.token(at + 1).to_owned();
                    leaves.push((path, name));
                    return at + 2;
                }
                "," | ";" | "}" | "" => break,
                "self" if !path.is_empty() => at += 1,
                word => {
                    path.push(word.to_owned());
                    at += 1;
                }
            }
        }
        let name = path.last().cloned().unwrap_or_default();
        leaves.push((path, name));
        at
    }

    /// The path from the crate's root. Returns `None` for another crate's, and for what the file itself defines.
    fn of_root(&self, path: &[String]) -> Option<Vec<String>> {
        let first = path.first()?;
        let child = || self.module.iter().chain([first]).cloned().collect::<Vec<_>>();
        match first.as_str() {
            "crate" | "pollcast" => Some(path[1..].to_vec()),
            "self" => Some(self.module.iter().chain(&path[1..]).cloned().collect()),
            "super" => {
                let supers = path.iter().take_while(|word| *word == "super").count();
                let above = self.module.len().checked_sub(supers)?;
                Some(self.module[..above].iter().chain(&path[supers..]).cloned().collect())
            }
            _ if self.modules.contains(&child()) => Some(self.module.iter().chain(path).cloned().collect()),
            _ => None,
        }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[test]
fn a_circle_is_found_through_names_that_are_passed_on() {
    let file = |name: &'static str, text: &str| {
        let module: Vec<String> = super::module_path(name).into_iter().map(str::to_owned).collect();
        (module, name, Code::of(text))
    };
    let files = [
        file("hub/mod.rs", "//! x\nmod topic;\nmod view;\npub use topic::Topic;\npub use view::View;"),
        file("hub/topic.rs", "//! x\nuse crate::hub::{View};\npub(in crate::hub) struct Topic;"),
        file("hub/view.rs", "//! x\nfn f(topic: &super::Topic) -> impl Fn() + use<'_> {}"),
    ];
    let imports = Files::of(&files).imports();
    assert_eq!(circles(&imports), [["hub/topic.rs", "hub/view.rs"]]);
    let found = check(&BTreeMap::from([
        ("new/a.rs", BTreeSet::from(["new/b.rs"])),
        ("new/b.rs", BTreeSet::from(["new/a.rs"])),
    ]));
    assert!(found.iter().any(|found| found.contains("new/a.rs ↔ new/b.rs")), "{found:#?}");
}
