//! What nodes tell each other about one resource, as plain data: a state in its order, and what a poll found that
//! brought no new one.
//!
//! Times are durations, never instants: no clock of a node means anything on another one. Must not know: how any of
//! it is written, sealed or sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::config::Order as ListOrder;
use crate::hub::Relayed;
use crate::resource::Snapshot;
use crate::upstream::schedule::{PaceParts, Why};

/// The place of a content among all contents of one resource on all nodes. Greater means that its poll started after
/// the other one's had ended. A version has no order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    /// Names the holder that wrote it: each time that a node becomes the holder it has a greater one.
    pub fence: u64,
    /// Counts what was written under this fence, from 1.
    pub sequence: u64,
}

impl Order {
    /// Before the first content under a fence.
    pub fn begin(fence: u64) -> Order {
        Order { fence, sequence: 0 }
    }

    /// The place behind this one, under the same fence.
    #[must_use]
    pub fn next(self) -> Order {
        Order { sequence: self.sequence + 1, ..self }
    }
}

/// What this node is for one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is not known yet, or the engine is lost and `cluster.when_lost: hold` says that nothing is polled then: what
    /// is there is served.
    Waiting,
    /// This node polls, and writes under this fence.
    Holder {
        /// Greater than any fence before it.
        fence: u64,
    },
    /// Another node polls, and this one publishes what that node wrote.
    Mirror,
    /// This node polls for itself and writes nothing: the engine is lost, or the resource cannot be shared.
    Alone,
}

/// A state of a resource as its holder publishes it.
#[derive(Debug, Clone)]
pub struct SharedContent {
    /// Its own place.
    pub order: Order,
    /// The place of what its holder had before it. A follower of a feed that has neither this nor a later one misses items.
    pub after: Order,
    /// Version, status, fields, validators, names of Vary, ignored places and body.
    pub snapshot: Arc<Snapshot>,
    /// On a feed: its items.
    pub feed: Option<SharedFeed>,
    /// The upstream's own Age when it was polled.
    pub upstream_age: Duration,
    /// How long ago the holder's last poll gave or confirmed it, as far as is known. The holder writes zero, and the
    /// backplane adds the time for which the content was stored.
    pub age: Duration,
    /// Number of the newest want that its poll knew of when it started.
    pub settled: u64,
    /// When it is polled again.
    pub rhythm: Rhythm,
    /// What a new holder goes on with.
    pub pace: PaceParts,
}

/// What a feed's content says beside its page.
#[derive(Debug, Clone, Default)]
pub struct SharedFeed {
    /// The items that are new since `after`, oldest first. The answer to a look-up has all that came after the order
    /// that was asked with, as far as they are remembered.
    pub items: Vec<SharedItem>,
    /// Items may be missing before these.
    pub gap: bool,
    /// The order of the upstream's list, as far as it shows.
    pub list_order: Option<ListOrder>,
    /// The upstream's cursor that the next poll is sent with.
    pub cursor: Option<String>,
}

/// One item of a feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedItem {
    /// What the upstream calls it.
    pub name: String,
    /// Its JSON as the upstream wrote it.
    pub text: Bytes,
}

/// When a resource is polled again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rhythm {
    /// How long a confirmed content counts as new.
    pub interval: Duration,
    /// From the moment that this was told to the next poll.
    pub next_poll: Duration,
    /// Why the next poll comes when it comes.
    pub why: Why,
}

/// What a holder tells of a poll that brought no new content.
#[derive(Debug, Clone)]
pub struct Report {
    /// The content that the holder has: one that is greater than a mirror's was missed by it.
    pub order: Order,
    /// As [`SharedContent::settled`].
    pub settled: u64,
    /// How long ago the poll ended. The holder tells zero.
    pub age: Duration,
    /// What the poll found.
    pub found: Found,
}

/// How a poll ended that brought no new content.
#[derive(Debug, Clone)]
pub enum Found {
    /// The content was confirmed.
    Unchanged,
    /// There was no answer, or none that any client may have.
    Failed {
        /// What is wrong with the upstream.
        trouble: Trouble,
        /// How long until the next poll.
        next_poll: Duration,
    },
    /// The answer is passed on as it came. `not_before` of it is of no use on another node; `rest` says the same.
    Relayed {
        /// The answer. Its body is empty where it is one request's own.
        answer: Arc<Relayed>,
        /// The upstream says that the resource is no more.
        gone: Option<StatusCode>,
        /// How long the upstream asked not to be asked.
        rest: Option<Duration>,
        /// How long until the next poll.
        next_poll: Duration,
    },
}

/// What is wrong with the upstream, as far as another node's clients are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What becomes of requests.
    pub kind: TroubleKind,
    /// The status of the answer; `None` if there was no answer.
    pub status: Option<StatusCode>,
    /// The reason, for clients.
    pub reason: String,
}

/// The kinds of trouble that requests are answered differently for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TroubleKind {
    /// The upstream was too slow.
    Timeout,
    /// The upstream's own quota is used up: plain requests pass through.
    Quota,
    /// Nothing was asked: it may be had later.
    NoTurn,
    /// The answer has a coding that is not known: plain requests pass through.
    Undecodable,
    /// Anything else.
    Other,
}

impl TroubleKind {
    /// All kinds.
    pub const ALL: [TroubleKind; 5] = [
        TroubleKind::Timeout,
        TroubleKind::Quota,
        TroubleKind::NoTurn,
        TroubleKind::Undecodable,
        TroubleKind::Other,
    ];

    /// The class of a failure that another node told of.
    pub fn class(self) -> &'static str {
        match self {
            TroubleKind::Timeout => "holder-timeout",
            TroubleKind::Quota => "quota",
            TroubleKind::NoTurn => "budget",
            TroubleKind::Undecodable => "coding",
            TroubleKind::Other => "holder",
        }
    }

    /// The kind of a failure of this class.
    pub fn of(class: &str) -> TroubleKind {
        match class {
            "quota" => TroubleKind::Quota,
            "budget" | "breaker" => TroubleKind::NoTurn,
            "encoding" | "coding" => TroubleKind::Undecodable,
            _ if class.ends_with("timeout") => TroubleKind::Timeout,
            _ => TroubleKind::Other,
        }
    }
}

/// What a node wants of the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// A state younger than its interval, for an ordinary poll: a holder that has one says so and does not poll.
    Young,
    /// A poll that starts after this, for a version that is not known: at most one in half an interval.
    Confirmation,
    /// A poll that starts after this, at once: for a write, or a node that had polled for itself.
    Poll,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is stored and told: the holder may show it.
    Accepted,
    /// Another node holds the resource: the content is dropped, and the role of this node follows.
    Refused,
    /// No answer came in time. It may still be carried out, so it is not shown; the role of this node follows.
    Lost,
    /// It is larger than `cluster.max_value`: each node polls for itself.
    TooLarge,
}

/// What is stored of a resource now.
#[derive(Debug, Clone)]
pub enum LookUp {
    /// There is a content.
    Found(Box<Stored>),
    /// Nothing is stored.
    Nothing,
    /// No answer came in time; the role of this node follows.
    Lost,
}

/// A stored content, as a look-up finds it.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The place of the stored content.
    pub order: Order,
    /// The content, if its place is another one than the look-up was made with.
    pub content: Option<SharedContent>,
    /// The tags of the last versions that were stored, the current one's among them.
    pub tags: Vec<[u8; 6]>,
}

/// Why a holder lets others take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// No client of this node wants the resource polled.
    Dormant,
    /// The way from here to the upstream may be broken: three polls in a row did not connect.
    CannotConnect,
}
