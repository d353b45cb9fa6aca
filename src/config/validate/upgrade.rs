//! `upgrade`: where the listening sockets change hands.
//!
//! Must not know: whether the directory is there; it may be made only when the process starts.

use std::path::Path;

use super::super::defaults::UPGRADE_TIMEOUT;
use super::super::problem::{Findings, Place};
use super::super::{Upgrade, raw};
use super::units::{MINUTE, SECOND};
use super::value::at;

/// Longest path, bytes: the address of a unix socket has room for 107, and a trial socket beside it needs a few.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// Most descriptors that are handed over at once is 32, and one of them is the line to the new process.
const SOCKETS_MAX: usize = 31;

/// Reads `upgrade`. Returns `None` if there is none, or if it has no usable socket.
pub fn upgrade(file: &raw::File, base_dir: &Path, findings: &mut Findings) -> Option<Upgrade> {
    let (place, Some(raw)) = at!(Place::root(), file.upgrade) else {
        return None;
    };
    let mut timeout = UPGRADE_TIMEOUT;
    findings.time(at!(place, raw.timeout), SECOND..=10 * MINUTE, &mut timeout);
    let listeners = file.listeners.as_ref().map_or(0, Vec::len) + usize::from(file.admin.is_some());
    if listeners > SOCKETS_MAX {
        let message = format!(
            "hands over at most {SOCKETS_MAX} sockets; {listeners} are here, the admin listener included"
        );
        findings.problem(&place, message);
    }
    let (place, said) = at!(place, raw.socket);
    let said = said?.0.as_str();
    let socket = base_dir.join(said);
    let length = socket.as_os_str().len();
    if said.is_empty() || said.ends_with('/') || said.contains('\0') || socket.to_str().is_none() {
        findings.bad(&place, said, "is not the path of a socket; write it like /run/pollcast/upgrade.sock");
    } else if length > SOCKET_PATH_BYTES_MAX {
        let whole = match Path::new(said).is_absolute() {
            true => String::new(),
            false => format!(" with {} before it", base_dir.display()),
        };
        findings.bad(
            &place,
            said,
            &format!("is {length} bytes long{whole}; a socket's path has at most {SOCKET_PATH_BYTES_MAX}"),
        );
    }
    Some(Upgrade { socket, timeout })
}
