//! What a client costs by how many there are, in one process and in several that share an address.
//! Must not know: rounds and floors.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::measure::{Cpu, gauge, settled_memory_bytes};
use crate::process::{Role, configuration};
use crate::server::Pollcast;
use crate::stage::Crowd;
use crate::wire::Wire;

/// Bytes of one body.
const BODY_BYTES: usize = 200;

/// How often each process polls the resource.
const INTERVAL: Duration = Duration::from_millis(200);

/// The fewest clients of a step.
pub const CLIENTS_MIN: usize = 1_000;

/// Processes, and clients of all of them together.
pub const STEPS: [(usize, usize); 6] =
    [(1, CLIENTS_MIN), (1, 5_000), (1, 10_000), (1, 19_000), (2, 10_000), (2, 19_000)];

/// One step: so many event streams of one resource on so many processes.
#[derive(Debug, Clone, Serialize)]
pub struct Scale {
    pub processes: usize,
    pub clients: usize,
    /// Of an idle client.
    pub bytes: f64,
    /// CPU of all processes for a delivery, what polls and idle clients cost taken off.
    pub net_delivery_us: f64,
    /// CPU of all processes in percent of a core while nothing changes.
    pub idle_percent: f64,
    /// Clients of each process, ascending.
    pub shares: Vec<u64>,
    /// Whether every client got every change once and in order.
    pub is_clean: bool,
}

pub fn measure(program: &Path, (processes, clients): (usize, usize), events: u64) -> Result<Scale, String> {
    let mut feed = Role::start("origin", &BODY_BYTES)?;
    let origin = feed.port()?;
    let mut all: Vec<Pollcast> = Vec::new();
    for n in 0..processes {
        let shared = all.first().map(|first| first.port);
        all.push(Pollcast::start(program, &format!("scale-{n}"), |port, admin| {
            let port = shared.unwrap_or(port);
            let alone = configuration((port, admin, origin), INTERVAL, false);
            alone.replacen(&format!(":{port}\n"), &format!(":{port}\n    reuse_port: true\n"), 1)
        })?);
    }
    let port = all[0].port;
    let sum = |what: &dyn Fn(u32) -> Result<u64, String>| {
        all.iter().map(|pollcast| what(pollcast.pid())).sum::<Result<u64, String>>()
    };
    let cpu_ns = || sum(&|pid| Ok(Cpu::of(pid)?.total_ns));
    // What a process allocates once, for its first clients, is not a client's cost.
    Crowd::connect(Wire::Sse, port, 16 * processes)?.close()?;
    let before = sum(&settled_memory_bytes)?;
    let mut crowd = Crowd::connect(Wire::Sse, port, clients)?;
    // Pollcast gives back what the storm of connecting took.
    std::thread::sleep(Duration::from_secs(4));
    let bytes = sum(&settled_memory_bytes)?.saturating_sub(before) as f64 / clients as f64;
    let shares = all.iter().map(|pollcast| gauge(pollcast.admin_port, "pollcast_subscribers"));
    let mut shares = shares.map(|share| share.map(|share| share as u64)).collect::<Result<Vec<_>, _>>()?;
    shares.sort_unstable();

    let idle = Duration::from_secs(4);
    let start = cpu_ns()?;
    std::thread::sleep(idle);
    let idle_share = (cpu_ns()? - start) as f64 / idle.as_nanos() as f64;

    let tick = Duration::from_micros(60 * clients as u64).max(Duration::from_millis(400));
    crowd.expect(events)?;
    let (start, began) = (cpu_ns()?, std::time::Instant::now());
    feed.tell(&format!("events {events} {}", tick.as_millis()))?;
    crowd.wait(tick * events as u32 + Duration::from_secs(20))?;
    let busy_ns = (cpu_ns()? - start) as f64 - idle_share * began.elapsed().as_nanos() as f64;
    let tally = crowd.tally()?;
    Ok(Scale {
        processes,
        clients,
        bytes,
        net_delivery_us: busy_ns / 1e3 / tally.deliveries.max(1) as f64,
        idle_percent: idle_share * 100.0,
        shares,
        is_clean: tally.is_clean(),
    })
}
