//! What counts as a change: a route's rules, applied to what a poll brought (contract §2), and the
//! difference between two states as a patch (contract §5).
//!
//! Pure. Must not know: polls, followers, the wire.

mod align;
mod canonical;
pub mod feed;
mod json_members;
mod lines;
mod number;
mod order;
pub mod pagination;
mod patch;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use crate::config::Change;
use crate::resource::{Content, Element, Ignored, Json, MediaType, Snapshot, VersionNamer};
use canonical::Canonical;
use json_members::Marks;

pub use patch::{json_patch, merge_patch};

/// Digests of a body: wrong once it is rewritten.
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// A whole answer that is not the wanted data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// Short class, the label in metrics: `not-json`, `no-selection`.
    pub class: &'static str,
    /// What the body should have been, for logs and clients.
    pub reason: String,
}

impl Unfit {
    fn not_json(reason: String) -> Unfit {
        Unfit { class: "not-json", reason }
    }
}

/// The rules of a route, ready to be applied. Places are those of what is published: with `select`
/// they start at the selection.
#[derive(Debug)]
pub struct Rules {
    change: Change,
    /// See `Ignored::by_name`.
    ignored_by_name: bool,
}

impl Rules {
    /// Reads the rules of a route.
    pub fn new(change: &Change) -> Rules {
        let ignored_by_name = change.ignore.iter().all(json_members::is_by_name);
        Rules { change: change.clone(), ignored_by_name }
    }

    /// Returns the snapshot of this content after `previous`, the published one. If the two are the same under the
    /// rules they have one version and one body.
    ///
    /// # Errors
    /// The body should be JSON and is not (`not-json`), or has nothing where `select` points
    /// (`no-selection`).
    pub fn snapshot(
        &self,
        content: Content,
        previous: Option<&Snapshot>,
        namer: &VersionNamer,
    ) -> Result<Snapshot, Unfit> {
        let by_lines = !self.change.ignore_lines.is_empty();
        match self.change.has_rules() {
            _ if is_empty(content.status) => return plain(content, previous, namer),
            false if by_lines && !content.media_type().is_some_and(|it| it.is_json()) => {
                return Ok(lines::snapshot(&self.change.ignore_lines, content, previous, namer));
            }
            false => return plain(content, previous, namer),
            true => {}
        }
        let json = match read(&content) {
            Err(_) if by_lines && !content.media_type().is_some_and(|it| it.is_json()) => {
                return Ok(lines::snapshot(&self.change.ignore_lines, content, previous, namer));
            }
            read => read?,
        };
        let selected = self.selected(&json)?;
        if !self.change.is_canonical() {
            // The selection is copied: a part of the text would keep all of it in memory.
            let body = Bytes::copy_from_slice(selected.raw());
            return Ok(named(rewritten(content, body), previous, namer));
        }
        let marks = Marks::of(&self.change, selected);
        // Numbers are held against the published ones, so that they cannot drift away unseen.
        let published = previous.filter(|_| !self.change.tolerance.is_empty()).and_then(Snapshot::json);
        let Canonical { body, counted, ignored } =
            canonical::write(&self.change, &marks, selected, published.map(Json::root));
        let content = rewritten(content, Bytes::from(body.into_boxed_slice()));
        let version = content.version(namer, counted.as_deref().unwrap_or(&content.body));
        if let Some(previous) = previous.filter(|previous| previous.version == version) {
            return Ok(previous.renewed(content));
        }
        let snapshot = content.into_snapshot(version);
        if self.change.ignore.is_empty() {
            return Ok(snapshot);
        }
        Ok(snapshot.ignoring(Ignored { starts: ignored.into(), by_name: self.ignored_by_name }))
    }

    fn selected<'a>(&self, json: &'a Json) -> Result<Element<'a>, Unfit> {
        let pointer = self.change.select.as_deref().unwrap_or_default();
        json.root().pointer(pointer).ok_or_else(|| Unfit {
            class: "no-selection",
            reason: format!("the body has nothing at {pointer:?}, which `change.select` publishes"),
        })
    }
}

/// The bytes of the last poll: the same bytes need not be read again.
#[derive(Debug)]
struct Seen {
    digest: blake3::Hash,
    content_type: Option<HeaderValue>,
    status: StatusCode,
    version: crate::resource::Version,
}

/// The rules of a route on their way through the polls of one resource.
#[derive(Debug)]
pub struct Detector {
    rules: Rules,
    seen: Option<Seen>,
}

impl Detector {
    /// A detector that has seen no state yet.
    pub fn new(change: &Change) -> Detector {
        Detector { rules: Rules::new(change), seen: None }
    }

    /// As `Rules::snapshot`, but a body with the bytes of the last poll's is not even parsed.
    ///
    /// # Errors
    /// As there.
    pub fn snapshot(
        &mut self,
        content: Content,
        previous: Option<&Snapshot>,
        namer: &VersionNamer,
    ) -> Result<Snapshot, Unfit> {
        if !self.rules.change.has_rules() || !self.rules.change.ignore_lines.is_empty() {
            return self.rules.snapshot(content, previous, namer);
        }
        let digest = blake3::hash(&content.body);
        let (content_type, status) = (content.content_type.clone(), content.status);
        if let (Some(seen), Some(previous)) = (&self.seen, previous)
            && seen.version == previous.version
            && seen.digest == digest
            && seen.content_type == content_type
            && seen.status == status
        {
            return Ok(previous.renewed(rewritten(content, previous.body.clone())));
        }
        self.seen = None;
        let snapshot = self.rules.snapshot(content, previous, namer)?;
        self.seen = Some(Seen { digest, content_type, status, version: snapshot.version });
        Ok(snapshot)
    }
}

/// Whether answers of this status have no content, whatever their type says.
fn is_empty(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT)
}

/// Returns the content without rules. A body whose type says JSON has to be JSON.
fn plain(content: Content, previous: Option<&Snapshot>, namer: &VersionNamer) -> Result<Snapshot, Unfit> {
    let media_type = content.media_type();
    if let Some(previous) = previous
        && previous.body == content.body
        && previous.media_type == media_type
        && previous.status == content.status
    {
        return Ok(previous.renewed(content));
    }
    // Browsers' JSON readers drop a byte order mark, and read UTF-16 by it; old servers write one.
    let text = content.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&content.body);
    let parses = |text: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(text).map(|_| ());
    let decoded = || crate::resource::decoded(media_type.as_ref(), &content.body);
    if let Some(media_type) = media_type.as_ref().filter(|media_type| media_type.is_json())
        && !is_empty(content.status)
        && let Err(error) = parses(text)
        && decoded().is_none_or(|text| parses(&text).is_err())
    {
        let found = &media_type.essence;
        return Err(Unfit::not_json(format!("the body says it is {found} but does not parse: {error}")));
    }
    Ok(named(content, None, namer))
}

fn named(content: Content, previous: Option<&Snapshot>, namer: &VersionNamer) -> Snapshot {
    let version = content.version(namer, &content.body);
    match previous {
        Some(previous) if previous.version == version => previous.renewed(content),
        _ => content.into_snapshot(version),
    }
}

/// Under a rule a body has to be JSON, whatever its type says.
fn read(content: &Content) -> Result<Json, Unfit> {
    let media_type = content.media_type();
    let found = media_type.as_ref().map_or("no type", |t| t.essence.as_str());
    let text = crate::resource::decoded(media_type.as_ref(), &content.body);
    let json = text.ok_or_else(|| "its bytes are no text".to_owned());
    json.and_then(|text| Json::parse(text).map_err(|error| error.to_string())).map_err(|error| {
        Unfit::not_json(format!(
            "the body ({found}) does not parse as JSON, which the route's `change` needs: {error}"
        ))
    })
}

/// Returns a content with the body that is published in place of the upstream's. It is UTF-8, and has no digests, as
/// those are of the upstream's body.
fn rewritten(mut content: Content, body: Bytes) -> Content {
    if content.body != body {
        for digest in DIGESTS {
            content.headers.remove(digest);
        }
    }
    if let Some(MediaType { essence, charset: Some(charset) }) = content.media_type()
        && charset != "utf-8"
    {
        content.content_type = HeaderValue::try_from(essence).ok();
    }
    Content { body, ..content }
}

#[cfg(test)]
mod tests;
