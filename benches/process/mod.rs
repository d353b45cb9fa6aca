//! pollcast as a process of a bench: its CPU time so far, and its end with the bench.
//!
//! Must not know: what is measured.

mod profile;

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A running pollcast.
pub struct Server(Child);

impl Server {
    /// Runs a configuration, with these in its environment.
    ///
    /// # Errors
    /// There is no such program, or it is a slower build than what is shipped.
    pub fn start(file: &Path, environment: &[(&str, &Path)]) -> io::Result<Server> {
        profile::check(Path::new(env!("CARGO_BIN_EXE_pollcast"))).map_err(io::Error::other)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
        command.args(["run", "--config"]).arg(file).envs(environment.iter().copied());
        command.stdout(Stdio::null()).spawn().map(Server)
    }

    /// User and system time so far.
    ///
    /// # Errors
    /// The process is gone.
    pub fn cpu(&self) -> io::Result<Duration> {
        let mut text = String::new();
        std::fs::File::open(format!("/proc/{}/stat", self.0.id()))?.read_to_string(&mut text)?;
        // Behind the name, which may contain anything.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks =
            |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        // Fields 14 and 15 of proc(5), in hundredths of a second on Linux.
        Ok(Duration::from_millis(10 * (ticks(11) + ticks(12))))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something listens at an address.
///
/// # Errors
/// Nothing does for ten seconds.
#[allow(clippy::disallowed_methods, reason = "a process that starts has no event to wait for")]
pub fn wait_for(address: SocketAddr) -> io::Result<()> {
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
