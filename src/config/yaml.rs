//! YAML text into a tree of plain nodes with line numbers.
//!
//! Bounded in depth and in nodes, aliases included, so that no file can exhaust memory or stack.
//! Must not know: which keys exist; what a scalar means.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::problem::Line;

/// Deepest nesting; the configuration needs about eight.
const DEPTH_MAX: usize = 32;
/// Most nodes, with every alias written out.
pub(super) const NODES_MAX: usize = 100_000;

/// A value and the line where it starts.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// The line where the value starts.
    pub line: Line,
    /// The value.
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    /// `null`, `~`, or nothing at all.
    Nothing,
    Scalar(String),
    List(Vec<Node>),
    /// A mapping, in the order of the file; a key may be there twice.
    Mapping(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// The key's text.
    pub key: String,
    /// Line of the key.
    pub line: Line,
    /// What it holds.
    pub value: Node,
}

/// Why a text cannot be read: the line, and what was found there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    /// Where it was found, from 1.
    pub line: usize,
    /// What was found.
    pub message: String,
}

/// Reads one YAML document, the text of the file with this number.
pub(super) fn parse(text: &str, file: usize) -> Result<Node, SyntaxError> {
    let mut tree = Tree { file, ..Tree::default() };
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| syntax(error.marker().line(), format!("not YAML: {}", error.info())))?;
        tree.take(event, span)?;
    }
    Ok(tree.root.unwrap_or(Node { line: Line { file, number: 1 }, kind: Kind::Nothing }))
}

fn syntax(line: usize, message: impl Into<String>) -> SyntaxError {
    SyntaxError { line, message: message.into() }
}

/// A list or mapping whose end has not been seen.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value.
    key: Option<(String, Line)>,
}

#[derive(Default)]
struct Tree {
    /// The number of the file that all lines are in.
    file: usize,
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let line = span.start.line();
        let at = Line { file: self.file, number: line };
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                plain_tag(tag.as_ref(), line)?;
                self.put(Node { line: at, kind: scalar(&text, style) }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(line, Kind::List(Vec::new()), anchor, tag.as_ref())
            }
            Event::MappingStart(anchor, tag) => {
                self.open(line, Kind::Mapping(Vec::new()), anchor, tag.as_ref())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.put(open.node, open.anchor),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(syntax(line, "an alias stands inside its own anchor"));
                };
                let (mut node, size) = (node.clone(), *size);
                node.line = at;
                self.count(size, line)?;
                self.put(node, 0)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(syntax(line, "a second document starts here; the configuration is one document"))
            }
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        line: usize,
        kind: Kind,
        anchor: usize,
        tag: Option<&Cow<'_, Tag>>,
    ) -> Result<(), SyntaxError> {
        plain_tag(tag, line)?;
        if self.open.len() >= DEPTH_MAX {
            return Err(syntax(line, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let line = Line { file: self.file, number: line };
        self.open.push(Open { node: Node { line, kind }, anchor, key: None });
        Ok(())
    }

    /// Puts a whole value where it belongs.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        self.count(1, node.line.number)?;
        if anchor != 0 {
            let size = size(&node);
            // An anchor keeps a copy, so it costs what an alias costs.
            self.count(size, node.line.number)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut parent.node.kind, parent.key.take(), node.kind) {
            (Kind::List(items), _, kind) => items.push(Node { line: node.line, kind }),
            (Kind::Mapping(entries), Some((key, line)), kind) => {
                entries.push(Entry { key, line, value: Node { line: node.line, kind } });
            }
            (_, None, Kind::Scalar(key)) => parent.key = Some((key, node.line)),
            _ => return Err(syntax(node.line.number, "a key must be plain text")),
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), SyntaxError> {
        self.nodes += nodes;
        match self.nodes > NODES_MAX {
            true => Err(syntax(line, format!("more than {NODES_MAX} values, aliases included"))),
            false => Ok(()),
        }
    }
}

/// How many values there are in a tree, with it.
pub(super) fn size(node: &Node) -> usize {
    match &node.kind {
        Kind::Nothing | Kind::Scalar(_) => 1,
        Kind::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Kind::Mapping(entries) => 1 + entries.iter().map(|entry| size(&entry.value)).sum::<usize>(),
    }
}

fn scalar(text: &str, style: ScalarStyle) -> Kind {
    match (style, text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Kind::Nothing,
        _ => Kind::Scalar(text.to_owned()),
    }
}

/// `!!str` and its like change nothing here; any other tag would be silently without effect.
fn plain_tag(tag: Option<&Cow<'_, Tag>>, line: usize) -> Result<(), SyntaxError> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => Err(syntax(
            line,
            "tags (a word behind \"!\") have no meaning here; quote the value if it starts with \"!\"",
        )),
        _ => Ok(()),
    }
}
