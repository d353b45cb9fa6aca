//! How long functions and files of tests may be.
//!
//! Must not know: how a function is found.

use std::path::Path;

use super::functions::functions;
use super::source::Code;
use super::{MAX_FILE_LINES, files_below, is_test, module_path, test_modules};

const FUNCTION_LINES_MAX: usize = 60;

/// Functions that are too long.
pub fn long_functions(files: &[(Vec<String>, &str, Code)]) -> Vec<String> {
    let all = files.iter().flat_map(|(_, file, code)| functions(code).into_iter().map(move |f| (*file, f)));
    let long = all.filter(|(_, (.., lines))| *lines > FUNCTION_LINES_MAX).map(|(file, (name, line, lines))| {
        format!("src/{file}:{line}: `{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}: give its steps names")
    });
    long.collect()
}

#[test]
fn files_of_tests_are_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = files_below(&root.join("src"));
    let modules: Vec<String> = source.iter().flat_map(|(file, text)| test_modules(file, text)).collect();
    let of_source = source.iter().filter(|(file, _)| is_test(&module_path(file), &modules));
    let tests = files_below(&root.join("tests"));
    let all = of_source.chain(&tests);
    let long =
        all.map(|(file, text)| (file, text.lines().count())).filter(|(_, lines)| *lines > MAX_FILE_LINES);
    let long: Vec<_> = long.collect();
    assert!(long.is_empty(), "over {MAX_FILE_LINES} lines, split them by subject: {long:#?}");
}
