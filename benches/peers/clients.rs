//! The role `clients`: many connections on one epoll loop, every state checked.
//! Must not know: which server it talks to.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use serde::{Deserialize, Serialize};

use crate::speech::{Heard, Hearing, Known, Speech};
use crate::wire::Stamp;

/// How often one client connects before the server counts as unusable.
const MAX_CONNECTS: u32 = 5;

/// The most connections that wait for a first word at a time: no flood of the accept queue.
const WINDOW: usize = 64;
const WAKE: Token = Token(usize::MAX);

/// What the role says on its standard output, one JSON line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Every client has its first state; after `connect`: its stream's head.
    Connected,
    /// Every client has the last expected state.
    Complete,
    /// All sockets are closed.
    Closed,
    Tally(Tally),
    /// What those counted that poll at intervals.
    Polled(Polled),
    /// The role cannot go on.
    Failed(String),
}

/// What was counted since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub deliveries: u64,
    /// States that a client did not get before a later one.
    pub missed: u64,
    /// States that a client got again, or after a later one.
    pub repeated: u64,
    /// Connections that ended, and why the first of them did.
    pub closed: u64,
    pub first_failure: Option<String>,
    /// Connections that ended before the first word, and were made again.
    pub repeated_connects: u64,
}

/// What was counted of polls at intervals since the last report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Polled {
    pub answers: u64,
    /// Those that were 304.
    pub unchanged: u64,
    /// Turns at which the last answer was still missing.
    pub late: u64,
}

impl Polled {
    pub fn merge(&mut self, other: Self) {
        self.answers += other.answers;
        self.unchanged += other.unchanged;
        self.late += other.late;
    }
}

impl Tally {
    pub fn merge(&mut self, other: Self) {
        self.deliveries += other.deliveries;
        self.missed += other.missed;
        self.repeated += other.repeated;
        self.closed += other.closed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.repeated_connects += other.repeated_connects;
    }

    pub fn is_clean(&self) -> bool {
        self.missed + self.repeated + self.closed == 0
    }
}

/// What a client keeps when its connection goes.
#[derive(Default)]
struct Client {
    /// None before the first state, which then is nothing new.
    last: Option<u64>,
    known: Option<Known>,
    /// `None` while it is not connected.
    link: Option<Link>,
    /// Since the last `connect`.
    connects: u32,
}

struct Link {
    stream: TcpStream,
    hearing: Hearing,
    /// Whether it counts as connected.
    is_open: bool,
}

/// Runs the role: `clients <speech> <port> <path> <count>`; connects at once.
/// Commands: `expect <n>`, `close`, `connect`, `report`.
pub fn run(speech: Speech, port: u16, path: &str, count: usize) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("clients: {e}");
    let poll = Poll::new().map_err(failed)?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE).map_err(failed)?);
    let (send, commands) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            // A crowd that ended has said why.
            let _ = send.send(line);
            let _ = waker.wake();
        }
        // The bench is gone.
        std::process::exit(0)
    });
    let clients = (0..count).map(|_| Client::default()).collect();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let path = path.to_owned();
    Crowd {
        speech,
        address,
        path,
        poll,
        clients,
        asked: 0,
        open: 0,
        expected: 0,
        behind: 0,
        tally: Tally::default(),
    }
    .run(&commands)
}

struct Crowd {
    speech: Speech,
    address: SocketAddr,
    path: String,
    poll: Poll,
    /// By token.
    clients: Vec<Client>,
    /// How many have asked since the last `connect`.
    asked: usize,
    /// How many of those count as connected.
    open: usize,
    /// The number of the last expected state, and how many have not got it.
    expected: u64,
    behind: usize,
    tally: Tally,
}

impl Crowd {
    fn run(&mut self, commands: &Receiver<String>) -> Result<(), String> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            while self.asked < self.clients.len() && self.asked - self.open < WINDOW {
                self.ask(self.asked).map_err(|e| format!("connection {}: {e}", self.asked))?;
                self.asked += 1;
            }
            if let Err(e) = self.poll.poll(&mut events, None)
                && e.kind() != ErrorKind::Interrupted
            {
                return Err(format!("clients: {e}"));
            }
            for event in &events {
                match event.token() {
                    WAKE => commands.try_iter().try_for_each(|line| self.command(&line))?,
                    Token(slot) => self.ready(slot, event.is_read_closed(), &mut buffer)?,
                }
            }
        }
    }

    /// Opens the connection of one client.
    fn ask(&mut self, slot: usize) -> std::io::Result<()> {
        let client = &mut self.clients[slot];
        client.connects += 1;
        let mut stream = std::net::TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.write_all(self.speech.request(&self.path, client.known.as_ref()).as_bytes())?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.poll.registry().register(&mut stream, Token(slot), Interest::READABLE)?;
        client.link = Some(Link { stream, hearing: Hearing::new(self.speech), is_open: false });
        Ok(())
    }

    fn command(&mut self, line: &str) -> Result<(), String> {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["expect", number] => {
                self.expected = number.parse().map_err(|e| format!("{line}: {e}"))?;
                self.behind = self.clients.iter().filter(|one| one.last < Some(self.expected)).count();
                if self.behind == 0 {
                    say(&Reply::Complete);
                }
            }
            ["close"] => {
                self.clients.iter_mut().for_each(|client| client.link = None);
                say(&Reply::Closed);
            }
            ["connect"] => {
                self.clients.iter_mut().for_each(|client| client.connects = 0);
                (self.asked, self.open) = (0, 0);
            }
            ["report"] => {
                let mut tally = self.tally.clone();
                let lasts = self.clients.iter().map(|client| client.last.unwrap_or(0));
                tally.missed += lasts.map(|last| self.expected.saturating_sub(last)).sum::<u64>();
                say(&Reply::Tally(tally));
            }
            _ => return Err(format!("unknown command {line:?}")),
        }
        Ok(())
    }

    /// Reads what one connection has. Before all are connected a failure ends the run: nothing
    /// measured afterwards would mean anything.
    fn ready(&mut self, slot: usize, read_closed: bool, buffer: &mut [u8]) -> Result<(), String> {
        let mut heard = Vec::new();
        let Some(link) = self.clients.get_mut(slot).and_then(|client| client.link.as_mut()) else {
            return Ok(());
        };
        let outcome = link.read(read_closed, buffer, &mut heard);
        let Err(why) = outcome.and_then(|()| self.note(slot, heard)) else { return Ok(()) };
        let client = &mut self.clients[slot];
        let was_open = client.link.take().is_some_and(|link| link.is_open);
        if !was_open && client.connects < MAX_CONNECTS {
            self.tally.repeated_connects += 1;
            return self.ask(slot).map_err(|e| format!("connection {slot}: {e}"));
        }
        if self.open < self.clients.len() {
            return Err(format!("connection {slot}: {why}"));
        }
        self.tally.closed += 1;
        self.tally.first_failure.get_or_insert(why);
        Ok(())
    }

    fn note(&mut self, slot: usize, heard: Vec<Heard>) -> Result<(), String> {
        for one in heard {
            let client = &mut self.clients[slot];
            let mut is_open = client.last.is_some();
            match one {
                Heard::Head | Heard::Control => {}
                Heard::State(stamp, id) => {
                    is_open = true;
                    if self.speech == Speech::Events {
                        client.known = Some(Known { tag: id, date: String::new() });
                    }
                    let was_behind = client.last < Some(self.expected);
                    count(&mut self.tally, &mut client.last, stamp);
                    if was_behind && self.behind > 0 && client.last >= Some(self.expected) {
                        self.behind -= 1;
                        if self.behind == 0 {
                            say(&Reply::Complete);
                        }
                    }
                }
                Heard::Answer(known) => {
                    let request = self.speech.request(&self.path, Some(&known));
                    client.known = Some(known);
                    client.link.as_mut().map_or(Ok(()), |link| link.write(request.as_bytes()))?;
                }
            }
            let link = client.link.as_mut().filter(|link| is_open && !link.is_open);
            if let Some(link) = link {
                link.is_open = true;
                self.open += 1;
                if self.open == self.clients.len() {
                    say(&Reply::Connected);
                }
            }
        }
        Ok(())
    }
}

/// Says one thing to the bench (inside a role).
pub fn say(reply: &Reply) {
    if let Ok(line) = serde_json::to_string(reply) {
        // A closed pipe means that the bench is gone; the end of standard input ends this role too.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

/// Says why the role ends (inside a role).
pub fn fail(why: String) {
    say(&Reply::Failed(why));
}

fn count(tally: &mut Tally, last: &mut Option<u64>, stamp: Stamp) {
    match *last {
        Some(last) if stamp.n <= last => tally.repeated += 1,
        Some(before) => {
            tally.deliveries += 1;
            tally.missed += stamp.n - before - 1;
            *last = Some(stamp.n);
        }
        None => *last = Some(stamp.n),
    }
}

impl Link {
    fn read(&mut self, read_closed: bool, buffer: &mut [u8], heard: &mut Vec<Heard>) -> Result<(), String> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(length) => {
                    self.hearing.read(&buffer[..length], heard)?;
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

    /// Requests are small, and the server reads: they fit.
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self.stream.write(bytes) {
            Ok(length) if length == bytes.len() => Ok(()),
            Ok(length) => Err(format!("the socket took {length} of {} bytes", bytes.len())),
            Err(e) => Err(format!("write: {e}")),
        }
    }
}
