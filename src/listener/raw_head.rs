//! The requests of an HTTP/1 connection as they come, before Pingora reads them (contract §12).
//!
//! Pingora escapes what a target must not hold and forgets that it was there, refuses quotes in a query that many
//! clients send, and has no words for too many fields. Here control characters and spaces are found while they can
//! still be told from their escapes, quotes are escaped, and fields are counted: on each request, those among them that
//! come behind another one. Bodies are followed to their ends (`raw_body`). Must not know: what becomes of a request.

use bytes::{BufMut, BytesMut};
use memchr::memchr;

use super::raw_body::RawBody;
use crate::upstream::BadAt;

/// What Pingora gets to read in place of a refused head: none has it, so that it looks no further.
pub(super) const NO_HEAD: &[u8] = b"\0\r\n\r\n";

/// The same in place of the rest of a refused body. Pingora takes any byte in an extension, but no CR without LF.
pub(super) const NO_CHUNK: &[u8] = b"\r\0\r\n\r\n";

/// Most fields of a head that Pingora reads.
const FIELDS_MAX: usize = 256;

/// Bytes of a field that are kept while it is not whole: the longest that says where a body ends.
const KEPT_FIELD_BYTES_MAX: usize = 64;

/// Which part of a request the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Empty lines may come before it (RFC 9112 §2.2).
    Before,
    Method,
    Target,
    /// Of the target, with its question mark.
    Query,
    Version,
    /// The last byte of the request line.
    LineEnd,
    Fields,
    Body(RawBody),
    /// Nothing is known of what comes: bytes are let through.
    Unknown,
    /// Nothing more is read.
    Refused,
}

/// What the fields of a head say about what comes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Framing {
    #[default]
    Nothing,
    Length(u64),
    Chunks,
    /// Said twice, in another way, or an upgrade: the head is refused, or what comes is no HTTP.
    Unclear,
}

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct RawHead {
    part: Part,
    /// Whole fields of this head so far.
    fields: usize,
    /// The beginning of the field that is not whole yet.
    field: Vec<u8>,
    /// Bytes of the line that is not whole yet.
    line_bytes: usize,
    framing: Framing,
    /// Bytes that Pingora was given since the beginning of the head.
    given: usize,
    /// Heads that were read to their ends and are not answered yet.
    unanswered: usize,
}

/// Why a request goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// A control character, or a space too many, in the request line.
    Line,
    TooManyFields,
    /// The size of a chunk is none, or a chunk does not end where it says.
    Chunk,
}

/// What Pingora is to read in place of the bytes that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// `None` stands for what came.
    pub(super) instead: Option<BytesMut>,
    /// What is behind that goes no further.
    pub(super) unfit: Option<Unfit>,
}

/// The head of a request alone, as Pingora gets to read it.
///
/// # Errors
/// Why it goes no further.
pub(crate) fn readable(head: &[u8]) -> Result<BytesMut, Unfit> {
    let Read { instead, unfit } = RawHead::new().read(head);
    unfit.map_or_else(|| Ok(instead.unwrap_or_else(|| head.into())), Err)
}

impl RawHead {
    /// A connection whose next byte begins a request.
    pub(super) fn new() -> RawHead {
        RawHead {
            part: Part::Before,
            fields: 0,
            field: Vec::new(),
            line_bytes: 0,
            framing: Framing::Nothing,
            given: 0,
            unanswered: 0,
        }
    }

    /// Whether a request that came before is not answered yet.
    pub(super) fn has_unanswered(&self) -> bool {
        self.unanswered > 0
    }

    /// Whether all requests that came are answered, and nothing of another one has come.
    pub(super) fn is_idle(&self) -> bool {
        self.part == Part::Before && !self.has_unanswered()
    }

    /// The first of the requests that were read is answered; it had `whole` bytes. Where it was not clear what comes
    /// behind its head, what Pingora has read beyond it is the beginning of the next one, which is let through as it
    /// comes.
    pub(super) fn expect_next(&mut self, whole: usize) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.part == Part::Unknown && self.unanswered == 0 {
            // A head that Pingora has changed is longer than it came: then nothing is known any more.
            self.given = self.given.checked_sub(whole).unwrap_or(usize::MAX / 2);
            if self.given == 0 {
                self.begin();
            }
        }
    }

    /// The next byte begins a request.
    fn begin(&mut self) {
        self.part = Part::Before;
        (self.fields, self.line_bytes, self.given) = (0, 0, 0);
        self.field.clear();
        self.framing = Framing::Nothing;
    }

    /// Reads what came.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Read {
        let mut out = Out { bytes, escaped: None };
        // Where the head begins that is read, in what goes out.
        let (mut head, mut at) = (0, 0);
        while at < bytes.len() {
            let taken = match &mut self.part {
                Part::Refused => return Read { instead: Some(BytesMut::new()), unfit: None },
                Part::Unknown => Ok(bytes.len() - at),
                Part::Fields => self.fields(&bytes[at..]).map_err(|unfit| (head, unfit)),
                Part::Method | Part::Target | Part::Query | Part::Version if is_word(bytes[at]) => {
                    Ok(bytes[at..].iter().take_while(|byte| is_word(**byte)).count())
                }
                Part::Body(body) => {
                    let taken = body.read(&bytes[at..]);
                    taken.map_err(|BadAt(bad)| (out.length(at) + bad, Unfit::Chunk))
                }
                _ => self.line(bytes[at]).map(|()| 1).map_err(|unfit| (head, unfit)),
            };
            let taken = match taken {
                Ok(taken) => taken,
                Err((good, unfit)) => {
                    self.part = Part::Refused;
                    return Read { instead: Some(out.up_to(at, good)), unfit: Some(unfit) };
                }
            };
            let before = out.length(at);
            out.take(at, taken, self.escapes(bytes[at]));
            at += taken;
            self.given = self.given.saturating_add(out.length(at) - before);
            if matches!(&self.part, Part::Body(RawBody::Length(0))) {
                self.begin();
                head = out.length(at);
            } else if matches!(&self.part, Part::Body(body) if body.is_over()) {
                // A request in chunks is its connection's last.
                self.part = Part::Unknown;
            }
        }
        Read { instead: out.escaped, unfit: None }
    }

    /// Whether Pingora would refuse a target with this byte, which clients leave as it is. It takes quotes in a path, and
    /// backticks in a query.
    fn escapes(&self, byte: u8) -> bool {
        match byte {
            b'"' => self.part == Part::Query,
            b'`' => self.part == Part::Target,
            b'<' | b'>' => matches!(self.part, Part::Target | Part::Query),
            _ => false,
        }
    }

    /// Reads fields up to the empty line behind them, or all there is. Returns how many bytes that were.
    fn fields(&mut self, bytes: &[u8]) -> Result<usize, Unfit> {
        let mut begin = 0;
        while let Some(end) = memchr(b'\n', &bytes[begin..]).map(|end| begin + end) {
            let line = &bytes[begin..end];
            let length = self.line_bytes + line.len();
            self.line_bytes = 0;
            begin = end + 1;
            // `\r` alone.
            if length <= 1 {
                self.end_head();
                return Ok(begin);
            }
            if self.field.is_empty() {
                self.frame(line);
            } else {
                self.keep(line);
                let field = std::mem::take(&mut self.field);
                self.frame(&field);
            }
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                return Err(Unfit::TooManyFields);
            }
        }
        let rest = &bytes[begin..];
        self.line_bytes += rest.len();
        self.keep(rest);
        Ok(bytes.len())
    }

    /// Keeps the beginning of a field.
    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT_FIELD_BYTES_MAX.saturating_sub(self.field.len());
        self.field.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Looks at a field for what it says about what comes behind the head.
    fn frame(&mut self, line: &[u8]) {
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T' | b'u' | b'U')) {
            return;
        }
        let Some(colon) = memchr(b':', line) else { return };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let said = if name.eq_ignore_ascii_case(b"content-length") {
            let number = std::str::from_utf8(value).ok().filter(|_| line.len() < KEPT_FIELD_BYTES_MAX);
            number.and_then(|number| number.parse().ok()).map_or(Framing::Unclear, Framing::Length)
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            match value.eq_ignore_ascii_case(b"chunked") {
                true => Framing::Chunks,
                false => Framing::Unclear,
            }
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            Framing::Unclear
        } else {
            return;
        };
        self.framing = if self.framing == Framing::Nothing { said } else { Framing::Unclear };
    }

    fn end_head(&mut self) {
        self.unanswered += 1;
        self.part = match self.framing {
            Framing::Nothing => Part::Body(RawBody::Length(0)),
            Framing::Length(length) => Part::Body(RawBody::Length(length)),
            Framing::Chunks => Part::Body(RawBody::chunks()),
            Framing::Unclear => Part::Unknown,
        };
    }

    /// Reads a byte of a request line.
    fn line(&mut self, byte: u8) -> Result<(), Unfit> {
        self.part = match (self.part, byte) {
            (Part::Before, b'\r' | b'\n') => Part::Before,
            (_, b'\n') => Part::Fields,
            (Part::Method | Part::Target | Part::Query | Part::Version, b'\r') => Part::LineEnd,
            (Part::LineEnd, _) => return Err(Unfit::Line),
            (Part::Before, _) if byte > b' ' => Part::Method,
            (Part::Method, b' ') => Part::Target,
            (Part::Target, b'?') => Part::Query,
            (Part::Target | Part::Query, b' ') => Part::Version,
            (part, _) if byte > b' ' && byte != 0x7f => part,
            _ => return Err(Unfit::Line),
        };
        Ok(())
    }
}

/// Whether a byte of a request line neither ends a part of it nor is escaped: most are so.
fn is_word(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'<' | b'>' | b'?' | b'`')
}

/// What goes out of one read: what came, until something of it has to be escaped.
struct Out<'a> {
    bytes: &'a [u8],
    escaped: Option<BytesMut>,
}

impl Out<'_> {
    /// So much went out of the bytes before `at`.
    fn length(&self, at: usize) -> usize {
        self.escaped.as_ref().map_or(at, BytesMut::len)
    }

    fn take(&mut self, at: usize, count: usize, is_escaped: bool) {
        if is_escaped {
            let escaped = self.escaped.get_or_insert_with(|| {
                let mut before = BytesMut::with_capacity(self.bytes.len() + ESCAPES_BYTES);
                before.put_slice(&self.bytes[..at]);
                before
            });
            escaped.put_slice(escape(self.bytes[at]));
        } else if let Some(escaped) = &mut self.escaped {
            escaped.put_slice(&self.bytes[at..at + count]);
        }
    }

    /// The first bytes of what goes out, `at` bytes having been taken.
    fn up_to(self, at: usize, length: usize) -> BytesMut {
        let mut out = self.escaped.unwrap_or_else(|| BytesMut::from(&self.bytes[..at]));
        // The bytes of a chunk before the bad one were not taken yet.
        if length > out.len() {
            let more = length - out.len();
            out.put_slice(&self.bytes[at..at + more]);
        }
        out.truncate(length);
        out
    }
}

/// Room for the escapes of most queries.
const ESCAPES_BYTES: usize = 64;

fn escape(byte: u8) -> &'static [u8] {
    match byte {
        b'"' => b"%22",
        b'<' => b"%3C",
        b'>' => b"%3E",
        _ => b"%60",
    }
}

#[cfg(test)]
#[path = "raw_head_tests.rs"]
mod tests;
