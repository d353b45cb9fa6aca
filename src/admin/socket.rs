//! The socket of the admin listener: a TCP port, or a Unix socket that only the process's user can use.
//!
//! Must not know: what is asked.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};

/// Connections that may wait to be accepted.
const BACKLOG_CONNECTIONS_MAX: i32 = 128;

/// A bound socket.
#[derive(Debug)]
pub enum Bound {
    /// A TCP address that is listened on.
    Tcp(TcpListener),
    /// A Unix socket that is listened on.
    Unix(UnixListener),
}

/// A connection to either.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// The same inside a runtime.
pub(super) enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl Accepting {
    /// # Errors
    /// The socket cannot be made non-blocking.
    pub(super) fn on(bound: Bound) -> io::Result<Accepting> {
        match bound {
            Bound::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(socket).map(Accepting::Tcp)
            }
            Bound::Unix(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(socket).map(Accepting::Unix)
            }
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Box<dyn Connection>> {
        match self {
            Accepting::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            Accepting::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Makes a Unix socket with mode 0600 at this place. One that a former process left there is replaced;
/// `takes_over`: one that is in use, too.
///
/// # Errors
/// The place is taken by something else, or cannot be written.
pub fn unix(path: &Path, takes_over: bool) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(about) if !about.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
        }
        Ok(_) if !takes_over && UnixStream::connect(path).is_ok() => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
        }
        Ok(_) => fs::remove_file(path)?,
        Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens: no other user can have connected.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG_CONNECTIONS_MAX)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is gone in the end.
    struct Place(std::path::PathBuf);

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn place() -> Place {
        let folder = std::env::temp_dir().join(format!("pollcast-admin-{:016x}", fastrand::u64(..)));
        fs::create_dir(&folder).unwrap();
        Place(folder)
    }

    #[test]
    fn only_its_user_may_connect_and_a_stale_one_is_replaced() {
        let place = place();
        let path = place.0.join("admin.sock");
        let first = unix(&path, false).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(unix(&path, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let second = unix(&path, false).unwrap();
        let third = unix(&path, true).unwrap();
        drop(second);
        assert!(UnixStream::connect(&path).is_ok());
        drop(third);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let place = place();
        let path = place.0.join("precious");
        fs::write(&path, "data").unwrap();
        for takes_over in [false, true] {
            assert_eq!(unix(&path, takes_over).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        std::os::unix::fs::symlink(&path, place.0.join("link")).unwrap();
        assert_eq!(unix(&place.0.join("link"), true).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "data");
    }
}
