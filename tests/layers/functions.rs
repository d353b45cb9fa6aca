//! How long functions are.
//!
//! Must not know: how long they may be.

use super::source::Code;

/// The functions of a file: name, line, lines from the first word of the signature to the closing brace.
pub fn functions(code: &Code) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for at in 0..code.tokens.len() {
        let is_function = code.token(at) == "fn" && code.token(at + 1).starts_with(char::is_alphabetic);
        if !is_function {
            continue;
        }
        let Some(end) = end_of_body(code, at) else { continue };
        let line = code.tokens[at].0;
        found.push((code.token(at + 1).to_owned(), line, code.tokens[end].0 - line + 1));
    }
    found
}

/// The closing brace of the function whose `fn` stands at `at`. Returns `None` if it has no body.
fn end_of_body(code: &Code, at: usize) -> Option<usize> {
    let mut depth = 0;
    for at in at..code.tokens.len() {
        match code.token(at) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" if depth == 1 => return Some(at),
            "}" => depth -= 1,
            ";" if depth == 0 => return None,
            _ => {}
        }
    }
    None
}
