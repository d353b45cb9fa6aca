//! The head of HTTP/1 as it comes, before Pingora reads it (contract §12).
//!
//! Pingora escapes what a target must not hold and forgets that it was there, refuses quotes in a query that many
//! clients send, and has no words for too many fields. Here control characters and spaces are found while they can
//! still be told from their escapes, quotes are escaped, and fields are counted. Must not know: what becomes of a
//! request.

use bytes::{BufMut, BytesMut};
use memchr::memchr_iter;

/// Most fields of a head that Pingora reads.
const FIELDS_MAX: usize = 256;

/// Which part of a head the next byte belongs to.
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
    /// Behind it, or unknown: bytes are let through.
    Over,
}

/// Follows the heads of one connection.
#[derive(Debug)]
pub(super) struct RawHead {
    part: Part,
    /// Whole fields so far.
    fields: usize,
    /// Bytes of the line that is not whole yet.
    line_bytes: usize,
    /// Bytes that Pingora was given since the beginning of the head.
    given: usize,
}

/// Why a head goes no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// A control character, or a space too many, in the request line.
    Line,
    TooManyFields,
}

impl RawHead {
    /// A connection whose next byte begins a request.
    pub(super) fn new() -> RawHead {
        RawHead { part: Part::Before, fields: 0, line_bytes: 0, given: 0 }
    }

    /// The request is over, of `whole` bytes. What Pingora has read beyond it is the beginning of the next one, and
    /// that one is let through as it comes.
    pub(super) fn expect_next(&mut self, whole: usize) {
        // A head that Pingora has changed is longer than it came: then nothing is known any more.
        self.given = self.given.checked_sub(whole).unwrap_or(usize::MAX / 2);
        (self.fields, self.line_bytes) = (0, 0);
        self.part = if self.given == 0 { Part::Before } else { Part::Over };
    }

    /// So many bytes go to Pingora.
    pub(super) fn give(&mut self, bytes: usize) {
        self.given = self.given.saturating_add(bytes);
    }

    /// Reads bytes of a request. Returns what Pingora is to read in their place, or `None` if they are good.
    ///
    /// # Errors
    /// No request may have such a head.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<BytesMut>, Unfit> {
        let mut escaped: Option<BytesMut> = None;
        for (at, &byte) in bytes.iter().enumerate() {
            if matches!(self.part, Part::Fields | Part::Over) {
                if let Some(escaped) = &mut escaped {
                    escaped.put_slice(&bytes[at..]);
                }
                self.count(&bytes[at..])?;
                break;
            }
            self.step(byte)?;
            if self.escapes(byte) {
                let escaped = escaped.get_or_insert_with(|| {
                    let mut before = BytesMut::with_capacity(bytes.len() + ROOM);
                    before.put_slice(&bytes[..at]);
                    before
                });
                escaped.put_slice(escape(byte));
            } else if let Some(escaped) = &mut escaped {
                escaped.put_u8(byte);
            }
        }
        Ok(escaped)
    }

    /// Whether Pingora would refuse a target with this byte, which clients leave as it is. It takes quotes in a path.
    fn escapes(&self, byte: u8) -> bool {
        match byte {
            b'"' => self.part == Part::Query,
            b'<' | b'>' => matches!(self.part, Part::Target | Part::Query),
            _ => false,
        }
    }

    /// Counts fields up to the empty line behind them.
    fn count(&mut self, bytes: &[u8]) -> Result<(), Unfit> {
        let mut begin = 0;
        for end in memchr_iter(b'\n', bytes).take_while(|_| self.part == Part::Fields) {
            let length = self.line_bytes + end - begin;
            (self.line_bytes, begin) = (0, end + 1);
            // `\r` alone.
            if length <= 1 {
                self.part = Part::Over;
                break;
            }
            self.fields += 1;
            if self.fields > FIELDS_MAX {
                return Err(Unfit::TooManyFields);
            }
        }
        self.line_bytes += bytes.len() - begin;
        Ok(())
    }

    fn step(&mut self, byte: u8) -> Result<(), Unfit> {
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

/// Room for the escapes of most queries.
const ROOM: usize = 64;

fn escape(byte: u8) -> &'static [u8] {
    match byte {
        b'"' => b"%22",
        b'<' => b"%3C",
        _ => b"%3E",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&str]) -> Result<String, Unfit> {
        let mut line = RawHead::new();
        let mut all = Vec::new();
        for piece in pieces {
            match line.read(piece.as_bytes())? {
                Some(escaped) => all.extend_from_slice(&escaped),
                None => all.extend_from_slice(piece.as_bytes()),
            }
        }
        Ok(String::from_utf8(all).unwrap())
    }

    #[test]
    fn quotes_of_a_target_are_escaped_and_nothing_else() {
        let rest = " HTTP/1.1\r\nX: \"a <b> c\"\x01\r\n\r\n";
        for (target, wanted) in [
            ("/x", "/x"),
            ("/x?q=\"a\"&b=<c>", "/x?q=%22a%22&b=%3Cc%3E"),
            ("/\"%22<a>?\"?<", "/\"%22%3Ca%3E?%22?%3C"),
            ("/x?{a}|^`\\é", "/x?{a}|^`\\é"),
        ] {
            let (said, wanted) = (format!("\r\nGET {target}{rest}"), format!("\r\nGET {wanted}{rest}"));
            assert_eq!(read(&[&said]).as_deref(), Ok(wanted.as_str()), "{target}");
            let bytes: Vec<String> = said.chars().map(String::from).collect();
            let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
            assert_eq!(read(&bytes).as_deref(), Ok(wanted.as_str()), "{target}, byte by byte");
        }
    }

    #[test]
    fn a_space_or_control_character_in_a_request_line_is_bad() {
        for line in [
            "GET /x y HTTP/1.1\r\n",
            "GET /x  HTTP/1.1\r\n",
            "GET  /x HTTP/1.1\r\n",
            "GET /x HTTP/1.1 \r\n",
            "GET /x\tHTTP/1.1\r\n",
            "GET /x\x01 HTTP/1.1\r\n",
            "GET /x?\x7f HTTP/1.1\r\n",
            "GET /x\0 HTTP/1.1\r\n",
            "GET /x\ry HTTP/1.1\r\n",
            " GET /x HTTP/1.1\r\n",
            "\x16\x03\x01",
        ] {
            assert_eq!(read(&[line]), Err(Unfit::Line), "{line:?}");
        }
    }

    #[test]
    fn fields_are_counted_to_the_end_of_the_head() {
        let head = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(fields));
        let body = "\n".repeat(300);
        assert!(read(&[&head(256), &body]).is_ok());
        assert!(read(&[&format!("{}{body}", head(3))]).is_ok());
        assert_eq!(read(&[&head(257)]), Err(Unfit::TooManyFields));
        let head = head(257);
        let pieces: Vec<&str> =
            head.as_bytes().chunks(7).map(|piece| std::str::from_utf8(piece).unwrap()).collect();
        assert_eq!(read(&pieces), Err(Unfit::TooManyFields));
    }

    #[test]
    fn a_request_whose_beginning_was_read_with_another_is_let_through() {
        let mut line = RawHead::new();
        line.give(20);
        line.expect_next(18);
        assert_eq!((line.part == Part::Before, line.read(b"a b c d\x01")), (false, Ok(None)));
        line.give(16);
        line.expect_next(18);
        assert_eq!(line.part, Part::Before, "both are read to their ends");
        line.give(17);
        line.expect_next(18);
        line.give(19);
        line.expect_next(18);
        assert_eq!(line.part, Part::Over);
    }
}
