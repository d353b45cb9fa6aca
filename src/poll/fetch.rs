//! What a poll asks for, and an eye on the clock while it is on its way.
//!
//! Must not know: how an exchange is made, what its answer means.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::{Instant, sleep_until};

use super::exchange::{Exchange, Exchanged, batch};
use super::poller::Poller;
use super::request;
use crate::frame::State;
use crate::upstream::{Answer, Ask, Document, FetchError, Turn};

impl Poller {
    /// The exchange of a poll that has had its turn. A hanging one makes the content old.
    pub(super) async fn fetch(&mut self, turn: Option<Turn>) -> Result<Answer, FetchError> {
        let mut ask = self.ask();
        self.begin_span(&mut ask);
        let exchange = self.exchange();
        let (item, tag, followers) =
            (self.fetch_state.item.clone(), self.fetch_state.tag.take(), self.subscribers());
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
        self.fetch_state.carried_jar = exchange.carried_jar.load(Ordering::Relaxed);
        let Exchanged { answer, conditional, settled, tag, unfollowed } = result?;
        self.fetch_state.unfollowed = unfollowed;
        self.fetch_state.conditional.answered(conditional, item.is_some());
        self.fetch_state.tag = tag;
        if answer.status.is_success() {
            self.fetch_state.settled = settled;
        }
        Ok(answer)
    }

    /// A further page of the list, as a poll of its own in the upstream's budget.
    pub(super) async fn fetch_page(&self, target: String) -> Result<Answer, FetchError> {
        let mut ask = request::poll(self.topic.key(), &self.route, None, self.subscribers());
        ask.path_and_query = target;
        let exchange = self.exchange();
        // Those that have turns may wait for the room that this poll's first page takes.
        self.fetch_state.claim.step_aside();
        let turn = self.services.source(&self.route)?.turn(exchange.priority).await?;
        Ok(exchange.run(ask, turn).await?.answer)
    }

    fn ask(&mut self) -> Ask {
        let (view, subscribers) = (self.topic.view(), self.subscribers());
        let gone = matches!(view.condition.state, State::Gone { .. });
        let key = self.topic.key();
        let (target, same) = match &self.content_state.feed {
            Some(feed) => feed.target(),
            None => (request::target(key, &self.route), true),
        };
        let held = view.frame.as_ref().map(|frame| &frame.snapshot.validators);
        let asked = self.fetch_state.conditional.ask(held, gone || !same);
        let mut ask = request::poll(key, &self.route, asked, subscribers);
        ask.path_and_query = target;
        ask.document = match self.is_document() {
            true => Document::Known,
            false => Document::Unknown { complete_within: self.route.first_answer },
        };
        if self.is_after_write(&view) {
            request::after_write(&mut ask);
            self.services.metrics.repolls.with_label_values(&[&self.route.path]).inc();
        }
        ask
    }

    /// How many follow the resource, as the upstream is told.
    fn subscribers(&self) -> usize {
        self.services.hub.subscribers(&self.topic)
    }

    fn exchange(&self) -> Exchange {
        Exchange {
            services: self.services.clone(),
            route: self.route.clone(),
            priority: self.priority(),
            resource: Some(self.topic.key().clone()),
            private: self.topic.key().is_private(),
            settled: self.fetch_state.settled.clone(),
            carried_jar: AtomicBool::new(false),
            claim: self.fetch_state.claim.clone(),
        }
    }
}
