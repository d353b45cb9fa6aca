//! Topics by path and by route, so that a write finds what it touches without a walk over all topics.
//!
//! Holds as many entries as the hub has topics. Must not know: what a write is.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::RwLock;

use super::path_digests::PathDigests;
use super::topic::Topic;
use crate::resource::{PathDigest, PathDigester};

/// Where the topics are, by what a write knows of them.
#[derive(Default)]
pub(super) struct Index {
    by_path: DashMap<String, Vec<Arc<Topic>>>,
    /// The paths in order, each with the number of its topics: what stands below a path is found without looking at
    /// the others.
    in_order: RwLock<BTreeMap<String, usize>>,
    /// By the index of the route, then by id.
    by_route: DashMap<usize, HashMap<u64, Arc<Topic>>>,
    /// The paths, as other nodes name them.
    digests: PathDigests,
}

impl Index {
    pub(super) fn insert(&self, topic: &Arc<Topic>) {
        let parts = topic.key().parts();
        self.by_path.entry(parts.path.clone()).or_default().push(topic.clone());
        {
            let mut in_order = self.in_order.write();
            let count = in_order.entry(parts.path.clone()).or_default();
            *count += 1;
            if *count == 1 {
                self.digests.insert(&parts.path);
            }
        }
        self.by_route.entry(parts.route).or_default().insert(topic.id(), topic.clone());
    }

    pub(super) fn remove(&self, topic: &Arc<Topic>) {
        let parts = topic.key().parts();
        let mut removed = 0;
        if let Some(mut topics) = self.by_path.get_mut(&parts.path) {
            let before = topics.len();
            topics.retain(|other| other.id() != topic.id());
            removed = before - topics.len();
        }
        let mut in_order = self.in_order.write();
        if let Some(count) = in_order.get_mut(&parts.path) {
            *count = count.saturating_sub(removed);
            if *count == 0 && in_order.remove(&parts.path).is_some() {
                self.digests.remove(&parts.path);
            }
        }
        drop(in_order);
        self.by_path.remove_if(&parts.path, |_, topics| topics.is_empty());
        if let Some(mut topics) = self.by_route.get_mut(&parts.route) {
            topics.remove(&topic.id());
        }
        self.by_route.remove_if(&parts.route, |_, topics| topics.is_empty());
    }

    /// All topics of a canonical path: any query, class, scheme and host.
    pub(super) fn at_path(&self, path: &str) -> Vec<Arc<Topic>> {
        self.by_path.get(path).map(|topics| topics.clone()).unwrap_or_default()
    }

    /// Returns the paths below `folder`, which ends in `/`, but no more than `most`.
    pub(super) fn below(&self, folder: &str, most: usize) -> Vec<String> {
        let in_order = self.in_order.read();
        let rest = in_order.range::<str, _>((Bound::Excluded(folder), Bound::Unbounded));
        rest.map(|(path, _)| path).take_while(|path| path.starts_with(folder)).take(most).cloned().collect()
    }

    pub(super) fn has_path(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// Names paths by digests, too. Only the first call counts, before there is any topic.
    pub(super) fn begin_digests(&self, digesters: Vec<Arc<dyn PathDigester>>) {
        self.digests.begin(digesters);
    }

    /// The path, or the folder above some, of a digest.
    pub(super) fn find_digest(&self, digest: &PathDigest) -> Option<String> {
        self.digests.find(digest)
    }

    /// All topics of a route.
    pub(super) fn of_route(&self, route: usize) -> Vec<Arc<Topic>> {
        self.by_route.get(&route).map(|topics| topics.values().cloned().collect()).unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let is_empty = self.by_path.is_empty() && self.by_route.is_empty() && self.in_order.read().is_empty();
        is_empty && self.digests.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::route::{key, private_key, route};
    use super::super::{Attend, Hub};
    use super::*;

    #[test]
    fn a_path_finds_all_its_classes_and_nothing_is_left_when_they_are_gone() {
        let hub = Hub::new(Vec::new(), 10, 1 << 20);
        let route = Arc::new(route());
        let mut publishers = Vec::new();
        let keys = [key("/a"), private_key("/a"), key("/b")];
        let attendances: Vec<_> = keys
            .iter()
            .map(|key| hub.attend(key, &route, Attend::Follow, |p| publishers.push(p)).ok().unwrap())
            .collect();
        assert_eq!(hub.at_path("/a").len(), 2);
        assert_eq!(hub.of_route(0).len(), 3);
        assert!(hub.at_path("/c").is_empty());
        drop(attendances);
        for publisher in publishers {
            assert!(publisher.retire().is_ok());
        }
        assert!(hub.at_path("/a").is_empty());
        assert!(hub.index.is_empty());
    }

    #[test]
    fn a_topic_that_closes_leaves_too() {
        let hub = Hub::new(Vec::new(), 10, 1 << 20);
        let mut publisher = None;
        let attendance = hub.attend(&key("/a"), &Arc::new(route()), Attend::Follow, |p| publisher = Some(p));
        assert_eq!(hub.at_path("/a").len(), 1);
        drop(publisher);
        assert!(hub.index.is_empty());
        drop(attendance);
    }
}
