//! The role `floor`: the least a server can do. Bare epoll loops that write, on each tick, the
//! bytes pollcast would write to every client, and know nothing else: no routes, no polls, no limits.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use crate::process::{Reply, obey, say};
use crate::wire::{Stamp, Wire, tag};

const WAKE: Token = Token(usize::MAX);

/// One state as its bytes, encoded once for all clients.
struct Delivery {
    tag: String,
    bytes: Vec<u8>,
}

impl Delivery {
    fn new(wire: Wire, n: u64, size: usize) -> Arc<Self> {
        Arc::new(Self { tag: tag(n), bytes: wire.delivery(Stamp::new(n), size) })
    }
}

enum Job {
    Client(std::net::TcpStream),
    Publish(Arc<Delivery>),
}

/// The way to one loop.
#[derive(Clone)]
struct Door {
    jobs: Sender<Job>,
    waker: Arc<Waker>,
}

impl Door {
    fn give(&self, job: Job) {
        // A loop that ended has said why; the bench stops then.
        let _ = self.jobs.send(job);
        let _ = self.waker.wake();
    }
}

/// Runs the role: `floor <wire> <threads> <body size>`. Command: `events <count> <tick ms>`.
pub fn run(wire: Wire, threads: usize, size: usize) -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("floor: {e}"))?;
    let port = listener.local_addr().map_err(|e| format!("floor: {e}"))?.port();
    let first = Delivery::new(wire, 1, size);
    let mut doors = Vec::new();
    for _ in 0..threads.max(1) {
        doors.push(start_loop(wire, &first).map_err(|e| format!("floor: {e}"))?);
    }
    let accepted = doors.clone();
    std::thread::spawn(move || {
        for (stream, door) in listener.incoming().flatten().zip(accepted.iter().cycle()) {
            door.give(Job::Client(stream));
        }
    });
    say(&Reply::Listening(port));
    let mut n = 1;
    obey(|words| match words {
        ["events", count, tick] => {
            let tick = Duration::from_millis(tick.parse().unwrap_or(400));
            let mut due = Instant::now();
            for _ in 0..count.parse().unwrap_or(0_u64) {
                due += tick;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                n += 1;
                let delivery = Delivery::new(wire, n, size);
                doors.iter().for_each(|door| door.give(Job::Publish(Arc::clone(&delivery))));
            }
        }
        _ => say(&Reply::Failed(format!("unknown command {words:?}"))),
    })
}

fn start_loop(wire: Wire, first: &Arc<Delivery>) -> std::io::Result<Door> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (send, jobs) = channel();
    let mut clients = ClientLoop { wire, poll, jobs, peers: Slab::new(), current: Arc::clone(first) };
    std::thread::spawn(move || {
        if let Err(e) = clients.run() {
            say(&Reply::Failed(format!("floor loop: {e}")));
        }
    });
    Ok(Door { jobs: send, waker })
}

struct Peer {
    stream: TcpStream,
    /// Its request came: it is sent what is published. A long-poll is so until it is answered.
    waiting: bool,
    /// What the socket did not take.
    rest: Vec<u8>,
}

impl Peer {
    /// Writes as much as the socket takes and keeps the rest.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let taken = match self.rest.is_empty() {
            true => write_some(&mut self.stream, bytes)?,
            false => 0,
        };
        self.rest.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    fn write_rest(&mut self) -> std::io::Result<()> {
        let taken = write_some(&mut self.stream, &self.rest)?;
        self.rest.drain(..taken);
        Ok(())
    }
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match stream.write(&bytes[taken..]) {
            Ok(length) => taken += length,
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(taken)
}

struct ClientLoop {
    wire: Wire,
    poll: Poll,
    jobs: Receiver<Job>,
    peers: Slab<Peer>,
    current: Arc<Delivery>,
}

impl ClientLoop {
    fn run(&mut self) -> std::io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if let Err(e) = self.poll.poll(&mut events, None)
                && e.kind() != ErrorKind::Interrupted
            {
                return Err(e);
            }
            for event in &events {
                let Token(slot) = event.token();
                if event.token() == WAKE {
                    while let Ok(job) = self.jobs.try_recv() {
                        self.take(job)?;
                    }
                } else if self.serve(slot, event, &mut buffer).is_err() {
                    self.peers.try_remove(slot);
                }
            }
        }
    }

    fn take(&mut self, job: Job) -> std::io::Result<()> {
        match job {
            Job::Client(stream) => {
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let entry = self.peers.vacant_entry();
                let mut stream = TcpStream::from_std(stream);
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(entry.key()), interest)?;
                entry.insert(Peer { stream, waiting: false, rest: Vec::new() });
            }
            Job::Publish(delivery) => {
                self.current = delivery;
                // A failed write shows as an event of that socket too, and is handled there.
                for (_, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.waiting) {
                    peer.waiting = self.wire != Wire::LongPoll;
                    let _ = peer.write(&self.current.bytes);
                }
            }
        }
        Ok(())
    }

    /// Handles one peer's readiness; an error ends the peer.
    fn serve(&mut self, slot: usize, event: &mio::event::Event, buffer: &mut [u8]) -> std::io::Result<()> {
        let Some(peer) = self.peers.get_mut(slot) else {
            return Ok(());
        };
        if event.is_writable() && !peer.rest.is_empty() {
            peer.write_rest()?;
        }
        if !event.is_readable() {
            return Ok(());
        }
        loop {
            match peer.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => Self::hear(self.wire, &self.current, peer, &buffer[..length])?,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// A request head. The bench's own clients write it in one piece, so it is read in one.
    fn hear(wire: Wire, current: &Delivery, peer: &mut Peer, head: &[u8]) -> std::io::Result<()> {
        match wire {
            Wire::LongPoll => {
                let known = head.windows(current.tag.len()).any(|part| part == current.tag.as_bytes());
                peer.waiting = known;
                if known { Ok(()) } else { peer.write(&current.bytes) }
            }
            // A pong, or anything else after the request.
            _ if peer.waiting => Ok(()),
            _ => {
                peer.waiting = true;
                peer.write(wire.greeting().as_bytes())?;
                peer.write(&current.bytes)
            }
        }
    }
}
