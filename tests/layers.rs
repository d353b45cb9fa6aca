//! The architecture as a test: which file may import which, which may name the proxy, names, sizes, headers.
//!
//! Reads `src/` as text: comments, literals and test code are blanked first, places stay the same.
//! Must not know: what any module does.

mod circles;
mod claims;
mod constants;
mod documented;
mod functions;
mod names;
mod rooms;
mod sizes;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use source::{Code, first_test_item, tokens};

/// Lower layers first. A file imports only lower layers and its own folder.
const LAYERS: &[&[&str]] = &[
    &["config", "resource", "metrics", "manual"],
    &["access_log", "change", "log_writer", "otlp", "upstream"],
    &["frame", "identity"],
    &["hub"],
    &["poll", "transport"],
    &["fanout"],
    &["listener"],
    &["front", "admin", "cluster"],
    &[
        "admin_client",
        "app",
        "check",
        "main",
        "demo",
        "cli",
        "log",
        "memory",
        "probe",
        "ready",
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
    // It shows operators the nodes, and has one leave.
    ("admin", "cluster"),
    // What holds the listening sockets gives them away; the entry point asks for another's.
    ("app", "upgrade"),
    ("main", "upgrade"),
    // They say when it ends, and that it is there.
    ("main", "signals"),
    // It starts the log, which writes through its own thread.
    ("main", "log"),
    // A line that is made is written.
    ("access_log", "log_writer"),
    ("main", "supervisor"),
    // They ask a running process.
    ("main", "ready"),
    ("main", "admin_client"),
    ("ready", "admin_client"),
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

/// Of code, and of a file of tests.
const MAX_FILE_LINES: usize = 400;

#[test]
fn the_source_keeps_the_architecture() {
    let named = files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let (mut violations, code) = (check_all(&named), code_of(&named));
    violations.extend(sizes::long_functions(&code));
    let texts: BTreeMap<&str, &str> =
        named.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    violations.extend(code.iter().flat_map(|(_, file, code)| documented::check(file, code, texts[file])));
    let imports = circles::Files::of(&code).imports();
    violations.extend(rooms::check(&imports));
    violations.extend(rooms::sessions(&code));
    violations.extend(circles::check(&imports));
    violations.extend(names::check(&code));
    violations.extend(constants::check(&code));
    assert!(violations.is_empty(), "the architecture is broken:\n{}", violations.join("\n"));
}

/// The Rust files below a folder: the path from there, and the text.
fn files_below(root: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    collect(root, &mut files);
    assert!(!files.is_empty(), "no source found in {}", root.display());
    let named = files.iter().map(|file| {
        let name = file.strip_prefix(root).expect("found below the root").to_string_lossy().into_owned();
        (name, fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
    });
    named.collect()
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

/// The code of all files that are not tests: the module, the file's name, the tokens.
fn code_of(files: &[(String, String)]) -> Vec<(Vec<String>, &str, Code)> {
    let tests: Vec<String> = files.iter().flat_map(|(file, text)| test_modules(file, text)).collect();
    let is_code = |file: &str| !is_test(&module_path(file), &tests);
    let code = files.iter().filter(|(file, _)| is_code(file)).map(|(file, text)| {
        let module = module_path(file).into_iter().filter(|part| *part != "lib").map(str::to_owned);
        (module.collect(), file.as_str(), Code::of(text))
    });
    code.collect()
}

/// Whether a module is test code: it or one above it is declared so, or has the name.
fn is_test(path: &[&str], tests: &[String]) -> bool {
    let joined = path.join("/");
    let declared = tests.iter().any(|test| joined == *test || joined.starts_with(&format!("{test}/")));
    // For modules whose file has another name (`#[path]`).
    declared || path.iter().skip(1).any(|part| *part == "tests" || part.ends_with("_tests"))
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
    let check = |(file, text): &(String, String)| check(file, text, is_test(&module_path(file), &tests));
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
    let is_test = is_test || self::is_test(&path, &[]);
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
