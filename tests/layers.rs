//! The architecture as a test: who may import whom, who may name the proxy, names, sizes, headers.
//!
//! Reads `src/` as text: comments, literals and test code are blanked first, places stay the same.
//! Must not know: what any module does.

use std::fs;
use std::path::Path;

/// Lower layers first. A file imports only lower layers and its own folder.
const LAYERS: &[&[&str]] = &[
    &["config", "resource", "metrics", "manual"],
    &["change", "upstream"],
    &["frame", "identity"],
    &["hub"],
    &["poll", "transport"],
    &["fanout"],
    &["listener"],
    &["front", "admin", "cluster"],
    &[
        "app",
        "check",
        "main",
        "demo",
        "cli",
        "log",
        "log_writer",
        "memory",
        "probe",
        "signals",
        "supervisor",
        "upgrade",
    ],
];

/// Imports within one layer that are meant: (from, to), and why.
const NEIGHBOURS: &[(&str, &str)] = &[
    // A resource's name is made by the rules of its route.
    ("resource", "config"),
    // The entry point chooses what runs; nothing imports it.
    ("app", "memory"),
    // What holds the listening sockets gives them away; the entry point asks for another's.
    ("app", "upgrade"),
    ("main", "upgrade"),
    // They say when it ends, and that it is there.
    ("main", "signals"),
    // It starts the log, which writes through its own thread.
    ("main", "log"),
    ("log", "log_writer"),
    ("main", "supervisor"),
    ("signals", "app"),
    ("main", "app"),
    ("main", "cli"),
    ("main", "demo"),
    // What it says of a file that loads.
    ("main", "check"),
    // A question of the command line, answered without an application: it asks as the poll loop does.
    ("main", "probe"),
    // A command starts what it names.
    ("cli", "app"),
    ("cli", "demo"),
];

/// Modules (with what is below them) that may name the proxy; the rest would survive another one.
const MAY_NAME_PINGORA: &[&str] = &[
    "upstream/client",
    "upstream/servers",
    "fanout",
    "listener",
    "front",
    "admin",
    "app",
    "upgrade",
    "main",
];

const NAMES_WITHOUT_MEANING: &[&str] = &["util", "utils", "common", "helper", "helpers", "types", "manager"];

/// Tests apart.
const MAX_FILE_LINES: usize = 400;

#[test]
fn the_source_keeps_the_architecture() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(!files.is_empty(), "no source found in {}", root.display());
    let named = files.iter().map(|file| {
        let name = file.strip_prefix(&root).expect("found below the root").to_string_lossy().into_owned();
        (name, fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
    });
    let violations = check_all(&named.collect::<Vec<_>>());
    assert!(violations.is_empty(), "the architecture is broken:\n{}", violations.join("\n"));
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// `hub/topic.rs` is the module `hub/topic`, `hub/mod.rs` is `hub`.
fn module_path(file: &str) -> Vec<&str> {
    let mut path: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if path.len() > 1 && path.last() == Some(&"mod") {
        path.pop();
    }
    path
}

/// What these files (path below `src/`, text) break.
fn check_all(files: &[(String, String)]) -> Vec<String> {
    let tests: Vec<String> = files.iter().flat_map(|(file, text)| test_modules(file, text)).collect();
    let check = |(file, text): &(String, String)| {
        let joined = module_path(file).join("/");
        let is_test = tests.iter().any(|t| joined == *t || joined.starts_with(&format!("{t}/")));
        check(file, text, is_test)
    };
    files.iter().flat_map(check).collect()
}

/// The modules in files of their own that `file` declares under `#[cfg(test)]`.
fn test_modules(file: &str, text: &str) -> Vec<String> {
    let mut tokens = tokens(text);
    let mut found = Vec::new();
    while let Some((start, end)) = first_test_item(&tokens) {
        let item: Vec<&str> = tokens[start..=end].iter().map(|(_, token)| token.as_str()).collect();
        if let [.., "mod", name, ";"] = item[..] {
            let mut path = module_path(file);
            path.retain(|part| !matches!(*part, "lib" | "main"));
            path.push(name);
            found.push(path.join("/"));
        }
        tokens.drain(start..=end);
    }
    found
}

/// What `file` (its path below `src/`) breaks, as `src/file:line: rule` lines.
fn check(file: &str, text: &str, is_test: bool) -> Vec<String> {
    let path = module_path(file);
    let own = path[0];
    // The second half is for modules whose file has another name (`#[path]`).
    let is_test = is_test || path.iter().skip(1).any(|p| *p == "tests" || p.ends_with("_tests"));
    let mut violations = Vec::new();
    let mut report = |line: usize, rule: String| violations.push(format!("src/{file}:{line}: {rule}"));
    if !text.starts_with("//!") {
        report(1, "starts without `//!`: say what the file owns and what it must not know".into());
    }
    for part in path.iter().filter(|part| NAMES_WITHOUT_MEANING.contains(part)) {
        report(1, format!("`{part}` says nothing: name the noun of the domain that lives here"));
    }
    if own != "lib" && layer_of(own).is_none() {
        report(1, format!("`{own}` has no layer: add it to LAYERS in tests/layers.rs"));
    }
    if is_test {
        return violations;
    }
    let code = Code::of(text);
    if code.lines > MAX_FILE_LINES {
        let lines = code.lines;
        report(
            lines,
            format!("{lines} lines without tests, at most {MAX_FILE_LINES}: find the second noun in it"),
        );
    }
    let joined = path.join("/");
    let lies_in = |module: &&str| joined == **module || joined.starts_with(&format!("{module}/"));
    if !MAY_NAME_PINGORA.iter().any(lies_in) {
        for line in code.names_of_crate("pingora") {
            report(line, format!("names pingora; only {} may", MAY_NAME_PINGORA.join(", ")));
        }
    }
    if own != "lib" {
        for (line, target) in code.imports(path.len()) {
            if let Some(rule) = import_rule(own, &target) {
                report(line, rule);
            }
        }
    }
    violations
}

/// Why a file of `own` must not import `target`; `None` if it may.
fn import_rule(own: &str, target: &str) -> Option<String> {
    if own == target || NEIGHBOURS.contains(&(own, target)) {
        return None;
    }
    let Some(to) = layer_of(target) else {
        return Some(format!("imports `{target}`, which has no layer: add it to LAYERS in tests/layers.rs"));
    };
    let from = layer_of(own)?;
    let what = match to.cmp(&from) {
        std::cmp::Ordering::Less => return None,
        std::cmp::Ordering::Equal => "beside",
        std::cmp::Ordering::Greater => "above",
    };
    Some(format!(
        "`{own}` (layer {from}) imports `{target}` (layer {to}), which is {what} it; only lower layers and its own folder"
    ))
}

/// A file's tokens without comments, literals and test code.
struct Code {
    tokens: Vec<(usize, String)>,
    /// Lines of the file, those of its tests not counted.
    lines: usize,
}

impl Code {
    fn of(text: &str) -> Code {
        let mut tokens = tokens(text);
        let mut lines = text.lines().count();
        while let Some((start, end)) = first_test_item(&tokens) {
            lines -= tokens[end].0 - tokens[start].0 + 1;
            tokens.drain(start..=end);
        }
        Code { tokens, lines }
    }

    fn token(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |(_, token)| token)
    }

    /// Lines with a path that starts with this crate or one of its parts (`pingora_core`).
    fn names_of_crate(&self, name: &str) -> Vec<usize> {
        let named = |at: usize| {
            let token = self.token(at);
            let is_crate = token == name || token.strip_prefix(name).is_some_and(|r| r.starts_with('_'));
            let before = at.checked_sub(1).map_or("", |at| self.token(at));
            is_crate && (self.token(at + 1) == "::" || matches!(before, "use" | "crate"))
        };
        (0..self.tokens.len()).filter(|&at| named(at)).map(|at| self.tokens[at].0).collect()
    }

    /// The modules at the crate's root that a file at this depth names, with their lines.
    fn imports(&self, depth: usize) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let start = at;
            at += 1;
            let continues = start > 0 && self.token(start - 1) == "::" && self.token(start) != "pollcast";
            let after = match self.token(start) {
                _ if continues || self.token(start + 1) != "::" => continue,
                "crate" | "pollcast" => start + 2,
                "super" => match self.after_supers(start, depth) {
                    Some(after) => after,
                    None => continue,
                },
                _ => continue,
            };
            if self.token(after) == "{" {
                self.group(after, &mut found);
            } else {
                found.push(self.tokens.get(after).cloned().unwrap_or_default());
            }
        }
        found
    }

    /// Past `super::super::`, if that many lead to the crate's root.
    fn after_supers(&self, start: usize, depth: usize) -> Option<usize> {
        let mut at = start;
        while self.token(at) == "super" && self.token(at + 1) == "::" {
            at += 2;
        }
        ((at - start) / 2 >= depth).then_some(at)
    }

    /// The first name of each member of `{a::b, c::{d, e}, f}`.
    fn group(&self, open: usize, found: &mut Vec<(usize, String)>) {
        let mut depth = 0;
        for at in open..self.tokens.len() {
            match self.token(at) {
                "{" => depth += 1,
                "}" if depth == 1 => return,
                "}" => depth -= 1,
                _ => {}
            }
            let starts_member = depth == 1 && matches!(self.token(at), "{" | ",");
            if starts_member && !matches!(self.token(at + 1), "}" | "self") {
                found.push(self.tokens[at + 1].clone());
            }
        }
    }
}

/// The tokens (first and last) of the first item under a `#[cfg(test)]`.
fn first_test_item(tokens: &[(usize, String)]) -> Option<(usize, usize)> {
    let text = |at: usize| tokens.get(at).map_or("", |(_, token)| token.as_str());
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    let starts = |at: &usize| (0..attribute.len()).all(|i| text(at + i) == attribute[i]);
    let start = (0..tokens.len()).find(starts)?;
    let mut depth = 0;
    for at in start + attribute.len()..tokens.len() {
        match text(at) {
            "{" | "(" | "[" => depth += 1,
            "}" if depth == 1 => return Some((start, at)),
            "}" | ")" | "]" => depth -= 1,
            ";" if depth == 0 => return Some((start, at)),
            _ => {}
        }
    }
    Some((start, tokens.len() - 1))
}

/// Words, `::` and single signs, each with its line; comments and literals are left out.
fn tokens(text: &str) -> Vec<(usize, String)> {
    let mut rest = text;
    let mut line = 1;
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = if let Some(len) = uncounted(rest) {
            len
        } else if is_word(first) {
            let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            tokens.push((line, rest[..len].to_owned()));
            len
        } else {
            let len = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            tokens.push((line, rest[..len].to_owned()));
            len
        };
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    tokens
}

/// The length of the space, comment or literal that `text` starts with.
fn uncounted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes[0] {
        b' ' | b'\t' | b'\r' | b'\n' => Some(1),
        b'/' if text.starts_with("//") => Some(text.find('\n').unwrap_or(text.len())),
        b'/' if text.starts_with("/*") => Some(block_comment(bytes)),
        b'"' => Some(quoted(text, b'"')),
        b'\'' => char_literal(text),
        b'b' if text.starts_with("b\"") => Some(1 + quoted(&text[1..], b'"')),
        b'b' if text.starts_with("b'") => Some(1 + quoted(&text[1..], b'\'')),
        b'c' if text.starts_with("c\"") => Some(1 + quoted(&text[1..], b'"')),
        b'r' => raw_string(text),
        b'b' | b'c' if bytes.get(1) == Some(&b'r') => raw_string(&text[1..]).map(|len| len + 1),
        _ => None,
    }
}

fn block_comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        let change = match &bytes[at..] {
            [b'/', b'*', ..] => 1,
            [b'*', b'/', ..] => -1,
            _ => 0,
        };
        depth += change;
        at += if change == 0 { 1 } else { 2 };
        if depth == 0 {
            break;
        }
    }
    at
}

/// Up to and including the closing quote.
fn quoted(text: &str, quote: u8) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// `'x'` and `'\n'`, but not the lifetime `'a`.
fn char_literal(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (_, first) = chars.next()?;
    let is_literal = first == '\\' || chars.next().is_some_and(|(_, c)| c == '\'');
    is_literal.then(|| quoted(text, b'\''))
}

fn raw_string(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|&b| b == b'#').count();
    let body = text[1 + hashes..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(hashes));
    let end = body.find(&close).unwrap_or(body.len());
    Some((2 + hashes + end + close.len()).min(text.len()))
}

/// Fails unless `text` as `file` breaks exactly the rules that contain these words, in this order.
fn breaks(file: &str, text: &str, rules: &[&str]) {
    let found = check(file, text, false);
    let matches = found.len() == rules.len() && found.iter().zip(rules).all(|(f, r)| f.contains(r));
    assert!(matches, "{file}: wanted {rules:?}, found {found:#?}");
}

#[test]
fn an_import_from_above_or_beside_is_caught_in_every_spelling() {
    breaks(
        "hub/mod.rs",
        "//! x\nuse crate::front::A;",
        &["src/hub/mod.rs:2: `hub` (layer 3) imports `front`"],
    );
    breaks("hub/a.rs", "//! x\nfn f() { crate::poll::g() }", &["which is above it"]);
    breaks(
        "hub/a.rs",
        "//! x\n\nuse super::super::poll::B;",
        &["src/hub/a.rs:3: `hub` (layer 3) imports `poll`"],
    );
    breaks("poll/a.rs", "//! x\nuse pollcast::transport::T;", &["which is beside it"]);
    breaks("frame.rs", "//! x\nuse super::hub::T;", &["imports `hub`"]);
    let group = "//! x\nuse crate::{config::Config,\n hub::{a, front}, frame,\n app};";
    breaks("hub/a.rs", group, &["hub/a.rs:4: `hub` (layer 3) imports `app`"]);
    breaks("metrics.rs", "//! x\nmacro_rules! m { () => { $crate::hub::x() } }", &["imports `hub`"]);
    breaks("hub/a.rs", "//! x\nuse crate::*;", &["imports `*`"]);
}

#[test]
fn lower_layers_the_own_folder_and_meant_neighbours_are_fine() {
    breaks("hub/a.rs", "//! x\nuse crate::frame::F;\nuse super::topic;\nuse crate::{hub::b, config};", &[]);
    breaks("hub/a/b.rs", "//! x\nuse super::super::topic::T;\npub(crate) fn f() {}", &[]);
    breaks("resource/target.rs", "//! x\nuse crate::config::QueryRule;", &[]);
    breaks("main.rs", "//! x\nuse pollcast::{app, cli};", &[]);
    breaks("lib.rs", "//! x\npub mod hub;\npub use crate::hub::H;", &[]);
}

#[test]
fn comments_literals_and_tests_are_not_code() {
    let text = "//! x crate::front\n/* crate::front /* */ pingora:: */ const A: &str = \"crate::front \\\" \";\n\
                const B: &[u8] = br#\"crate::front \" \"#; const C: char = '\"'; fn f<'a>(a: &'a str) {}\n\
                #[cfg(test)]\n#[path = \"x.rs\"]\nmod tests;\n\
                #[cfg(test)]\nmod more { use crate::front::X; fn f() { pingora::x() } }\nuse crate::app::A;";
    breaks("hub/a.rs", text, &["src/hub/a.rs:9: `hub` (layer 3) imports `app`"]);
    breaks("hub/tests.rs", "//! x\nuse crate::front::X;", &[]);
    breaks("hub/topic_tests.rs", "//! x\nuse pingora::X;", &[]);
}

#[test]
fn a_module_declared_for_tests_is_test_code_with_all_below_it() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let upwards = "//! x\nuse crate::front::X;";
    let files = [
        file("hub/mod.rs", "//! x\n#[cfg(test)]\nmod simulation;\nmod topic;"),
        file("hub/simulation.rs", upwards),
        file("hub/simulation/seed.rs", upwards),
        file("hub/topic.rs", upwards),
    ];
    let found = check_all(&files);
    assert!(found.len() == 1 && found[0].starts_with("src/hub/topic.rs:2"), "{found:#?}");
}

#[test]
fn the_proxy_is_named_only_where_it_may_be() {
    let text = "//! x\nuse pingora::Error;\nfn f() -> pingora_core::Result<()> { pingora_free() }";
    breaks("hub/a.rs", text, &["hub/a.rs:2: names pingora", "hub/a.rs:3: names pingora"]);
    breaks("upstream/schedule.rs", "//! x\nuse pingora as p;", &["names pingora"]);
    for file in [
        "upstream/client.rs",
        "upstream/client/exchange.rs",
        "fanout/mod.rs",
        "front/request/route.rs",
        "app.rs",
    ] {
        breaks(file, text, &[]);
    }
}

#[test]
fn names_headers_and_sizes_are_checked() {
    breaks("hub/util.rs", "//! x\n", &["`util` says nothing"]);
    breaks("queue/mod.rs", "//! x\n", &["`queue` has no layer: add it to LAYERS in tests/layers.rs"]);
    breaks("hub/a.rs", "// x\n", &["starts without `//!`"]);
    breaks("hub/a.rs", "//! x\nuse crate::queue::Q;", &["imports `queue`, which has no layer"]);
    let long = format!("//! x\n{}", "const A: u8 = 0;\n".repeat(400));
    breaks("hub/a.rs", &long, &["401 lines without tests, at most 400"]);
    let tested =
        format!("//! x\n{}#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(390), "fn f() {}\n".repeat(50));
    breaks("hub/a.rs", &tested, &[]);
}
