//! One measurement: a fresh server, its clients, and what both cost. Every round measures pollcast
//! and the floor one after the other, so that a slow minute of the machine meets both.
//! Must not know: what the numbers of several rounds become.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clients::Tally;
use crate::measure::{Cpu, open_files_limit, settled_memory_bytes};
use crate::process::{PATH, POLL_INTERVAL, Reply, Role, configuration};
use crate::server::Pollcast;
use crate::wire::Wire;

/// Which server is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Pollcast,
    /// The bare epoll loop with this many threads.
    Floor(usize),
}

/// How much is measured.
#[derive(Debug, Clone, Serialize)]
pub struct Load {
    pub clients: usize,
    /// Changes that are published and measured.
    pub events: u64,
    /// Bytes of one body.
    pub size: usize,
    /// Time from one change to the next; none: by wire and number of clients.
    pub tick: Option<Duration>,
    pub idle: Duration,
}

impl Load {
    /// Slow enough that two cores, shared with the clients, finish one change before the next.
    pub fn tick(&self, wire: Wire) -> Duration {
        let per_client = Duration::from_micros(if wire == Wire::LongPoll { 200 } else { 60 });
        let fitting = per_client * u32::try_from(self.clients).unwrap_or(u32::MAX);
        self.tick.unwrap_or_else(|| fitting.max(Duration::from_millis(400)))
    }
}

/// What one measurement found.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    pub subject: Subject,
    pub wire: Wire,
    pub bytes_per_client: f64,
    pub connect_us: f64,
    /// Percent of one core, all clients connected and nothing changing.
    pub idle_cpu_percent: f64,
    /// CPU microseconds a delivery, and how much of them in user mode.
    pub delivery_us: f64,
    pub delivery_user_us: Option<f64>,
    pub lag_p50_ms: f64,
    pub lag_p99_ms: f64,
    /// Polls the origin saw per configured interval; none for the floor.
    pub polls_per_interval: Option<f64>,
    pub tally: Tally,
}

/// A running server and what makes it publish.
pub struct Server {
    /// Origin of pollcast, or the floor itself.
    feed: Role,
    pub pollcast: Option<Pollcast>,
    pub port: u16,
}

impl Server {
    pub fn start(subject: Subject, program: &Path, wire: Wire, size: usize) -> Result<Self, String> {
        match subject {
            Subject::Pollcast => {
                let feed = Role::start(&["origin".to_owned(), size.to_string()])?;
                let origin = feed.port()?;
                let pollcast =
                    Pollcast::start(program, "fanout", |port, admin| configuration(port, admin, origin))?;
                let port = pollcast.port;
                Ok(Self { feed, pollcast: Some(pollcast), port })
            }
            Subject::Floor(threads) => {
                let wire = wire.name().to_owned();
                let feed = Role::start(&["floor".to_owned(), wire, threads.to_string(), size.to_string()])?;
                let port = feed.port()?;
                Ok(Self { feed, pollcast: None, port })
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.pollcast.as_ref().map_or(self.feed.pid(), Pollcast::pid)
    }

    /// Lets the state change `events` times.
    pub fn publish(&mut self, events: u64, tick: Duration) -> Result<(), String> {
        self.feed.tell(&format!("events {events} {}", tick.as_millis()))
    }

    /// How often the origin was asked so far; none for the floor.
    fn polls(&mut self) -> Result<Option<u64>, String> {
        if self.pollcast.is_none() {
            return Ok(None);
        }
        self.feed.tell("counts")?;
        match self.feed.expect(Duration::from_secs(5))? {
            Reply::Counts(counts) => Ok(Some(counts.get(PATH).copied().unwrap_or(0))),
            other => Err(format!("origin: wanted counts, got {other:?}")),
        }
    }
}

/// Clients in as many processes as their sockets need.
pub struct Crowd(Vec<Role>);

impl Crowd {
    const CONNECTIONS_PER_PROCESS: usize = 9_000;

    /// Connects `count` clients; returns when every one has its first state.
    pub fn connect(wire: Wire, port: u16, count: usize) -> Result<Self, String> {
        let mut roles = Vec::new();
        let processes = count.div_ceil(Self::CONNECTIONS_PER_PROCESS);
        for process in 0..processes {
            let share = count / processes + usize::from(process < count % processes);
            let arguments =
                ["clients".to_owned(), wire.name().to_owned(), port.to_string(), share.to_string()];
            roles.push(Role::start(&arguments)?);
        }
        for role in &roles {
            match role.expect(Duration::from_secs(60))? {
                Reply::Connected => {}
                other => return Err(format!("clients: wanted connections, got {other:?}")),
            }
        }
        Ok(Self(roles))
    }

    pub fn expect(&mut self, events: u64) -> Result<(), String> {
        self.0.iter_mut().try_for_each(|role| role.tell(&format!("expect {events}")))
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

    /// Closes all sockets; returns when the last was closed (ns of the monotonic clock).
    pub fn close(mut self) -> Result<u64, String> {
        let mut last = 0;
        for role in &mut self.0 {
            role.tell("close")?;
        }
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

/// Measures one server under one wire.
pub fn measure(subject: Subject, wire: Wire, load: &Load, program: &Path) -> Result<Sample, String> {
    const WARM_UP_CLIENTS: usize = 16;
    let mut server = Server::start(subject, program, wire, load.size)?;
    let pid = server.pid();
    // What a server allocates once, for its first clients, is not a client's cost.
    Crowd::connect(wire, server.port, WARM_UP_CLIENTS)?.close()?;
    let memory_before = settled_memory_bytes(pid)?;

    let before = Cpu::of(pid)?;
    let mut crowd = Crowd::connect(wire, server.port, load.clients)?;
    let (connect_us, _) = Cpu::of(pid)?.since(before);

    let (polls, before, start) = (server.polls()?, Cpu::of(pid)?, Instant::now());
    std::thread::sleep(load.idle);
    let (idle_us, _) = Cpu::of(pid)?.since(before);
    let idle_seconds = start.elapsed().as_secs_f64();
    let intervals = idle_seconds / POLL_INTERVAL.as_secs_f64();
    let polls = server.polls()?.zip(polls).map(|(after, before)| (after - before) as f64 / intervals);
    // After the idle time: what the storm of connecting took and gave back is not an idle client's.
    let memory = settled_memory_bytes(pid)?.saturating_sub(memory_before);

    let tick = load.tick(wire);
    crowd.expect(load.events)?;
    let before = Cpu::of(pid)?;
    server.publish(load.events, tick)?;
    crowd.wait(tick * load.events as u32 + Duration::from_secs(20))?;
    let (delivery_us, user_share) = Cpu::of(pid)?.since(before);
    // Time for a delivery too many.
    std::thread::sleep(Duration::from_millis(300));
    let tally = crowd.tally()?;

    let clients = load.clients as f64;
    let delivery_us = delivery_us / (tally.deliveries.max(1) as f64);
    Ok(Sample {
        subject,
        wire,
        bytes_per_client: memory as f64 / clients,
        connect_us: connect_us / clients,
        idle_cpu_percent: idle_us / idle_seconds / 10_000.0,
        delivery_us,
        delivery_user_us: user_share.map(|share| delivery_us * share),
        lag_p50_ms: tally.lag.quantile_ms(0.5),
        lag_p99_ms: tally.lag.quantile_ms(0.99),
        polls_per_interval: polls,
        tally,
    })
}
