//! The listening sockets of an application: those of the process before it, and new ones.
//!
//! Must not know: what is served on them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use socket2::{Domain, Socket, Type};

use crate::admin;
use crate::config::{AdminAddress, Config};
use crate::upgrade::Sockets;

/// The listening sockets of an application.
pub(super) struct Bound {
    /// Those of the listeners, in the order of the configuration.
    pub(super) listeners: Vec<TcpListener>,
    /// That of the admin listener.
    pub(super) admin: Option<admin::Bound>,
    /// All of them once more, for a next process; empty if the configuration has no `upgrade`.
    pub(super) kept: Sockets,
}

/// Takes the configured addresses from another process, or binds them. Sockets whose address is not configured any more
/// are closed.
pub(super) fn bind(config: &Config, mut inherited: Sockets) -> io::Result<Bound> {
    let mut kept = Sockets::default();
    let takes_over = inherited.addresses().next().is_some();
    let mut listen = |address, reuse_port| {
        listen(address, reuse_port, &mut inherited, config.upgrade.is_some().then_some(&mut kept))
    };
    let listeners = config.listeners.iter().map(|listener| listen(listener.address, listener.reuse_port));
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    let admin = match config.admin.as_ref().map(|admin| &admin.address) {
        None => None,
        Some(AdminAddress::Tcp(address)) => Some(admin::Bound::Tcp(listen(*address, false)?)),
        Some(AdminAddress::Unix(path)) => Some(admin::Bound::Unix(listen_unix(path, takes_over)?)),
    };
    for address in inherited.addresses() {
        tracing::info!(%address, "no longer configured: closed");
    }
    Ok(Bound { listeners, admin, kept })
}

/// The socket of an address: another process's, or a new one. Kept once more if there is to be a next process.
fn listen(
    address: SocketAddr,
    reuse_port: bool,
    inherited: &mut Sockets,
    kept: Option<&mut Sockets>,
) -> io::Result<TcpListener> {
    let bad = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    let socket = match inherited.take(address) {
        Some(socket) => socket,
        None => bound(address, reuse_port).map_err(bad)?,
    };
    if let Some(kept) = kept {
        kept.keep(address, &socket).map_err(bad)?;
    }
    Ok(socket)
}

fn listen_unix(path: &Path, takes_over: bool) -> io::Result<UnixListener> {
    let bad = |error: io::Error| {
        io::Error::new(error.kind(), format!("admin: cannot listen on {}: {error}", path.display()))
    };
    admin::unix(path, takes_over).map_err(bad)
}

/// Connections that may wait to be accepted: in a storm thousands come at once, and those that find no
/// room try again after a whole second. The system has a limit of its own (net.core.somaxconn).
const BACKLOG_CONNECTIONS_MAX: i32 = 8192;

fn bound(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG_CONNECTIONS_MAX)?;
    Ok(socket.into())
}
