//! The processes of a run: the same executable in its roles, spoken to in lines, and what pollcast is told.
//! A role ends when its standard input does, so nothing outlives the bench.
//! Must not know: what is measured.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::link::certificate_files;
use crate::tally::Tally;

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
    /// Origin: requests so far.
    Requests(u64),
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
    /// Starts this executable as `fanout role <role> <rule in JSON>`.
    pub fn start(role: &str, rule: &impl Serialize) -> Result<Self, String> {
        let rule = serde_json::to_string(rule).map_err(|e| format!("{role}: {e}"))?;
        let name = format!("{role} {rule}");
        let program = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
        let mut child = Command::new(program)
            .args(["role", role, &rule])
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

/// What pollcast is told. One route for all resources; `interval`: how often it polls each.
pub fn configuration(
    (port, admin_port, origin_port): (u16, u16, u16),
    interval: Duration,
    is_tls: bool,
) -> String {
    let (cert, key) = certificate_files();
    let tls = format!("    tls: {{ certificates: [{{ cert: {cert:?}, key: {key:?} }}] }}\n");
    let tls = if is_tls { tls } else { String::new() };
    format!(
        "listeners:\n  - address: 127.0.0.1:{port}\n{tls}\
         admin:\n  address: 127.0.0.1:{admin_port}\n\
         upstreams:\n  legacy:\n    servers: [\"127.0.0.1:{origin_port}\"]\n\
         routes:\n  - path: \"/r/{{n}}\"\n    upstream: legacy\n    poll: {{ interval: {}ms }}\n\
         limits:\n  clients: 100000\n\
         log:\n  access: false\n",
        interval.as_millis()
    )
}
