//! Pingora's errors in an operator's words: the innermost cause, without the names of the layers above it
//! and without the bytes that a peer sent.
//! Must not know: what the error means for the exchange.

use std::fmt;

use super::refusal::{Refusal, Workaround};
use pingora::connectors::l4::ConnectErrorExt;
use pingora::{BError, Error, ErrorType};

/// Displays as the innermost cause.
#[derive(Debug)]
pub(super) struct Cause(Box<Error>);

impl Cause {
    pub(super) fn of(error: Box<Error>) -> Box<Self> {
        Box::new(Self(error))
    }

    /// Why a handshake failed. Pingora hangs our own address under it, and keeps the reason as text: nested words
    /// of its own, the library's at the end, and the name that was asked for.
    fn of_handshake(&self) -> Option<&str> {
        if self.0.root_cause().source().is_some() || self.0.connect_local_addr().is_none() {
            return None;
        }
        let mut innermost = &*self.0;
        while let Some(below) = innermost.cause.as_ref().and_then(|cause| cause.downcast_ref::<BError>()) {
            innermost = below;
        }
        let told = innermost.context.as_ref()?.as_str();
        let told = told.rsplit_once("cause: ").map_or(told, |(_, cause)| cause);
        Some(told.rsplit_once(", SNI: ").map_or(told, |(told, _)| told))
    }

    /// What would make the server one that is spoken with.
    pub(super) fn workarounds(&self) -> Vec<Workaround> {
        self.0
            .root_cause()
            .downcast_ref::<Refusal>()
            .map(|refusal| refusal.workarounds().to_vec())
            .unwrap_or_default()
    }

    /// The innermost error if it is an I/O error.
    pub(super) fn io_kind(&self) -> Option<std::io::ErrorKind> {
        self.0.root_cause().downcast_ref::<std::io::Error>().map(std::io::Error::kind)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = self.0.root_cause();
        if let Some(told) = self.of_handshake() {
            return f.write_str(told);
        }
        match root.downcast_ref::<Error>() {
            None => write!(f, "{root}"),
            // The context of an unreadable head is the head.
            Some(error) if error.etype == ErrorType::InvalidHTTPHeader => f.write_str(error.etype.as_str()),
            Some(error) => match &error.context {
                Some(context) => f.write_str(context.as_str()),
                None => f.write_str(error.etype.as_str()),
            },
        }
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Displayed already: what follows is below it.
        self.0.root_cause().source()
    }
}
