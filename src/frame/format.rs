//! The wire formats: each that has readers is encoded at publish time.
//!
//! Must not know: connections.

use super::PatchKind;

/// Whether what a follower is sent is compressed: gzip, or on a WebSocket permessage-deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// No coding.
    Plain,
    /// The bytes compressed for the connection.
    Deflated,
}

/// What a follower is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Whole bodies, as events.
    Sse(Coding),
    /// Patches as events, a whole body where there is none.
    SseDelta(PatchKind, Coding),
    /// Whole bodies as messages.
    WebSocket(Coding),
    /// The body, plain or as a gzip file, behind a head of the client's own: long-poll.
    Body(Coding),
    /// A JSON patch behind a head of the client's own (RFC 3229), else the body.
    BodyDelta,
    /// Whole bodies as events of a stream of many resources.
    Named,
    /// Messages of the envelope protocol, with patches of this kind.
    Envelope(Option<PatchKind>),
}

impl Format {
    /// How many formats there are.
    pub const COUNT: usize = 15;
    /// All formats, in the order of their indexes.
    pub const ALL: [Format; Format::COUNT] = [
        Format::Sse(Coding::Plain),
        Format::Sse(Coding::Deflated),
        Format::SseDelta(PatchKind::Json, Coding::Plain),
        Format::SseDelta(PatchKind::Json, Coding::Deflated),
        Format::SseDelta(PatchKind::Merge, Coding::Plain),
        Format::SseDelta(PatchKind::Merge, Coding::Deflated),
        Format::WebSocket(Coding::Plain),
        Format::WebSocket(Coding::Deflated),
        Format::Body(Coding::Plain),
        Format::Body(Coding::Deflated),
        Format::BodyDelta,
        Format::Named,
        Format::Envelope(None),
        Format::Envelope(Some(PatchKind::Json)),
        Format::Envelope(Some(PatchKind::Merge)),
    ];

    /// Its place in `ALL`.
    pub fn index(self) -> usize {
        match self {
            Format::Sse(coding) => coding as usize,
            Format::SseDelta(kind, coding) => 2 + 2 * kind as usize + coding as usize,
            Format::WebSocket(coding) => 6 + coding as usize,
            Format::Body(coding) => 8 + coding as usize,
            Format::BodyDelta => 10,
            Format::Named => 11,
            Format::Envelope(None) => 12,
            Format::Envelope(Some(kind)) => 13 + kind as usize,
        }
    }

    /// Whether followers are told of the resource's condition, and not only of its states.
    pub fn tells_conditions(self) -> bool {
        !matches!(self, Format::WebSocket(_))
    }

    /// The kind of patches it wants.
    pub fn patches(self) -> Option<PatchKind> {
        match self {
            Format::SseDelta(kind, _) | Format::Envelope(Some(kind)) => Some(kind),
            Format::BodyDelta => Some(PatchKind::Json),
            Format::Sse(_) | Format::WebSocket(_) | Format::Body(_) => None,
            Format::Named | Format::Envelope(None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_its_place() {
        for (index, format) in Format::ALL.into_iter().enumerate() {
            assert_eq!(format.index(), index);
        }
    }
}
