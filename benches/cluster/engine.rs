//! The engine: a redis-server of Debian's, with what it says of itself. Must not know: what is measured.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running redis-server that stores nothing on disk.
pub struct Engine {
    child: Child,
    pub port: u16,
}

impl Engine {
    pub fn start() -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("a free port: {e}"))?;
        let port = listener.local_addr().map_err(|e| format!("a free port: {e}"))?.port();
        drop(listener);
        Ok(Self { child: launched(port)?, port })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again at the same port, empty.
    pub fn launch(&mut self) -> Result<(), String> {
        self.child = launched(self.port)?;
        Ok(())
    }

    /// What `redis-cli` prints.
    pub fn ask(&self, words: &[&str]) -> Result<String, String> {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(words).output();
        let output = output.map_err(|e| format!("redis-cli: {e}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Commands so far: as clients sent them, and as scripts ran them.
    pub fn commands(&self) -> Result<Commands, String> {
        let text = self.ask(&["INFO", "commandstats"])?;
        let calls = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
            line.and_then(|rest| rest.split(',').next()?.parse::<u64>().ok()).unwrap_or_default()
        };
        Ok(Commands { scripts: calls("evalsha"), publishes: calls("publish"), renewals: calls("pexpire") })
    }
}

/// What the nodes sent.
#[derive(Debug, Clone, Copy)]
pub struct Commands {
    /// Scripts: writes, beats, claims, wants.
    pub scripts: u64,
    /// Messages, those of scripts among them.
    pub publishes: u64,
    /// Lives that were prolonged, those of scripts among them.
    pub renewals: u64,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launched(port: u16) -> Result<Child, String> {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("redis-server: {e} (Debian's package of this name has it)"))?;
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("redis-server ended with {status}"));
        }
        if Instant::now() > until {
            return Err("redis-server does not listen".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(child)
}

/// Sends a signal by its short name to a process.
pub fn signal(pid: u32, name: &str) -> Result<(), String> {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    match sent {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("kill -{name} {pid}: {status}")),
        Err(e) => Err(format!("kill -{name} {pid}: {e}")),
    }
}
