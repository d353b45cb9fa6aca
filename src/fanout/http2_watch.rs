//! What wakes the task of an HTTP/2 connection for its streams: news of each resource once, however many of the streams
//! follow it, so that a change costs the connection one turn.
//!
//! Must not know: what the news are.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use slab::Slab;
use tokio::sync::watch;

use crate::hub::{Roll, Topic};

/// The places of what is watched.
#[derive(Default)]
pub(super) struct Watches(Slab<Watch>);

/// The place of something that is watched.
pub(super) type WatchId = usize;

struct Watch {
    /// The number of the topic whose news are watched.
    topic: Option<u64>,
    /// The streams that look at it.
    users: usize,
    /// Whether something has changed since the last turn.
    has_news: Arc<AtomicBool>,
    /// It never ends: it notes each change and waits for the next one.
    waiting: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Watches {
    /// Watches the news of a topic.
    pub(super) fn topic(&mut self, topic: &Arc<Topic>) -> WatchId {
        let known = self.0.iter_mut().find(|(_, watch)| watch.topic == Some(topic.id()));
        if let Some((id, watch)) = known {
            watch.users += 1;
            return id;
        }
        let mut views = topic.views();
        self.insert(Some(topic.id()), |has_news| {
            Box::pin(async move {
                loop {
                    views.changed().await;
                    has_news.store(true, Ordering::Relaxed);
                }
            })
        })
    }

    /// Watches who follows a resource, for a follower that asked for it.
    pub(super) fn rolls(&mut self, mut rolls: watch::Receiver<Arc<Roll>>) -> WatchId {
        self.insert(None, |has_news| {
            Box::pin(async move {
                // A presence lives as long as it has a follower.
                while rolls.changed().await.is_ok() {
                    has_news.store(true, Ordering::Relaxed);
                }
                std::future::pending().await
            })
        })
    }

    fn insert(
        &mut self,
        topic: Option<u64>,
        wait: impl FnOnce(Arc<AtomicBool>) -> Pin<Box<dyn Future<Output = ()> + Send>>,
    ) -> WatchId {
        let has_news = Arc::new(AtomicBool::new(false));
        let waiting = wait(has_news.clone());
        self.0.insert(Watch { topic, users: 1, has_news, waiting })
    }

    /// Ends the watch of one stream.
    pub(super) fn leave(&mut self, id: WatchId) {
        let Some(watch) = self.0.get_mut(id) else { return };
        watch.users -= 1;
        if watch.users == 0 {
            self.0.remove(id);
        }
        if self.0.is_empty() {
            self.0 = Slab::new();
        }
    }

    /// Begins a turn: from here on `has_news` says what has changed since the last one, and the next change wakes the task.
    pub(super) fn look(&mut self, context: &mut Context<'_>) {
        for (_, watch) in &mut self.0 {
            watch.has_news.store(false, Ordering::Relaxed);
            let (Poll::Ready(()) | Poll::Pending) = watch.waiting.as_mut().poll(context);
        }
    }

    /// Whether something has changed since the last turn.
    pub(super) fn has_news(&self, id: WatchId) -> bool {
        self.0.get(id).is_some_and(|watch| watch.has_news.load(Ordering::Relaxed))
    }
}
