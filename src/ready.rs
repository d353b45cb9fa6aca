//! `pollcast ready`: asks a running pollcast whether it is ready, for health checks.
//!
//! Must not know: what makes it ready.

use std::io;

use crate::admin_client;

/// Asks a running pollcast by its admin listener, `ip:port` or `unix:/path`.
///
/// # Errors
/// It is not ready, or does not answer.
pub fn ask(admin: &str) -> io::Result<()> {
    match admin_client::get(admin, "/ready", None) {
        Ok(answer) if answer.is_ok() => Ok(()),
        Ok(answer) => {
            let said = answer.status_line;
            Err(io::Error::other(format!("{admin} is not ready: it answered {said:?}")))
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("{admin} is not ready: {error}"))),
    }
}
