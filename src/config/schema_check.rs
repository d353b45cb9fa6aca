//! The tree of the file held against the schema: unknown keys, wrong shapes, missing keys, the environment.
//!
//! What does not fit is told and left out, so that everything else is still checked.
//! Must not know: any key by name; what a scalar means.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::environment::{self, Lookup};
use super::problem::{Findings, Line, Place, quoted, suggestion};
use super::yaml::{Entry, Kind, Node};
use super::{SecretFile, SecretForm, raw, schema};

/// The file as typed; none only if it could not be read at all, which has been told.
pub(super) fn typed(
    tree: &Node,
    base_dir: &Path,
    lookup: Lookup<'_>,
    findings: &mut Findings,
) -> Option<raw::File> {
    let mut walk = Walk { base_dir, lookup, findings };
    let first = Line { file: 0, number: 1 };
    let empty = Node { line: first, kind: Kind::Mapping(Vec::new()) };
    let tree = if matches!(tree.kind, Kind::Nothing) { &empty } else { tree };
    walk.findings.locate(&Place::root(), first);
    let value = walk.value(tree, schema::root(), &Place::root())?;
    match serde_json::from_value(value) {
        Ok(file) => Some(file),
        // Only a disagreement of schema and types leads here. The error may quote values, so it stays here.
        Err(_) => {
            findings.problem(
                &Place::root(),
                "the file has a shape that its schema allows and pollcast does not know",
            );
            None
        }
    }
}

/// The shapes that a schema allows for a value.
#[derive(Default)]
struct Shapes<'a> {
    scalar: bool,
    items: Option<&'a Value>,
    mapping: Option<&'a Value>,
}

impl<'a> Shapes<'a> {
    fn of(schema: &'a Value) -> Shapes<'a> {
        let mut shapes = Shapes::default();
        shapes.add(schema);
        shapes
    }

    fn add(&mut self, schema: &'a Value) {
        let one = schema.get("type").and_then(Value::as_str);
        let many =
            schema.get("type").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for kind in one.into_iter().chain(many) {
            match kind {
                "object" => self.mapping = Some(schema),
                "array" => self.items = schema.get("items"),
                _ => self.scalar = true,
            }
        }
        for branch in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
            self.add(branch);
        }
    }

    fn wanted(&self) -> String {
        let names = [
            (self.scalar, "a plain value"),
            (self.items.is_some(), "a list"),
            (self.mapping.is_some(), "a mapping"),
        ];
        let names: Vec<_> = names.iter().filter(|(allowed, _)| *allowed).map(|(_, name)| *name).collect();
        names.join(" or ")
    }
}

/// When a plain value that is the text of a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FileIs {
    /// At the start alone.
    ReadHere,
    /// It is read where it is used, and again when it changes.
    Watched,
}

/// Whether a plain value may be the text of a file, and when that is read.
fn takes_file(schema: &Value) -> Option<FileIs> {
    let mut branches = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    match schema.get("format").and_then(Value::as_str) {
        Some("file-text") => Some(FileIs::Watched),
        Some("secret-text") => Some(FileIs::ReadHere),
        _ => branches.find_map(takes_file),
    }
}

struct Walk<'a> {
    base_dir: &'a Path,
    lookup: Lookup<'a>,
    findings: &'a mut Findings,
}

impl Walk<'_> {
    /// The node as JSON with every scalar as text; none if nothing of it fits.
    fn value(&mut self, node: &Node, schema: &Value, place: &Place) -> Option<Value> {
        let shapes = Shapes::of(schema);
        match (&node.kind, shapes.items, shapes.mapping) {
            (Kind::Scalar(text), _, _) if shapes.scalar => {
                self.scalar(text, schema, place).map(Value::String)
            }
            (Kind::List(nodes), Some(items), _) => Some(Value::Array(self.items(nodes, items, place))),
            (Kind::Mapping(entries), _, Some(mapping)) => {
                Some(Value::Object(self.entries(entries, mapping, place)))
            }
            _ => {
                let found = match node.kind {
                    Kind::Nothing => "nothing",
                    Kind::Scalar(_) => "a plain value",
                    Kind::List(_) => "a list",
                    Kind::Mapping(_) => "a mapping",
                };
                self.findings.problem(place, format!("expected {}, found {found}", shapes.wanted()));
                None
            }
        }
    }

    fn scalar(&mut self, text: &str, schema: &Value, place: &Place) -> Option<String> {
        match (environment::file_of(text), takes_file(schema)) {
            (Some(_), Some(FileIs::Watched)) => return Some(text.to_owned()),
            (Some(path), Some(FileIs::ReadHere)) => return self.file(text, path, place),
            (Some(_), None) => {
                let message = "takes no ${file:…}; passwords, tokens, keys and poll.headers do";
                self.findings.problem(place, message);
                return None;
            }
            (None, _) => {}
        }
        let is_file = |text: &str| environment::file_of(text).is_some();
        match environment::expand(text, self.lookup) {
            // Neither the environment nor an escape names a file.
            Ok(expanded) if takes_file(schema).is_some() && is_file(&expanded) => {
                self.findings.problem(
                    place,
                    "names a file only after it was put together; write ${file:/path} itself",
                );
                None
            }
            Ok(expanded) => {
                if matches!(expanded, std::borrow::Cow::Owned(_)) {
                    self.findings.expanded(place, text, &expanded);
                }
                Some(expanded.into_owned())
            }
            Err(message) => {
                self.findings.problem(place, message);
                None
            }
        }
    }

    /// The secret in a file. What is wrong with it is told without a word of it.
    fn file(&mut self, typed: &str, path: &str, place: &Place) -> Option<String> {
        match SecretFile::load(&self.base_dir.join(path), SecretForm::Password) {
            Ok(file) => {
                let text = SecretFile::password(&file.first).into_owned();
                self.findings.expanded(place, typed, &text);
                Some(text)
            }
            Err(reason) => {
                self.findings.bad(place, path, &reason);
                None
            }
        }
    }

    fn items(&mut self, nodes: &[Node], schema: &Value, place: &Place) -> Vec<Value> {
        let mut items = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let place = place.index(index);
            self.findings.locate(&place, node.line);
            // An item that does not fit leaves its place empty: the others keep their numbers.
            items.push(self.value(node, schema, &place).unwrap_or(Value::Null));
        }
        items
    }

    fn entries(&mut self, entries: &[Entry], schema: &Value, place: &Place) -> Map<String, Value> {
        let mut first_lines: HashMap<&str, Line> = HashMap::new();
        let mut values = Map::new();
        for entry in entries {
            let place = place.key(&entry.key);
            if let Some(first) = first_lines.get(entry.key.as_str()) {
                let message = format!("key {} is already on line {}", quoted(&entry.key), first.number);
                self.findings.problem_on(entry.line, &place, message);
                continue;
            }
            first_lines.insert(&entry.key, entry.line);
            if let Some(value) = self.entry(entry, schema, &place) {
                values.insert(entry.key.clone(), value);
            }
        }
        for key in
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            let found = entries.iter().find(|entry| entry.key == key);
            if found.is_none_or(|entry| matches!(entry.value.kind, Kind::Nothing)) {
                self.findings.problem(place, format!("key {key:?} is missing"));
            }
        }
        values
    }

    fn entry(&mut self, entry: &Entry, schema: &Value, place: &Place) -> Option<Value> {
        let known = schema.get("properties").and_then(Value::as_object);
        let named = known.and_then(|known| known.get(&entry.key));
        let open = schema.get("additionalProperties").filter(|open| open.is_object());
        match named.or(open) {
            None => {
                let names = known.into_iter().flat_map(Map::keys).map(String::as_str);
                let message = format!("unknown key {}{}", quoted(&entry.key), suggestion(&entry.key, names));
                self.findings.problem_on(entry.line, place, message);
                None
            }
            Some(schema) => {
                self.findings.locate(place, entry.line);
                // `admin:` with everything under it commented out is as good as no `admin:`.
                if named.is_some() && matches!(entry.value.kind, Kind::Nothing) {
                    return None;
                }
                self.value(&entry.value, schema, place)
            }
        }
    }
}
