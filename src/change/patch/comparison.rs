//! The part of a value that counts, and its members by name: both kinds of patches compare by them.
//!
//! Must not know: patches.

use std::borrow::Cow;

use crate::resource::{Element, Kind};

/// Returns the part of a value that counts. It is equal for values that differ in ignored ones alone.
pub(super) fn content(value: Element<'_>) -> Cow<'_, [u8]> {
    if value.is_ignored() {
        return Cow::Borrowed(b"\0");
    }
    if !value.has_ignored() {
        return Cow::Borrowed(value.raw());
    }
    let mut counted = Vec::with_capacity(value.raw().len());
    write_content(value, &mut counted);
    Cow::Owned(counted)
}

/// No JSON text has a zero byte, so that a content with ignored values equals no content without.
pub(super) fn write_content(value: Element<'_>, out: &mut Vec<u8>) {
    if value.is_ignored() {
        out.push(0);
    } else if !value.has_ignored() {
        out.extend_from_slice(value.raw());
    } else if value.kind() == Kind::Array {
        out.push(b'[');
        for item in value.items() {
            write_content(item, out);
            out.push(b',');
        }
        out.push(b']');
    } else {
        out.push(b'{');
        for (name, value) in value.members() {
            out.extend_from_slice(name.raw());
            out.push(b':');
            write_content(value, out);
            out.push(b',');
        }
        out.push(b'}');
    }
}

/// Whether two values without others in them are equal.
pub(super) fn same_scalar(base: Element<'_>, target: Element<'_>) -> bool {
    let text = |e: Element<'_>| e.string().map(|text| text.into_owned());
    base.raw() == target.raw()
        || (base.kind() == Kind::String && target.kind() == Kind::String && {
            let text_of_base = text(base);
            text_of_base.is_some() && text_of_base == text(target)
        })
}

/// The members of an object by name; the last one of each name counts.
pub(super) struct Members<'a> {
    all: Vec<(Cow<'a, str>, Element<'a>, Element<'a>)>,
    by_name: std::collections::HashMap<Cow<'a, str>, usize>,
}

impl<'a> Members<'a> {
    pub(super) fn of(object: Element<'a>) -> Option<Members<'a>> {
        let named = |(key, value): (Element<'a>, Element<'a>)| Some((key.string()?, key, value));
        let all: Vec<_> = object.members().map(named).collect::<Option<_>>()?;
        let by_name = all.iter().enumerate().map(|(at, (name, ..))| (name.clone(), at)).collect();
        Some(Members { all, by_name })
    }

    pub(super) fn get(&self, name: &str) -> Option<Element<'a>> {
        self.by_name.get(name).map(|at| self.all[*at].2)
    }

    /// Name, its spelling and value of each, in the order of the text.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Element<'a>, Element<'a>)> {
        self.all.iter().enumerate().filter_map(|(at, (name, key, value))| {
            (self.by_name.get(name) == Some(&at)).then_some((&**name, *key, *value))
        })
    }
}
