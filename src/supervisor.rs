//! The messages to a supervisor that started the process, in systemd's notification protocol (sd_notify(3)).
//!
//! Without `NOTIFY_SOCKET` in the environment there is no supervisor to tell. Must not know: why the process is ready.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says that this process serves, and that it is the one to watch: after an upgrade, instead of the one before.
pub fn tell_ready() {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let message = format!("READY=1\nMAINPID={}\n", std::process::id());
    if let Err(error) = send(&socket, message.as_bytes()) {
        tracing::warn!("the supervisor at NOTIFY_SOCKET={} was not told: {error}", socket.display());
    }
}

fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    // A supervisor that does not read must not hold us up.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message, &address(socket)?).map(drop)
}

/// A path, or with `@` a name in Linux's abstract namespace.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(socket)
}
