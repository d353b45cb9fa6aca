//! What peers say, as operators' terminals may show it.
//!
//! Must not know: what is shown.

use std::borrow::Cow;
use std::fmt::Write;

/// Writes each control character, and each that turns the direction of text, as JSON would: `\u001b`. Line ends and tabs
/// stay. A URL or an answer can move no cursor and hide no line by it.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match is_hidden(letter) {
            // Writing to a String does not fail.
            true => drop(write!(shown, "\\u{:04x}", u32::from(letter))),
            false => shown.push(letter),
        }
    }
    Cow::Owned(shown)
}

fn is_hidden(letter: char) -> bool {
    let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (letter.is_control() && letter != '\n' && letter != '\t')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn what_a_terminal_would_act_on_is_written_as_text() {
        for (said, shown) in [
            ("plain: §1 …\n\tünïcode", "plain: §1 …\n\tünïcode"),
            ("/a\u{1b}[2J\0\r", "/a\\u001b[2J\\u0000\\u000d"),
            ("\u{9b}31m\u{7f}", "\\u009b31m\\u007f"),
            ("a\u{202e}b\u{2066}", "a\\u202eb\\u2066"),
        ] {
            assert_eq!(printable(said), shown);
        }
    }
}
