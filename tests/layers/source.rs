//! A source file as tokens: comments, literals and test code are left out, places stay the same.
//!
//! Must not know: the rules.

/// A file's tokens without comments, literals and test code.
pub struct Code {
    pub tokens: Vec<(usize, String)>,
    /// Lines of the file, those of its tests not counted.
    pub lines: usize,
}

impl Code {
    pub fn of(text: &str) -> Code {
        let mut tokens = tokens(text);
        let mut lines = text.lines().count();
        while let Some((start, end)) = first_test_item(&tokens) {
            lines -= tokens[end].0 - tokens[start].0 + 1;
            tokens.drain(start..=end);
        }
        Code { tokens, lines }
    }

    pub fn token(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |(_, token)| token)
    }

    /// Lines with a path that starts with this crate or one of its parts (`pingora_core`).
    pub fn names_of_crate(&self, name: &str) -> Vec<usize> {
        let named = |at: usize| {
            let token = self.token(at);
            let is_crate = token == name || token.strip_prefix(name).is_some_and(|r| r.starts_with('_'));
            let before = at.checked_sub(1).map_or("", |at| self.token(at));
            is_crate && (self.token(at + 1) == "::" || matches!(before, "use" | "crate"))
        };
        (0..self.tokens.len()).filter(|&at| named(at)).map(|at| self.tokens[at].0).collect()
    }

    /// The modules at the crate's root that a file at this depth names, with their lines.
    pub fn imports(&self, depth: usize) -> Vec<(usize, String)> {
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
pub fn first_test_item(tokens: &[(usize, String)]) -> Option<(usize, usize)> {
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
pub fn tokens(text: &str) -> Vec<(usize, String)> {
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
