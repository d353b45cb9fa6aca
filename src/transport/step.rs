//! What a protocol asks of its connection: bytes to write, and whether it goes on.
//!
//! Must not know: sockets.

use bytes::Bytes;

/// Bytes to write, in one or two pieces that are shared between clients.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// What is written first.
    pub first: Bytes,
    /// What is written behind it; often empty.
    pub second: Bytes,
}

impl Output {
    /// Returns an output of one piece.
    pub fn one(bytes: impl Into<Bytes>) -> Output {
        Output { first: bytes.into(), second: Bytes::new() }
    }

    /// Returns an output of two pieces.
    pub fn two(first: Bytes, second: Bytes) -> Output {
        Output { first, second }
    }

    /// Returns the bytes of both pieces.
    pub fn len(&self) -> usize {
        self.first.len() + self.second.len()
    }

    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An answer whose connection would go on, as the last one of its connection: the client must not send another
    /// request that is not read.
    pub fn closing(self) -> Output {
        const LINE: &[u8] = b"Connection: close\r\n";
        // Its first piece begins with a whole head (`answer::head_bytes`), and fields stand in any order.
        let Some(end) = memchr::memchr(b'\n', &self.first) else {
            return self;
        };
        let (status_line, rest) = self.first.split_at(end + 1);
        Output { first: [status_line, LINE, rest].concat().into(), second: self.second }
    }
}

/// What to do with the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// Write this.
    Write(Output),
    /// The client sent a message that goes to the upstream (contract §6, `send`).
    Forward(Bytes),
    /// Write, then end the connection; the word is for logs and metrics.
    Finish(Output, &'static str),
    /// Write; then the connection serves its next request.
    GiveBack(Output, &'static str),
}
