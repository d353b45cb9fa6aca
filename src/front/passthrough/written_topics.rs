//! The topics that a write touches on this node, each once and as near as anything that leads to it says (contract §9), whether
//! the write came through this node or another one (contract §13).
//!
//! Must not know: requests, how nodes tell each other.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::node_writes::NodeWrites;
use super::write_reach::may_overlap;
use crate::front::services::{Present, Shared};
use crate::hub::{Topic, Touch};
use crate::metrics::TouchCause;
use crate::poll::backplane::{Nearness, Place, Reached, WriteListener, WriteNotice};
use crate::resource::PathDigester;

/// Followed relatives of a written resource that are polled together; the others follow within half an interval.
const RELATIVES_MAX: usize = 32;

/// Paths below a written one that are looked at; further ones stay young for an interval at most.
const BELOW_MAX: usize = 10_000;

/// How a write bears on what it touches.
pub(super) struct Effect {
    /// The writer's address.
    pub(super) address: Option<IpAddr>,
    /// The answer was a redirect: it may have refused the write, and bears on no other client.
    pub(super) redirects: bool,
    /// Polls without an effect are repeated.
    pub(super) repeats: bool,
    /// The number of the write among those of all nodes, if there are others and they were told.
    pub(super) number: Option<u64>,
}

/// What a write touches.
pub(super) struct Touched<'a> {
    shared: &'a Shared,
    /// Whether the write was for this host.
    is_for: &'a dyn Fn(&str) -> bool,
    topics: HashMap<u64, (Arc<Topic>, TouchCause, Nearness)>,
}

impl<'a> Touched<'a> {
    pub(super) fn new(shared: &'a Shared, is_for: &'a dyn Fn(&str) -> bool) -> Touched<'a> {
        Touched { shared, is_for, topics: HashMap::new() }
    }

    /// Finds the topics of a place.
    pub(super) fn add(&mut self, reached: &Reached<String>) {
        let Reached { place, cause, nearness } = reached;
        match place {
            Place::Path(path) => self.add_path(path, *cause, *nearness),
            Place::Below(folder) => self.add_below(folder, *cause, *nearness),
            Place::Matching(pattern) => self.add_matching(pattern, *cause, *nearness),
        }
    }

    fn add_path(&mut self, path: &str, cause: TouchCause, nearness: Nearness) {
        for topic in self.shared.hub.at_path(path) {
            self.add_topic(topic, cause, nearness);
        }
    }

    fn add_below(&mut self, folder: &str, cause: TouchCause, nearness: Nearness) {
        let below = self.shared.hub.paths_below(folder, BELOW_MAX);
        if below.len() == BELOW_MAX {
            self.shared.metrics.touches.with_label_values(&["beyond"]).inc();
        }
        below.iter().for_each(|path| self.add_path(path, cause, nearness));
    }

    fn add_matching(&mut self, pattern: &str, cause: TouchCause, nearness: Nearness) {
        let mut matcher = matchit::Router::new();
        if let Err(error) = matcher.insert(pattern, ()) {
            tracing::debug!("the refreshes pattern {pattern} cannot be read: {error}");
            return;
        }
        for route in &self.shared.config.routes {
            if !may_overlap(pattern, &route.path) {
                continue;
            }
            for topic in self.shared.hub.of_route(route.index) {
                if matcher.at(&topic.key().parts().path).is_ok() {
                    self.add_topic(topic, cause, nearness);
                }
            }
        }
    }

    fn add_topic(&mut self, topic: Arc<Topic>, cause: TouchCause, nearness: Nearness) {
        if topic.key().parts().host.as_ref().is_some_and(|host| !(self.is_for)(host)) {
            return;
        }
        let known = self.topics.entry(topic.id()).or_insert((topic, cause, nearness));
        if known.2 < nearness {
            (known.1, known.2) = (cause, nearness);
        }
    }

    /// Touches what was found. `is_own`: whether a resource of a class is one of the writer's. Returns how many resources
    /// that were.
    pub(super) fn finish(self, effect: &Effect, mut is_own: impl FnMut(&Topic) -> bool) -> usize {
        let mut relatives = Vec::new();
        let mut count = 0;
        for (topic, cause, nearness) in self.topics.into_values() {
            let is_own = topic.key().parts().class.is_empty() || is_own(&topic);
            if !is_own && (effect.redirects || !topic.hears(effect.address)) {
                continue;
            }
            count += 1;
            self.shared.metrics.touches.with_label_values(&[cause.label()]).inc();
            let touch = match nearness {
                Nearness::Relative => {
                    relatives.push(topic);
                    continue;
                }
                _ if !is_own => Touch::Stranger,
                Nearness::Parent => Touch::Parent,
                Nearness::Named => Touch::Named { repeats: effect.repeats },
            };
            topic.touch_by(touch, effect.number);
        }
        spread(relatives, effect.number);
        count
    }
}

/// Touches what stands above or below: so many of those that are followed at once, all of them within half an interval.
fn spread(relatives: Vec<Arc<Topic>>, number: Option<u64>) {
    let (followed, others): (Vec<_>, Vec<_>) = relatives.into_iter().partition(|topic| topic.is_followed());
    let groups = followed.len().div_ceil(RELATIVES_MAX).max(1) as u32;
    for (group, topics) in followed.chunks(RELATIVES_MAX).enumerate() {
        for topic in topics {
            let after = topic.route().poll.interval / 2 * group as u32 / groups;
            topic.touch_by(Touch::Relative { after }, number);
        }
    }
    others.iter().for_each(|topic| topic.touch_by(Touch::Relative { after: Duration::ZERO }, number));
}

/// Has the writes of other nodes touch the resources of this process.
pub fn hear_writes(shared: &Arc<Shared>) {
    if let Some(nodes) = &shared.nodes {
        nodes.hear(Arc::new(Listener(shared.present.clone())));
    }
}

/// What is to be told of a write before its answer goes on.
#[must_use]
pub(in crate::front) struct Telling<'a> {
    pub(super) shared: &'a Shared,
    pub(super) nodes: &'a NodeWrites,
    pub(super) notice: WriteNotice,
}

/// Acts on the writes of other nodes.
struct Listener(Arc<Present>);

impl Telling<'_> {
    /// Tells the others, and touches what there is of it here. Returns how many resources that were, and whether the others
    /// were told.
    pub(in crate::front) async fn tell(self) -> (usize, bool) {
        let (nodes, telling) = (self.nodes, Unfinished(Some(self)));
        let told = match &telling.0 {
            Some(Telling { notice, .. }) => nodes.tell(notice).await,
            None => None,
        };
        let number = told.and_then(|told| told.number);
        (telling.finish(number), told.is_some())
    }
}

/// A write that is being told to the others. It touches what there is of it here even where that is given up, as when the
/// writer resets its request: the API has taken the write.
struct Unfinished<'a>(Option<Telling<'a>>);

impl Unfinished<'_> {
    fn finish(mut self, number: Option<u64>) -> usize {
        self.0.take().map_or(0, |telling| telling.touch(number))
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(telling) = self.0.take() {
            telling.touch(None);
        }
    }
}

impl Telling<'_> {
    fn touch(&self, number: Option<u64>) -> usize {
        touch(self.shared, self.nodes.digester(), &self.notice, number)
    }
}

impl WriteListener for Listener {
    fn heard(&self, notice: &WriteNotice, digester: &dyn PathDigester, number: Option<u64>) {
        if let Some(shared) = self.0.get() {
            touch(&shared, digester, notice, number);
        }
    }
}

/// Touches what a write reaches on this node.
fn touch(shared: &Shared, digester: &dyn PathDigester, notice: &WriteNotice, number: Option<u64>) -> usize {
    if shared.hub.is_empty() {
        return 0;
    }
    let is_for = |host: &str| notice.host.is_none_or(|named| named == digester.host(host));
    let mut touched = Touched::new(shared, &is_for);
    for Reached { place, cause, nearness } in &notice.reached {
        let place = match place {
            Place::Path(digest) => shared.hub.path_of_digest(digest).map(Place::Path),
            Place::Below(digest) => shared.hub.path_of_digest(digest).map(Place::Below),
            Place::Matching(pattern) => Some(Place::Matching(pattern.clone())),
        };
        if let Some(place) = place {
            touched.add(&Reached { place, cause: *cause, nearness: *nearness });
        }
    }
    let effect =
        Effect { address: notice.address, redirects: notice.redirects, repeats: notice.repeats, number };
    touched.finish(&effect, |topic| {
        let class = &topic.key().parts().class;
        notice.classes.as_ref().is_none_or(|own| own.contains(&digester.class(class)))
    })
}
