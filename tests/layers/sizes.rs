//! How long functions and files of tests may be.
//!
//! Must not know: how a function is found.

use std::fs;
use std::path::Path;

use super::functions::functions;
use super::source::Code;
use super::{MAX_FILE_LINES, collect};

const FUNCTION_LINES_MAX: usize = 60;

/// Functions that are longer. The list only gets shorter.
const LONG_FUNCTIONS: &[(&str, &str)] = &[
    ("app.rs", "start_on"),
    ("config/validate/poll.rs", "apply"),
    ("front/answer/plain_poll.rs", "poll"),
    ("front/covered.rs", "serve"),
    ("front/subscribe/mod.rs", "push"),
    ("front/subscribe/sse.rs", "sse"),
    ("front/subscribe/sse_many.rs", "serve"),
    ("listener/http2.rs", "serve"),
    ("listener/http2_parked.rs", "sort"),
    ("main.rs", "run"),
    ("metrics.rs", "new"),
    ("poll/credential_check.rs", "own"),
    ("poll/outcome.rs", "act"),
];

/// Files of tests that are longer than `MAX_FILE_LINES`. The list only gets shorter.
const LONG_TESTS: &[&str] = &[
    "src/config/tests/bad_files.rs",
    "src/hub/tests.rs",
    "src/probe/tests.rs",
    "src/transport/tests.rs",
    "src/upstream/client/tests.rs",
    "tests/contract/edge/limits.rs",
    "tests/contract/feeds/items.rs",
    "tests/contract/plain/answers.rs",
    "tests/contract/plain/passthrough.rs",
    "tests/contract/plain/poll.rs",
    "tests/contract/process/upgrade.rs",
    "tests/contract/push/long_poll.rs",
    "tests/contract/push/sse.rs",
    "tests/contract/push/websocket.rs",
    "tests/contract/sharing/classes.rs",
    "tests/contract/sharing/identity.rs",
    "tests/contract/upstream/ways.rs",
    "tests/hostile/framing.rs",
    "tests/support_works.rs",
];

/// Functions that are too long and not known, and known ones that are no longer too long.
pub fn long_functions(files: &[(Vec<String>, &str, Code)]) -> Vec<String> {
    let all = files.iter().flat_map(|(_, file, code)| functions(code).into_iter().map(move |f| (*file, f)));
    let long: Vec<_> = all.filter(|(_, (.., lines))| *lines > FUNCTION_LINES_MAX).collect();
    let is_known = |file: &str, name: &str| LONG_FUNCTIONS.contains(&(file, name));
    let new = long.iter().filter(|(file, (name, ..))| !is_known(file, name)).map(|(file, (name, line, lines))| {
        format!("src/{file}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}: give its steps names")
    });
    let is_long = |file: &str, name: &str| long.iter().any(|(f, (n, ..))| *f == file && n == name);
    let gone = LONG_FUNCTIONS.iter().filter(|(file, name)| !is_long(file, name));
    let gone = gone.map(|(file, name)| {
        format!("src/{file}: `{name}` is short now: take it out of LONG_FUNCTIONS in tests/layers/sizes.rs")
    });
    new.chain(gone).collect()
}

#[test]
fn files_of_tests_are_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    ["src", "tests"].iter().for_each(|folder| collect(&root.join(folder), &mut files));
    let named =
        files.iter().map(|file| file.strip_prefix(root).expect("found below the root").to_string_lossy());
    let is_test =
        |file: &str| file.starts_with("tests/") || file.ends_with("tests.rs") || file.contains("/tests/");
    let tests = named.filter(|file| is_test(file));
    let long = tests.filter(|file| {
        let text = fs::read_to_string(root.join(&**file)).unwrap_or_else(|e| panic!("{file}: {e}"));
        text.lines().count() > MAX_FILE_LINES
    });
    let long: Vec<String> = long.map(|file| file.into_owned()).collect();
    let new: Vec<_> = long.iter().filter(|file| !LONG_TESTS.contains(&file.as_str())).collect();
    assert!(new.is_empty(), "over {MAX_FILE_LINES} lines, split them by subject: {new:#?}");
    let gone: Vec<_> = LONG_TESTS.iter().filter(|file| !long.iter().any(|long| long == *file)).collect();
    assert!(gone.is_empty(), "short now, take them out of LONG_TESTS in tests/layers/sizes.rs: {gone:#?}");
}
