//! The names of keys and channels.
//!
//! Must not know: what stands under them.

use crate::cluster::seal::Name;

/// The names of keys and channels.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    /// `{pollcast:<name>}`: one hash tag, so that all is in one slot.
    pub(super) space: String,
}

impl Keys {
    pub(super) fn sessions(&self) -> String {
        format!("{}:m", self.space)
    }

    pub(super) fn record(&self, name: &Name) -> String {
        format!("{}:r:{name}", self.space)
    }

    pub(super) fn items(&self, name: &Name) -> String {
        format!("{}:f:{name}", self.space)
    }

    pub(super) fn budget(&self, name: &Name) -> String {
        format!("{}:u:{name}", self.space)
    }

    /// The channel of all nodes.
    pub(super) fn all(&self) -> String {
        format!("{}:c", self.space)
    }

    /// The resource whose channel this is.
    pub(super) fn resource(&self, channel: &[u8]) -> Option<Name> {
        Name::parse(channel.strip_prefix(self.space.as_bytes())?.strip_prefix(b":r:")?)
    }
}
