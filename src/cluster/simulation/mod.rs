//! Three nodes, an engine and six clients under a clock that only a seed moves: no I/O, but the real decisions of
//! `poll/standing`. Nodes die and stall, connections break, the engine stops, ends, and comes back whole, older or empty.
//!
//! Each rule can be taken out by a switch, and the tests hold that its removal is seen. One seed again, as a story:
//! `SIMULATION_SEED=7 cargo test --lib cluster::simulation -- --nocapture`.

mod clients;
mod connection;
mod engine;
mod faults;
mod node;
mod polls;
mod rules;
mod writes;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use clients::Client;
use engine::{Answer, Command, Engine, Message, Session};
use node::Node;

use crate::poll::backplane::Order;

/// Times are in microseconds, as the engine's clock is.
type Micros = u64;

const MS: Micros = 1000;
const INTERVAL: Micros = 2000 * MS;
const LEASE: Micros = 1000 * MS;
const TIMEOUT: Micros = 500 * MS;
const SLOWEST_POLL: Micros = 3000 * MS;
const START: Micros = 1_000_000 * MS;
/// How long faults happen.
const TROUBLE: Micros = 60_000 * MS;
/// How long all is well afterwards.
const CALM: Micros = 20_000 * MS;
const NODES: usize = 3;
const CLIENTS: usize = 6;
/// A request that comes to a place without a node is sent to another one.
const NOWHERE: usize = NODES;

/// What can be taken out of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// A holder shows a content once the engine accepted it.
    AcceptedThenShown,
    /// Fences come from the engine's clock.
    FencesByClock,
    /// So do the numbers of wants.
    WantsByClock,
    /// A poll belongs to the role of its start.
    PollBoundToStart,
    /// Mirrors only go up.
    OnlyUp,
    /// What was polled alone stands until the holder settled a want of the node that is back.
    Floor,
    /// A version that is not the current one is held against the record.
    Lookup,
    /// A version that the record does not know is polled for.
    Confirm,
    /// A holder's first poll under a fence is written, even if it found nothing new.
    FirstPollIsWritten,
    /// A holder says what is current once a poll under its fence has told it.
    HoldersKnowByPolls,
    /// A poll that failed says nothing of the content, though it knew of a want.
    FailuresProveNothing,
    /// A claim gives no other order to the content that it finds.
    ClaimKeepsOrder,
    /// A reader after a write waits for a poll that knows of the write's number.
    WritesHaveNumbers,
}

/// What happens, and to which node.
#[derive(Debug, Clone)]
enum Event {
    /// A command arrives at the engine.
    Command {
        node: usize,
        connection: u64,
        id: u64,
        command: Command,
    },
    Answer {
        node: usize,
        connection: u64,
        id: u64,
        answer: Answer,
    },
    Message {
        node: usize,
        connection: u64,
        message: Message,
    },
    TimedOut {
        node: usize,
        connection: u64,
        id: u64,
    },
    /// The time of a node's beat.
    Beat {
        node: usize,
        life: u64,
    },
    Reconnect {
        node: usize,
        life: u64,
    },
    PollDue {
        node: usize,
        life: u64,
        timer: u64,
    },
    /// The upstream answers a poll; the answer is on its way.
    PollRead {
        node: usize,
        life: u64,
        poll: u64,
    },
    PollEnds {
        node: usize,
        life: u64,
        poll: u64,
    },
    /// A node that is not preferred takes over from a holder that is gone.
    TakeOver {
        node: usize,
        life: u64,
        from: Option<Session>,
    },
    Start {
        node: usize,
    },
    Wake {
        node: usize,
    },
    /// The upstream changes.
    Change,
    /// A client has written.
    Write,
    Fault,
    Kill {
        node: usize,
    },
    /// Another engine takes over, without the newest writes.
    FailOver {
        lost: Micros,
        down: Micros,
    },
    EngineBack {
        store: Option<engine::Store>,
    },
    /// A client asks another node, or the same again.
    Hop {
        client: usize,
    },
}

impl Event {
    /// The node that has to run for it to happen.
    fn node(&self) -> Option<usize> {
        match self {
            Event::Answer { node, .. }
            | Event::Message { node, .. }
            | Event::TimedOut { node, .. }
            | Event::Beat { node, .. }
            | Event::Reconnect { node, .. }
            | Event::PollDue { node, .. }
            | Event::PollEnds { node, .. }
            | Event::TakeOver { node, .. } => Some(*node),
            _ => None,
        }
    }
}

/// What the invariants count.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// A client was given an older state than it had.
    went_back: u64,
    /// Two different contents were accepted under one order.
    same_order: u64,
    /// A client or a node does not have the newest state after a calm time.
    left_behind: u64,
    /// A reader was given an older state than a write that its node had heard of.
    read_before_writes: u64,
    reads: u64,
    polls: u64,
    /// The longest time without any poll.
    longest_pause: Micros,
}

impl Found {
    fn is_well(&self) -> bool {
        self.went_back + self.same_order + self.left_behind + self.read_before_writes == 0
    }
}

struct World {
    now: Micros,
    random: fastrand::Rng,
    /// Time, number and event; the number keeps events of one time in order.
    queue: BinaryHeap<Reverse<(Micros, u64)>>,
    events: BTreeMap<u64, Event>,
    count: u64,
    without: Option<Rule>,
    engine: Engine,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    /// The upstream's state: a number that only grows.
    upstream: u64,
    /// Nothing changes from then on, whatever still fails.
    last_change: Micros,
    accepted: BTreeMap<Order, u64>,
    last_poll: Micros,
    found: Found,
    tells: bool,
}

impl World {
    fn new(seed: u64, without: Option<Rule>, is_troubled: bool, tells: bool) -> World {
        let mut world = World {
            now: START,
            random: fastrand::Rng::with_seed(seed),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            count: 0,
            without,
            engine: Engine::default(),
            nodes: (0..NODES).map(|_| Node::default()).collect(),
            clients: (0..CLIENTS).map(|client| Client::of(client % NODES)).collect(),
            upstream: 1,
            last_change: START + TROUBLE / 2,
            accepted: BTreeMap::new(),
            last_poll: START,
            found: Found::default(),
            tells,
        };
        world.last_change += world.random.u64(0..TROUBLE / 2 + CALM / 4);
        for node in 0..NODES {
            let wait = world.random.u64(0..50 * MS);
            world.after(wait, Event::Start { node });
        }
        for client in 0..CLIENTS {
            let wait = world.random.u64(100 * MS..3000 * MS);
            world.after(wait, Event::Hop { client });
        }
        world.after(INTERVAL, Event::Change);
        if is_troubled {
            world.after(5000 * MS, Event::Fault);
        }
        world
    }

    fn run(mut self) -> Found {
        while let Some(Reverse((at, number))) = self.queue.pop() {
            if at > START + TROUBLE + CALM {
                break;
            }
            self.now = at;
            if let Some(event) = self.events.remove(&number) {
                self.happens(event);
            }
        }
        let clients = self.clients.iter().filter(|client| client.seen != self.upstream);
        let nodes = self.nodes.iter().filter(|node| node.is_alive && node.shows != Some(self.upstream));
        self.found.left_behind = (clients.count() + nodes.count()) as u64;
        self.found
    }

    fn after(&mut self, wait: Micros, event: Event) {
        self.count += 1;
        self.queue.push(Reverse((self.now + wait, self.count)));
        self.events.insert(self.count, event);
    }

    fn at(&mut self, at: Micros, event: Event) {
        self.after(at.saturating_sub(self.now), event);
    }

    /// How long a message takes on its way: most are fast.
    fn way(&mut self) -> Micros {
        match self.random.u32(0..100) {
            0..80 => self.random.u64(30..300),
            80..98 => self.random.u64(300..5 * MS),
            _ => self.random.u64(5 * MS..120 * MS),
        }
    }

    fn is_without(&self, rule: Rule) -> bool {
        self.without == Some(rule)
    }

    fn tell(&self, text: impl FnOnce() -> String) {
        if self.tells {
            println!("{:>10.3} ms  {}", (self.now - START) as f64 / 1000.0, text());
        }
    }

    fn happens(&mut self, event: Event) {
        if let Some(node) = event.node() {
            let node = &mut self.nodes[node];
            if !node.is_alive {
                return;
            }
            if node.is_stalled {
                node.waiting.push(event);
                return;
            }
        }
        match event {
            Event::Command { node, connection, id, command } => {
                self.command_arrives(node, connection, id, command);
            }
            Event::Answer { node, connection, id, answer }
                if self.nodes[node].takes_answer(connection, id) =>
            {
                self.answered(node, answer);
            }
            Event::Message { node, connection, message } if self.nodes[node].hears(connection) => {
                self.heard(node, message);
            }
            Event::TimedOut { node, connection, id } if self.nodes[node].waits_for(connection, id) => {
                self.lose(node, "a command timed out");
            }
            Event::Beat { node, life } if self.lives(node, life) => self.beat(node),
            Event::Reconnect { node, life } if self.lives(node, life) => self.connect(node),
            Event::PollDue { node, life, timer } if self.lives(node, life) => self.poll_due(node, timer),
            Event::PollRead { node, life, poll } if self.lives(node, life) => self.poll_is_read(node, poll),
            Event::PollEnds { node, life, poll } if self.lives(node, life) => self.poll_ends(node, poll),
            Event::TakeOver { node, life, from } if self.lives(node, life) => self.take_over(node, from),
            Event::Start { node } => self.start(node),
            Event::Wake { node } => self.wake(node),
            Event::Change => self.change(),
            Event::Write => self.write_is_done(),
            Event::Fault => self.fault(),
            Event::Kill { node } => self.kill(node),
            Event::FailOver { lost, down } => self.fail_over(lost, down),
            Event::EngineBack { store } => self.engine_is_back(store),
            Event::Hop { client } => self.hop_somewhere(client),
            // Of an earlier life of the node, or of an earlier connection.
            _ => {}
        }
    }

    fn lives(&self, node: usize, life: u64) -> bool {
        self.nodes[node].life == life
    }

    fn change(&mut self) {
        if self.now < self.last_change {
            self.upstream += 1;
            self.tell(|| format!("the upstream has {}", self.upstream));
            let wait = self.random.u64(100 * MS..3000 * MS);
            self.after(wait, Event::Change);
        }
    }
}
