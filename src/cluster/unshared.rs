//! Why nodes that are a cluster poll a resource each for itself.
//!
//! Must not know: how that is found out.

/// Why each node polls a resource for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unshared {
    /// It is of a credential class (`cluster.private: local`).
    Private,
    /// Its route says `cluster: off`.
    Off,
    /// It is larger than `cluster.max_value`.
    TooLarge,
    /// A later version of pollcast wrote it in a form that this one does not know.
    Version,
}

impl Unshared {
    /// The word that operators read.
    pub fn word(self) -> &'static str {
        match self {
            Unshared::Private => "private",
            Unshared::Off => "off",
            Unshared::TooLarge => "too-large",
            Unshared::Version => "version",
        }
    }
}
