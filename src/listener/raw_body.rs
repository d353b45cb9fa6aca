//! The body of an HTTP/1 request as it comes, before Pingora reads it (contract §12): where it ends, and whether its
//! chunks say so in one way.
//!
//! Pingora takes a chunk without a size for the last one, and reads over spaces and line ends that other servers do
//! not. Must not know: what the body holds, what comes of a bad one.

use crate::upstream::{BadAt, Chunks};

/// Where a body stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RawBody {
    /// So many bytes are left.
    Length(u64),
    Chunks(Chunks),
}

impl RawBody {
    pub(super) fn chunks() -> RawBody {
        RawBody::Chunks(Chunks::of_request())
    }

    pub(super) fn is_over(&self) -> bool {
        match self {
            RawBody::Length(left) => *left == 0,
            RawBody::Chunks(chunks) => chunks.are_over(),
        }
    }

    /// Reads on. Returns how many of the bytes are the body's: less than all only where it is over.
    ///
    /// # Errors
    /// No body has this.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<usize, BadAt> {
        match self {
            RawBody::Length(left) => {
                let skipped = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= skipped as u64;
                Ok(skipped)
            }
            RawBody::Chunks(chunks) => chunks.read(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_a_length_ends_with_it() {
        let mut body = RawBody::Length(5);
        assert_eq!((body.read(b"abc"), body.is_over()), (Ok(3), false));
        assert_eq!((body.read(b"defg"), body.is_over()), (Ok(2), true));
    }
}
