//! What crowds do besides listening: come again all at once, come and go many times, stay idle.
//! Must not know: how deliveries are measured.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::measure::{Cpu, settled_memory_bytes};
use crate::stage::{Crowd, Scene, Server, Subject};
use crate::wire::Wire;

/// Nothing is polled by schedule meanwhile.
const RARELY: Duration = Duration::from_secs(600);

fn scene(wire: Wire, interval: Duration) -> Scene {
    Scene { wire, size: 200, resources: 1, interval }
}

/// All clients lost their connections, and come again with `Last-Event-ID` of the current version.
#[derive(Debug, Clone, Serialize)]
pub struct Storm {
    pub subject: Subject,
    pub clients: usize,
    /// CPU of one new connection.
    pub connect_us: f64,
    /// From the first connection to the last answer.
    pub seconds: f64,
    /// Polls meanwhile; none for the floor.
    pub polls: Option<u64>,
    /// Clients that were refused or lost.
    pub refused: u64,
    /// States that were sent again although nothing is new.
    pub repeated: u64,
    pub first_failure: Option<String>,
}

pub fn storm(program: &Path, subject: Subject, clients: usize) -> Result<Storm, String> {
    let mut server = Server::start(subject, program, scene(Wire::Sse, RARELY))?;
    let mut crowd = Crowd::connect(Wire::Sse, server.port, clients)?;
    crowd.scatter()?;
    server.await_subscribers(0)?;
    let (polls, before, began) = (server.polls()?, Cpu::of(server.pid())?, Instant::now());
    crowd.resume()?;
    let seconds = began.elapsed().as_secs_f64();
    let (connect_us, _) = Cpu::of(server.pid())?.since(before);
    // Time for a state that no client needs.
    std::thread::sleep(Duration::from_millis(500));
    let polls = server.polls()?.zip(polls).map(|(after, before)| after - before);
    let tally = crowd.tally()?;
    Ok(Storm {
        subject,
        clients,
        connect_us: connect_us / clients as f64,
        seconds,
        polls,
        refused: tally.closed,
        repeated: tally.duplicated + tally.deliveries,
        first_failure: tally.first_failure,
    })
}

/// The memory of idle clients, before and after many came and went.
#[derive(Debug, Clone, Serialize)]
pub struct Churn {
    pub row: &'static str,
    pub clients: usize,
    pub rounds: usize,
    /// Of an idle client the first time.
    pub first_bytes: f64,
    /// After each round.
    pub bytes: Vec<f64>,
}

impl Churn {
    /// What a client costs at the end, as a multiple of the second time: what the process
    /// takes for the first crowd's connecting, it keeps.
    pub fn growth(&self) -> Option<f64> {
        Some(self.bytes.last()? / self.bytes.first()?)
    }
}

pub fn churn(program: &Path, is_tls: bool, clients: usize, rounds: usize) -> Result<Churn, String> {
    let (row, wire) = if is_tls { ("churn-tls", Wire::SseTls) } else { ("churn", Wire::Sse) };
    let server = Server::start(Subject::Pollcast, program, scene(wire, Duration::from_secs(1)))?;
    Crowd::connect(wire, server.port, 16)?.close()?;
    server.await_subscribers(0)?;
    let empty = settled_memory_bytes(server.pid())?;
    let mut bytes = Vec::new();
    for round in 0..=rounds {
        let crowd = Crowd::connect(wire, server.port, clients)?;
        // Pollcast gives back what it does not need within seconds.
        std::thread::sleep(Duration::from_secs(4));
        let memory = settled_memory_bytes(server.pid())?.saturating_sub(empty);
        bytes.push(memory as f64 / clients as f64);
        if round < rounds {
            crowd.close()?;
            server.await_subscribers(0)?;
        }
    }
    let first_bytes = bytes.remove(0);
    Ok(Churn { row, clients, rounds, first_bytes, bytes })
}

/// What clients cost that get nothing but heartbeats.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    pub clients: usize,
    pub seconds: f64,
    /// Percent of one core, its one poll a second included.
    pub cpu_percent: f64,
    /// The same with a single client.
    pub alone_percent: f64,
}

pub fn idle(program: &Path, clients: usize, time: Duration) -> Result<Idle, String> {
    let server = Server::start(Subject::Pollcast, program, scene(Wire::Sse, Duration::from_secs(1)))?;
    let percent = |time: Duration| {
        let (before, began) = (Cpu::of(server.pid())?, Instant::now());
        std::thread::sleep(time);
        let (us, _) = Cpu::of(server.pid())?.since(before);
        Ok::<_, String>(us / began.elapsed().as_secs_f64() / 10_000.0)
    };
    let one = Crowd::connect(Wire::Sse, server.port, 1)?;
    let alone_percent = percent(time / 4)?;
    one.close()?;
    let _crowd = Crowd::connect(Wire::Sse, server.port, clients)?;
    std::thread::sleep(Duration::from_secs(1));
    let cpu_percent = percent(time)?;
    Ok(Idle { clients, seconds: time.as_secs_f64(), cpu_percent, alone_percent })
}
