//! Answers that are no documents (contract §1): no snapshot can be made of them, whatever they hold.
//!
//! Pure. Must not know: how an answer is read, what becomes of it.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, header};

/// The knowledge of an exchange about the resource that it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Document {
    /// Any answer is wanted, and is read to its end.
    #[default]
    Any,
    /// The resource was a document before: an answer that cannot be one ends the exchange, a slow one does not.
    Known,
    /// The resource is not known: an answer without a usable length also ends the exchange if it is not complete soon
    /// enough.
    Unknown {
        /// The time from the head to the end of the answer.
        complete_within: Duration,
    },
}

/// The kind of an answer that is no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoDocument {
    /// An event stream.
    EventStream,
    /// Audio.
    Audio,
    /// Video.
    Video,
    /// A body of several parts.
    Multipart,
    /// The answer has no length, and was not complete soon enough.
    Endless {
        /// The time that the answer was given after its head.
        waited: Duration,
    },
}

impl NoDocument {
    /// Returns what the type of an answer says about it; `None` if it may be a document.
    pub fn of(headers: &HeaderMap) -> Option<NoDocument> {
        let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let essence = text.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("text/event-stream") {
            return Some(NoDocument::EventStream);
        }
        let (kind, _) = essence.split_once('/')?;
        let kinds = [
            ("audio", NoDocument::Audio),
            ("video", NoDocument::Video),
            ("multipart", NoDocument::Multipart),
        ];
        kinds.into_iter().find(|(name, _)| kind.eq_ignore_ascii_case(name)).map(|(_, found)| found)
    }

    /// The word for it, also a label of metrics and the start of a reason.
    pub fn word(self) -> &'static str {
        match self {
            NoDocument::EventStream => "event-stream",
            NoDocument::Audio => "audio",
            NoDocument::Video => "video",
            NoDocument::Multipart => "multipart",
            NoDocument::Endless { .. } => "endless",
        }
    }
}

impl fmt::Display for NoDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_type_says_what_can_be_no_document() {
        for (content_type, found) in [
            ("text/event-stream", Some(NoDocument::EventStream)),
            ("Text/Event-Stream;charset=utf-8", Some(NoDocument::EventStream)),
            ("audio/mpeg", Some(NoDocument::Audio)),
            ("VIDEO/mp4; codecs=x", Some(NoDocument::Video)),
            ("multipart/x-mixed-replace; boundary=a", Some(NoDocument::Multipart)),
            ("application/json", None),
            ("audiobook", None),
            ("text/audio/x", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            assert_eq!(NoDocument::of(&headers), found, "{content_type}");
        }
        assert_eq!(NoDocument::of(&HeaderMap::new()), None);
    }
}
