//! The two ways to answer plain requests: from the snapshot, or by the API (contract §3).
//!
//! Must not know: requests.

/// How plain requests are answered (contract §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// They are answered from the snapshot.
    Share,
    /// They are the API's, whether a client follows the resource or not.
    Pass,
}

impl Plain {
    /// Returns the default for a path. A wide route promises to push whatever is asked for, but it is not known what
    /// every GET below it does, so it leaves plain requests to the API.
    pub fn of_path(pattern: &str) -> Plain {
        // Two braces stand for a brace that belongs to no parameter.
        if pattern.replace("{{", "").contains("{*") { Plain::Pass } else { Plain::Share }
    }
}
