//! What may be odd about a place of the API, as plain data.
//!
//! Must not know: how an answer is made of it (`api`), how it is chosen (`generate`).

use super::scene::Scheme;

/// What a body holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    Object,
    List,
    Text,
    Html,
    Xml,
    /// XML that says its encoding in its first line alone.
    XmlLatin1,
    Csv,
    Lines,
    Binary,
    Empty,
    /// JSON behind what keeps scripts from reading it.
    Guarded,
    /// What a lost sensor says, under the name of JSON.
    NotANumber,
    /// JSON behind a byte order mark.
    Marked,
    /// More than `max_body`.
    Large,
}

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Only for requests that accept it.
    GzipIfAsked,
    /// For every request.
    Gzip,
    /// With bytes behind its end.
    GzipAndMore(&'static [u8]),
    /// Says so as soon as it is asked for, and is not.
    GzipThatLies,
    BrotliIfAsked,
    ZstdIfAsked,
    /// The name of something that is no content coding.
    None(&'static str),
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    Chunked,
    UntilClose,
    /// A piece now and then, to its end.
    Drips,
    /// A piece now and then, without an end.
    Endless,
    /// Less than was said, then the end of the connection.
    CutShort,
}

/// Heads as old devices write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    BareLf,
    Folded,
    SpaceBeforeColon,
    UnreadableLine,
    Http10,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validator {
    Strong,
    Weak,
    /// Without quotes.
    Bare,
    LastModified,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cors {
    Any,
    /// The asking origin, only when asked with one, and `Vary: Origin`.
    Echo,
    /// The same without a Vary.
    EchoSilently,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trait {
    Status(u16),
    Body(Body),
    /// This Content-Type; empty: none.
    Type(&'static str),
    Coding(Coding),
    Framing(Framing),
    Head(Head),
    /// One more field of the answer.
    Field(&'static str, &'static str),
    /// Fields that change with the state.
    Counts,
    /// A field that changes with the state while the body stays.
    OnlyFieldsChange,
    Validator(Validator),
    /// A request field chooses the content; whether Vary says so.
    Chooses(&'static str, bool),
    /// It gives users their own; others get 401 if it has to be one, else what is for all.
    Knows(Scheme, bool),
    Cors(Cors),
    /// A cookie for a user that has none yet.
    SetsCookie,
    /// Takes so many milliseconds before the first byte.
    Slow(u64),
    /// Answers ranges.
    Ranges,
    /// A read is an act: the answer says how many there were.
    Acts,
    /// What a write is answered with.
    Writes(u16),
}
