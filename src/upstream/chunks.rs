//! A body in chunks (RFC 9112 §7.1) as it comes, before Pingora reads it: where it ends, and whether all servers would
//! agree on that (contract §12).
//!
//! Pingora takes a chunk without a size for the last one, and reads over spaces and line ends that other servers do
//! not. Must not know: what the body holds, what comes of a bad one.

/// Most digits of a chunk's size.
const DIGITS_MAX: u8 = 16;

/// The place in a body of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    part: Part,
    /// Spaces may stand between a size and its line end: old servers fill a field of a fixed width.
    is_padded: bool,
    /// Bytes that are left of the current chunk.
    left: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Digits of a size, this many so far.
    Size(u8),
    /// Behind a size, before an extension.
    Space,
    Extension,
    /// The last byte of the line of a size.
    LineEnd,
    Data,
    /// The first byte of the line end behind the data.
    DataCr,
    DataLf,
    /// Behind the last chunk. `empty` says that the line has no byte yet.
    Trailer {
        empty: bool,
    },
    Over,
}

/// The place of a byte that no body has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadAt(pub usize);

/// Takes as many of these bytes as are left.
fn skip(left: &mut u64, bytes: usize) -> usize {
    let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes);
    *left -= skipped as u64;
    skipped
}

impl Chunks {
    /// Returns the reader of a request's chunks.
    pub fn of_request() -> Chunks {
        Chunks { part: Part::Size(0), is_padded: false, left: 0 }
    }

    /// Returns the reader of an answer's chunks.
    pub fn of_answer() -> Chunks {
        Chunks { is_padded: true, ..Chunks::of_request() }
    }

    /// Whether the last chunk and its trailers were read.
    pub fn are_over(&self) -> bool {
        self.part == Part::Over
    }

    /// Reads on. Returns how many of the bytes belong to the body: fewer than all only if it has ended.
    ///
    /// # Errors
    /// No body has this.
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, BadAt> {
        let mut at = 0;
        while at < bytes.len() && self.part != Part::Over {
            if self.part == Part::Data {
                at += skip(&mut self.left, bytes.len() - at);
                if self.left == 0 {
                    self.part = Part::DataCr;
                }
                continue;
            }
            self.part = self.step(bytes[at]).ok_or(BadAt(at))?;
            at += 1;
        }
        Ok(at)
    }

    /// Returns the part behind this byte. `None` if no body has the byte here.
    fn step(&mut self, byte: u8) -> Option<Part> {
        Some(match (self.part, byte) {
            (Part::Size(digits), _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16)?;
                self.left = self.left << 4 | u64::from(digit);
                (digits < DIGITS_MAX).then_some(Part::Size(digits + 1))?
            }
            // A size has a digit at least.
            (Part::Size(0), _) => return None,
            (Part::Size(_) | Part::Space, b' ' | b'\t') => Part::Space,
            (Part::Size(_) | Part::Space, b';') => Part::Extension,
            (Part::Size(_) | Part::Extension, b'\r') => Part::LineEnd,
            (Part::Space, b'\r') if self.is_padded => Part::LineEnd,
            (Part::Extension, b'\t' | b' '..=0x7e | 0x80..) => Part::Extension,
            (Part::LineEnd, b'\n') if self.left == 0 => Part::Trailer { empty: true },
            (Part::LineEnd, b'\n') => Part::Data,
            (Part::DataCr, b'\r') => Part::DataLf,
            (Part::DataLf, b'\n') => Part::Size(0),
            (Part::Trailer { empty: true }, b'\n') => Part::Over,
            (Part::Trailer { .. }, b'\n') => Part::Trailer { empty: true },
            (Part::Trailer { empty }, b'\r') => Part::Trailer { empty },
            (Part::Trailer { .. }, _) => Part::Trailer { empty: false },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads it whole, and byte by byte.
    fn read(body: &str, new: fn() -> Chunks) -> Result<Option<usize>, usize> {
        let whole = |pieces: Vec<&[u8]>| {
            let (mut chunks, mut at) = (new(), 0);
            for piece in pieces {
                at += chunks.read(piece).map_err(|BadAt(bad)| at + bad)?;
                if chunks.are_over() {
                    return Ok(Some(at));
                }
            }
            Ok(None)
        };
        let at_once = whole(vec![body.as_bytes()]);
        assert_eq!(at_once, whole(body.as_bytes().chunks(1).collect()), "{body:?}");
        at_once
    }

    #[test]
    fn a_body_in_chunks_ends_where_it_says() {
        for body in [
            "0\r\n\r\n",
            "1\r\nx\r\n0\r\n\r\n",
            "0001\r\nx\r\n000\r\n\r\n",
            "a;b=\"c\u{e9}\"\r\n0123456789\r\n0;d\r\nX: y\r\nZ: \r\n\r\n",
            "1 \t;a\r\nx\r\n0\r\n\r\n",
            "A\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
        ] {
            for new in [Chunks::of_request, Chunks::of_answer] {
                assert_eq!(read(body, new), Ok(Some(body.len())), "{body:?}");
                assert_eq!(read(&format!("{body}GET / HTTP/1.1\r\n"), new), Ok(Some(body.len())), "{body:?}");
                assert_eq!(read(&body[..body.len() - 1], new), Ok(None), "{body:?}");
            }
        }
    }

    #[test]
    fn a_size_is_hexadecimal_digits_and_nothing_else() {
        for (body, bad) in [
            ("\r\n\r\n", 0),
            ("\n", 0),
            (";a\r\n", 0),
            (" 1\r\nx\r\n", 0),
            ("-1\r\nx\r\n", 0),
            ("+1\r\nx\r\n", 0),
            ("0x1\r\nx\r\n", 1),
            ("1 1\r\nx\r\n", 2),
            ("1,1\r\n", 1),
            ("g\r\n", 0),
            ("1\n", 1),
            ("1\rx", 2),
            ("1\0\r\n", 1),
            ("1;a\nb\r\n", 3),
            ("1;\0\r\n", 2),
            ("1\r\nx\n0\r\n\r\n", 4),
            ("1\r\nxy\r\n", 4),
            ("1\r\nx0\r\n\r\n", 4),
            ("1\r\nx\r\n\r\nx\r\n", 6),
            ("00000000000000001\r\n", 16),
        ] {
            assert_eq!(read(body, Chunks::of_request), Err(bad), "{body:?}");
            assert_eq!(read(body, Chunks::of_answer), Err(bad), "{body:?}");
        }
        assert_eq!(read("ffffffffffffffff\r\nx", Chunks::of_request), Ok(None));
    }

    #[test]
    fn only_an_answer_may_pad_its_sizes() {
        let body = "1  \r\nx\r\n0 \r\n\r\n";
        assert_eq!(read(body, Chunks::of_request), Err(3));
        assert_eq!(read(body, Chunks::of_answer), Ok(Some(body.len())));
    }
}
