//! The poll loop of one resource: ask, judge, publish, wait. It owns the resource's `Publisher`.
//!
//! Must not know: subscribers beyond their number, transports.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::ask;
use super::plan::{Action, Situation};
use super::supervise::Stakes;
use crate::config::Route;
use crate::frame::State;
use crate::hub::{
    Closing, EXCEPTION, ExceptionKind, Failure, Outcome, PollNumber, Publisher, Relayed, Retained, Topic,
};
use crate::resource::{MediaType, Validators};
use crate::upstream::judge::{Terms, Verdict, end_to_end, judge, not_shareable};
use crate::upstream::schedule::{Pace, age, retry_after};
use crate::upstream::{Answer, FetchError};

/// One resource's loop.
pub(super) struct Poller {
    stakes: Arc<Stakes>,
    topic: Arc<Topic>,
    route: Arc<Route>,
    publisher: Option<Publisher>,
    pace: Pace,
    due: Instant,
    last_start: Option<Instant>,
    gone_since: Option<Instant>,
    /// Bytes accounted for this topic's snapshot.
    weight: usize,
    /// Head and body of the last whole answer: what a client polling for itself would have cost.
    last_cost: usize,
}

impl Poller {
    pub(super) fn new(stakes: Arc<Stakes>, publisher: Publisher) -> Poller {
        let topic = publisher.topic().clone();
        let failing = stakes.take_failing(topic.key());
        stakes.metrics.resources.inc();
        Poller {
            pace: Pace::new(stakes.next_seed(), failing),
            route: topic.route().clone(),
            publisher: Some(publisher),
            due: Instant::now(),
            last_start: None,
            gone_since: None,
            weight: 0,
            last_cost: 0,
            topic,
            stakes,
        }
    }

    /// Runs until nobody attends, or the topic closes.
    pub(super) async fn run(mut self) {
        while let Some(publisher) = self.publisher.take() {
            match self.situation().decide() {
                Action::Retire => match publisher.retire() {
                    Ok(()) => debug!(resource = ?self.topic.key(), "retired"),
                    Err(Retained(publisher)) => self.publisher = Some(publisher),
                },
                Action::Sleep(until) => {
                    self.publisher = Some(publisher);
                    self.sleep(until).await;
                }
                Action::Poll => self.poll(publisher).await,
            }
        }
    }

    fn situation(&self) -> Situation {
        let view = self.topic.view();
        let now = Instant::now();
        let linger = self.route.poll.linger;
        let started = self.topic.wanted_confirmation();
        Situation {
            now,
            due: self.due,
            last_start: self.last_start,
            interval: self.route.poll.interval,
            failing: self.last_start.is_some() && !matches!(view.outcome, Outcome::Data | Outcome::Cold),
            wanted_now: self.topic.wanted_now() > view.ended,
            wanted_confirmation: started > self.topic.started(),
            active: self.route.poll.always || self.topic.followers() > 0 || self.topic.interest_until() > now,
            linger_until: self.topic.left_at().map(|left| left + linger),
            deserted: self.topic.is_deserted(),
            keep_until: self.topic.touched_at() + linger.max(self.route.stale_if_error),
            evicted: self.topic.is_evicted(),
        }
    }

    /// Sleeps, but wakes for demands; meanwhile tells followers when their content gets old.
    async fn sleep(&mut self, until: Instant) {
        let stale_at = self.stale_at();
        tokio::select! {
            () = sleep_until(until) => {}
            () = self.topic.demanded() => {}
            () = sleep_until(stale_at.unwrap_or(until)), if stale_at.is_some() => self.tell_stale(),
        }
    }

    /// When followers are to hear `stale`: the last poll failed or is overdue, and the content is
    /// older than `stale_after` and the effective interval. None: nothing to tell.
    fn stale_at(&self) -> Option<Instant> {
        let view = self.topic.view();
        let failing = matches!(view.outcome, Outcome::Failed(_) | Outcome::Relay(_));
        let overdue = self.last_start.is_some() && self.topic.started() > view.ended;
        if view.condition.state != State::Fresh || !(failing || overdue) {
            return None;
        }
        let confirmed = view.confirmed_at?;
        Some(confirmed + view.effective_interval + self.route.stale_after)
    }

    fn tell_stale(&mut self) {
        let view = self.topic.view();
        let next = self.due.saturating_duration_since(Instant::now());
        let (status, reason) = match &view.outcome {
            Outcome::Failed(failure) => (failure.status, failure.reason.clone()),
            Outcome::Relay(answer) => (
                Some(answer.status),
                format!("the upstream answered {}", answer.status),
            ),
            Outcome::Cold | Outcome::Data => (None, "the poll is overdue".to_owned()),
        };
        if let Some(publisher) = &mut self.publisher {
            publisher.stale(status, &reason, next);
        }
    }

    async fn poll(&mut self, publisher: Publisher) {
        let number = publisher.start_poll();
        self.publisher = Some(publisher);
        let started = Instant::now();
        self.last_start = Some(started);
        let result = self.fetch().await;
        let Some(publisher) = self.publisher.take() else {
            return;
        };
        let outcome = match result {
            Ok(answer) => self.answered(publisher, number, &answer),
            Err(error) => self.unreachable(publisher, number, &error),
        };
        let upstream = self.route.upstream.name.as_str();
        self.stakes
            .metrics
            .polled(upstream, &self.route.path, outcome, started.elapsed());
        self.count_saved();
    }

    /// The exchange, with an eye on the clock: a hanging poll makes the content old.
    async fn fetch(&mut self) -> Result<Answer, FetchError> {
        let view = self.topic.view();
        let gone = matches!(view.condition.state, State::Gone { .. });
        let validators: Option<Validators> = view
            .frame
            .as_ref()
            .filter(|_| !gone)
            .map(|frame| frame.snapshot.validators.clone());
        let ask = ask::poll(
            self.topic.key(),
            &self.route,
            validators.as_ref(),
            self.topic.followers(),
        );
        let stakes = self.stakes.clone();
        let Some(source) = stakes.sources.get(&self.route.upstream.name) else {
            // Validation ties every route to an upstream, and every upstream gets a source.
            unreachable!("route {} has no source", self.route.path)
        };
        let fetch = source.fetch(&ask);
        tokio::pin!(fetch);
        loop {
            let stale_at = self.stale_at();
            tokio::select! {
                result = &mut fetch => return result,
                () = sleep_until(stale_at.unwrap_or_else(Instant::now)), if stale_at.is_some() => self.tell_stale(),
            }
        }
    }

    /// Acts on an answer; gives the outcome's label.
    fn answered(&mut self, publisher: Publisher, number: PollNumber, answer: &Answer) -> &'static str {
        self.last_cost = answer.head_bytes + answer.body_bytes;
        let bytes = &self.stakes.metrics.upstream_bytes;
        let upstream = self.route.upstream.name.as_str();
        bytes
            .with_label_values(&[upstream, "head"])
            .inc_by(answer.head_bytes as u64);
        bytes
            .with_label_values(&[upstream, "body"])
            .inc_by(answer.body_bytes as u64);
        let known: Option<MediaType> = self
            .topic
            .view()
            .frame
            .as_ref()
            .and_then(|frame| frame.snapshot.media_type.clone());
        let terms = Terms {
            route: &self.route,
            namer: &self.stakes.namer,
            private: self.topic.key().is_private(),
            known_type: known.as_ref(),
        };
        let verdict = judge(answer, &terms);
        self.act(publisher, number, answer, verdict)
    }

    fn act(
        &mut self,
        mut publisher: Publisher,
        number: PollNumber,
        answer: &Answer,
        verdict: Verdict,
    ) -> &'static str {
        let outcome = match verdict {
            Verdict::Data(snapshot) => {
                self.note_signals(answer);
                let changed = publisher.publish(number, Arc::from(snapshot), age(&answer.headers));
                self.succeeded(&mut publisher, answer);
                if changed { "changed" } else { "unchanged" }
            }
            Verdict::NotModified if self.topic.view().frame.is_some() => {
                publisher.confirm(number, age(&answer.headers));
                self.succeeded(&mut publisher, answer);
                "not_modified"
            }
            Verdict::NotModified => {
                self.failed(
                    &mut publisher,
                    number,
                    "status",
                    Some(answer),
                    "the upstream answered 304 to an unconditional request",
                );
                "failed"
            }
            Verdict::Gone => match self.gone(publisher, number, answer) {
                ControlFlow::Continue(kept) => {
                    publisher = kept;
                    "relayed"
                }
                ControlFlow::Break(()) => return "relayed",
            },
            Verdict::Denied if self.topic.key().is_private() => {
                publisher.relay(number, relayed(answer), None, Duration::ZERO);
                publisher.close(Closing::Credentials, None);
                return "relayed";
            }
            Verdict::Denied | Verdict::Refused => {
                self.refused(&mut publisher, number, answer);
                "relayed"
            }
            Verdict::Failed(reason) => {
                self.failed(&mut publisher, number, "status", Some(answer), &reason);
                "failed"
            }
            Verdict::Unfit { class, reason } => {
                self.unfit(&mut publisher, number, answer, class, &reason);
                "failed"
            }
            Verdict::Uncoverable(reason) => {
                self.uncoverable(&mut publisher, number, reason, reason);
                "failed"
            }
            Verdict::NotShareable(sign) => {
                let reason = format!("the upstream's answer says {sign}, and the route has no `share`");
                publisher.close(
                    Closing::NotShareable,
                    Some((ExceptionKind::NotShareable, &reason)),
                );
                return "relayed";
            }
            Verdict::SessionRotated => {
                publisher.close(Closing::SessionRotated, None);
                return "relayed";
            }
        };
        self.publisher = Some(publisher);
        outcome
    }

    fn unreachable(
        &mut self,
        mut publisher: Publisher,
        number: PollNumber,
        error: &FetchError,
    ) -> &'static str {
        let class = error.class();
        if class == "too-large" {
            self.uncoverable(&mut publisher, number, class, &error.to_string());
        } else {
            self.failed(&mut publisher, number, class, None, &error.to_string());
        }
        self.publisher = Some(publisher);
        "failed"
    }

    fn succeeded(&mut self, publisher: &mut Publisher, answer: &Answer) {
        self.gone_since = None;
        let (effective, next) = self.pace.after_success(&self.route.poll, &answer.headers);
        self.due = self
            .last_start
            .unwrap_or_else(Instant::now)
            .max(Instant::now() - effective)
            + next;
        publisher.schedule(Some(self.due), effective);
        let view = self.topic.view();
        let weight = view
            .frame
            .as_ref()
            .map_or(0, |f| f.snapshot.weight() + f.encoded_bytes());
        self.stakes.account(self.weight, weight);
        self.weight = weight;
    }

    fn failed(
        &mut self,
        publisher: &mut Publisher,
        number: PollNumber,
        class: &'static str,
        answer: Option<&Answer>,
        reason: &str,
    ) {
        let asked = answer.and_then(|a| retry_after(&a.headers, SystemTime::now()));
        let wait = self.pace.after_failure(&self.route.poll, asked);
        let failure = Failure {
            class,
            status: answer.map(|a| a.status),
            reason: self.named(reason),
        };
        self.report(&failure, wait);
        publisher.fail(number, Arc::new(failure), wait);
        self.wait(publisher, wait);
    }

    /// A reason that says which upstream it speaks of.
    fn named(&self, reason: &str) -> String {
        if reason.starts_with("upstream ") {
            return reason.to_owned();
        }
        format!("upstream {:?}: {reason}", self.route.upstream.name)
    }

    fn report(&self, failure: &Failure, wait: Duration) {
        let upstream = self.route.upstream.name.as_str();
        self.stakes
            .metrics
            .poll_failures
            .with_label_values(&[upstream, failure.class])
            .inc();
        warn!(
            resource = ?self.topic.key(),
            route = %self.route.path,
            class = failure.class,
            next_poll_ms = wait.as_millis() as u64,
            "poll failed: {}",
            failure.reason
        );
    }

    /// After a failure: the next poll, and `stale` at once where there is no content at all.
    fn wait(&mut self, publisher: &mut Publisher, wait: Duration) {
        self.due = Instant::now() + wait;
        let view = self.topic.view();
        publisher.schedule(Some(self.due), view.effective_interval);
        if view.frame.is_none() {
            let (status, reason) = match &view.outcome {
                Outcome::Failed(failure) => (failure.status, failure.reason.clone()),
                Outcome::Relay(answer) => (
                    Some(answer.status),
                    self.named(&format!("it answered {}", answer.status)),
                ),
                _ => return,
            };
            publisher.stale(status, &reason, wait);
        }
    }

    fn refused(&mut self, publisher: &mut Publisher, number: PollNumber, answer: &Answer) {
        let asked = retry_after(&answer.headers, SystemTime::now());
        let wait = self.pace.after_failure(&self.route.poll, asked);
        let failure = Failure {
            class: "status",
            status: Some(answer.status),
            reason: self.named(&format!("it answered {}", answer.status)),
        };
        self.report(&failure, wait);
        publisher.relay(number, relayed(answer), None, wait);
        self.wait(publisher, wait);
    }

    /// A complete answer that is no data: passed on while nothing better is known.
    fn unfit(
        &mut self,
        publisher: &mut Publisher,
        number: PollNumber,
        answer: &Answer,
        class: &'static str,
        reason: &str,
    ) {
        if self.topic.view().frame.is_some() {
            self.failed(publisher, number, class, Some(answer), reason);
            return;
        }
        let wait = self.pace.after_failure(&self.route.poll, None);
        let failure = Failure {
            class,
            status: Some(answer.status),
            reason: self.named(reason),
        };
        self.report(&failure, wait);
        publisher.relay(number, relayed(answer), None, wait);
        self.due = Instant::now() + wait;
        publisher.stale(failure.status, &failure.reason, wait);
    }

    /// The resource cannot be a snapshot: plain requests stream through for a while.
    fn uncoverable(
        &mut self,
        publisher: &mut Publisher,
        number: PollNumber,
        class: &'static str,
        reason: &str,
    ) {
        self.stakes
            .hub
            .except(self.topic.key(), ExceptionKind::Uncoverable, reason);
        let failure = Failure {
            class,
            status: None,
            reason: self.named(reason),
        };
        self.report(&failure, EXCEPTION);
        publisher.fail(number, Arc::new(failure), EXCEPTION);
        self.wait(publisher, EXCEPTION);
    }

    /// 404 or 410: told once, asked rarely, and ended only by `gone_after`.
    fn gone(
        &mut self,
        mut publisher: Publisher,
        number: PollNumber,
        answer: &Answer,
    ) -> ControlFlow<(), Publisher> {
        let since = *self.gone_since.get_or_insert_with(Instant::now);
        let followed = self.topic.view().frame.is_some();
        let wait = if followed {
            self.pace.while_gone(&self.route.poll)
        } else {
            self.pace.after_failure(&self.route.poll, None)
        };
        let gone = Some(answer.status);
        publisher.relay(number, relayed(answer), gone, wait);
        if self
            .route
            .gone_after
            .is_some_and(|after| since.elapsed() >= after)
        {
            publisher.close(
                Closing::Gone,
                Some((ExceptionKind::Gone, "the upstream says it is gone")),
            );
            return ControlFlow::Break(());
        }
        let rest = self
            .route
            .gone_after
            .map(|after| after.saturating_sub(since.elapsed()));
        self.due = Instant::now() + rest.map_or(wait, |rest| wait.min(rest));
        publisher.schedule(Some(self.due), self.route.poll.interval);
        ControlFlow::Continue(publisher)
    }

    /// On `share: public` routes signs against sharing are counted, not obeyed (contract §11).
    fn note_signals(&self, answer: &Answer) {
        if self.route.share == crate::config::Share::Public
            && let Some(sign) = not_shareable(&answer.headers, &self.route.ignore_cookies)
        {
            self.stakes
                .metrics
                .not_obeyed
                .with_label_values(&[&self.route.path, sign])
                .inc();
        }
    }

    /// What every client polling for itself would have added.
    fn count_saved(&self) {
        let others = self.topic.followers().saturating_sub(1) as u64;
        let route = [self.route.path.as_str()];
        self.stakes
            .metrics
            .saved_requests
            .with_label_values(&route)
            .inc_by(others);
        self.stakes
            .metrics
            .saved_bytes
            .with_label_values(&route)
            .inc_by(others * self.last_cost as u64);
    }
}

fn relayed(answer: &Answer) -> Arc<Relayed> {
    let mut headers = end_to_end(&answer.headers);
    for name in [
        http::header::CONTENT_TYPE,
        http::header::WWW_AUTHENTICATE,
        http::header::RETRY_AFTER,
        http::header::CACHE_CONTROL,
    ] {
        headers.remove(&name);
        for value in answer.headers.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    Arc::new(Relayed {
        status: answer.status,
        headers,
        body: answer.body.clone(),
    })
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.stakes.metrics.resources.dec();
        self.stakes.account(self.weight, 0);
        self.stakes.keep_failing(self.topic.key(), self.pace.failing());
    }
}
