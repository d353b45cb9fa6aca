//! A node's connection to the engine: commands and their time limit, loss, and return.

use super::engine::{Cause, Command};
use super::{Event, INTERVAL, MS, Micros, Rule, TIMEOUT, World};
use crate::poll::backplane::Role;
use crate::poll::standing::Floor;

/// The first wait before the engine is tried again.
const RECONNECT: Micros = 200 * MS;
const RECONNECT_MAX: Micros = 5000 * MS;

impl World {
    pub(super) fn send(&mut self, node: usize, command: Command) {
        if !self.nodes[node].is_connected {
            return;
        }
        let way = self.way();
        let from = &mut self.nodes[node];
        from.commands += 1;
        let (id, connection) = (from.commands, from.connection);
        from.unanswered.insert(id);
        from.last_command = (self.now + way).max(from.last_command + 1);
        let at = from.last_command;
        self.at(at, Event::Command { node, connection, id, command });
        self.after(TIMEOUT, Event::TimedOut { node, connection, id });
    }

    pub(super) fn connect(&mut self, node: usize) {
        if self.nodes[node].is_connected {
            return;
        }
        if self.engine.is_down || (self.engine.is_stopped && self.random.bool()) {
            return self.reconnect_later(node);
        }
        let now = self.now;
        let is_floored = !self.is_without(Rule::Floor);
        let this = &mut self.nodes[node];
        this.is_connected = true;
        this.is_deaf = false;
        this.is_claiming = false;
        this.connection += 1;
        this.unanswered.clear();
        this.own_beat_heard = now;
        this.holder = None;
        this.live.clear();
        let session = this.next_session(node);
        let has_own = this.has_own();
        this.standing.mirrors(has_own && is_floored);
        let has_floor = this.standing.floor() == Floor::Unknown;
        self.tell(|| format!("node {node} connects as {session:?}"));
        self.send(node, Command::Beat { session, joins: true });
        self.claim(node, None);
        if has_floor {
            self.send(node, Command::Want(Cause::Floor));
        }
        self.ask_again(node);
    }

    fn reconnect_later(&mut self, node: usize) {
        let this = &mut self.nodes[node];
        let wait = (RECONNECT << this.failures).min(RECONNECT_MAX);
        this.failures = (this.failures + 1).min(5);
        let life = this.life;
        let wait = self.random.u64(wait / 2..=wait * 3 / 2);
        self.after(wait, Event::Reconnect { node, life });
    }

    /// The node is alone from now on; its own polls go on when they are due.
    pub(super) fn lose(&mut self, node: usize, why: &str) {
        let this = &mut self.nodes[node];
        if !this.is_connected {
            return;
        }
        this.is_connected = false;
        this.connection += 1;
        this.unanswered.clear();
        this.standing.polls(Role::Alone);
        this.session = None;
        this.drop_written();
        let due = this.due.clamp(self.now, self.now + INTERVAL);
        self.tell(|| format!("node {node} loses the engine: {why}"));
        self.poll_at(node, due);
        self.reconnect_later(node);
        self.ask_again(node);
    }
}
