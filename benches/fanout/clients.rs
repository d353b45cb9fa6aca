//! The role `clients`: many connections on one epoll loop, every sequence number checked.
//! Must not know: which server it talks to.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use serde::{Deserialize, Serialize};

use crate::lag::Lag;
use crate::process::{PATH, Reply, obey, say};
use crate::reader::{Found, Reader, pong};
use crate::wire::{Stamp, Wire, now_ns};

/// The most connections that wait for their first state at a time: no flood of the accept queue.
const WINDOW: usize = 64;
const WAKE: Token = Token(usize::MAX);

/// What was counted since the last `expect`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    pub deliveries: u64,
    pub missed: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    /// Connections that ended, and why the first of them did.
    pub closed: u64,
    pub first_failure: Option<String>,
    /// Events without a state: `stale`, `bye`, ….
    pub control: u64,
    pub lag: Lag,
}

impl Tally {
    pub fn merge(&mut self, other: &Self) {
        self.deliveries += other.deliveries;
        self.missed += other.missed;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.closed += other.closed;
        self.control += other.control;
        self.first_failure = self.first_failure.take().or_else(|| other.first_failure.clone());
        self.lag.merge(&other.lag);
    }

    /// Whether every client got every state once and in order.
    pub fn is_clean(&self) -> bool {
        self.missed + self.duplicated + self.out_of_order + self.closed == 0
    }
}

struct Client {
    stream: TcpStream,
    reader: Reader,
    /// The number of the last state; none before the first.
    last: Option<u64>,
}

enum Command {
    Expect(u64),
    Report,
    Close,
}

/// Runs the role: `clients <wire> <port> <count>`.
/// Commands: `expect <changes>`, `report`, `close`.
pub fn run(wire: Wire, port: u16, count: usize) -> Result<(), String> {
    let poll = Poll::new().map_err(|e| format!("clients: {e}"))?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).map_err(|e| format!("clients: {e}"))?);
    let (send, commands) = channel();
    std::thread::spawn(move || {
        obey(|words| {
            let command = match words {
                ["expect", changes] => Command::Expect(changes.parse().unwrap_or(0)),
                ["report"] => Command::Report,
                ["close"] => Command::Close,
                _ => return say(&Reply::Failed(format!("unknown command {words:?}"))),
            };
            // A fleet that ended has said why.
            let _ = send.send(command);
            let _ = waker.wake();
        })
    });
    let mut fleet = Fleet {
        wire,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        count,
        poll,
        clients: Vec::with_capacity(count),
        primed: 0,
        expected: 0,
        behind: 0,
        tally: Tally::default(),
        found: Vec::new(),
    };
    fleet.run(&commands)
}

struct Fleet {
    wire: Wire,
    address: SocketAddr,
    count: usize,
    poll: Poll,
    /// By token; none: the connection ended.
    clients: Vec<Option<Client>>,
    /// How many have their first state.
    primed: usize,
    /// The number of the last expected state.
    expected: u64,
    /// How many have not yet got the last expected state.
    behind: usize,
    tally: Tally,
    /// Scratch of one read.
    found: Vec<Found>,
}

impl Fleet {
    fn run(&mut self, commands: &Receiver<Command>) -> Result<(), String> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            while self.clients.len() < self.count && self.clients.len() - self.primed < WINDOW {
                self.open().map_err(|e| format!("connection {}: {e}", self.clients.len()))?;
            }
            if let Err(e) = self.poll.poll(&mut events, None)
                && e.kind() != ErrorKind::Interrupted
            {
                return Err(format!("clients: {e}"));
            }
            for event in &events {
                match event.token() {
                    WAKE => commands.try_iter().for_each(|command| self.command(command)),
                    Token(slot) => self.ready(slot, event.is_read_closed(), &mut buffer)?,
                }
            }
        }
    }

    fn open(&mut self) -> std::io::Result<()> {
        let mut stream = std::net::TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.write_all(self.wire.request(PATH, None).as_bytes())?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(self.clients.len()), Interest::READABLE)?;
        self.clients.push(Some(Client { stream, reader: Reader::new(self.wire), last: None }));
        Ok(())
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Expect(changes) => {
                let closed = self.clients.iter().filter(|client| client.is_none()).count();
                self.tally = Tally { closed: closed as u64, ..Tally::default() };
                let newest = self.clients.iter().flatten().filter_map(|client| client.last).max();
                self.expected = newest.unwrap_or(0) + changes;
                self.behind = self.clients.len() - closed;
            }
            Command::Report => {
                let mut tally = self.tally.clone();
                let lasts = self.clients.iter().flatten().filter_map(|client| client.last);
                tally.missed += lasts.map(|last| self.expected.saturating_sub(last)).sum::<u64>();
                say(&Reply::Tally(tally));
            }
            Command::Close => {
                self.clients.clear();
                self.count = 0;
                say(&Reply::Closed(now_ns()));
            }
        }
    }

    /// Reads what one connection has. Before all are connected a failure ends the run: nothing
    /// measured afterwards would mean anything.
    fn ready(&mut self, slot: usize, read_closed: bool, buffer: &mut [u8]) -> Result<(), String> {
        let Some(Some(client)) = self.clients.get_mut(slot) else {
            return Ok(());
        };
        let was_primed = client.last.is_some();
        let outcome = client.read(read_closed, buffer, &mut self.found);
        let outcome = outcome.and_then(|()| self.count_found(slot, was_primed));
        self.found.clear();
        let Err(why) = outcome else { return Ok(()) };
        if self.primed < self.count {
            return Err(format!("connection {slot}: {why}"));
        }
        self.clients[slot] = None;
        self.tally.closed += 1;
        self.tally.first_failure.get_or_insert(why);
        Ok(())
    }

    fn count_found(&mut self, slot: usize, mut primed: bool) -> Result<(), String> {
        let Some(Some(client)) = self.clients.get_mut(slot) else {
            return Ok(());
        };
        for found in self.found.drain(..) {
            match found {
                Found::State(stamp) if primed => {
                    let behind = client.last < Some(self.expected);
                    count(&mut self.tally, client, stamp);
                    if behind && client.last >= Some(self.expected) {
                        self.behind -= 1;
                        if self.behind == 0 {
                            say(&Reply::Complete);
                        }
                    }
                }
                Found::State(stamp) => {
                    primed = true;
                    client.last = Some(stamp.n);
                    self.primed += 1;
                    if self.primed == self.count {
                        say(&Reply::Connected);
                    }
                }
                Found::Answer { tag } => client.write(self.wire.request(PATH, Some(&tag)).as_bytes())?,
                Found::Ping(payload) => client.write(&pong(&payload))?,
                Found::Control => self.tally.control += 1,
            }
        }
        Ok(())
    }
}

/// Counts one state of a client that already had one.
fn count(tally: &mut Tally, client: &mut Client, stamp: Stamp) {
    let Some(last) = client.last else { return };
    if stamp.n == last {
        tally.duplicated += 1;
    } else if stamp.n < last {
        tally.out_of_order += 1;
    } else {
        tally.deliveries += 1;
        tally.missed += stamp.n - last - 1;
        tally.lag.add(now_ns().saturating_sub(stamp.at) / 1000);
        client.last = Some(stamp.n);
    }
}

impl Client {
    fn read(&mut self, read_closed: bool, buffer: &mut [u8], found: &mut Vec<Found>) -> Result<(), String> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(length) => {
                    self.reader.read(&buffer[..length], found)?;
                    // A short read emptied the socket; asking again would only cost a call.
                    if length < buffer.len() && !read_closed {
                        return Ok(());
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(format!("read: {e}")),
            }
        }
    }

    /// Requests and pongs are small, and the server reads: they fit.
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self.stream.write(bytes) {
            Ok(length) if length == bytes.len() => Ok(()),
            Ok(length) => Err(format!("the socket took {length} of {} bytes", bytes.len())),
            Err(e) => Err(format!("write: {e}")),
        }
    }
}
