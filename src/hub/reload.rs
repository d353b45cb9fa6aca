//! What a reload does to topics: those whose route means the same go on under its newer form, the others end.
//!
//! Must not know: when two routes mean the same.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::Guard;

use super::topic::Topic;
use super::view::{Closing, View};
use super::{Hub, Limits};
use crate::config::Route;
use crate::frame::Rules;

/// What a reload has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ended {
    /// Resources.
    pub resources: usize,
    /// Their followers.
    pub followers: usize,
}

impl Hub {
    /// Takes the routes and limits of another configuration: from now on no topic begins whose route has no number there.
    pub fn renew(&self, routes: &[Arc<Route>], limits: Limits) {
        self.max_topics.store(limits.topics, Ordering::Relaxed);
        self.max_history_bytes.store(limits.history_bytes, Ordering::Relaxed);
        self.exceptions.resize(limits.topics);
        self.users.resize(limits.topics);
        *self.live.write() = Some(routes.iter().map(|route| (route.index, route.clone())).collect());
    }

    /// Has the topics follow the routes that [`Hub::renew`] took. A topic whose route has its number there goes on with it;
    /// the others end, with the reason that `closing` gives for that number.
    pub fn end_others(&self, closing: impl Fn(usize) -> Closing) -> Ended {
        let live = self.live.read().clone().unwrap_or_default();
        self.presences.follow_routes(&live);
        let mut ended = Ended::default();
        for topic in self.topics() {
            let number = topic.key().parts().route;
            match live.get(&number) {
                Some(route) => topic.follow_route(route),
                None => {
                    ended.resources += 1;
                    ended.followers += topic.followers();
                    self.end(&topic, closing(number));
                }
            }
        }
        ended
    }

    /// A topic was made by a request that may have begun before a reload: it gets the form that its route has by now, or
    /// ends.
    pub(super) fn keep_if_live(&self, topic: &Arc<Topic>) {
        let live = self.live.read();
        let Some(routes) = &*live else { return };
        match routes.get(&topic.key().parts().route).cloned() {
            Some(route) => topic.follow_route(&route),
            None => {
                drop(live);
                self.end(topic, Closing::Reconfigured);
            }
        }
    }

    /// Ends a topic for all clients at once, whatever its poller does. The poller notices.
    fn end(&self, topic: &Arc<Topic>, closing: Closing) {
        // It leaves the map first, so that a client that is told finds a new topic when it comes back.
        self.remove(topic);
        topic.close(closing);
    }
}

impl Topic {
    /// The route that covers the resource.
    pub fn route(&self) -> Guard<Arc<Route>> {
        self.route.load()
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Takes a newer form of its route, which means the same. The poller looks at it at once.
    fn follow_route(&self, route: &Arc<Route>) {
        if Arc::ptr_eq(&self.route(), route) {
            return;
        }
        self.rules.store(Arc::new(Rules::of(route, &self.compressions)));
        self.route.store(route.clone());
        self.wake();
    }

    /// Ends the topic for all that attend to it. The first reason counts.
    pub(super) fn close(self: &Arc<Self>, closing: Closing) {
        self.update(|view| view.closing = view.closing.or(Some(closing)));
        self.wake();
    }

    /// Replaces the view, and rings where a follower may have something to be told. The closure
    /// runs under the view's lock: subscriptions register their format, and what they wait for,
    /// before they take that lock, so none can miss an encoding or a bell (`Subscription::new`).
    pub(super) fn update(self: &Arc<Self>, change: impl FnOnce(&mut View)) {
        let mut news = false;
        self.view.send_modify(|view| {
            let mut next = View::clone(view);
            change(&mut next);
            news = view.differs(&next, self.wanted_confirmation());
            *view = Arc::new(next);
        });
        if news {
            self.news.send_replace(());
            self.ring();
        }
    }

    /// Whether the topic has ended for all clients: nothing that a poll brings is anyone's any more.
    pub fn is_closed(&self) -> bool {
        self.view().closing.is_some()
    }

    /// Waits until the topic has ended.
    pub async fn closed(&self) {
        self.wait_for(|view| view.closing.is_some()).await;
    }
}
