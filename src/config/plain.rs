//! Whose plain requests are: the API's, or answered from the snapshot (contract §3).
//!
//! Must not know: requests.

/// Whose plain requests are (contract §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// They are answered from the snapshot.
    Share,
    /// They are the API's, whether a client follows the resource or not.
    Pass,
}

impl Plain {
    /// What holds where the file says nothing: a wide route promises to push whatever is asked for, and does not
    /// know what every GET below it does.
    pub fn of_path(pattern: &str) -> Plain {
        // Two braces stand for one that is none of a parameter's.
        if pattern.replace("{{", "").contains("{*") { Plain::Pass } else { Plain::Share }
    }
}
