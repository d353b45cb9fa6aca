//! What goes wrong, by chance.

use super::engine::Store;
use super::{Event, LEASE, MS, Micros, NODES, START, TROUBLE, World};
use crate::poll::backplane::Role;

impl World {
    pub(super) fn fault(&mut self) {
        if self.now >= START + TROUBLE {
            return;
        }
        let node = self.random.usize(0..NODES);
        match self.random.u32(0..13) {
            0 => self.kill(node),
            1 | 2 => self.stall(node),
            3 => self.cut(node),
            4 | 10 => {
                self.tell(|| format!("the subscription of node {node} brings nothing any more"));
                self.nodes[node].is_deaf = true;
            }
            5 | 6 => self.stop_engine(),
            7 => {
                let down = self.random.u64(50 * MS..3000 * MS);
                self.restart_engine(None, "whole", down);
            }
            8 => {
                let down = self.random.u64(50 * MS..3000 * MS);
                self.restart_engine(Some(Store::default()), "empty", down);
            }
            9 => {
                let lost = self.random.u64(0..2500 * MS);
                let down = self.random.u64(50 * MS..3000 * MS);
                self.fail_over(lost, down);
            }
            _ => self.prefer(node),
        }
        let wait = self.random.u64(100 * MS..5000 * MS);
        self.after(wait, Event::Fault);
    }

    pub(super) fn kill(&mut self, node: usize) {
        if !self.nodes[node].is_alive {
            return;
        }
        self.tell(|| format!("node {node} is killed"));
        self.nodes[node].is_alive = false;
        self.leave(node);
        let wait = self.random.u64(100 * MS..5000 * MS);
        self.after(wait, Event::Start { node });
    }

    fn stall(&mut self, node: usize) {
        if !self.nodes[node].is_alive || self.nodes[node].is_stalled {
            return;
        }
        self.tell(|| format!("node {node} stalls"));
        self.nodes[node].is_stalled = true;
        let wait = self.random.u64(100 * MS..4 * LEASE);
        self.after(wait, Event::Wake { node });
    }

    fn cut(&mut self, node: usize) {
        let this = &self.nodes[node];
        if this.is_alive && !this.is_stalled {
            self.lose(node, "the connection is reset");
        }
    }

    /// A mirror that is preferred takes the resource from a holder that lives.
    fn prefer(&mut self, node: usize) {
        let this = &self.nodes[node];
        if this.is_alive && !this.is_stalled && this.is_connected && this.standing.role() == Role::Mirror {
            let from = this.holder;
            self.tell(|| format!("node {node} is preferred"));
            self.claim(node, from);
        }
    }

    fn stop_engine(&mut self) {
        if self.engine.is_down || self.engine.is_stopped {
            return;
        }
        self.tell(|| "the engine stops".into());
        self.engine.is_stopped = true;
        let wait = self.random.u64(50 * MS..4000 * MS);
        self.after(wait, Event::EngineBack { store: None });
    }

    fn restart_engine(&mut self, store: Option<Store>, how: &str, down: Micros) {
        if self.engine.is_down || self.engine.is_stopped {
            return;
        }
        self.tell(|| format!("the engine ends, and will be back {how}"));
        self.engine.is_down = true;
        for node in 0..NODES {
            let this = &mut self.nodes[node];
            if this.is_alive && this.is_stalled {
                let (connection, id) = (this.connection, this.breaks());
                this.waiting.push(Event::TimedOut { node, connection, id });
            } else if this.is_alive {
                self.lose(node, "it ended");
            }
        }
        self.after(down, Event::EngineBack { store });
    }

    /// Another engine takes over, without the newest writes.
    pub(super) fn fail_over(&mut self, lost: Micros, down: Micros) {
        let known = |(at, _): &&(u64, Store)| at + lost <= self.now;
        let Some(store) = self.engine.replicas.iter().rev().find(known).map(|(_, store)| store.clone())
        else {
            return;
        };
        self.restart_engine(Some(store), "without its newest writes", down);
    }
}
