//! JSON Patch (RFC 6902): the operations that lead from one value to another.
//!
//! Objects are compared by member, arrays by `align`. Must not know: snapshots.

use std::borrow::Cow;

use bytes::Bytes;

use super::comparison::{Members, content, same_scalar};
use crate::change::align::{self, Items, Step};
use crate::resource::{Element, Kind};

/// Members that name an item in many APIs, in the order of trust.
const NAMES: [&str; 9] = ["id", "_id", "uuid", "guid", "key", "code", "symbol", "sha", "name"];

/// Writes the operations. Returns `None` if they take more than `max` bytes, or no pointer can be written.
pub(super) fn write(base: Element<'_>, target: Element<'_>, by_name: bool, max: usize) -> Option<Bytes> {
    let mut patch = Operations { out: vec![b'['], path: Vec::new(), by_name, max };
    patch.compare(base, target)?;
    patch.out.push(b']');
    (patch.out.len() <= max).then(|| patch.out.into())
}

struct Operations {
    out: Vec<u8>,
    /// The pointer to where we are, as it stands within a JSON string.
    path: Vec<u8>,
    /// What is missing in the target would be ignored there too, if it is in the base.
    by_name: bool,
    max: usize,
}

/// `None` if it is not worth going on.
type Written = Option<()>;

impl Operations {
    fn operation(&mut self, op: &str, value: Option<&[u8]>) -> Written {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"{\"op\":\"");
        self.out.extend_from_slice(op.as_bytes());
        self.out.extend_from_slice(b"\",\"path\":\"");
        self.out.extend_from_slice(&self.path);
        self.out.push(b'"');
        if let Some(value) = value {
            self.out.extend_from_slice(b",\"value\":");
            self.out.extend_from_slice(value);
        }
        self.out.push(b'}');
        // What is written so far may still be replaced by one operation on what is around it.
        (self.out.len() <= self.max.saturating_mul(2)).then_some(())
    }

    /// Does something one level further down.
    fn at(&mut self, token: Token<'_>, act: impl FnOnce(&mut Self) -> Written) -> Written {
        let length = self.path.len();
        token.write(&mut self.path)?;
        let done = act(self);
        self.path.truncate(length);
        done
    }

    /// From one value to another at the same place.
    fn compare(&mut self, base: Element<'_>, target: Element<'_>) -> Written {
        if target.is_ignored() {
            return Some(());
        }
        if base.is_ignored() {
            // Whatever a client has there.
            return self.operation("replace", Some(target.raw()));
        }
        if base.raw() == target.raw() && !base.has_ignored() {
            return Some(());
        }
        let before = self.out.len();
        match (base.kind(), target.kind()) {
            (Kind::Object, Kind::Object) => self.object(base, target)?,
            (Kind::Array, Kind::Array) => self.array(base, target)?,
            _ if same_scalar(base, target) => return Some(()),
            _ => return self.operation("replace", Some(target.raw())),
        }
        let replaced = REPLACE_BYTES + self.path.len() + target.raw().len();
        let ignores = || base.has_ignored() || target.has_ignored();
        if self.out.len() - before >= replaced && !ignores() {
            self.out.truncate(before);
            return self.operation("replace", Some(target.raw()));
        }
        Some(())
    }

    fn object(&mut self, base: Element<'_>, target: Element<'_>) -> Written {
        let (own, other) = (Members::of(base)?, Members::of(target)?);
        for (name, _, value) in own.iter().filter(|(name, ..)| other.get(name).is_none()) {
            self.at(Token::Name(name), |patch| patch.removed(value))?;
        }
        for (name, _, value) in other.iter().filter(|(.., value)| !value.is_ignored()) {
            self.at(Token::Name(name), |patch| match own.get(name) {
                Some(before) if !before.is_ignored() => patch.compare(before, value),
                // Adding replaces too, and a client may or may not have an ignored member.
                _ => patch.operation("add", Some(value.raw())),
            })?;
        }
        Some(())
    }

    fn removed(&mut self, base: Element<'_>) -> Written {
        if !base.is_ignored() {
            return self.operation("remove", None);
        }
        if self.by_name {
            return Some(());
        }
        // A client may not have it, and nothing can be removed that is not there.
        self.operation("add", Some(b"null"))?;
        self.operation("remove", None)
    }

    fn array(&mut self, base: Element<'_>, target: Element<'_>) -> Written {
        let (own, other): (Vec<_>, Vec<_>) = (base.items().collect(), target.items().collect());
        let own_contents: Vec<Cow<'_, [u8]>> = own.iter().map(|item| content(*item)).collect();
        let other_contents: Vec<Cow<'_, [u8]>> = other.iter().map(|item| content(*item)).collect();
        let steps = align::steps(
            &Items { contents: &own_contents, name: &|at| name(own[at]) },
            &Items { contents: &other_contents, name: &|at| name(other[at]) },
        );
        let mut index = 0;
        for step in steps {
            match step {
                Step::Same => {}
                Step::Pair(b, t) => self.at(Token::Index(index), |p| p.compare(own[b], other[t]))?,
                Step::Remove => {
                    self.at(Token::Index(index), |patch| patch.operation("remove", None))?;
                    continue;
                }
                Step::Add(t) => {
                    self.at(Token::Index(index), |p| p.operation("add", Some(other[t].raw())))?;
                }
            }
            index += 1;
        }
        Some(())
    }
}

/// Bytes of a replacement beside path and value.
const REPLACE_BYTES: usize = r#",{"op":"replace","path":"","value":}"#.len();

/// What an item of an array is called.
fn name<'a>(item: Element<'a>) -> Option<&'a [u8]> {
    let rank = |(key, value): (Element<'a>, Element<'a>)| {
        let scalar = matches!(value.kind(), Kind::String | Kind::Number) && !value.is_ignored();
        let inner = key.raw().get(1..key.raw().len() - 1)?;
        let rank = NAMES.iter().position(|name| name.as_bytes() == inner)?;
        scalar.then_some((rank, value.raw()))
    };
    item.members().filter_map(rank).min_by_key(|(rank, _)| *rank).map(|(_, value)| value)
}

/// One step of a pointer.
enum Token<'a> {
    Name(&'a str),
    Index(usize),
}

impl Token<'_> {
    /// Written as it stands within a JSON string.
    fn write(&self, path: &mut Vec<u8>) -> Written {
        path.push(b'/');
        match self {
            Token::Index(index) => path.extend_from_slice(index.to_string().as_bytes()),
            Token::Name(name) => {
                let special = |b: u8| matches!(b, b'~' | b'/' | b'"' | b'\\' | 0..0x20);
                if !name.bytes().any(special) {
                    path.extend_from_slice(name.as_bytes());
                    return Some(());
                }
                let escaped = serde_json::to_vec(&name.replace('~', "~0").replace('/', "~1")).ok()?;
                path.extend_from_slice(escaped.strip_prefix(b"\"")?.strip_suffix(b"\"")?);
            }
        }
        Some(())
    }
}
