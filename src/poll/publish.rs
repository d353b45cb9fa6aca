//! What the poll loop does with data: the snapshot under the route's rules, the news of a feed, and the
//! publishing of both.
//!
//! Must not know: when the next poll starts, transports.

use std::sync::Arc;

use http::{HeaderMap, StatusCode, header};

use super::accepted::Candidate;
use super::feed::Follower;
use super::poller::Poller;
use crate::change::{Detector, Unfit};
use crate::hub::{Draft, News, Outcome, PollNumber, Publisher};
use crate::resource::{Answered, Content, Snapshot, Validators, as_clients_see, replace};
use crate::upstream::classify::{Terms, Verdict, judge, secondary_names};
use crate::upstream::schedule::age;
use crate::upstream::{Answer, fields};

/// Why a list is not had.
enum BadPage {
    Unfit(Unfit),
    /// A page behind the first says that it is one user's.
    OneUsers(Verdict),
}

/// Why data ends the topic instead of being published.
pub(super) enum End {
    /// A page behind it is one user's.
    OneUsers(Verdict),
    /// It is the first, and finds no room.
    NoRoom,
}

impl From<Unfit> for BadPage {
    fn from(unfit: Unfit) -> BadPage {
        BadPage::Unfit(unfit)
    }
}

impl Poller {
    /// Publishes the content; gives the outcome's label.
    ///
    /// # Errors
    /// A page behind it says what ends the sharing, or there is no room for it.
    pub(super) async fn content(
        &mut self,
        publisher: &mut Publisher,
        number: PollNumber,
        answer: &Answer,
        content: Content,
    ) -> Result<&'static str, End> {
        self.note_signals(answer);
        let content = self.as_clients_see(content);
        let snapshot = match self.snapshot(content).await {
            Ok(snapshot) => snapshot,
            Err(Unfit { class, reason }) => {
                self.unfit(publisher, number, answer, class, &reason);
                return Ok("failed");
            }
        };
        let news = match self.news(&snapshot, answer).await {
            Ok(news) => news,
            Err(BadPage::Unfit(Unfit { class, reason })) => {
                self.unfit(publisher, number, answer, class, &reason);
                return Ok("failed");
            }
            Err(BadPage::OneUsers(verdict)) => return Err(End::OneUsers(verdict)),
        };
        // A 204 in between has no type: what comes after it is held against the last one.
        if let Some(media_type) = &snapshot.media_type {
            self.content_state.media_type = Some(media_type.clone());
        }
        publisher.order(self.content_state.feed.as_ref().map(Follower::order));
        self.fetch_state.conditional.forget_renewed();
        let told = self.sharing.as_ref().and_then(|_| news.clone());
        let draft = publisher.draft(Arc::new(snapshot), news);
        if !self.has_room_for(&draft) {
            return Err(End::NoRoom);
        }
        let bytes = if draft.is_heavy() { answer.body.len() } else { 0 };
        let encode = move || {
            draft.encode();
            draft
        };
        let draft = self.services.compute.run(bytes, encode).await;
        if !self.has_room_for_forms(&draft) {
            return Err(End::NoRoom);
        }
        self.catch_up(publisher, Some(&draft)).await;
        let paced = self.pace_after(answer, draft.is_change());
        let age = age(&answer.headers);
        if !self.is_accepted(|| Candidate::of(&draft, told, age, paced)).await {
            return Ok(self.drop_result(paced.due));
        }
        self.is_admitted_again();
        let changed = publisher.publish_draft(number, draft, age);
        self.succeeded(publisher, paced);
        Ok(if changed { "changed" } else { "unchanged" })
    }

    /// Followers that come from items that are not remembered here: the upstream is asked with each one's own
    /// cursor, which never becomes the feed's. What it says counts if it reaches what is known.
    pub(super) async fn catch_up(&self, publisher: &Publisher, draft: Option<&Draft>) {
        let Some(feed) = &self.content_state.feed else { return };
        for id in self.topic.take_missed() {
            let Some(target) = feed.target_after(&id) else { continue };
            let Ok(answer) = self.fetch_page(target).await else { continue };
            let is_shared = answer.status == StatusCode::OK && self.ends_sharing(&answer).is_none();
            let items = is_shared.then(|| feed.items(&answer.body)).flatten();
            // Of one that is not joined its follower is told (`reset`).
            if let Some(items) = items {
                publisher.catch_up(&id, items, draft);
            }
        }
    }

    /// On a feed: what is new in a page, and in the pages behind it where it does not reach back. Nothing
    /// counts as had before all of it was.
    async fn news(&mut self, snapshot: &Snapshot, answer: &Answer) -> Result<Option<News>, BadPage> {
        let Some(mut feed) = self.content_state.feed.take() else { return Ok(None) };
        let news = self.follow(&mut feed, snapshot, answer).await;
        self.content_state.feed = Some(feed);
        let mut news = news?;
        news.gap |= self.takes_owed_gap(&news);
        Ok(Some(news))
    }

    async fn follow(
        &self,
        feed: &mut Follower,
        snapshot: &Snapshot,
        answer: &Answer,
    ) -> Result<News, BadPage> {
        let mut reading = feed.read(snapshot, &answer.headers)?;
        while let Some(target) = reading.next.take() {
            let failed = |reason: String| Unfit { class: "page", reason: format!("{target}: {reason}") };
            let page =
                self.fetch_page(target.clone()).await.map_err(|error| failed(error.failure.for_clients()))?;
            if let Some(verdict) = self.ends_sharing(&page) {
                return Err(BadPage::OneUsers(verdict));
            }
            if page.status != StatusCode::OK {
                return Err(failed(format!("the upstream answered {}", page.status)).into());
            }
            feed.read_on(&mut reading, &page.body, &page.headers)?;
        }
        let news = feed.take(&reading);
        let metrics = &self.services.metrics;
        metrics.items.with_label_values(&[&self.route.path]).inc_by(news.items.len() as u64);
        if news.gap {
            metrics.gaps.with_label_values(&[&self.route.path]).inc();
        }
        Ok(news)
    }

    /// What a page says against being shared: it is judged as the first one was.
    fn ends_sharing(&self, page: &Answer) -> Option<Verdict> {
        let private = self.topic.key().is_private();
        let verdict = judge(page, &Terms { route: &self.route, private, known_type: None });
        matches!(verdict, Verdict::NotShareable(_) | Verdict::SessionRotated).then_some(verdict)
    }

    /// The content held, with the fields that a 304 names renewed (RFC 9111 §4.3.4).
    pub(super) fn renewed_content(&self, renewed: &Validators, answer: &Answer) -> Option<Arc<Snapshot>> {
        let view = self.topic.view();
        let held = &view.frame.as_ref()?.snapshot;
        let answered = &answer.headers;
        let names_vary = answered.contains_key(header::VARY);
        let seen = self.seen_headers(answered);
        // What was asked for an item is its batch's.
        let validators = if self.fetch_state.item.is_some() { &held.validators } else { renewed };
        let seen = seen.as_ref().unwrap_or(answered);
        let headers = fields::renewed(&held.headers, seen, &self.route, held.status);
        let vary = if names_vary { secondary_names(answered, &self.route) } else { held.vary.clone() };
        if headers == held.headers && vary == held.vary && *validators == held.validators {
            // Most 304s say nothing new.
            return Some(held.clone());
        }
        Some(Arc::new(held.renewed(Content {
            status: held.status,
            content_type: held.content_type.clone(),
            headers,
            validators: validators.clone(),
            vary,
            body: held.body.clone(),
        })))
    }

    fn as_clients_see(&self, content: Content) -> Content {
        match self.seen_headers(&content.headers) {
            Some(headers) => Content { headers, ..content },
            None => content,
        }
    }

    /// The fields of an answer with the paths that clients know (contract §10). Returns `None` if they are the same.
    pub(super) fn seen_headers(&self, headers: &HeaderMap) -> Option<HeaderMap> {
        let parts = self.topic.key().parts();
        let (query, authority) = (parts.query.as_deref(), parts.host.as_deref());
        let answered = Answered { route: &self.route, path: &parts.path, query, authority };
        let changed = as_clients_see(headers, &answered);
        (!changed.is_empty()).then(|| {
            let mut seen = headers.clone();
            replace(&mut seen, changed);
            seen
        })
    }

    /// A poll brought data: plain requests are answered from it again.
    pub(super) fn is_admitted_again(&self) {
        let view = self.topic.view();
        if view.frame.is_none() || !matches!(view.outcome, Outcome::Data) {
            self.services.hub.admit_again(self.topic.key());
        }
    }

    /// What the content is under the route's rules, held against what is published.
    async fn snapshot(&mut self, content: Content) -> Result<Snapshot, Unfit> {
        let mut detector =
            self.content_state.detector.take().unwrap_or_else(|| Detector::new(&self.route.change));
        let published = self.topic.view().frame.as_ref().map(|frame| frame.snapshot.clone());
        let (namer, bytes) = (self.services.namer.clone(), content.body.len());
        let detect = move || {
            let snapshot = detector.snapshot(content, published.as_deref(), &namer);
            (detector, snapshot)
        };
        let (detector, snapshot) = self.services.compute.run(bytes, detect).await;
        self.content_state.detector = Some(detector);
        snapshot
    }
}
