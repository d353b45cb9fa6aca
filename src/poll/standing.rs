//! Where this node stands in the order of one resource's contents: what it may show, and under which order it writes
//! (contract §13).
//!
//! Pure: the poll loop asks it, and so does the simulation of whole clusters (`cluster/simulation`). Must not know:
//! engines, messages, clocks.

use super::backplane::{Order, Role};

/// What a content has to know of, so that it is no older than what this node polled for itself.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// Nothing.
    #[default]
    None,
    /// A want that is yet to be numbered.
    Unknown,
    /// This want.
    At(u64),
    /// Contents of this order and later ones: the polls of these knew of the want.
    From(Order),
}

/// What becomes of a content of another node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is newer than what is shown.
    Newer,
    /// It is what is shown.
    Same,
    /// It is older than what is shown.
    Older,
    /// It may be older than what this node polled for itself.
    BelowFloor,
}

/// What a holder's report means here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It is about the content that is shown.
    Current,
    /// The holder has a content that this node has not: it has to be read.
    Missed,
    /// The holder has less than what is shown.
    Below,
    /// It may be older than what this node polled for itself.
    BelowFloor,
}

/// Where a node stands.
#[derive(Debug, Clone)]
pub struct Standing {
    role: Role,
    order: Order,
    shown: Option<Order>,
    attempted: Order,
    floor: Floor,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing {
            role: Role::Waiting,
            order: Order::default(),
            shown: None,
            attempted: Order::default(),
            floor: Floor::None,
        }
    }
}

impl Standing {
    /// The role in which the loop that runs began.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The fence of this node, if it holds the resource.
    pub fn fence(&self) -> Option<u64> {
        match self.role {
            Role::Holder { fence } => Some(fence),
            Role::Waiting | Role::Mirror | Role::Alone => None,
        }
    }

    /// Whether the others have what is shown from this holder. If not, its poll is written although it found nothing new:
    /// what is stored may be older, or another content, where the engine lost something or this node was alone.
    pub fn is_told(&self) -> bool {
        self.shown.is_some_and(|shown| Some(shown.fence) == self.fence())
    }

    /// The greatest place that was applied or accepted here. Nothing below it is shown.
    pub fn order(&self) -> Order {
        self.order
    }

    /// The place of the content that is shown. `None` if there is none, or this node polled it for itself.
    pub fn shown(&self) -> Option<Order> {
        self.shown
    }

    /// What contents have to know of.
    pub fn floor(&self) -> Floor {
        self.floor
    }

    /// Mirrors from now on. `has_own`: what is shown was polled by this node alone; then only what is surely newer is
    /// taken, wherever it stands, since what is shown has no place in the order.
    pub fn mirrors(&mut self, has_own: bool) {
        self.role = Role::Mirror;
        if has_own {
            self.floor = Floor::Unknown;
            self.order = Order::default();
        }
    }

    /// Polls from now on. On gaining a fence everything before it is below.
    pub fn polls(&mut self, role: Role) {
        self.role = role;
        if let Role::Holder { fence } = role {
            self.order = self.order.max(Order::begin(fence));
            self.attempted = Order::begin(fence);
        }
    }

    /// The want of a node that is back has this number.
    pub fn wants(&mut self, want: u64) {
        if self.floor == Floor::Unknown {
            self.floor = Floor::At(want);
        }
    }

    /// Whether what a poll found is told to the others: a poll belongs to the fence of its start. `begun`: the role in
    /// which the poll started; `now`: the role at its end.
    pub fn may_tell(&self, begun: Role, now: Role) -> bool {
        self.fence().is_some() && begun == now && now == self.role
    }

    /// The order that a poll's content is written with; none is used twice, whatever became of the write.
    pub fn next_order(&mut self) -> Order {
        self.attempted = self.attempted.next();
        self.attempted
    }

    /// A content of another node's is there. `settled`: the newest want that its poll knew of.
    pub fn offered(&self, order: Order, settled: u64) -> Offer {
        let is_below_floor = match self.floor {
            Floor::None => false,
            Floor::Unknown => true,
            Floor::At(want) => settled < want,
            Floor::From(first) => order < first,
        };
        match order.cmp(&self.order) {
            std::cmp::Ordering::Less => Offer::Older,
            std::cmp::Ordering::Equal => Offer::Same,
            std::cmp::Ordering::Greater if is_below_floor => Offer::BelowFloor,
            std::cmp::Ordering::Greater => Offer::Newer,
        }
    }

    /// A holder says what it has. `settled`: the newest want that its last poll knew of. Once that is the want of this
    /// node, and the poll gave or confirmed data (`gave_data`), the holder's content is newer than what this node polled
    /// for itself, however long ago it was written. A poll that failed says nothing of the content; that it failed counts
    /// here as soon as it knew of the want.
    pub fn heard(&mut self, order: Order, settled: u64, gave_data: bool) -> Heard {
        match self.floor {
            Floor::None => {}
            Floor::At(want) if !gave_data && settled >= want => return Heard::Current,
            Floor::At(want) if gave_data && settled >= want => {
                self.floor = Floor::From(order);
                return Heard::Missed;
            }
            Floor::From(first) if order >= first => return Heard::Missed,
            Floor::Unknown | Floor::At(_) | Floor::From(_) => return Heard::BelowFloor,
        }
        match order.cmp(&self.shown.unwrap_or_default()) {
            std::cmp::Ordering::Less => Heard::Below,
            std::cmp::Ordering::Equal => Heard::Current,
            std::cmp::Ordering::Greater => Heard::Missed,
        }
    }

    /// A content that other nodes have is shown.
    pub fn shows(&mut self, order: Order) {
        self.order = self.order.max(order);
        self.shown = Some(order);
        self.floor = Floor::None;
    }

    /// A content is there that is not shown, since a newer poll of this node's replaces it.
    pub fn passes_over(&mut self, order: Order) {
        self.order = self.order.max(order);
    }

    /// A content is shown that this node polled for itself.
    pub fn shows_own(&mut self) {
        self.shown = None;
    }

    /// What the holder has is taken, wherever it stands.
    pub fn regresses(&mut self) {
        self.order = Order::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Order = Order { fence: 10, sequence: 1 };
    const SECOND: Order = Order { fence: 10, sequence: 2 };

    #[test]
    fn what_was_read_before_a_floor_was_settled_is_not_shown_after_it() {
        let mut standing = Standing::default();
        standing.shows(SECOND);
        standing.shows_own();
        standing.mirrors(true);
        assert_eq!(standing.offered(SECOND, u64::MAX), Offer::BelowFloor, "its want has no number");
        standing.wants(7);
        assert_eq!(standing.heard(SECOND, 6, true), Heard::BelowFloor);
        assert_eq!(standing.heard(SECOND, 7, false), Heard::Current, "a poll that failed");
        assert_eq!(standing.offered(SECOND, 6), Offer::BelowFloor, "it says nothing of the content");
        assert_eq!(standing.heard(SECOND, 7, true), Heard::Missed);
        assert_eq!(
            standing.offered(FIRST, u64::MAX),
            Offer::BelowFloor,
            "a look-up that was answered before"
        );
        assert_eq!(standing.heard(SECOND, 7, true), Heard::Missed, "it is asked for until it is there");
        assert_eq!(standing.offered(SECOND, 0), Offer::Newer, "though its order was shown before");
        standing.shows(SECOND);
        assert_eq!((standing.floor(), standing.heard(SECOND, 7, true)), (Floor::None, Heard::Current));
    }

    #[test]
    fn what_a_holder_shows_is_told_once_its_fence_has_written_it() {
        let mut standing = Standing::default();
        standing.shows(SECOND);
        assert!(!standing.is_told(), "a mirror tells nothing");
        let role = Role::Holder { fence: 20 };
        standing.polls(role);
        assert!(!standing.is_told(), "it was written by another");
        assert!(standing.may_tell(role, role) && !standing.may_tell(Role::Mirror, role));
        let (refused, accepted) = (standing.next_order(), standing.next_order());
        assert!(refused < accepted, "no order is used twice");
        standing.shows(accepted);
        assert!(standing.is_told());
    }

    #[test]
    fn a_content_below_what_is_shown_is_taken_only_after_a_regression() {
        let mut standing = Standing::default();
        standing.shows(SECOND);
        standing.mirrors(false);
        assert_eq!(
            (standing.heard(FIRST, 0, true), standing.offered(FIRST, 0)),
            (Heard::Below, Offer::Older)
        );
        standing.regresses();
        assert_eq!(standing.offered(FIRST, 0), Offer::Newer);
    }
}
