//! What the other nodes have told of one resource and the poll loop has not taken yet.
//!
//! It is no queue: a newer content takes the place of an older one, as with any follower of states; the items of feeds
//! add up to a bound. So telling never waits, and a loop that is slow holds one content. Must not know: where it
//! comes from, what is done with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::content::{Found, Order, Report, Role, SharedContent, SharedFeed, Want};
use crate::hub::LaterConfirmation;

/// Told by the backplane, taken by the loop that owns the resource's publisher.
#[derive(Debug)]
pub struct Inbox {
    told: Mutex<Told>,
    /// Number of the newest want of any node.
    wants: AtomicU64,
    /// Number of the newest one for a confirmation.
    confirmations: AtomicU64,
    /// Number of the newest one for a poll at once.
    polls: AtomicU64,
    bell: Notify,
    /// Items of a feed that wait at most.
    items_max: usize,
}

#[derive(Debug)]
struct Told {
    role: Role,
    news: News,
    /// When the report was told.
    reported_at: Instant,
    /// The mirror shows this content and waits for nothing but another one: a report that confirms it wakes no loop.
    calm: Option<Order>,
    /// Where such reports are seen before the loop takes them.
    later: Option<Arc<LaterConfirmation>>,
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
            told: Mutex::new(Told {
                role: Role::Waiting,
                news: News::default(),
                reported_at: Instant::now(),
                calm: None,
                later: None,
            }),
            wants: AtomicU64::new(0),
            confirmations: AtomicU64::new(0),
            polls: AtomicU64::new(0),
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
        let order = content.order;
        let mut told = self.told.lock();
        match &mut told.news.content {
            Some(waiting) if content.order <= waiting.order => return,
            Some(waiting) => waiting.follow_with(content, self.items_max),
            None => told.news.content = Some(content),
        }
        if told.news.report.as_ref().is_some_and(|report| report.order < order) {
            // It is of an earlier poll.
            told.news.report = None;
        }
        drop(told);
        self.bell.notify_one();
    }

    /// Tells what the holder's last poll found.
    pub fn tell_report(&self, report: Report) {
        let now = Instant::now();
        let mut told = self.told.lock();
        let is_calm = told.calm == Some(report.order)
            && told.news.content.is_none()
            && matches!(report.found, Found::Unchanged);
        if let Some(later) = told.later.as_ref().filter(|_| is_calm) {
            later.confirm(now.checked_sub(report.age).unwrap_or(now));
        }
        (told.news.report, told.reported_at) = (Some(report), now);
        drop(told);
        if !is_calm {
            self.bell.notify_one();
        }
    }

    /// Has the age of what is shown be seen at once, also where no loop is woken.
    pub fn confirms(&self, later: Arc<LaterConfirmation>) {
        self.told.lock().later = Some(later);
    }

    /// From now on a poll that confirms the content of this order is no news for the loop: it takes the report when it
    /// wakes for something else. `None`: it is.
    pub fn rest(&self, calm: Option<Order>) {
        self.told.lock().calm = calm;
    }

    /// Tells of a want. Where only the number is known (it is stored, its message was lost), it is one for a poll.
    pub fn tell_want(&self, number: u64, want: Want) {
        match want {
            Want::Young => {}
            Want::Confirmation => _ = self.confirmations.fetch_max(number, Ordering::SeqCst),
            Want::Poll => _ = self.polls.fetch_max(number, Ordering::SeqCst),
        }
        if self.wants.fetch_max(number, Ordering::SeqCst) < number {
            self.bell.notify_one();
        }
    }

    /// What this node is.
    pub fn role(&self) -> Role {
        self.told.lock().role
    }

    /// Number of the newest want for a confirmation.
    pub fn confirmations(&self) -> u64 {
        self.confirmations.load(Ordering::SeqCst)
    }

    /// Number of the newest want for a poll at once.
    pub fn polls(&self) -> u64 {
        self.polls.load(Ordering::SeqCst)
    }

    /// Number of the newest want of any kind.
    pub fn wants(&self) -> u64 {
        self.wants.load(Ordering::SeqCst)
    }

    /// Takes what was told since the last time. From now on everything is news again.
    pub fn take(&self) -> News {
        let mut told = self.told.lock();
        told.calm = None;
        let waited = told.reported_at.elapsed();
        let mut news = std::mem::take(&mut told.news);
        if let Some(report) = &mut news.report {
            report.age += waited;
        }
        news
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::FutureExt;
    use http::{HeaderMap, StatusCode};

    use super::super::content::{Rhythm, SharedItem};
    use super::*;
    use crate::resource::{Snapshot, Validators, VersionNamer};
    use crate::upstream::schedule::{PaceParts, Why};

    fn content(sequence: u64, names: &[&str], gap: bool) -> SharedContent {
        let body = Bytes::from(format!("{sequence}"));
        let version = VersionNamer::new(None).name(200, None, &body);
        let validators = Validators { etag: None, last_modified: None };
        let headers = HeaderMap::new();
        let snapshot = Snapshot::new(version, StatusCode::OK, None, headers, validators, Vec::new(), body);
        let item = |name: &&str| SharedItem { name: (*name).to_owned(), text: Bytes::from_static(b"1") };
        let order = Order { fence: 7, sequence };
        SharedContent {
            order,
            after: Order { fence: 7, sequence: sequence - 1 },
            snapshot: Arc::new(snapshot),
            feed: Some(SharedFeed { items: names.iter().map(item).collect(), gap, ..SharedFeed::default() }),
            upstream_age: Duration::ZERO,
            age: Duration::ZERO,
            settled: 0,
            rhythm: Rhythm { interval: Duration::ZERO, next_poll: Duration::ZERO, why: Why::Interval },
            pace: PaceParts::default(),
        }
    }

    fn waiting(inbox: &Inbox) -> (Order, Order, Vec<String>, bool) {
        let content = inbox.take().content.expect("a content waits");
        let feed = content.feed.expect("it is a feed's");
        let names = feed.items.into_iter().map(|item| item.name).collect();
        (content.after, content.order, names, feed.gap)
    }

    fn order(sequence: u64) -> Order {
        Order { fence: 7, sequence }
    }

    #[test]
    fn contents_that_wait_become_one_with_the_items_of_all() {
        let inbox = Inbox::new(10);
        inbox.tell_content(content(1, &["a"], false));
        inbox.tell_content(content(2, &["b", "c"], false));
        inbox.tell_content(content(2, &["b", "c"], false));
        inbox.tell_content(content(3, &[], false));
        assert_eq!(waiting(&inbox), (order(0), order(3), vec!["a".into(), "b".into(), "c".into()], false));
        assert!(inbox.take().content.is_none());
    }

    #[test]
    fn items_that_find_no_room_and_contents_that_are_missing_leave_a_gap() {
        let inbox = Inbox::new(2);
        inbox.tell_content(content(1, &["a", "b"], false));
        inbox.tell_content(content(2, &["c"], false));
        assert_eq!(waiting(&inbox), (order(0), order(2), vec!["b".into(), "c".into()], true));
        inbox.tell_content(content(1, &["a"], false));
        inbox.tell_content(content(3, &["c"], false));
        assert_eq!(waiting(&inbox), (order(0), order(3), vec!["c".into()], true));
    }

    #[test]
    fn a_report_is_of_the_content_before_it() {
        let inbox = Inbox::new(1);
        let report = || Report { order: order(1), settled: 0, age: Duration::ZERO, found: Found::Unchanged };
        inbox.tell_report(report());
        inbox.tell_content(content(2, &[], false));
        assert!(inbox.take().report.is_none());
        inbox.tell_report(report());
        let news = inbox.take();
        assert!(news.content.is_none() && news.report.is_some());
    }

    #[test]
    fn a_want_counts_for_all_kinds_and_for_its_own() {
        let inbox = Inbox::new(1);
        inbox.tell_want(3, Want::Young);
        inbox.tell_want(2, Want::Poll);
        inbox.tell_want(1, Want::Confirmation);
        assert_eq!((inbox.wants(), inbox.polls(), inbox.confirmations()), (3, 2, 1));
    }

    #[test]
    fn what_confirms_the_content_that_is_shown_wakes_no_loop() {
        let inbox = Inbox::new(1);
        let later = Arc::new(LaterConfirmation::new(Instant::now()));
        inbox.confirms(later.clone());
        let order = Order { fence: 7, sequence: 2 };
        let report = |order| Report { order, settled: 0, age: Duration::ZERO, found: Found::Unchanged };
        let is_told = || inbox.told().now_or_never().is_some();
        inbox.tell_report(report(order));
        assert!(is_told() && later.at().is_none(), "the loop has not said that it rests");
        assert!(inbox.take().report.is_some());
        inbox.rest(Some(order));
        inbox.tell_report(report(order));
        assert!(!is_told() && later.at().is_some());
        inbox.tell_report(report(order.next()));
        assert!(is_told(), "it is another content's");
        assert_eq!(inbox.take().report.map(|report| report.order), Some(order.next()));
        inbox.tell_report(report(order));
        assert!(is_told(), "the loop is awake");
        inbox.rest(Some(order));
        inbox.tell_role(Role::Mirror);
        assert!(is_told(), "a role is news");
    }
}
