//! What an answer of the upstream brings before it has a name: a snapshot without a version.
//!
//! Must not know: rules, clients.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{MediaType, Snapshot, Validators, Version, VersionNamer};

/// The content of one successful poll.
#[derive(Debug, Clone)]
pub struct Content {
    pub status: StatusCode,
    pub content_type: Option<HeaderValue>,
    /// The upstream's end-to-end headers that belong to the content (contract §3).
    pub headers: HeaderMap,
    pub validators: Validators,
    /// Lower-case names of `Vary` that are not the same on every poll.
    pub vary: Vec<HeaderName>,
    pub body: Bytes,
}

impl Content {
    pub fn media_type(&self) -> Option<MediaType> {
        self.content_type.as_ref().and_then(|value| MediaType::parse(value.to_str().ok()?))
    }

    /// The name of this content if `text` is what counts of its body.
    pub fn version(&self, namer: &VersionNamer, text: &[u8]) -> Version {
        namer.name(self.status.as_u16(), self.media_type().as_ref(), text)
    }

    pub fn into_snapshot(self, version: Version) -> Snapshot {
        Snapshot::new(
            version,
            self.status,
            self.content_type,
            self.headers,
            self.validators,
            self.vary,
            self.body,
        )
    }
}
