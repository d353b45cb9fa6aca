//! The server under test: the real binary, started with a written configuration and ended with the
//! bench. Must not know: what is measured.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure;

/// The server under test: the real binary with its files.
pub struct Pollcast {
    child: Child,
    log: PathBuf,
    pub port: u16,
    pub admin_port: u16,
}

impl Pollcast {
    /// Starts it as [`Pollcast::spawn`] does, and waits until it is ready.
    pub fn start(
        program: &Path,
        name: &str,
        configuration: impl FnOnce(u16, u16) -> String,
    ) -> Result<Self, String> {
        let mut pollcast = Self::spawn(program, name, configuration)?;
        pollcast.wait_until_ready()?;
        Ok(pollcast)
    }

    /// Starts `program run -c FILE`. `name` is of the files it leaves behind; `configuration` is given the public and the
    /// admin port.
    pub fn spawn(
        program: &Path,
        name: &str,
        configuration: impl FnOnce(u16, u16) -> String,
    ) -> Result<Self, String> {
        let (port, admin_port) = (free_port()?, free_port()?);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (file, log) = (folder.join(format!("{name}.yaml")), folder.join(format!("{name}-pollcast.log")));
        std::fs::write(&file, configuration(port, admin_port))
            .map_err(|e| format!("{}: {e}", file.display()))?;
        let output = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
        let errors = output.try_clone().map_err(|e| format!("{}: {e}", log.display()))?;
        let child = Command::new(program)
            .args(["run".as_ref(), "-c".as_ref(), file.as_os_str()])
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|e| format!("{}: {e}", program.display()))?;
        Ok(Self { child, log, port, admin_port })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("pollcast ended before it was ready ({status}); {}", self.log_end()));
            }
            if measure::get(self.admin_port, "/ready").is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("pollcast's /ready was not 200 within 20 s; {}", self.log_end()))
    }

    /// The last lines of its log, for messages.
    fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        format!("{}: {}", self.log.display(), lines.into_iter().rev().collect::<Vec<_>>().join(" | "))
    }
}

impl Drop for Pollcast {
    fn drop(&mut self) {
        // No drain: its clients are the bench's own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("a free port: {e}"))?;
    Ok(listener.local_addr().map_err(|e| format!("a free port: {e}"))?.port())
}
