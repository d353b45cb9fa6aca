//! The wire formats that have members: what is encoded at publish time, and for whom.
//!
//! Must not know: connections.

use super::PatchKind;

/// What a follower is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Whole bodies as events.
    Sse,
    /// Patches as events, a whole body where there is none.
    SseDelta(PatchKind),
    /// Whole bodies as messages.
    WebSocket,
    /// The body as it is, behind a head of the client's own: long-poll.
    Body,
    /// A JSON patch behind a head of the client's own (RFC 3229), else the body.
    BodyDelta,
    /// Whole bodies as events of a stream of many resources.
    Named,
    /// Messages of the envelope protocol, with patches of this kind.
    Envelope(Option<PatchKind>),
}

impl Format {
    pub const COUNT: usize = 10;
    pub const ALL: [Format; Format::COUNT] = [
        Format::Sse,
        Format::SseDelta(PatchKind::Json),
        Format::SseDelta(PatchKind::Merge),
        Format::WebSocket,
        Format::Body,
        Format::BodyDelta,
        Format::Named,
        Format::Envelope(None),
        Format::Envelope(Some(PatchKind::Json)),
        Format::Envelope(Some(PatchKind::Merge)),
    ];

    /// Its place in `ALL`.
    pub fn index(self) -> usize {
        match self {
            Format::Sse => 0,
            Format::SseDelta(kind) => 1 + kind as usize,
            Format::WebSocket => 3,
            Format::Body => 4,
            Format::BodyDelta => 5,
            Format::Named => 6,
            Format::Envelope(None) => 7,
            Format::Envelope(Some(kind)) => 8 + kind as usize,
        }
    }

    /// The kind of patches it wants.
    pub fn patches(self) -> Option<PatchKind> {
        match self {
            Format::SseDelta(kind) | Format::Envelope(Some(kind)) => Some(kind),
            Format::BodyDelta => Some(PatchKind::Json),
            Format::Sse | Format::WebSocket | Format::Body | Format::Named | Format::Envelope(None) => None,
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
