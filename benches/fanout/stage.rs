//! What a measurement stands on: a server with what makes it publish, and its clients.
//! Must not know: what is measured.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clients::Fleet;
use crate::floor::Floor;
use crate::measure::{gauge, open_files_limit};
use crate::process::{Reply, Role, configuration};
use crate::server::Pollcast;
use crate::tally::Tally;
use crate::wire::{Wire, now_ns};

/// Which server is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Pollcast,
    /// The bare epoll loop with this many threads.
    Floor(usize),
}

/// What a server serves.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    pub wire: Wire,
    /// Bytes of one body.
    pub size: usize,
    pub resources: usize,
    /// How often pollcast polls.
    pub interval: Duration,
}

/// A running server and what makes it publish.
pub struct Server {
    /// Origin of pollcast, or the floor itself.
    feed: Role,
    pub pollcast: Option<Pollcast>,
    pub port: u16,
}

impl Server {
    pub fn start(subject: Subject, program: &Path, scene: Scene) -> Result<Self, String> {
        let Scene { wire, size, resources, interval } = scene;
        match subject {
            Subject::Pollcast => {
                let feed = Role::start("origin", &size)?;
                let origin = feed.port()?;
                let pollcast = Pollcast::start(program, "fanout", |port, admin| {
                    configuration((port, admin, origin), interval, wire.is_tls())
                })?;
                let port = pollcast.port;
                Ok(Self { feed, pollcast: Some(pollcast), port })
            }
            Subject::Floor(threads) => {
                let feed = Role::start("floor", &Floor { wire, threads, size, resources })?;
                let port = feed.port()?;
                Ok(Self { feed, pollcast: None, port })
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.pollcast.as_ref().map_or(self.feed.pid(), Pollcast::pid)
    }

    /// Lets the state of each resource change `events` times.
    pub fn publish(&mut self, events: u64, tick: Duration) -> Result<(), String> {
        self.feed.tell(&format!("events {events} {}", tick.as_millis()))
    }

    /// How often the origin was asked so far; none for the floor.
    pub fn polls(&mut self) -> Result<Option<u64>, String> {
        if self.pollcast.is_none() {
            return Ok(None);
        }
        self.feed.tell("counts")?;
        match self.feed.expect(Duration::from_secs(5))? {
            Reply::Requests(requests) => Ok(Some(requests)),
            other => Err(format!("origin: wanted requests, got {other:?}")),
        }
    }

    /// Waits until pollcast has this many subscribers; returns when they were seen (ns of the
    /// monotonic clock). Of the floor nothing is known.
    pub fn await_subscribers(&self, wanted: usize) -> Result<u64, String> {
        const SUBSCRIBERS: &str = "pollcast_subscribers";
        let Some(pollcast) = &self.pollcast else {
            std::thread::sleep(Duration::from_secs(1));
            return Ok(now_ns());
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let seen = gauge(pollcast.admin_port, SUBSCRIBERS);
            if seen.as_ref().is_ok_and(|seen| *seen == wanted as f64) {
                return Ok(now_ns());
            }
            if Instant::now() > deadline {
                return Err(format!("{SUBSCRIBERS} was not {wanted} within 30 s, last {seen:?}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Clients in as many processes as their sockets need.
pub struct Crowd(Vec<Role>);

impl Crowd {
    const CONNECTIONS_PER_PROCESS: usize = 9_500;

    /// Connects `count` clients of a wire to one resource; returns when every one has its first state.
    pub fn connect(wire: Wire, port: u16, count: usize) -> Result<Self, String> {
        Self::gather(Fleet { wire, port, connections: count, streams: 1, resources: 1 })
    }

    /// Connects a fleet; returns when every client has its first state.
    pub fn gather(fleet: Fleet) -> Result<Self, String> {
        let mut roles = Vec::new();
        let count = fleet.connections;
        let processes = count.div_ceil(Self::CONNECTIONS_PER_PROCESS);
        for process in 0..processes {
            let connections = count / processes + usize::from(process < count % processes);
            roles.push(Role::start("clients", &Fleet { connections, ..fleet })?);
        }
        let crowd = Self(roles);
        crowd.await_connected()?;
        Ok(crowd)
    }

    fn await_connected(&self) -> Result<(), String> {
        for role in &self.0 {
            match role.expect(Duration::from_secs(90))? {
                Reply::Connected => {}
                other => return Err(format!("clients: wanted connections, got {other:?}")),
            }
        }
        Ok(())
    }

    fn tell(&mut self, command: &str) -> Result<(), String> {
        self.0.iter_mut().try_for_each(|role| role.tell(command))
    }

    pub fn expect(&mut self, events: u64) -> Result<(), String> {
        self.tell(&format!("expect {events}"))
    }

    /// Waits until everything expected came, or `timeout` passed: the tally shows which.
    pub fn wait(&self, timeout: Duration) -> Result<(), String> {
        let deadline = Instant::now() + timeout;
        for role in &self.0 {
            if let Some(other) = role.reply(deadline.saturating_duration_since(Instant::now()))?
                && !matches!(other, Reply::Complete)
            {
                return Err(format!("clients: wanted completion, got {other:?}"));
            }
        }
        Ok(())
    }

    pub fn tally(&mut self) -> Result<Tally, String> {
        let mut sum = Tally::default();
        for role in &mut self.0 {
            role.tell("report")?;
            loop {
                match role.expect(Duration::from_secs(10))? {
                    Reply::Tally(tally) => break sum.merge(&tally),
                    // It came after the wait was over.
                    Reply::Complete => {}
                    other => return Err(format!("clients: wanted a tally, got {other:?}")),
                }
            }
        }
        Ok(sum)
    }

    /// All come again from where they were, at once; returns when every one is served.
    pub fn resume(&mut self) -> Result<(), String> {
        self.tell("resume")?;
        self.await_connected()
    }

    /// Closes all sockets, and remembers where each client was. Returns when the last was closed (ns
    /// of the monotonic clock).
    pub fn scatter(&mut self) -> Result<u64, String> {
        self.close_by("drop")
    }

    /// Closes all sockets; returns when the last was closed (ns of the monotonic clock).
    pub fn close(mut self) -> Result<u64, String> {
        self.close_by("close")
    }

    fn close_by(&mut self, command: &str) -> Result<u64, String> {
        let mut last = 0;
        self.tell(command)?;
        for role in &self.0 {
            match role.expect(Duration::from_secs(10))? {
                Reply::Closed(at) => last = last.max(at),
                other => return Err(format!("clients: wanted an end, got {other:?}")),
            }
        }
        Ok(last)
    }
}

/// Sockets a server needs besides its clients': polls, listeners, loops.
const SPARE_FILES: usize = 200;

/// Says beforehand if the machine's limits cannot hold the load.
pub fn check_limits(clients: usize) -> Result<(), String> {
    let limit = open_files_limit()?;
    if clients + SPARE_FILES > limit {
        return Err(format!(
            "{clients} clients need {} open files, `ulimit -n` is {limit}",
            clients + SPARE_FILES
        ));
    }
    Ok(())
}
