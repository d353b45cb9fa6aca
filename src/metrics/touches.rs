//! What leads from a write to a resource: the label `cause` of `touches_total`.
//!
//! Must not know: how a write is found to touch anything.

/// What leads from a write to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TouchCause {
    /// The write named it, or its answer did.
    Write,
    /// A message of a WebSocket client did.
    Send,
    /// A call of the operator did.
    Admin,
    /// It is the collection of what was written.
    Parent,
    /// It stands above or below what was written.
    Relative,
    /// The route's `refreshes` named it.
    Refresh,
}

impl TouchCause {
    /// All of them, in an order that never changes: messages between nodes name them by their place here.
    pub const ALL: [TouchCause; 6] = [
        TouchCause::Write,
        TouchCause::Send,
        TouchCause::Admin,
        TouchCause::Parent,
        TouchCause::Relative,
        TouchCause::Refresh,
    ];

    /// The value of the label.
    pub fn label(self) -> &'static str {
        match self {
            TouchCause::Write => "write",
            TouchCause::Send => "send",
            TouchCause::Admin => "admin",
            TouchCause::Parent => "parent",
            TouchCause::Relative => "relative",
            TouchCause::Refresh => "refresh",
        }
    }
}
