//! What a span stands for.
//!
//! Must not know: how spans are made.

/// What a span stands for among services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A client's request.
    Server,
    /// A request to an upstream.
    Client,
    /// Work of the process itself.
    Internal,
}
