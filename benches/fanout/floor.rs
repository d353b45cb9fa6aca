//! The role `floor`: the least a server can do. Bare epoll loops that write, on each tick, the
//! bytes pollcast would write to every client, and know nothing else: no routes, no polls, no limits.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use slab::Slab;
use socket2::{Domain, Socket, Type};

use crate::link::{Link, server_config};
use crate::peer::{Delivery, Peer};
use crate::process::{Reply, obey, say};
use crate::wire::Wire;

const WAKE: Token = Token(usize::MAX);

/// What the floor is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Floor {
    pub wire: Wire,
    pub threads: usize,
    /// Bytes of a body.
    pub size: usize,
    pub resources: usize,
}

enum Job {
    Client(std::net::TcpStream),
    /// A resource's new state.
    Publish(usize, Arc<Delivery>),
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

/// Runs the role: `floor <what it is>`. Command: `events <count> <tick ms>`, that many of each
/// resource; the resources' changes are spread over the tick.
pub fn run(floor: Floor) -> Result<(), String> {
    let (listener, port) = listen().map_err(|e| format!("floor: {e}"))?;
    let tls = server_config(floor.wire)?;
    let first = Delivery::new(floor.wire, 1, floor.size);
    let mut doors = Vec::new();
    for _ in 0..floor.threads.max(1) {
        doors.push(start_loop(floor, &first, tls.clone()).map_err(|e| format!("floor: {e}"))?);
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
                n += 1;
                for resource in 0..floor.resources {
                    due += tick / floor.resources as u32;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let delivery = Delivery::new(floor.wire, n, floor.size);
                    doors.iter().for_each(|door| door.give(Job::Publish(resource, Arc::clone(&delivery))));
                }
            }
        }
        _ => say(&Reply::Failed(format!("unknown command {words:?}"))),
    })
}

/// With room for a storm: the standard library's listener refuses more than 128 at a time.
fn listen() -> std::io::Result<(TcpListener, u16)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(65_535)?;
    let listener = TcpListener::from(socket);
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

fn start_loop(floor: Floor, first: &Arc<Delivery>, tls: Option<Arc<ServerConfig>>) -> std::io::Result<Door> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (send, jobs) = channel();
    let group = || Group { current: Arc::clone(first), members: Vec::new() };
    let groups = (0..floor.resources).map(|_| group()).collect();
    let mut clients = ClientLoop { wire: floor.wire, tls, poll, jobs, peers: Slab::new(), groups };
    std::thread::spawn(move || {
        if let Err(e) = clients.run() {
            say(&Reply::Failed(format!("floor loop: {e}")));
        }
    });
    Ok(Door { jobs: send, waker })
}

/// A resource and its followers.
struct Group {
    current: Arc<Delivery>,
    members: Vec<u32>,
}

struct ClientLoop {
    wire: Wire,
    tls: Option<Arc<ServerConfig>>,
    poll: Poll,
    jobs: Receiver<Job>,
    peers: Slab<Peer>,
    groups: Vec<Group>,
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
                    self.remove(slot);
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
                let mut link = Link::server(TcpStream::from_std(stream), self.tls.as_ref())?;
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(link.socket(), Token(entry.key()), interest)?;
                entry.insert(Peer::new(link, self.wire));
            }
            Job::Publish(resource, delivery) => {
                let group = &mut self.groups[resource];
                group.current = delivery;
                for slot in &group.members {
                    if let Some(peer) = self.peers.get_mut(*slot as usize) {
                        // A failed write shows as an event of that socket too, and is handled there.
                        let _ = peer.deliver(self.wire, &group.current);
                    }
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, slot: usize) {
        let peer = self.peers.try_remove(slot);
        if let Some(group) = peer.and_then(|peer| self.groups.get_mut(peer.resource? as usize)) {
            group.members.retain(|member| *member as usize != slot);
        }
    }

    /// Handles one peer's readiness; an error ends the peer.
    fn serve(&mut self, slot: usize, event: &mio::event::Event, buffer: &mut [u8]) -> std::io::Result<()> {
        let Some(peer) = self.peers.get_mut(slot) else {
            return Ok(());
        };
        if event.is_writable() {
            peer.write_rest()?;
        }
        if !event.is_readable() {
            return Ok(());
        }
        loop {
            match peer.link.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    let groups = &mut self.groups;
                    let joined = peer.resource;
                    peer.hear(self.wire, &buffer[..length], |resource| {
                        groups.get(resource).map(|group| Arc::clone(&group.current))
                    })?;
                    if let (None, Some(resource)) = (joined, peer.resource) {
                        groups[resource as usize].members.push(slot as u32);
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}
