//! Whether constants say what they count.
//!
//! A large number is a number of something: its name ends in the unit, or in the bound that it is, as `BODY_BYTES_MAX`.
//! Small numbers are codes of protocols as often as not, and a `Duration` has its unit in its type. Must not know:
//! values.

use super::source::Code;

/// Types of numbers that count something.
const COUNTING: [&str; 4] = ["usize", "u64", "i64", "f64"];

/// What the name of a number ends in: bounds, units, what a number is counted in.
const UNITS: [&str; 20] = [
    "MAX", "MIN", "BYTES", "BITS", "LOG2", "COUNT", "NUMBER", "FACTOR", "PART", "MS", "NS", "MICROS",
    "SECONDS", "CODE", "UNITS", "CHARS", "KIB", "MIB", "GIB", "TIB",
];

/// Constants whose names say no unit.
pub fn check(files: &[(Vec<String>, &str, Code)]) -> Vec<String> {
    let all =
        files.iter().flat_map(|(_, file, code)| numbers(code).into_iter().map(move |found| (*file, found)));
    let bare =
        all.filter(|(_, (name, _))| !name.rsplit('_').next().is_some_and(|last| UNITS.contains(&last)));
    let violations = bare.map(|(file, (name, line))| {
        format!("src/{file}:{line}: `{name}` says no unit: end it in a bound or a unit, as BODY_BYTES_MAX")
    });
    violations.collect()
}

/// The constants of a file that are numbers of something: name and line.
fn numbers(code: &Code) -> Vec<(String, usize)> {
    let is_number = |at: &usize| {
        let is_parameter = *at > 0 && matches!(code.token(at - 1), "<" | ",");
        code.token(*at) == "const"
            && code.token(at + 2) == ":"
            && COUNTING.contains(&code.token(at + 3))
            && !is_parameter
    };
    let found = (0..code.tokens.len()).filter(is_number);
    found.map(|at| (code.token(at + 1).to_owned(), code.tokens[at].0)).collect()
}

#[test]
fn a_number_without_a_unit_is_caught() {
    let text = "const LONGEST: usize = 1;\nconst MAX_BODY: u64 = 2;\nconst BODY_BYTES_MAX: usize = 3;\n\
                const GOAWAY: u8 = 7;\nconst LINGER: Duration = SECOND;\nfn one<const N: usize>() {}\n";
    let found = check(&[(vec!["hub".to_owned()], "a.rs", Code::of(text))]);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("a.rs:1: `LONGEST`") && found[1].contains("a.rs:2: `MAX_BODY`"), "{found:#?}");
}
