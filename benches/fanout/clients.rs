//! The role `clients`: many connections on one epoll loop, every sequence number checked.
//! Must not know: which server it talks to.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::http2;
use crate::link::{Link, client_config};
use crate::process::{Reply, obey, say};
use crate::reader::{Found, Reader};
use crate::tally::Tally;
use crate::wire::{Wire, now_ns, path};

/// The most connections that wait for their first state at a time: no flood of the accept queue.
const WINDOW: usize = 64;
const WAKE: Token = Token(usize::MAX);

/// The clients of one process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Fleet {
    pub wire: Wire,
    pub port: u16,
    pub connections: usize,
    /// Clients on each connection.
    pub streams: usize,
    /// They follow so many, in turns.
    pub resources: usize,
}

enum Command {
    Expect(u64),
    Report,
    /// Close all, and remember where they were.
    Drop,
    /// Come again from there, all at once.
    Resume,
    Close,
}

/// Runs the role: `clients <fleet>`.
/// Commands: `expect <changes>`, `report`, `drop`, `resume`, `close`.
pub fn run(fleet: Fleet) -> Result<(), String> {
    let poll = Poll::new().map_err(|e| format!("clients: {e}"))?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).map_err(|e| format!("clients: {e}"))?);
    let (send, commands) = channel();
    std::thread::spawn(move || {
        obey(|words| {
            let command = match words {
                ["expect", changes] => Command::Expect(changes.parse().unwrap_or(0)),
                ["report"] => Command::Report,
                ["drop"] => Command::Drop,
                ["resume"] => Command::Resume,
                ["close"] => Command::Close,
                _ => return say(&Reply::Failed(format!("unknown command {words:?}"))),
            };
            // A fleet that ended has said why.
            let _ = send.send(command);
            let _ = waker.wake();
        })
    });
    let mut crew = Crew {
        fleet,
        tls: client_config(fleet.wire)?,
        poll,
        connections: Vec::with_capacity(fleet.connections),
        wanted: fleet.connections,
        window: WINDOW,
        former: Vec::new(),
        settled: 0,
        expected: 0,
        behind: 0,
        tally: Tally::default(),
        found: Vec::new(),
    };
    crew.run(&commands)
}

struct Connection {
    link: Link,
    reader: Reader,
    /// By stream: the number of the last state; 0 before the first.
    last: Vec<u64>,
    /// How many streams are as far as they were to come: have a state, or go on from one.
    settled: usize,
}

/// Where a connection was when it was dropped.
struct Former {
    last: Vec<u64>,
    id: Option<String>,
}

struct Crew {
    fleet: Fleet,
    tls: Option<Arc<ClientConfig>>,
    poll: Poll,
    /// By token; `None` once the connection has ended.
    connections: Vec<Option<Connection>>,
    wanted: usize,
    window: usize,
    /// By token, of those that come again.
    former: Vec<Former>,
    /// How many connections are as far as they were to come.
    settled: usize,
    /// The number of the last expected state.
    expected: u64,
    /// How many clients have not yet got the last expected state.
    behind: usize,
    tally: Tally,
    /// Scratch of one read.
    found: Vec<Found>,
}

impl Crew {
    fn run(&mut self, commands: &Receiver<Command>) -> Result<(), String> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let waiting = |crew: &Self| crew.connections.len() - crew.settled;
            while self.connections.len() < self.wanted && waiting(self) < self.window {
                self.open().map_err(|e| format!("connection {}: {e}", self.connections.len()))?;
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

    fn open(&mut self) -> Result<(), String> {
        let failed = |e: std::io::Error| e.to_string();
        let slot = self.connections.len();
        let former = self.former.get(slot);
        let address = SocketAddr::from(([127, 0, 0, 1], self.fleet.port));
        let stream = std::net::TcpStream::connect(address).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        let mut link = Link::client(TcpStream::from_std(stream), self.tls.as_ref())?;
        let token = Token(slot);
        self.poll.registry().register(link.socket(), token, Interest::READABLE).map_err(failed)?;
        let streams = self.fleet.streams;
        let path = |stream| path((slot * streams + stream) % self.fleet.resources);
        let request = match self.fleet.wire {
            Wire::Http2 => http2::client_opening(&(0..streams).map(path).collect::<Vec<_>>()),
            wire => wire.request(&path(0), former.and_then(|former| former.id.as_deref())).into_bytes(),
        };
        let last = former.map_or_else(|| vec![0; streams], |former| former.last.clone());
        let reader = Reader::new(self.fleet.wire, streams);
        let mut connection = Connection { link, reader, last, settled: 0 };
        connection.write(&request)?;
        self.connections.push(Some(connection));
        Ok(())
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Expect(changes) => {
                let closed = self.connections.iter().filter(|connection| connection.is_none()).count();
                self.tally = Tally { closed: closed as u64, ..Tally::default() };
                let newest = self.lasts().max();
                self.expected = newest.unwrap_or(0) + changes;
                self.behind = self.lasts().count();
            }
            Command::Report => {
                let mut tally = self.tally.clone();
                tally.missed += self.lasts().map(|last| self.expected.saturating_sub(last)).sum::<u64>();
                say(&Reply::Tally(tally));
            }
            Command::Drop => {
                let former = |connection: Connection| Former {
                    id: connection.reader.last_id().map(str::to_owned),
                    last: connection.last,
                };
                self.former = self.connections.drain(..).flatten().map(former).collect();
                (self.wanted, self.settled) = (0, 0);
                say(&Reply::Closed(now_ns()));
            }
            Command::Resume => {
                (self.wanted, self.window) = (self.former.len(), usize::MAX);
                self.tally = Tally::default();
            }
            Command::Close => {
                self.connections.clear();
                self.wanted = 0;
                say(&Reply::Closed(now_ns()));
            }
        }
    }

    /// The last states of all clients.
    fn lasts(&self) -> impl Iterator<Item = u64> {
        self.connections.iter().flatten().flat_map(|connection| connection.last.iter().copied())
    }

    /// Reads what one connection has. Before all are connected a failure ends the run: nothing
    /// measured afterwards would mean anything. Of those that come again it is counted.
    fn ready(&mut self, slot: usize, read_closed: bool, buffer: &mut [u8]) -> Result<(), String> {
        let Some(Some(connection)) = self.connections.get_mut(slot) else {
            return Ok(());
        };
        let outcome = connection.read(read_closed, buffer, &mut self.found);
        let outcome = outcome.and_then(|()| self.count_found(slot));
        self.found.clear();
        let Err(why) = outcome else { return Ok(()) };
        let comes_again = !self.former.is_empty();
        if self.settled < self.wanted && !comes_again {
            return Err(format!("connection {slot}: {why}"));
        }
        let gone = self.connections[slot].take();
        self.tally.closed += 1;
        self.tally.first_failure.get_or_insert(why);
        if gone.is_some_and(|gone| gone.settled < self.fleet.streams) {
            self.settle();
        }
        Ok(())
    }

    /// One connection more is where it was to come.
    fn settle(&mut self) {
        self.settled += 1;
        if self.settled == self.wanted {
            say(&Reply::Connected);
        }
    }

    fn count_found(&mut self, slot: usize) -> Result<(), String> {
        let Some(Some(connection)) = self.connections.get_mut(slot) else {
            return Ok(());
        };
        let comes_again = !self.former.is_empty();
        let before = connection.settled;
        for found in self.found.drain(..) {
            match found {
                Found::Opened => connection.settled += usize::from(comes_again),
                Found::State(stream, stamp) => {
                    let Some(last) = connection.last.get_mut(stream) else {
                        return Err(format!("a state of stream {stream}, which was not asked for"));
                    };
                    if *last == 0 {
                        *last = stamp.n;
                        connection.settled += 1;
                        continue;
                    }
                    let was_behind = *last < self.expected;
                    self.tally.count(last, stamp);
                    if was_behind && *last >= self.expected {
                        self.behind -= 1;
                        if self.behind == 0 {
                            say(&Reply::Complete);
                        }
                    }
                }
                Found::Answer { tag } => {
                    let path = path(slot % self.fleet.resources);
                    connection.write(self.fleet.wire.request(&path, Some(&tag)).as_bytes())?;
                }
                Found::Asks(answer) => connection.write(&answer)?,
                Found::Control => self.tally.control += 1,
            }
        }
        if before < self.fleet.streams && connection.settled >= self.fleet.streams {
            self.settle();
        }
        Ok(())
    }
}

impl Connection {
    fn read(&mut self, read_closed: bool, buffer: &mut [u8], found: &mut Vec<Found>) -> Result<(), String> {
        loop {
            match self.link.read(buffer) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(length) => {
                    self.reader.read(&buffer[..length], found)?;
                    // A short read emptied the socket; asking again would only cost a call.
                    if length < buffer.len() && !read_closed && matches!(self.link, Link::Plain(_)) {
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
        match self.link.write(bytes) {
            Ok(length) if length == bytes.len() => Ok(()),
            Ok(length) => Err(format!("the socket took {length} of {} bytes", bytes.len())),
            Err(e) => Err(format!("write: {e}")),
        }
    }
}
