//! One measurement of a row: a fresh server, its clients, and what both cost. Every round measures
//! pollcast and the floor one after the other, so that a slow minute of the machine meets both.
//! Must not know: what the numbers of several rounds become.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::clients::Fleet;
use crate::measure::{Cpu, settled_memory_bytes};
use crate::rows::Row;
use crate::stage::{Crowd, Scene, Server, Subject};
use crate::tally::Tally;

/// How much is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Load {
    pub clients: usize,
    /// Changes that are published and measured, of each resource.
    pub events: u64,
    /// Time from one change to the next.
    pub tick: Duration,
    pub idle: Duration,
}

/// What one measurement found.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    pub row: &'static str,
    pub subject: Subject,
    pub load: Load,
    pub bytes_per_client: f64,
    pub connect_us: f64,
    /// Percent of one core, all clients connected and nothing changing.
    pub idle_cpu_percent: f64,
    /// CPU microseconds a delivery, of each fifth of the changes.
    pub delivery_us: Vec<f64>,
    /// The same without what as long an idle time costs: polls without a change, heartbeats.
    pub net_delivery_us: Vec<f64>,
    /// How much of a delivery is in user mode (0 to 1).
    pub user_share: Option<f64>,
    pub lag_p50_ms: f64,
    pub lag_p99_ms: f64,
    /// Of each change: when its last client had it.
    pub last_ms: Vec<f64>,
    /// Polls the origin saw per configured interval and resource; none for the floor.
    pub polls_per_interval: Option<f64>,
    pub tally: Tally,
}

/// The changes come in so many blocks, so that one run has a median, too.
const BLOCKS: u64 = 5;

/// Measures one server under one row's clients.
pub fn measure(row: &Row, subject: Subject, load: Load, program: &Path) -> Result<Sample, String> {
    const WARM_UP_CLIENTS: usize = 16;
    let resources = row.resources(load.clients);
    let scene = Scene { wire: row.wire, size: row.size, resources, interval: row.interval() };
    let mut server = Server::start(subject, program, scene)?;
    let pid = server.pid();
    // What a server allocates once, for its first clients, is not a client's cost.
    let warm_up = Crowd::connect(row.wire, server.port, WARM_UP_CLIENTS)?;
    warm_up.close()?;
    let memory_before = settled_memory_bytes(pid)?;

    let before = Cpu::of(pid)?;
    let connections = load.clients.div_ceil(row.streams);
    let clients = (connections * row.streams) as f64;
    let fleet = Fleet { wire: row.wire, port: server.port, connections, streams: row.streams, resources };
    let mut crowd = Crowd::gather(fleet)?;
    let (connect_us, _) = Cpu::of(pid)?.since(before);

    let (polls, before, start) = (server.polls()?, Cpu::of(pid)?, Instant::now());
    std::thread::sleep(load.idle);
    let (idle_us, _) = Cpu::of(pid)?.since(before);
    let idle_seconds = start.elapsed().as_secs_f64();
    let intervals = idle_seconds / row.interval().as_secs_f64() * resources as f64;
    let polls = server.polls()?.zip(polls).map(|(after, before)| (after - before) as f64 / intervals);
    // After the idle time: what the storm of connecting took and gave back is not an idle client's.
    let memory = settled_memory_bytes(pid)?.saturating_sub(memory_before);

    let (mut tally, start) = (Tally::default(), Cpu::of(pid)?);
    let (mut delivery_us, mut net_delivery_us) = (Vec::new(), Vec::new());
    for block in 0..BLOCKS {
        let events = load.events / BLOCKS + u64::from(block < load.events % BLOCKS);
        crowd.expect(events)?;
        let (before, began) = (Cpu::of(pid)?, Instant::now());
        server.publish(events, load.tick)?;
        let longest = load.tick.max(row.interval()) * events as u32;
        crowd.wait(longest + Duration::from_secs(20))?;
        let (us, _) = Cpu::of(pid)?.since(before);
        let polling_us = idle_us / idle_seconds * began.elapsed().as_secs_f64();
        // Time for a delivery too many.
        std::thread::sleep(Duration::from_millis(300));
        let counted = crowd.tally()?;
        delivery_us.push(us / counted.deliveries.max(1) as f64);
        net_delivery_us.push((us - polling_us) / counted.deliveries.max(1) as f64);
        tally.merge(&counted);
    }
    let (_, user_share) = Cpu::of(pid)?.since(start);
    Ok(Sample {
        row: row.name,
        subject,
        load,
        bytes_per_client: memory as f64 / clients,
        connect_us: connect_us / clients,
        idle_cpu_percent: idle_us / idle_seconds / 10_000.0,
        delivery_us,
        net_delivery_us,
        user_share,
        lag_p50_ms: tally.lag.quantile_ms(0.5),
        lag_p99_ms: tally.lag.quantile_ms(0.99),
        last_ms: tally.last.values().map(|us| *us as f64 / 1000.0).collect(),
        polls_per_interval: polls,
        tally,
    })
}
