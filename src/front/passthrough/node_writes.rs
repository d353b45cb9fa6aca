//! How a write is told to the other nodes of a cluster (contract §13): its paths, host and classes as keyed digests, by which a
//! node finds what it has itself.
//!
//! Must not know: topics, engines.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::HeaderMap;

use crate::config::{Config, Route, Share};
use crate::front::access::share::{self, ClassValues};
use crate::identity::Identity;
use crate::poll::backplane::{Backplane, PLACES_MAX, Place, Reached, ToldWrite, WriteListener, WriteNotice};
use crate::resource::{PathDigest, PathDigester};

/// Classes of one writer that are told; on further ones its writes count as those of another.
const CLASSES_MAX: usize = 64;

/// The other nodes, as far as writes are told to them.
pub struct NodeWrites {
    backplane: Arc<dyn Backplane>,
    digester: Arc<dyn PathDigester>,
    /// One route for each way of telling classes.
    classed: Vec<Arc<Route>>,
}

impl NodeWrites {
    /// Returns `None` if the other nodes are not told of writes.
    pub fn new(backplane: Arc<dyn Backplane>, config: &Config) -> Option<NodeWrites> {
        let digester = backplane.digesters().into_iter().next()?;
        let mut known = BTreeSet::new();
        let is_new = |route: &&Arc<Route>| {
            let Share::By(values) = &route.share else { return false };
            known.insert(format!("{values:?} {:?}", route.upstream.connection_auth))
        };
        let classed = config.routes.iter().filter(is_new).cloned().collect();
        Some(NodeWrites { backplane, digester, classed })
    }

    /// What the paths of a process are named with, by this node and by others.
    pub fn digesters(&self) -> Vec<Arc<dyn PathDigester>> {
        self.backplane.digesters()
    }

    /// What this node names paths with.
    pub(super) fn digester(&self) -> &dyn PathDigester {
        &*self.digester
    }

    /// The classes that a request is in.
    pub(super) fn classes(&self, headers: &HeaderMap, identity: Option<&Identity>) -> Vec<PathDigest> {
        let classes = self.classed.iter().filter_map(|route| share::class(route, headers, identity));
        let classes: BTreeSet<PathDigest> =
            classes.filter(|class| !class.is_empty()).map(|class| self.class(&class)).collect();
        classes.into_iter().take(CLASSES_MAX).collect()
    }

    /// Tells the other nodes of a write. Returns `None` if they may not have heard of it.
    pub(super) async fn tell(&self, notice: &WriteNotice) -> Option<ToldWrite> {
        self.backplane.tell_write(notice).await
    }

    /// Has this one hear of the writes of other nodes.
    pub(super) fn hear(&self, listener: Arc<dyn WriteListener>) {
        self.backplane.hear_writes(listener);
    }

    pub(super) fn class(&self, class: &ClassValues) -> PathDigest {
        self.digester.class(class)
    }

    pub(super) fn host(&self, host: &str) -> PathDigest {
        self.digester.host(host)
    }

    /// The places as they are told: what is nearest first, if there are too many.
    pub(super) fn places(&self, mut reached: Vec<Reached<String>>) -> Vec<Reached<PathDigest>> {
        reached.sort_by_key(|reached| std::cmp::Reverse(reached.nearness));
        reached.truncate(PLACES_MAX);
        let told = reached.into_iter().map(|Reached { place, cause, nearness }| {
            let place = match place {
                Place::Path(path) => Place::Path(self.digester.path(&path)),
                Place::Below(folder) => Place::Below(self.digester.folder(&folder)),
                Place::Matching(pattern) => Place::Matching(pattern),
            };
            Reached { place, cause, nearness }
        });
        told.collect()
    }
}
