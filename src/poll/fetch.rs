//! What a poll asks for, and an eye on the clock while it is on its way.
//!
//! Must not know: how an exchange is made, what its answer means.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{Instant, sleep_until};

use super::exchange::{Exchange, Exchanged, batch};
use super::poller::Poller;
use super::request;
use crate::frame::State;
use crate::resource::Validators;
use crate::upstream::{Answer, Ask, Document, FetchError, Turn};

impl Poller {
    /// The exchange of a poll that has had its turn. A hanging one makes the content old.
    pub(super) async fn fetch(&mut self, turn: Option<Turn>) -> Result<Answer, FetchError> {
        let ask = self.ask();
        let exchange = self.exchange();
        let (item, tag, followers) = (self.item.clone(), self.tag.take(), self.topic.followers());
        let exchange = &exchange;
        let exchanging = async {
            match &item {
                Some(item) => batch::join(exchange, item, &ask, tag, followers).await,
                None => exchange.run(ask, turn).await,
            }
        };
        tokio::pin!(exchanging);
        let result = loop {
            let stale_at = self.stale_at();
            tokio::select! {
                result = &mut exchanging => break result,
                () = sleep_until(stale_at.unwrap_or_else(Instant::now)), if stale_at.is_some() => self.tell_stale(),
            }
        };
        self.carried_jar = exchange.carried_jar.load(Ordering::Relaxed);
        let Exchanged { answer, conditional, settled, tag, unfollowed } = result?;
        self.unfollowed = unfollowed;
        self.asked = match (conditional, &item) {
            (false, _) => None,
            // What was asked is the batch's.
            (true, Some(_)) => Some(Validators::default()),
            (true, None) => self.asked.take(),
        };
        self.tag = tag;
        if answer.status.is_success() {
            self.settled = settled;
        }
        Ok(answer)
    }

    /// A further page of the list, as a poll of its own in the upstream's budget.
    pub(super) async fn fetch_page(&self, target: String) -> Result<Answer, FetchError> {
        let mut ask = request::poll(self.topic.key(), &self.route, None, self.topic.followers());
        ask.path_and_query = target;
        let exchange = self.exchange();
        // Those that have turns may wait for the room that this poll's first page takes.
        self.claim.step_aside();
        let turn = self.stakes.source(&self.route)?.turn(exchange.priority).await?;
        Ok(exchange.run(ask, turn).await?.answer)
    }

    fn ask(&mut self) -> Ask {
        let view = self.topic.view();
        let gone = matches!(view.condition.state, State::Gone { .. });
        let key = self.topic.key();
        let (target, same) = match &self.feed {
            Some(feed) => feed.target(),
            None => (request::target(key, &self.route), true),
        };
        let whole = std::mem::take(&mut self.distrusted) || gone || !same;
        let held = view.frame.as_ref().map(|frame| &frame.snapshot.validators);
        self.asked = held
            .map(|held| self.renewed.as_ref().unwrap_or(held).clone())
            .filter(|v| !whole && (v.etag.is_some() || v.last_modified.is_some()));
        let mut ask = request::poll(key, &self.route, self.asked.as_ref(), self.topic.followers());
        ask.path_and_query = target;
        ask.document = match self.is_document() {
            true => Document::Known,
            false => Document::Unknown { complete_within: self.route.first_answer },
        };
        if self.is_after_write(&view) {
            request::after_write(&mut ask);
            self.stakes.metrics.repolls.with_label_values(&[&self.route.path]).inc();
        }
        ask
    }

    fn exchange(&self) -> Exchange {
        Exchange {
            stakes: self.stakes.clone(),
            route: self.route.clone(),
            priority: self.priority(),
            resource: Some(self.topic.key().clone()),
            private: self.topic.key().is_private(),
            settled: self.settled.clone(),
            carried_jar: AtomicBool::new(false),
            claim: self.claim.clone(),
        }
    }
}
