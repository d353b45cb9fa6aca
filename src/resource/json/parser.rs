//! Reads JSON (RFC 8259) into the places of its values.
//!
//! Must not know: what values mean.

use super::node::{DEPTH_MAX, Kind, Malformed, Node};

/// The values of a text that is UTF-8 and at most 4 GiB.
pub(super) fn nodes(text: &[u8]) -> Result<Vec<Node>, Malformed> {
    // A value for every eight bytes is usual; more are made room for when they come.
    let mut parser = Parser { text, at: 0, nodes: Vec::with_capacity(text.len() / 8 + 1) };
    parser.space();
    parser.value(0)?;
    parser.space();
    if parser.at < text.len() {
        return Err(parser.wanted("the end"));
    }
    parser.nodes.shrink_to_fit();
    Ok(parser.nodes)
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
}

impl Parser<'_> {
    fn wanted(&self, wanted: &'static str) -> Malformed {
        Malformed { at: self.at, wanted }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Whether this byte came next; if so it is behind us.
    fn takes(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    fn value(&mut self, depth: usize) -> Result<(), Malformed> {
        let (kind, start, own) = (self.kind()?, self.at, self.nodes.len());
        self.nodes.push(Node { start: start as u32, end: 0, next: 0, kind, ignored: false });
        match kind {
            Kind::Object | Kind::Array if depth >= DEPTH_MAX => {
                return Err(self.wanted("no more than 128 levels"));
            }
            Kind::Object => self.object(depth)?,
            Kind::Array => self.array(depth)?,
            Kind::String => self.string()?,
            Kind::Number => self.number()?,
            Kind::Bool if self.peek() == Some(b't') => self.literal(b"true")?,
            Kind::Bool => self.literal(b"false")?,
            Kind::Null => self.literal(b"null")?,
        }
        let next = self.nodes.len() as u32;
        let node = &mut self.nodes[own];
        node.end = self.at as u32;
        node.next = next;
        Ok(())
    }

    fn kind(&self) -> Result<Kind, Malformed> {
        Ok(match self.peek() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b'-' | b'0'..=b'9') => Kind::Number,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => return Err(self.wanted("a value")),
        })
    }

    fn object(&mut self, depth: usize) -> Result<(), Malformed> {
        self.at += 1;
        self.space();
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.wanted("a member's name"));
            }
            self.value(depth + 1)?;
            self.space();
            if !self.takes(b':') {
                return Err(self.wanted("a colon"));
            }
            self.space();
            self.value(depth + 1)?;
            self.space();
            if self.takes(b'}') {
                return Ok(());
            }
            if !self.takes(b',') {
                return Err(self.wanted("a comma or }"));
            }
            self.space();
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Malformed> {
        self.at += 1;
        self.space();
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            self.value(depth + 1)?;
            self.space();
            if self.takes(b']') {
                return Ok(());
            }
            if !self.takes(b',') {
                return Err(self.wanted("a comma or ]"));
            }
            self.space();
        }
    }

    fn string(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(self.wanted("an escaped control character")),
                None => return Err(self.wanted("the end of a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                let digits = self.text.get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.wanted("four hexadecimal digits"));
                }
                self.at += 5;
            }
            _ => return Err(self.wanted("an escape")),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Malformed> {
        self.takes(b'-');
        if !self.takes(b'0') {
            self.digits()?;
        }
        if self.takes(b'.') {
            self.digits()?;
        }
        if self.takes(b'e') || self.takes(b'E') {
            let _sign = self.takes(b'+') || self.takes(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { Err(self.wanted("a digit")) } else { Ok(()) }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Malformed> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.wanted("true, false or null"));
        }
        self.at += word.len();
        Ok(())
    }
}
