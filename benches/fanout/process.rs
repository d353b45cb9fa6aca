//! The processes of a run: the same executable in its roles, spoken to in lines, and pollcast.
//! A role ends when its standard input does, so nothing outlives the bench.
//! Must not know: what is measured.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clients::Tally;
use crate::measure;

/// What a role says on its standard output, one JSON line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Origin and floor: the port they listen on.
    Listening(u16),
    /// Clients: every one has its first state.
    Connected,
    /// Clients: every one has the last expected state.
    Complete,
    /// Clients: what was counted since the last `expect`.
    Tally(Tally),
    /// Clients: all sockets were closed, at this time of the monotonic clock (ns).
    Closed(u64),
    /// Origin: requests per path.
    Counts(BTreeMap<String, u64>),
    /// The role cannot go on.
    Failed(String),
}

/// Says `reply` to the bench (inside a role).
pub fn say(reply: &Reply) {
    if let Ok(line) = serde_json::to_string(reply) {
        // A closed pipe means that the bench is gone; the end of standard input ends this role too.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// Calls `command` with every line of standard input, then ends the process (inside a role).
pub fn obey(mut command: impl FnMut(&[&str])) -> ! {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        command(&line.split_whitespace().collect::<Vec<_>>());
    }
    std::process::exit(0)
}

/// A running role.
pub struct Role {
    name: String,
    child: Child,
    commands: ChildStdin,
    replies: Receiver<Reply>,
}

impl Role {
    /// Starts this executable as `fanout role <arguments>`.
    pub fn start(arguments: &[String]) -> Result<Self, String> {
        let name = arguments.join(" ");
        let program = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
        let mut child = Command::new(program)
            .arg("role")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{name}: {e}"))?;
        let (Some(commands), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(format!("{name}: no pipes"));
        };
        let (send, replies) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let reply = serde_json::from_str(&line).unwrap_or(Reply::Failed(line));
                if send.send(reply).is_err() {
                    break;
                }
            }
        });
        Ok(Self { name, child, commands, replies })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn tell(&mut self, command: &str) -> Result<(), String> {
        writeln!(self.commands, "{command}").map_err(|e| format!("{}: {command}: {e}", self.name))
    }

    /// The next reply; none after `timeout`.
    pub fn reply(&self, timeout: Duration) -> Result<Option<Reply>, String> {
        match self.replies.recv_timeout(timeout) {
            Ok(Reply::Failed(why)) => Err(format!("{}: {why}", self.name)),
            Ok(reply) => Ok(Some(reply)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(format!("{}: ended early", self.name)),
        }
    }

    /// The next reply, which must come within `timeout`.
    pub fn expect(&self, timeout: Duration) -> Result<Reply, String> {
        self.reply(timeout)?.ok_or_else(|| format!("{}: silent for {timeout:?}", self.name))
    }

    /// The port a listening role says first.
    pub fn port(&self) -> Result<u16, String> {
        match self.expect(Duration::from_secs(10))? {
            Reply::Listening(port) => Ok(port),
            other => Err(format!("{}: wanted a port, got {other:?}", self.name)),
        }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How often pollcast polls the origin.
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The server under test: the real binary with a written configuration.
pub struct Pollcast {
    child: Child,
    log: PathBuf,
    pub port: u16,
    pub admin_port: u16,
}

impl Pollcast {
    /// Starts `program run -c FILE` before `origin_port` and waits until it is ready.
    pub fn start(program: &Path, origin_port: u16) -> Result<Self, String> {
        let (port, admin_port) = (free_port()?, free_port()?);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (file, log) = (folder.join("fanout.yaml"), folder.join("fanout-pollcast.log"));
        std::fs::write(&file, configuration(port, admin_port, origin_port))
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
        let mut pollcast = Self { child, log, port, admin_port };
        pollcast.wait_until_ready()?;
        Ok(pollcast)
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

/// The `{n}` of the route: every run follows this one resource.
pub const PATH: &str = "/r/1";

fn configuration(port: u16, admin_port: u16, origin_port: u16) -> String {
    format!(
        "listeners:\n  - address: 127.0.0.1:{port}\n\
         admin:\n  address: 127.0.0.1:{admin_port}\n\
         upstreams:\n  legacy:\n    servers: [\"127.0.0.1:{origin_port}\"]\n\
         routes:\n  - path: \"/r/{{n}}\"\n    upstream: legacy\n    poll: {{ interval: {}ms }}\n\
         limits:\n  clients: 100000\n\
         log:\n  access: false\n",
        POLL_INTERVAL.as_millis()
    )
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("a free port: {e}"))?;
    Ok(listener.local_addr().map_err(|e| format!("a free port: {e}"))?.port())
}
