//! Claims about `include`: what several files say together, and whose line a problem names.

use std::path::Path;

use super::super::{Config, Problems, load};
use super::tls::Files;

const MAIN: &str = "listeners: [{ address: 127.0.0.1:8080, hosts: [a.test] }]
upstreams:
  api: { servers: [127.0.0.1:3000] }
routes:
  - { path: /a, upstream: api }
";

fn folder(name: &str, files: &[(&str, &str)]) -> Files {
    let folder = Files::new(&format!("include-{name}"));
    for (name, text) in files {
        let path = folder.directory().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        folder.write(name, text);
    }
    folder
}

fn read(folder: &Files) -> Result<Config, Problems> {
    load(&folder.directory().join("main.yaml"))
}

/// The problems, with the folder left out.
#[track_caller]
fn refused(folder: &Files) -> String {
    let shown = read(folder).expect_err("refused").to_string();
    shown.replace(&format!("{}/", folder.directory().display()), "")
}

#[test]
fn lists_are_appended_and_mappings_are_joined_in_the_order_of_names() {
    let main = format!("include: ['routes/*.yaml', limits.yaml]\n{MAIN}");
    let folder = folder(
        "joined",
        &[
            ("main.yaml", main.as_str()),
            ("routes/20.yaml", "routes: [{ path: /c, upstream: more }]\n"),
            ("routes/10.yaml", "include: [deeper/more.yaml]\nroutes: [{ path: /b, upstream: api }]\n"),
            ("routes/.hidden.yaml", "nonsense: 1\n"),
            ("routes/other.txt", "nonsense: 1\n"),
            ("routes/deeper/more.yaml", "upstreams: { more: { servers: [127.0.0.1:3001] } }\n"),
            ("limits.yaml", "limits: { clients: 10 }\nlog: { buffer: 100 }\n"),
        ],
    );
    let config = read(&folder).unwrap_or_else(|problems| panic!("{problems}"));
    let paths: Vec<&str> = config.routes.iter().map(|route| route.path.as_str()).collect();
    assert_eq!(paths, ["/a", "/b", "/c"]);
    assert_eq!(config.upstreams.len(), 2);
    assert_eq!((config.limits.clients, config.log.buffer), (10, 100));
    let below = |path: &Path| path.strip_prefix(folder.directory()).expect("below").display().to_string();
    let files: Vec<String> = config.files.files.iter().map(|path| below(path)).collect();
    assert_eq!(
        files,
        ["main.yaml", "routes/10.yaml", "routes/deeper/more.yaml", "routes/20.yaml", "limits.yaml"]
    );
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn a_problem_names_the_included_file_and_its_line() {
    let main = format!("{MAIN}include: [routes/b.yaml, limits.yaml]\n");
    let folder = folder(
        "lines",
        &[
            ("main.yaml", main.as_str()),
            (
                "routes/b.yaml",
                "routes:\n  - path: /b\n    upstream: nowhere\n  - path: /c\n    heartbeat: 1\n",
            ),
            ("limits.yaml", "limits:\n  nonsense: 1\n"),
        ],
    );
    let found = refused(&folder);
    for wanted in [
        "routes/b.yaml:3: routes[1].upstream: \"nowhere\" is not one of the upstreams",
        "routes/b.yaml:4: routes[2]: key \"upstream\" is missing",
        "routes/b.yaml:5: routes[2].heartbeat: \"1\" is",
        "limits.yaml:2: limits.nonsense: unknown key \"nonsense\"",
    ] {
        assert!(found.contains(wanted), "{wanted}\n{found}");
    }
    assert_eq!(found.lines().count(), 4, "{found}");
}

#[test]
fn a_key_of_two_files_is_told_with_both_places() {
    let main = format!("{MAIN}passthrough: api\nlimits: {{ clients: 10 }}\ninclude: [b.yaml, c.yaml]\n");
    let folder = folder(
        "twice",
        &[
            ("main.yaml", main.as_str()),
            ("b.yaml", "upstreams:\n  api: { servers: [127.0.0.1:3001] }\n"),
            ("c.yaml", "passthrough: api\nlimits:\n  clients: 11\n"),
        ],
    );
    assert_eq!(
        refused(&folder),
        "b.yaml:2: upstreams.api: key \"api\" is already in main.yaml:3
c.yaml:1: passthrough: key \"passthrough\" is already in main.yaml:6
c.yaml:3: limits.clients: key \"clients\" is already in main.yaml:7"
    );
}

#[test]
fn circles_repeats_and_files_that_are_not_there_are_told() {
    let main = format!(
        "include: [b.yaml, ./b.yaml, link.yaml, nowhere.yaml, 'none/*', '*/a.yaml', [], pipe, directory, torn.yaml, list.yaml]\n{MAIN}"
    );
    let folder = folder(
        "circles",
        &[
            ("main.yaml", main.as_str()),
            ("b.yaml", "include: [c.yaml]\n"),
            ("c.yaml", "include: [b.yaml, main.yaml]\n"),
            ("directory/a", ""),
            ("torn.yaml", "a: [\n"),
            ("list.yaml", "- a\n"),
        ],
    );
    std::os::unix::fs::symlink("b.yaml", folder.directory().join("link.yaml")).expect("a link");
    let made = std::process::Command::new("mkfifo").arg(folder.directory().join("pipe")).status();
    assert!(made.expect("mkfifo").success());
    let found = refused(&folder);
    for wanted in [
        "main.yaml:1: include: \"./b.yaml\" is included already",
        "main.yaml:1: include: \"link.yaml\" is included already",
        "main.yaml:1: include: \"nowhere.yaml\" cannot be read: No such file",
        "main.yaml:1: include: \"none\" cannot be read: No such file",
        "main.yaml:1: include: \"*/a.yaml\" names no files",
        "main.yaml:1: include[6]: expected a plain value",
        "main.yaml:1: include: \"pipe\" is no file",
        "main.yaml:1: include: \"directory\" is no file",
        "c.yaml:1: include: \"b.yaml\" includes itself",
        "c.yaml:1: include: \"main.yaml\" includes itself",
        ": not YAML: ",
        "list.yaml:1: expected a mapping",
    ] {
        assert!(found.contains(wanted), "{wanted}\n{found}");
    }
}

#[test]
fn what_files_may_cost_is_bounded() {
    let deep: Vec<(String, String)> =
        (0..12).map(|at| (format!("{at}.yaml"), format!("include: [{}.yaml]\n", at + 1))).collect();
    let main = format!("include: [0.yaml]\n{MAIN}");
    let mut files: Vec<(&str, &str)> =
        deep.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.push(("main.yaml", &main));
    assert_eq!(
        refused(&folder("deep", &files)),
        "6.yaml:1: include: files include each other more than 8 deep"
    );

    let values = format!("limits: [{}]\n", "a,".repeat(60_000));
    let main = format!("include: [one.yaml, two.yaml]\n{MAIN}");
    let files = [("main.yaml", main.as_str()), ("one.yaml", &values), ("two.yaml", &values)];
    let found = refused(&folder("values", &files));
    assert!(
        found.contains("two.yaml: with this file there are more than 100000 values, or 16MiB, in all"),
        "{found}"
    );

    let long = "#".repeat((1 << 20) + 1);
    let files = [("main.yaml", main.as_str()), ("one.yaml", &long), ("two.yaml", "")];
    let found = refused(&folder("long", &files));
    assert!(found.contains("one.yaml\" is longer than 1MiB"), "{found}");
}

#[test]
fn a_pattern_without_files_is_a_warning_and_another_file_changes_the_digest() {
    let main = format!("include: ['${{POLLCAST_TEST_D:-conf.d}}/*.yaml']\n{MAIN}");
    let folder = folder("digest", &[("main.yaml", main.as_str()), ("conf.d/readme", "")]);
    let config = read(&folder).unwrap_or_else(|problems| panic!("{problems}"));
    let is_told = config.warnings.iter().any(|warning| warning.message.contains("no file is"));
    assert!(is_told, "{:?}", config.warnings);
    let before = config.files.digest();
    assert_eq!(config.files.digest(), before);
    folder.write("conf.d/readme", "more\n");
    assert_eq!(config.files.digest(), before, "it is none of the files");
    folder.write("conf.d/b.yaml", "routes: [{ path: /b, upstream: api }]\n");
    assert_ne!(config.files.digest(), before);
    let config = read(&folder).unwrap_or_else(|problems| panic!("{problems}"));
    let before = config.files.digest();
    folder.write("conf.d/b.yaml", "routes: [{ path: /c, upstream: api }]\n");
    assert_ne!(config.files.digest(), before);
}

#[test]
fn a_secret_of_an_included_file_is_not_in_its_problems() {
    let main = format!("include: [b.yaml]\n{MAIN}");
    let folder = folder(
        "secret",
        &[
            ("main.yaml", main.as_str()),
            (
                "b.yaml",
                "version_key: ${file:key}\nadmin: { address: 127.0.0.1:9090, token: '${file:nowhere}' }\n",
            ),
            ("key", "hunter2\n"),
        ],
    );
    let found = refused(&folder);
    assert!(found.contains("b.yaml:1: version_key: is too short"), "{found}");
    assert!(found.contains("b.yaml:2: admin.token: \"nowhere\" cannot be read"), "{found}");
    assert!(!found.contains("hunter2"), "{found}");
}
