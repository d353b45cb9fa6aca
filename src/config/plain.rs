//! Whose plain requests are: the API's, or answered from the snapshot (contract §3).
//!
//! Must not know: requests.

use super::Route;

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

impl Route {
    /// What becomes of the route's plain requests, and which key says otherwise: one line for operators.
    #[must_use]
    pub fn plain_line(&self) -> String {
        let what = match (self.polled, self.plain) {
            (false, _) => "nothing is polled or pushed, all requests are the API's (poll: off)",
            (true, Plain::Share) => {
                "plain requests are answered from the snapshot (plain: pass leaves them to the API)"
            }
            (true, Plain::Pass) => {
                "plain requests are the API's (plain: share answers them from the snapshot)"
            }
        };
        format!("{}: {what}", self.path)
    }
}
