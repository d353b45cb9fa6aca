//! Finds the values of a body that rules name.
//!
//! Must not know: what a rule does to them.

use std::collections::HashMap;

use serde_json::Value;

use crate::config::{Change, Members};
use crate::resource::Element;

/// The rules that name one value.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    ignored: bool,
    /// The first tolerance that names it, from 1.
    tolerance: u16,
    /// The first array key that names it, from 1.
    array_key: u16,
}

/// The rules that name each value of a body. It is empty if no rule names places.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marks: Vec<Mark>,
    first: usize,
    pub(super) any_ignored: bool,
}

impl Marks {
    /// Returns the rules for this value and all values within it.
    pub(super) fn of(change: &Change, root: Element<'_>) -> Marks {
        let mut found = Marks { first: root.index(), ..Marks::default() };
        let mut finder = Finder { root, tree: None };
        for members in &change.ignore {
            for at in finder.find(members) {
                found.mark(at, root).ignored = true;
                found.any_ignored = true;
            }
        }
        for (rule, (members, _)) in (1..=u16::MAX).zip(&change.tolerance) {
            for at in finder.find(members) {
                first(&mut found.mark(at, root).tolerance, rule);
            }
        }
        for (rule, key) in (1..=u16::MAX).zip(&change.array_keys) {
            for at in key.of.iter().flat_map(|of| finder.find(of)) {
                first(&mut found.mark(at, root).array_key, rule);
            }
        }
        found
    }

    fn mark(&mut self, at: usize, root: Element<'_>) -> &mut Mark {
        if self.marks.is_empty() {
            self.marks.resize(root.nodes_within(), Mark::default());
        }
        &mut self.marks[at - self.first]
    }

    fn get(&self, element: Element<'_>) -> Mark {
        self.marks.get(element.index() - self.first).copied().unwrap_or_default()
    }

    pub(super) fn is_ignored(&self, element: Element<'_>) -> bool {
        self.get(element).ignored
    }

    /// The rule (from 0) for the numbers in a value, if it is within one with the rule `outer`.
    pub(super) fn tolerance(&self, element: Element<'_>, outer: Option<usize>) -> Option<usize> {
        let own = usize::from(self.get(element).tolerance).checked_sub(1);
        own.into_iter().chain(outer).min()
    }

    /// The rule (from 0) that names this array.
    pub(super) fn array_key(&self, element: Element<'_>) -> Option<usize> {
        usize::from(self.get(element).array_key).checked_sub(1)
    }
}

/// The first rule that names a value counts.
fn first(held: &mut u16, rule: u16) {
    if *held == 0 {
        *held = rule;
    }
}

/// Finds members in one body.
struct Finder<'a> {
    root: Element<'a>,
    /// The tree is made for the first expression.
    tree: Option<Box<Tree>>,
}

/// A body in the form that expressions are evaluated on.
struct Tree {
    value: Value,
    /// The address of each value in it and its place in the body, in the order of addresses.
    places: Vec<(usize, usize)>,
}

impl Tree {
    /// Returns the tree in a box, so that the values keep their addresses.
    fn of(root: Element<'_>) -> Box<Tree> {
        let places = Vec::with_capacity(root.nodes_within());
        let mut tree = Box::new(Tree { value: root.value(), places });
        locate(root, &tree.value, &mut tree.places);
        tree.places.sort_unstable();
        tree
    }

    fn place(&self, value: &Value) -> Option<usize> {
        let at = self.places.binary_search_by_key(&address(value), |(address, _)| *address).ok()?;
        Some(self.places[at].1)
    }
}

impl Finder<'_> {
    /// Returns the places of the values.
    fn find(&mut self, members: &Members) -> Vec<usize> {
        match members {
            Members::Pointer(pointer) => {
                self.root.pointer(pointer).map(|element| element.index()).into_iter().collect()
            }
            Members::Path(path) => {
                let tree = self.tree.get_or_insert_with(|| Tree::of(self.root));
                path.query(&tree.value).iter().filter_map(|found| tree.place(found)).collect()
            }
        }
    }
}

/// The values of a tree that stays where it is are told apart by their addresses.
fn address(value: &Value) -> usize {
    std::ptr::from_ref(value).addr()
}

fn locate(element: Element<'_>, value: &Value, places: &mut Vec<(usize, usize)>) {
    places.push((address(value), element.index()));
    match value {
        Value::Array(items) => {
            element.items().zip(items).for_each(|(element, value)| locate(element, value, places));
        }
        Value::Object(members) => {
            if element.members().count() == members.len() {
                // The names of an object are unique, so that both are in the order of the text.
                let members = element.members().zip(members.values());
                members.for_each(|((_, element), value)| locate(element, value, places));
                return;
            }
            let named = |(name, value): (Element<'_>, _)| Some((name.string()?.into_owned(), value));
            let last: HashMap<String, Element> = element.members().filter_map(named).collect();
            for (name, value) in members {
                last.get(name).into_iter().for_each(|element| locate(*element, value, places));
            }
        }
        _ => {}
    }
}

/// Whether names alone say which values these are: not indices, and not other values.
pub(super) fn is_by_name(members: &Members) -> bool {
    match members {
        Members::Pointer(pointer) => {
            !pointer.split('/').any(|token| !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit()))
        }
        Members::Path(path) => names_only(&path.to_string()),
    }
}

/// Whether an expression has no index, slice or filter. Its text does not escape quotes in names, so
/// what looks like one within a name counts too.
fn names_only(path: &str) -> bool {
    let mut before = ' ';
    for c in path.chars().filter(|c| *c != ' ') {
        let index = matches!(before, '[' | ',') && (c.is_ascii_digit() || c == '-');
        if index || matches!(c, '?' | ':') {
            return false;
        }
        before = c;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_of_names_are_told_from_those_of_places_and_values() {
        let path = |text: &str| Members::Path(Box::new(serde_json_path::JsonPath::parse(text).unwrap()));
        for by_name in ["$.a.b", "$..updated", "$.items[*].t", "$['a','0'].b", "$.*"] {
            assert!(is_by_name(&path(by_name)), "{by_name}");
        }
        for other in ["$[0]", "$.a[-1].t", "$.a[1:2]", "$.a[:2]", "$[?@.t == 1].u", "$['a', 0]", "$['[0']"] {
            assert!(!is_by_name(&path(other)), "{other}");
        }
        assert!(is_by_name(&Members::Pointer("/a/b2".into())));
        assert!(!is_by_name(&Members::Pointer("/a/0".into())));
    }
}
