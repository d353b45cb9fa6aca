//! Two clients that do not behave: those that leave without a word, and one that stops reading.
//! Must not know: rounds and floors; only pollcast has something to promise here.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::measure::send_queue_bytes;
use crate::reader::{Found, Reader};
use crate::stage::{Crowd, Scene, Server, Subject};
use crate::wire::{Wire, path};

fn start(program: &Path, size: usize) -> Result<Server, String> {
    let interval = Duration::from_millis(100);
    Server::start(Subject::Pollcast, program, Scene { wire: Wire::Sse, size, resources: 1, interval })
}

/// How soon pollcast notices clients that closed while nothing was written to them.
#[derive(Debug, Serialize)]
pub struct Gone {
    pub clients: usize,
    /// From the last close to a gauge of zero.
    pub noticed_ms: f64,
}

pub fn gone(program: &Path, clients: usize) -> Result<Gone, String> {
    let server = start(program, 200)?;
    let crowd = Crowd::connect(Wire::Sse, server.port, clients)?;
    server.await_subscribers(clients)?;
    let closed_at = crowd.close()?;
    let noticed_at = server.await_subscribers(0)?;
    Ok(Gone { clients, noticed_ms: noticed_at.saturating_sub(closed_at) as f64 / 1e6 })
}

/// What a client that stops reading costs, and what it gets when it reads again.
#[derive(Debug, Serialize)]
pub struct Stalled {
    pub body_bytes: usize,
    /// Changes while it did not read.
    pub changes: u64,
    /// What waited for it in the kernel's send queue of the server.
    pub send_queue_bytes: u64,
    /// What it read afterwards, up to the newest state (its own receive buffer included).
    pub readable_bytes: u64,
    pub received_changes: u64,
    /// Whether the newest state was among them, and none twice or out of order.
    pub caught_up: bool,
}

pub fn stalled(program: &Path) -> Result<Stalled, String> {
    // Far more than all kernel buffers hold, in less time than a stalled client is given.
    const BODY_BYTES: usize = 64 * 1024;
    const CHANGES: u64 = 40;
    let mut server = start(program, BODY_BYTES)?;
    let mut stalled = StalledClient::connect(server.port)?;
    let first = stalled.read_to(0)?;
    stalled.read_bytes = 0;

    // A client that does read shows when the last change was published.
    let mut witness = Crowd::connect(Wire::Sse, server.port, 1)?;
    witness.expect(CHANGES)?;
    server.publish(CHANGES, Duration::from_millis(150))?;
    witness.wait(Duration::from_secs(10))?;
    let tally = witness.tally()?;
    if !tally.is_clean() {
        return Err(format!("a stalled client held up another: {tally:?}"));
    }
    let send_queue_bytes = send_queue_bytes(server.port, stalled.port()?)?;
    stalled.numbers.clear();
    let newest = stalled.read_to(first + CHANGES);
    Ok(Stalled {
        body_bytes: BODY_BYTES,
        changes: CHANGES,
        send_queue_bytes,
        readable_bytes: stalled.read_bytes,
        received_changes: stalled.numbers.len() as u64,
        caught_up: newest.is_ok() && stalled.numbers.is_sorted_by(|a, b| a < b),
    })
}

struct StalledClient {
    stream: TcpStream,
    reader: Reader,
    read_bytes: u64,
    /// Of the states it read.
    numbers: Vec<u64>,
}

impl StalledClient {
    fn connect(port: u16) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("stalled client: {e}");
        let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
        stream.set_read_timeout(Some(Duration::from_secs(3))).map_err(failed)?;
        stream.write_all(Wire::Sse.request(&path(0), None).as_bytes()).map_err(failed)?;
        Ok(Self { stream, reader: Reader::new(Wire::Sse, 1), read_bytes: 0, numbers: Vec::new() })
    }

    fn port(&self) -> Result<u16, String> {
        Ok(self.stream.local_addr().map_err(|e| format!("stalled client: {e}"))?.port())
    }

    /// Reads until a state of at least this number is complete, and returns its number.
    fn read_to(&mut self, wanted: u64) -> Result<u64, String> {
        let (mut buffer, mut found) = (vec![0; 16 * 1024], Vec::new());
        loop {
            let length = self.stream.read(&mut buffer).map_err(|e| format!("stalled client: {e}"))?;
            if length == 0 {
                return Err("the server closed the stalled client".to_owned());
            }
            self.read_bytes += length as u64;
            self.reader.read(&buffer[..length], &mut found)?;
            for found in found.drain(..) {
                if let Found::State(_, stamp) = found {
                    self.numbers.push(stamp.n);
                }
            }
            if let Some(last) = self.numbers.last().copied().filter(|last| *last >= wanted) {
                return Ok(last);
            }
        }
    }
}
