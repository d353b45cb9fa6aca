//! Where a peer lives while it is measured: a folder of its own, and ports that were free.
//! Must not know: which peer it is.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::family::Family;

/// A temporary folder, removed with this value.
pub struct Folder {
    pub path: PathBuf,
}

impl Folder {
    pub fn new(name: &str) -> Result<Self, String> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: the names of pushpin's sockets must fit into 107 bytes.
        let path = std::env::temp_dir().join(format!("{}{number}-{name}", prefix()));
        fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self { path })
    }

    /// Removes all of this process, whose values will not be dropped.
    pub fn remove_all() {
        let prefix = prefix();
        for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let file = self.path.join(name);
        fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(file)
    }

    /// The last lines of a log in it, for messages: the folder is gone when they are read.
    pub fn log_end(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path.join(name)).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        format!("{name}: {}", lines.into_iter().rev().collect::<Vec<_>>().join(" | "))
    }
}

/// How the names of this process's folders begin.
fn prefix() -> String {
    format!("pollcast-peers-{}-", std::process::id())
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What stays behind is in the system's temporary folder.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("a free port: {e}"))?;
    Ok(listener.local_addr().map_err(|e| format!("a free port: {e}"))?.port())
}

/// Waits until something accepts connections there.
pub fn await_port(port: u16, family: &mut Family) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some(how) = family.ended() {
            return Err(format!("ended before it listened ({how})"));
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("did not listen on port {port} within 10 s"))
}
