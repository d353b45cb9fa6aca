//! The content of an upstream's answer before it has a name: a snapshot without a version.
//!
//! Must not know: rules, clients.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{MediaType, Version, VersionNamer};
use http::header;
use std::time::Duration;

/// The content of one successful poll.
#[derive(Debug, Clone)]
pub struct Content {
    /// The upstream's status: 200, or another one that carries data.
    pub status: StatusCode,
    /// The upstream's Content-Type.
    pub content_type: Option<HeaderValue>,
    /// The upstream's end-to-end headers that belong to the content (contract §3).
    pub headers: HeaderMap,
    /// What the next poll asks conditionally with.
    pub validators: Validators,
    /// Lower-case names of `Vary` that are not the same on every poll.
    pub vary: Vec<HeaderName>,
    /// The body, without its coding.
    pub body: Bytes,
}

impl Content {
    /// Returns the essence and the charset of the content type. `None` if there is none that can be read.
    pub fn media_type(&self) -> Option<MediaType> {
        self.content_type.as_ref().and_then(|value| MediaType::parse(value.to_str().ok()?))
    }

    /// Returns the name of this content. `text` is the part of its body that counts.
    pub fn version(&self, namer: &VersionNamer, text: &[u8]) -> Version {
        namer.name(self.status.as_u16(), self.media_type().as_ref(), text)
    }
}

/// The validators that the upstream gave. They are used towards the upstream only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// The upstream's entity tag (RFC 9110 §8.8.3).
    pub etag: Option<HeaderValue>,
    /// The date of its last change (RFC 9110 §8.8.2).
    pub last_modified: Option<HeaderValue>,
}

impl Validators {
    /// The validators of an answer. Without an entity tag a date counts only where the answer's own `Date` lies a
    /// second or more behind it (RFC 9110 §8.8.2.2): the content may change once more within that second, and the
    /// upstream would go on answering that nothing did.
    pub fn of(headers: &HeaderMap) -> Validators {
        let etag = headers.get(header::ETAG).cloned();
        let last_modified = headers.get(header::LAST_MODIFIED);
        let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?.trim()).ok();
        let is_past = |modified: &&HeaderValue| {
            let sent = headers.get(header::DATE).and_then(date);
            let apart =
                sent.zip(date(modified)).and_then(|(sent, modified)| sent.duration_since(modified).ok());
            apart.is_some_and(|apart| apart >= Duration::from_secs(1))
        };
        let last_modified = last_modified.filter(|modified| etag.is_some() || is_past(modified)).cloned();
        Validators { etag, last_modified }
    }
}
