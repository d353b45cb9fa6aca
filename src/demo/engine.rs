//! The engine between the demo's nodes: a `redis-server` of its own, empty at the start and gone at the end.
//!
//! Must not know: what the nodes keep in it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::sleep;

use super::process::Guarded;

/// The programs that it may be, in the order in which they are tried.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// Longest time until it listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    /// Where it listens: on this machine only.
    pub address: SocketAddr,
    _process: Guarded,
}

/// Below the ports that the kernel gives to outgoing connections: none of those takes one between the moment in which it
/// is chosen and the moment in which a process listens on it.
const PORTS: Range<u16> = 20_000..32_000;

/// A port of this machine that nothing listens on. The same is not given twice in a row.
///
/// # Errors
/// None of [`PORTS`] is free.
pub fn unused_address() -> io::Result<SocketAddr> {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    let count = PORTS.end - PORTS.start;
    let ports = (0..count).map(|_| PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % count);
    let mut addresses = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let unused = addresses.find(|address| TcpListener::bind(address).is_ok());
    unused.ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, format!("no port of {PORTS:?} is free")))
}

impl Engine {
    /// Starts it with this password; its files are in `folder`.
    ///
    /// # Errors
    /// There is none on this machine, or it does not start.
    pub async fn start(folder: &Path, password: &str) -> io::Result<Engine> {
        let program = PROGRAMS.into_iter().find(|program| is_installed(program)).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "several nodes need redis-server (or valkey-server), which is not installed: apt-get install redis-server",
            )
        })?;
        let address = unused_address()?;
        let file = folder.join("engine.conf");
        let port = address.port();
        let text = format!("bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave \"\"\nappendonly no\n");
        std::fs::write(&file, text)?;
        let mut process = Guarded::start(program.as_ref(), [&file], &[])?;
        let until = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(address).await.is_err() {
            if let Some(status) = process.ended() {
                return Err(io::Error::other(format!("{program} ended with {status}")));
            }
            if Instant::now() > until {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{program} does not listen")));
            }
            // Nothing tells when another process listens.
            sleep(LOOK).await;
        }
        Ok(Engine { address, _process: process })
    }
}

/// Whether a folder of `PATH` has a program of this name.
fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_used_is_not_given_and_no_connection_gets_one_that_is() {
        let address = unused_address().expect("a port");
        assert!(PORTS.contains(&address.port()), "{address}");
        let _used = TcpListener::bind(address).expect("it is free");
        // A whole turn later it is not given either.
        let turn = 2 * usize::from(PORTS.end - PORTS.start);
        let mut given = (0..turn).map(|_| unused_address().expect("a port"));
        assert!(given.all(|given| given != address));
    }

    #[test]
    fn a_program_is_found_where_the_system_looks_for_it() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program-of-the-demo"));
    }
}
