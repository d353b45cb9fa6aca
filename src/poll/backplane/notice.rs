//! What a node tells the others of a write that passed through it (contract §9, §13): the places that it touches, and what
//! decides how a resource there is touched.
//!
//! Must not know: how a place is found, how a notice is sealed or sent.

use std::net::IpAddr;

use crate::metrics::TouchCause;
use crate::resource::{PathDigest, PathDigester};

/// Places of one write that are told; of more, those that are nearest to what was written.
pub const PLACES_MAX: usize = 1000;

/// A write, as the other nodes are told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteNotice {
    /// The host that it was for. `None` for resources of all hosts.
    pub host: Option<PathDigest>,
    /// What it touches.
    pub reached: Vec<Reached<PathDigest>>,
    /// The classes that its writer is in. `None` for the operator, who writes for all.
    pub classes: Option<Vec<PathDigest>>,
    /// The writer's address, as far as it is known.
    pub address: Option<IpAddr>,
    /// The answer was a redirect: it bears on no client of another class.
    pub redirects: bool,
    /// Polls without an effect are repeated.
    pub repeats: bool,
}

/// A place that a write touches. `P` is a path, or its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached<P> {
    /// Where resources are touched.
    pub place: Place<P>,
    /// What led there.
    pub cause: TouchCause,
    /// How near it is to what was written.
    pub nearness: Nearness,
}

/// Where resources are touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<P> {
    /// At this path.
    Path(P),
    /// Below this one, which ends in `/`.
    Below(P),
    /// Where this pattern of `refreshes` matches.
    Matching(String),
}

/// How near a resource is to what was written, farthest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    /// It stands above or below.
    Relative,
    /// It is the collection of what was written.
    Parent,
    /// The write named it.
    Named,
}

impl Nearness {
    /// All of them, in an order that never changes: messages name them by their place here.
    pub const ALL: [Nearness; 3] = [Nearness::Relative, Nearness::Parent, Nearness::Named];
}

/// A write that the other nodes were told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldWrite {
    /// Its number among the wants of all resources: a poll that knows of a greater one knows of the write. `None` where
    /// the engine gives none.
    pub number: Option<u64>,
}

/// What acts on the writes of other nodes.
pub trait WriteListener: Send + Sync {
    /// Another node has seen a write, whose places are named with this digester. `number`: of this write among those of
    /// all nodes.
    fn heard(&self, notice: &WriteNotice, digester: &dyn PathDigester, number: Option<u64>);
}
