//! What the other nodes have told of one resource and the poll loop has not taken yet.
//!
//! It is no queue: a newer content takes the place of an older one, as with any follower of states; the items of feeds
//! add up to a bound. So telling never waits, and a loop that is slow holds one content. Must not know: where it
//! comes from, what is done with it.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::content::{Report, Role, SharedContent, SharedFeed};

/// Told by the backplane, taken by the loop that owns the resource's publisher.
#[derive(Debug)]
pub struct Inbox {
    told: Mutex<Told>,
    /// Number of the newest want of any node.
    wants: AtomicU64,
    bell: Notify,
    /// Items of a feed that wait at most.
    items_max: usize,
}

#[derive(Debug)]
struct Told {
    role: Role,
    news: News,
}

/// What was told since it was last taken. The content came before the report.
#[derive(Debug, Default)]
pub struct News {
    /// The newest content.
    pub content: Option<SharedContent>,
    /// What the holder's last poll found, if it came after that content.
    pub report: Option<Report>,
}

impl Inbox {
    /// `items_max`: items of a feed that wait at most (`feed.history`).
    pub fn new(items_max: usize) -> Inbox {
        Inbox {
            told: Mutex::new(Told { role: Role::Waiting, news: News::default() }),
            wants: AtomicU64::new(0),
            bell: Notify::new(),
            items_max,
        }
    }

    /// Tells what this node is from now on. What is stored has to be told before the role that follows from it.
    pub fn tell_role(&self, role: Role) {
        self.told.lock().role = role;
        self.bell.notify_one();
    }

    /// Tells a content that was accepted. One that is not newer than what waits is left out.
    pub fn tell_content(&self, content: SharedContent) {
        let mut told = self.told.lock();
        match &mut told.news.content {
            Some(waiting) if content.order <= waiting.order => return,
            Some(waiting) => waiting.follow_with(content, self.items_max),
            None => told.news.content = Some(content),
        }
        // It is of an earlier poll.
        told.news.report = None;
        drop(told);
        self.bell.notify_one();
    }

    /// Tells what the holder's last poll found.
    pub fn tell_report(&self, report: Report) {
        self.told.lock().news.report = Some(report);
        self.bell.notify_one();
    }

    /// Tells the number of the newest want that the backplane knows of.
    pub fn tell_wants(&self, number: u64) {
        if self.wants.fetch_max(number, Ordering::SeqCst) < number {
            self.bell.notify_one();
        }
    }

    /// What this node is.
    pub fn role(&self) -> Role {
        self.told.lock().role
    }

    /// Number of the newest want.
    pub fn wants(&self) -> u64 {
        self.wants.load(Ordering::SeqCst)
    }

    /// Takes what was told since the last time.
    pub fn take(&self) -> News {
        std::mem::take(&mut self.told.lock().news)
    }

    /// Waits until something is told. May come once too often.
    pub async fn told(&self) {
        self.bell.notified().await;
    }
}

impl SharedContent {
    /// Becomes the content that followed it, with the items of both.
    fn follow_with(&mut self, next: SharedContent, items_max: usize) {
        let before = std::mem::replace(self, next);
        let (Some(before_feed), Some(feed)) = (before.feed, self.feed.as_mut()) else { return };
        let is_continued = before.order >= self.after;
        self.after = before.after;
        let SharedFeed { mut items, gap, .. } = before_feed;
        if feed.gap || !is_continued {
            // A gap is before the items of one content: what is older cannot be followed by them.
            feed.gap = true;
            return;
        }
        items.append(&mut feed.items);
        let excess = items.len().saturating_sub(items_max.max(1));
        items.drain(..excess);
        feed.items = items;
        feed.gap = gap || excess > 0;
    }
}
