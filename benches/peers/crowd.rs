//! The bench's hold on its clients: as many processes in the role `clients` as their sockets need.
//! Must not know: what is measured.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::clients::{Polled, Reply, Tally};
use crate::habit::Habit;
use crate::speech::Speech;

pub struct Crowd(Vec<Role>);

impl Crowd {
    const CONNECTIONS_PER_PROCESS: usize = 9_000;

    /// Connects `count` clients; returns when every one has its first state.
    pub fn connect(speech: Speech, port: u16, path: &str, count: usize) -> Result<Self, String> {
        let processes = count.div_ceil(Self::CONNECTIONS_PER_PROCESS);
        let roles = (0..processes).map(|process| {
            let share = count / processes + usize::from(process < count % processes);
            Role::start(&["clients", speech.name(), &port.to_string(), path, &share.to_string()])
        });
        let crowd = Self(roles.collect::<Result<_, _>>()?);
        crowd.wait_for(|reply| matches!(reply, Reply::Connected), Duration::from_secs(90))?;
        Ok(crowd)
    }

    /// Connects `count` clients that will poll at intervals.
    pub fn poll(port: u16, count: usize) -> Result<Self, String> {
        let processes = count.div_ceil(Self::CONNECTIONS_PER_PROCESS);
        let roles = (0..processes).map(|process| {
            let share = count / processes + usize::from(process < count % processes);
            Role::start(&["pollers", &port.to_string(), &share.to_string()])
        });
        let crowd = Self(roles.collect::<Result<_, _>>()?);
        crowd.wait_for(|reply| matches!(reply, Reply::Connected), Duration::from_secs(90))?;
        Ok(crowd)
    }

    /// Has the clients poll so from now on, and counts anew.
    pub fn poll_as(&mut self, habit: Habit) -> Result<(), String> {
        self.tell(&format!("poll {}", habit.words()))
    }

    /// What the clients that poll have counted.
    pub fn polled(&mut self) -> Result<Polled, String> {
        self.tell("report")?;
        let mut sum = Polled::default();
        for role in &self.0 {
            match role.expect(Duration::from_secs(20))? {
                Reply::Polled(polled) => sum.merge(polled),
                other => return Err(format!("pollers: wanted their counts, got {other:?}")),
            }
        }
        Ok(sum)
    }

    /// Returns when every client has the expected state.
    pub fn await_state(&mut self, timeout: Duration) -> Result<(), String> {
        self.wait_for(|reply| matches!(reply, Reply::Complete), timeout)
    }

    /// Says that state `number` will come.
    pub fn expect(&mut self, number: u64) -> Result<(), String> {
        self.tell(&format!("expect {number}"))
    }

    /// Closes all connections; the clients keep what they know.
    pub fn close(&mut self) -> Result<(), String> {
        self.tell("close")?;
        self.wait_for(|reply| matches!(reply, Reply::Closed), Duration::from_secs(20))
    }

    /// Connects all clients again, each with what it knows; returns when every one is answered.
    pub fn connect_again(&mut self) -> Result<(), String> {
        self.tell("connect")?;
        self.wait_for(|reply| matches!(reply, Reply::Connected), Duration::from_secs(90))
    }

    pub fn tally(&mut self) -> Result<Tally, String> {
        self.tell("report")?;
        let mut sum = Tally::default();
        for role in &self.0 {
            match role.expect(Duration::from_secs(20))? {
                Reply::Tally(tally) => sum.merge(tally),
                other => return Err(format!("clients: wanted a tally, got {other:?}")),
            }
        }
        Ok(sum)
    }

    fn tell(&mut self, command: &str) -> Result<(), String> {
        self.0.iter_mut().try_for_each(|role| role.tell(command))
    }

    fn wait_for(&self, is_wanted: fn(&Reply) -> bool, timeout: Duration) -> Result<(), String> {
        let deadline = Instant::now() + timeout;
        for role in &self.0 {
            let reply = role.expect(deadline.saturating_duration_since(Instant::now()))?;
            if !is_wanted(&reply) {
                return Err(format!("clients: unexpected {reply:?}"));
            }
        }
        Ok(())
    }
}

/// This executable in a role; it ends when its standard input does, so nothing outlives the bench.
struct Role {
    child: Child,
    commands: ChildStdin,
    replies: Receiver<Reply>,
}

impl Role {
    fn start(arguments: &[&str]) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
        let mut child = Command::new(program)
            .arg("role")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("clients: {e}"))?;
        let (Some(commands), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("clients: no pipes".to_owned());
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
        Ok(Self { child, commands, replies })
    }

    fn tell(&mut self, command: &str) -> Result<(), String> {
        writeln!(self.commands, "{command}").map_err(|e| format!("clients: {command}: {e}"))
    }

    fn expect(&self, timeout: Duration) -> Result<Reply, String> {
        match self.replies.recv_timeout(timeout) {
            Ok(Reply::Failed(why)) => Err(format!("clients: {why}")),
            Ok(reply) => Ok(reply),
            Err(RecvTimeoutError::Timeout) => Err(format!("clients: silent for {timeout:.1?}")),
            Err(RecvTimeoutError::Disconnected) => Err("clients: ended early".to_owned()),
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
