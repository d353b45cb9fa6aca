//! The role of one node for one resource, and the contents that it may show: the decisions alone, without any I/O.
//!
//! A resource's content is ordered by the fence of the node that polled it and by a sequence below that fence. The
//! version of a content has no order. Must not know: engines, messages, clocks.

use crate::poll::backplane::{Order, Role};

/// What a poll knew when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// The fence that it belongs to; `None` if the node was alone.
    pub fence: Option<u64>,
    /// The number of the newest want that it knew of.
    pub wanted: u64,
    /// How many contents of other nodes this one had shown.
    pub others: u64,
}

/// What becomes of a content that a node is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is newer: it is shown.
    Show,
    /// It is no newer than what is shown.
    Old,
    /// It may be older than what this node polled by itself: it waits until the holder settled the want of this node.
    BelowFloor,
}

/// The state of one resource on one node.
#[derive(Debug)]
pub struct Ownership {
    role: Role,
    /// The order of what is shown.
    shown: Order,
    /// What is shown was polled alone, after the content of that order.
    is_own: bool,
    /// Contents that did not settle this want are not shown.
    floor: Option<u64>,
    /// The highest fence that was ever seen.
    highest: u64,
    /// The newest want that is known.
    wanted: u64,
    /// How many contents of other nodes were shown.
    others: u64,
}

impl Default for Ownership {
    fn default() -> Ownership {
        Ownership {
            role: Role::Alone,
            shown: Order::default(),
            is_own: false,
            floor: None,
            highest: 0,
            wanted: 0,
            others: 0,
        }
    }
}

impl Ownership {
    /// What this node is for the resource.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The order of what is shown, or of what was shown before the node polled alone.
    pub fn shown(&self) -> Order {
        self.shown
    }

    /// The want that contents must have settled; `u64::MAX` while it has no number.
    pub fn floor(&self) -> Option<u64> {
        self.floor
    }

    /// The highest fence that was ever seen.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// The number of the newest want that is known.
    pub fn wanted(&self) -> u64 {
        self.wanted
    }

    /// Notes a want; they only grow within one history of the engine.
    pub fn note_want(&mut self, number: u64) {
        self.wanted = self.wanted.max(number);
    }

    /// The engine made this node the holder. The content found there keeps its order, and so does what is shown.
    pub fn gained(&mut self, fence: u64) {
        self.highest = self.highest.max(fence);
        self.role = Role::Holder { fence };
    }

    /// Another node holds the resource.
    pub fn follows(&mut self, fence: u64) {
        self.highest = self.highest.max(fence);
        self.role = Role::Mirror;
    }

    /// The engine cannot be had.
    pub fn lost(&mut self) {
        self.role = Role::Alone;
    }

    /// A poll starts.
    pub fn begin(&self) -> Begun {
        let fence = match self.role {
            Role::Holder { fence } => Some(fence),
            Role::Waiting | Role::Mirror | Role::Alone => None,
        };
        Begun { fence, wanted: self.wanted, others: self.others }
    }

    /// The order under which a poll's content may be written. Returns `None` if the node no longer holds the fence under
    /// which the poll started.
    pub fn order_of(&self, begun: Begun) -> Option<Order> {
        match self.role {
            Role::Holder { fence } if begun.fence == Some(fence) => {
                let before = if self.shown.fence == fence { self.shown.sequence } else { 0 };
                Some(Order { fence, sequence: before + 1 })
            }
            _ => None,
        }
    }

    /// Whether a node that is alone shows what a poll brought: not if content of another node's came after its start,
    /// since that is newer.
    pub fn may_show_own(&self, begun: Begun) -> bool {
        self.role == Role::Alone && begun.others == self.others
    }

    /// Whether a poll that found nothing new speaks for the cluster.
    pub fn may_confirm(&self, begun: Begun) -> bool {
        matches!(self.role, Role::Holder { fence } if begun.fence == Some(fence))
    }

    /// A content of this node's own was accepted, and is shown.
    pub fn accepted(&mut self, order: Order, begun: Begun) {
        self.shown = order;
        self.is_own = false;
        self.settled(begun.wanted);
    }

    /// A content that this node polled for itself is shown.
    pub fn showed_own(&mut self) {
        self.is_own = true;
    }

    /// The engine can be had again. Where what is shown was polled alone, no content is taken before the want that asks
    /// for a newer one has its number.
    pub fn came_back(&mut self) {
        self.role = Role::Mirror;
        self.floor = self.is_own.then_some(u64::MAX);
    }

    /// The want of a node that is back has this number: contents must have settled it.
    pub fn set_floor(&mut self, want: u64) {
        self.note_want(want);
        if self.floor == Some(u64::MAX) {
            self.floor = Some(want);
        }
    }

    /// The holder lives, and its contents stay below what is shown: the engine's clock went back. Takes the next one.
    pub fn regress(&mut self, order: Order) {
        self.shown = order;
        self.is_own = true;
        self.floor = None;
    }

    /// Whether what is shown was polled alone.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// Content of another node's is offered. `settled`: the want that its last poll settled.
    pub fn offered(&mut self, order: Order, settled: u64) -> Offer {
        self.highest = self.highest.max(order.fence);
        if self.floor.is_some_and(|floor| settled < floor) {
            return Offer::BelowFloor;
        }
        let is_newer = order > self.shown || (self.is_own && order == self.shown);
        if !is_newer {
            return Offer::Old;
        }
        self.shown = order;
        self.is_own = false;
        self.others += 1;
        self.settled(settled);
        Offer::Show
    }

    fn settled(&mut self, want: u64) {
        if self.floor.is_some_and(|floor| want >= floor) {
            self.floor = None;
        }
    }
}
