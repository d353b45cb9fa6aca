//! Which public items have no documentation.
//!
//! The lint `missing_docs` asks only for items that another crate can reach. This holds for all of them: public fields,
//! variants and their fields, and functions of public traits among them. Must not know: what a text should say.

use super::source::Code;

/// What a bracket that is open holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Variants of a public enum.
    Variants,
    /// Fields of one of its variants.
    Fields,
    /// Items of a public trait.
    Trait,
    /// Parameters, or the fields of a tuple: the lint asks nothing of them.
    Parentheses,
    Other,
}

/// The lines with a public item that has no documentation.
pub fn check(file: &str, code: &Code, text: &str) -> Vec<String> {
    let walk = Walk { code, lines: text.lines().collect() };
    let lines = walk.undocumented();
    let told = lines.iter().map(|(line, name)| {
        format!("src/{file}:{line}: `{name}` is public and has no documentation: say what it is")
    });
    told.collect()
}

struct Walk<'a> {
    code: &'a Code,
    lines: Vec<&'a str>,
}

impl Walk<'_> {
    fn undocumented(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut open: Vec<Within> = Vec::new();
        // What the next brace opens, and whether a variant or a field may begin here.
        let (mut next, mut is_start) = (Within::Other, false);
        let mut at = 0;
        while at < self.code.tokens.len() {
            let within = open.last().copied().unwrap_or(Within::Other);
            match self.code.token(at) {
                "#" if self.code.token(at + 1) == "[" => {
                    at = self.after_attribute(at);
                    continue;
                }
                "(" | "[" => open.push(Within::Parentheses),
                "{" => {
                    let holds = if within == Within::Variants { Within::Fields } else { next };
                    next = Within::Other;
                    open.push(holds);
                    is_start = matches!(holds, Within::Variants | Within::Fields);
                    at += 1;
                    continue;
                }
                ")" | "]" | "}" => drop(open.pop()),
                ";" => next = Within::Other,
                "fn" if within == Within::Trait => self.note(at, at + 1, &mut found),
                "pub" if within != Within::Parentheses && self.code.token(at + 1) != "(" => {
                    next = self.public(at, &mut found);
                }
                _ if is_start && self.is_member(at, within) => self.note(at, at, &mut found),
                _ => {}
            }
            is_start = self.code.token(at) == "," && matches!(within, Within::Variants | Within::Fields);
            at += 1;
        }
        found
    }

    /// Notes a public item without documentation. Returns what its braces hold.
    fn public(&self, at: usize, found: &mut Vec<(usize, String)>) -> Within {
        let kind = self.code.token(at + 1);
        // The file of a module says what the module is.
        let is_declared = kind == "use" || (kind == "mod" && self.code.token(at + 3) == ";");
        let name = if is_word(self.code.token(at + 2)) { at + 2 } else { at + 1 };
        if !is_declared {
            self.note(at, name, found);
        }
        match kind {
            "enum" => Within::Variants,
            "trait" => Within::Trait,
            _ => Within::Other,
        }
    }

    fn is_member(&self, at: usize, within: Within) -> bool {
        let is_name = is_word(self.code.token(at));
        is_name && (within == Within::Variants || self.code.token(at + 1) == ":")
    }

    fn note(&self, at: usize, name: usize, found: &mut Vec<(usize, String)>) {
        let line = self.code.tokens[at].0;
        if !self.is_documented(line) {
            found.push((line, self.code.token(name).to_owned()));
        }
    }

    /// Whether documentation stands above the item on this line, attributes between them left out.
    fn is_documented(&self, line: usize) -> bool {
        let mut above = self.lines[..line - 1].iter().map(|line| line.trim()).rev();
        while let Some(text) = above.next() {
            let is_documentation = ["///", "#[doc", "$(#["].iter().any(|start| text.starts_with(start));
            if is_documentation {
                return true;
            }
            let is_attribute = text.starts_with("#[")
                || (text.ends_with(']') && above.by_ref().any(|text| text.starts_with("#[")));
            if !is_attribute {
                return false;
            }
        }
        false
    }

    /// The place behind the attribute that starts at `at`.
    fn after_attribute(&self, at: usize) -> usize {
        let mut depth = 0;
        for at in at..self.code.tokens.len() {
            match self.code.token(at) {
                "[" => depth += 1,
                "]" if depth == 1 => return at + 1,
                "]" => depth -= 1,
                _ => {}
            }
        }
        self.code.tokens.len()
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[test]
fn public_items_without_documentation_are_found_and_others_are_not() {
    let text = "//! x\npub use a::B;\npub mod c;\npub(super) fn d() {}\nfn e(pub_: u8) {}\n\
                /// Has some.\n#[derive(\n    Debug,\n)]\npub struct F(pub u8);\n\
                pub struct G {\n    pub h: u8,\n    i: u8,\n}\n\
                /// Has some.\npub enum J {\n    #[default]\n    K,\n    /// Has some.\n    L(Vec<u8>, u8),\n\
                \x20   /// Has some.\n    M {\n        n: Map<u8, u8>,\n    },\n}\n\
                /// Has some.\npub trait O {\n    async fn p(&self) {}\n}\n\
                enum Q {\n    R,\n}\n#[cfg(test)]\nmod tests {\n    pub fn s() {}\n}\n";
    let found = check("a.rs", &Code::of(text), text);
    let names: Vec<&str> = found.iter().filter_map(|found| found.split('`').nth(1)).collect();
    assert_eq!(names, ["G", "h", "K", "n", "p"], "{found:#?}");
}
