//! Writes through any node: all nodes are told of them under one number, and a reader who comes after that is given what a poll
//! found that knew of the number.

use super::engine::{Command, Message};
use super::{Event, MS, Micros, NODES, Rule, World};

/// A reader of a node that has heard of a write: it is given nothing older.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader {
    /// Of the write.
    number: u64,
    /// What the API had after it.
    value: u64,
}

impl World {
    /// Has clients write through all nodes.
    pub(super) fn with_writes(mut self) -> World {
        self.after(1000 * MS, Event::Write);
        self
    }

    /// The API has done a write that came through some node, and that node is about to answer it.
    pub(super) fn write_is_done(&mut self) {
        if self.now >= self.last_change {
            return;
        }
        self.upstream += 1;
        let (node, value) = (self.random.usize(0..NODES), self.upstream);
        self.tell(|| format!("a write through node {node}: the upstream has {value}"));
        if self.nodes[node].is_alive && !self.nodes[node].is_stalled {
            self.send(node, Command::Tell { value });
        }
        let wait = self.random.u64(50 * MS..1500 * MS);
        self.after(wait, Event::Write);
    }

    /// All nodes are told of a write. Gives its number.
    pub(super) fn told_write(&mut self, value: u64) -> u64 {
        let number: Micros = self.now;
        self.publish(Message::Written { number, value });
        number
    }

    /// A node hears of a write: the holder polls, and a reader of this node waits for a poll that knows of it.
    pub(super) fn heard_write(&mut self, node: usize, number: u64, value: u64) {
        let joins_older = self.is_without(Rule::WritesHaveNumbers);
        let this = &mut self.nodes[node];
        let number_of_reader = if joins_older { this.wanted } else { number };
        this.readers.push(Reader { number: number_of_reader, value });
        let settled = this.settled;
        self.wanted(node, number);
        self.read_settled(node, settled);
    }

    /// Readers are given what is shown, once a poll that settled this want has told it.
    pub(super) fn read_settled(&mut self, node: usize, settled: u64) {
        let this = &mut self.nodes[node];
        let Some(shows) = this.shows else { return };
        let before = this.readers.len();
        let readers = std::mem::take(&mut this.readers);
        let (given, waiting): (Vec<_>, Vec<_>) = readers.into_iter().partition(|r| r.number <= settled);
        this.readers = waiting;
        let stale = given.iter().filter(|reader| shows < reader.value).count() as u64;
        self.found.read_before_writes += stale;
        self.found.reads += given.len() as u64;
        if stale > 0 {
            self.tell(|| format!("{stale} of {before} READERS of node {node} are given {shows}: {given:?}"));
        }
    }
}
