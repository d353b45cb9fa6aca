//! The clients: each follows a node, moves to another one with the version that it has, and must not go back.

use super::engine::{Cause, Command, Record};
use super::{CALM, Event, MS, Micros, NODES, NOWHERE, Rule, START, TROUBLE, World};
use crate::poll::backplane::Role;

pub(super) struct Client {
    node: usize,
    /// A number for each time that it asked a node.
    visit: u64,
    /// The newest state that it was given.
    pub(super) seen: u64,
}

/// A client whose version a node does not know: it is given nothing before that is cleared.
pub(super) struct Waiter {
    client: usize,
    visit: u64,
    /// It is given what a poll of the cluster found that settled this want.
    pub(super) want: Option<u64>,
    /// It is given what a poll of the node's own found that started from then on.
    pub(super) own_poll_after: Option<Micros>,
}

impl Waiter {
    pub(super) fn is(&self, client: usize, visit: u64) -> bool {
        self.client == client && self.visit == visit
    }
}

impl Client {
    pub(super) fn of(node: usize) -> Client {
        Client { node, visit: 0, seen: 0 }
    }
}

impl World {
    pub(super) fn hop_somewhere(&mut self, client: usize) {
        let is_late = self.now > START + TROUBLE + CALM / 2;
        let at = self.clients[client].node;
        let is_served = at != NOWHERE && self.nodes[at].is_alive && !self.nodes[at].is_stalled;
        if !(is_late && is_served) {
            let node = self.random.usize(0..NODES);
            if self.nodes[node].is_alive {
                self.hop(client, node);
            }
        }
        let wait = self.random.u64(20 * MS..2500 * MS);
        self.after(wait, Event::Hop { client });
    }

    fn hop(&mut self, client: usize, node: usize) {
        let this = &mut self.clients[client];
        let (before, seen) = (this.node, this.seen);
        this.node = node;
        this.visit += 1;
        if before != NOWHERE {
            self.nodes[before].waiters.retain(|waiter| waiter.client != client);
        }
        self.tell(|| format!("client {client} asks node {node} with {seen}"));
        self.resume(client);
    }

    /// The node is gone, and so are its connections.
    pub(super) fn leave(&mut self, node: usize) {
        self.clients.iter_mut().filter(|client| client.node == node).for_each(|client| client.node = NOWHERE);
    }

    fn resume(&mut self, client: usize) {
        let Client { node, visit, seen } = self.clients[client];
        if seen == 0 {
            return self.give(node, client);
        }
        let this = &mut self.nodes[node];
        if this.shows == Some(seen) {
            return;
        }
        this.waiters.push(Waiter { client, visit, want: None, own_poll_after: None });
        if self.is_without(Rule::Lookup) {
            self.give(node, client);
        } else if self.nodes[node].standing.role() == Role::Alone {
            self.confirm(client);
        } else {
            self.send(node, Command::Read(Cause::Client(client, visit)));
        }
    }

    /// The record was read for a client.
    pub(super) fn looked_up(&mut self, node: usize, (client, visit): (usize, u64), record: &Record) {
        let this = &self.clients[client];
        if this.node != node || this.visit != visit {
            return;
        }
        let is_known = record.tags.contains(&this.seen) || self.nodes[node].shows == Some(this.seen);
        let has_it = self.nodes[node].standing.shown().is_some_and(|shown| record.order <= shown);
        if (is_known && has_it) || self.is_without(Rule::Confirm) {
            self.give(node, client);
        } else {
            self.confirm(client);
        }
    }

    /// One poll that starts from now on tells what the client is to have.
    fn confirm(&mut self, client: usize) {
        let Client { node, visit, .. } = self.clients[client];
        if self.is_without(Rule::Confirm) {
            return self.give(node, client);
        }
        if self.nodes[node].standing.role() != Role::Alone {
            return self.send(node, Command::Want(Cause::Client(client, visit)));
        }
        let now = self.now;
        let waiters = self.nodes[node].waiters.iter_mut();
        waiters.filter(|w| w.is(client, visit)).for_each(|w| w.own_poll_after = Some(now));
        if self.nodes[node].poll.is_none() {
            self.poll_at(node, now);
        }
    }

    /// The engine is lost, or back: what waits is cleared in another way.
    pub(super) fn ask_again(&mut self, node: usize) {
        let waiters = std::mem::take(&mut self.nodes[node].waiters);
        for Waiter { client, visit, .. } in waiters {
            if self.clients[client].node == node && self.clients[client].visit == visit {
                self.resume(client);
            }
        }
    }

    pub(super) fn show(&mut self, node: usize, value: u64) {
        self.nodes[node].shows = Some(value);
        self.tell(|| format!("node {node} shows {value}"));
        for client in 0..self.clients.len() {
            let Client { node: at, visit, .. } = self.clients[client];
            if at == node && !self.nodes[node].waiters.iter().any(|w| w.is(client, visit)) {
                self.given(client, value);
            }
        }
    }

    fn give(&mut self, node: usize, client: usize) {
        self.nodes[node].waiters.retain(|waiter| waiter.client != client);
        if let Some(value) = self.nodes[node].shows {
            self.given(client, value);
        }
    }

    fn given(&mut self, client: usize, value: u64) {
        let seen = std::mem::replace(&mut self.clients[client].seen, value);
        if value < seen {
            self.found.went_back += 1;
            self.tell(|| format!("CLIENT {client} GOES BACK from {seen} to {value}"));
        }
    }

    pub(super) fn release_settled(&mut self, node: usize, settled: u64) {
        self.read_settled(node, settled);
        self.release(node, |waiter| waiter.want.is_some_and(|want| settled >= want));
    }

    pub(super) fn release_own(&mut self, node: usize, started: Micros) {
        self.release(node, |waiter| waiter.own_poll_after.is_some_and(|after| started >= after));
    }

    fn release(&mut self, node: usize, is_cleared: impl Fn(&Waiter) -> bool) {
        let waiters = std::mem::take(&mut self.nodes[node].waiters);
        let (cleared, waiting): (Vec<_>, Vec<_>) = waiters.into_iter().partition(is_cleared);
        self.nodes[node].waiters = waiting;
        for Waiter { client, visit, .. } in cleared {
            if self.clients[client].node == node && self.clients[client].visit == visit {
                self.give(node, client);
            }
        }
    }
}
