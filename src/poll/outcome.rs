//! What the poll loop does about an answer or its absence: publish, back off, relay, close.
//!
//! Must not know: when the next poll starts (it only says when it is due), transports.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;
use tracing::warn;

use super::accepted::Candidate;
use super::pacing::Paced;
use super::poller::Poller;
use super::publish::End;
use crate::config::Share;
use crate::hub::{Closing, ExceptionKind, Failure, Outcome, PollNumber, Publisher};
use crate::resource::Snapshot;
use crate::upstream::classify::{Verdict, not_shareable};
use crate::upstream::schedule::{Why, age};
use crate::upstream::{self, Answer, FetchError, NoDocument};

impl Poller {
    /// Acts on an answer; gives the outcome's label in metrics.
    pub(super) async fn act(
        &mut self,
        mut publisher: Publisher,
        number: PollNumber,
        answer: &Answer,
        verdict: Verdict,
    ) -> &'static str {
        let outcome = match verdict {
            Verdict::Data(content) => match self.content(&mut publisher, number, answer, *content).await {
                Ok(outcome) => outcome,
                Err(End::OneUsers(verdict)) => return self.end_sharing(publisher, number, answer, &verdict),
                Err(End::NoRoom) => {
                    self.leave_to_cause(&publisher, number, answer);
                    publisher.close(Closing::NoRoom, None);
                    return "relayed";
                }
            },
            Verdict::NotModified => self.not_modified(&mut publisher, number, answer).await,
            Verdict::Gone => match self.gone(publisher, number, answer) {
                ControlFlow::Continue(kept) => {
                    publisher = kept;
                    "relayed"
                }
                ControlFlow::Break(()) => return "relayed",
            },
            Verdict::Denied if self.topic.key().is_private() => {
                return self.end_class(publisher, number, answer);
            }
            Verdict::Denied => {
                let reason = format!("the upstream answered {} to a poll", answer.status);
                self.services.hub.except(self.topic.key(), ExceptionKind::Denied, &reason);
                self.refused(&mut publisher, number, answer);
                "relayed"
            }
            Verdict::Refused => {
                self.refused(&mut publisher, number, answer);
                "relayed"
            }
            Verdict::Failed { class, reason } => {
                self.failed(&mut publisher, number, class, Some(answer), &reason);
                "failed"
            }
            Verdict::Unfit { class, reason } => {
                self.unfit(&mut publisher, number, answer, class, &reason);
                "failed"
            }
            Verdict::Uncoverable(found) => {
                self.no_document(&mut publisher, number, answer, found);
                "failed"
            }
            Verdict::NotShareable(_) | Verdict::SessionRotated => {
                return self.end_sharing(publisher, number, answer, &verdict);
            }
        };
        self.publisher = Some(publisher);
        outcome
    }

    /// The upstream refuses the class's credentials.
    fn end_class(&mut self, mut publisher: Publisher, number: PollNumber, answer: &Answer) -> &'static str {
        let relayed = self.relayed(answer, None);
        self.pass_on(&mut publisher, number, relayed, None, Duration::ZERO);
        let reason = format!("the upstream answered {} to a poll", answer.status);
        let denied = (!answer.status.is_redirection()).then_some((ExceptionKind::Denied, &*reason));
        publisher.close(Closing::Credentials, denied);
        "relayed"
    }

    /// The answer is none that a snapshot can be made of.
    fn no_document(
        &mut self,
        publisher: &mut Publisher,
        number: PollNumber,
        answer: &Answer,
        found: NoDocument,
    ) {
        // A stream that came to an end is none that its client is done with.
        if found != NoDocument::EventStream {
            self.leave_to_cause(publisher, number, answer);
        }
        let failure = upstream::Failure::NoDocument { found };
        let kind = exception(&failure).unwrap_or(ExceptionKind::Uncoverable);
        self.uncoverable(publisher, number, kind, found.word(), &failure.to_string());
    }

    async fn not_modified(
        &mut self,
        publisher: &mut Publisher,
        number: PollNumber,
        answer: &Answer,
    ) -> &'static str {
        let renewed = match self.fetch_state.conditional.not_modified(&answer.headers) {
            Ok(renewed) => renewed,
            Err(reason) => {
                self.failed(publisher, number, "status", Some(answer), reason);
                return "failed";
            }
        };
        let content = self.renewed_content(&renewed, answer);
        self.catch_up(publisher, None).await;
        let paced = self.pace_after(answer, false);
        if let Some(shown) = content.clone().or_else(|| self.shown()) {
            let age = age(&answer.headers);
            if !self.is_accepted(|| Candidate::unchanged(shown, age, paced)).await {
                return self.drop_result(paced.due);
            }
        }
        self.is_admitted_again();
        publisher.confirm(number, age(&answer.headers), content);
        self.succeeded(publisher, paced);
        "not_modified"
    }

    /// There was no answer.
    pub(super) fn unreachable(
        &mut self,
        mut publisher: Publisher,
        number: PollNumber,
        error: &FetchError,
    ) -> &'static str {
        let class = error.class();
        // Clients are told the reason; a server's address, and what is wrong with its TLS, are for operators only.
        let reason = error.failure.for_clients();
        self.fetch_state.failing =
            (error.server.clone(), Some(error.failure.to_string()).filter(|full| *full != reason));
        let interval = self.route.poll.interval;
        match (&error.failure, exception(&error.failure)) {
            (upstream::Failure::NoTurn { .. }, _) => {
                self.no_turn(&mut publisher, number, (class, &reason), interval, Why::Budget);
            }
            (upstream::Failure::Quota { wait }, _) => {
                self.no_turn(&mut publisher, number, (class, &reason), interval.max(*wait), Why::RateLimit);
            }
            (_, Some(kind)) => self.uncoverable(&mut publisher, number, kind, class, &reason),
            (_, None) => self.failed(&mut publisher, number, class, None, &reason),
        }
        self.publisher = Some(publisher);
        "failed"
    }

    /// Nothing was asked: the upstream is as well as before, and asked again after `wait`.
    fn no_turn(
        &mut self,
        publisher: &mut Publisher,
        number: PollNumber,
        (class, reason): (&'static str, &str),
        wait: Duration,
        why: Why,
    ) {
        let failure = Failure { class, status: None, reason: self.named(reason) };
        self.report(&failure, wait);
        publisher.fail(number, Arc::new(failure), wait);
        self.wait(publisher, wait, why);
    }

    /// A poll brought data, which is published.
    pub(super) fn succeeded(&mut self, publisher: &mut Publisher, paced: Paced) {
        self.content_state.gone_since = None;
        self.timing.due = paced.due;
        publisher.schedule(Some(paced.due), paced.effective, paced.why);
        self.account(0);
    }

    /// The content that is published.
    fn shown(&self) -> Option<Arc<Snapshot>> {
        self.topic.view().frame.as_ref().map(|frame| frame.snapshot.clone())
    }

    fn failed(
        &mut self,
        publisher: &mut Publisher,
        number: PollNumber,
        class: &'static str,
        answer: Option<&Answer>,
        reason: &str,
    ) {
        let wait = self.back_off(answer);
        let failure = Failure { class, status: answer.map(|a| a.status), reason: self.named(reason) };
        self.report(&failure, wait);
        // A 304 to what was not asked is no answer to any request, and what a batch got is no item's.
        match answer
            .filter(|answer| answer.status != StatusCode::NOT_MODIFIED && self.fetch_state.item.is_none())
        {
            Some(answer) => {
                let relayed = self.relayed(answer, Some(failure));
                self.pass_on(publisher, number, relayed, None, wait);
            }
            None => publisher.fail(number, Arc::new(failure), wait),
        }
        self.wait(publisher, wait, self.why_failed());
    }

    /// A reason that says which upstream it speaks of.
    pub(super) fn named(&self, reason: &str) -> String {
        if reason.starts_with("upstream ") {
            return reason.to_owned();
        }
        format!("upstream {:?}: {reason}", self.route.upstream.name)
    }

    fn report(&mut self, failure: &Failure, wait: Duration) {
        let upstream = self.route.upstream.name.as_str();
        let (server, reason) = std::mem::take(&mut self.fetch_state.failing);
        self.services.metrics.poll_failures.with_label_values(&[upstream, failure.class]).inc();
        warn!(
            resource = ?self.topic.key(),
            route = %self.route.path,
            class = failure.class,
            server = server.unwrap_or_default(),
            next_poll_ms = wait.as_millis() as u64,
            "poll failed: {}",
            reason.as_ref().unwrap_or(&failure.reason)
        );
    }

    /// After a failure: the next poll, and `stale` at once where there is no content at all.
    fn wait(&mut self, publisher: &mut Publisher, wait: Duration, why: Why) {
        self.timing.due = self.together(Instant::now() + wait);
        let view = self.topic.view();
        publisher.schedule(Some(self.timing.due), view.effective_interval, why);
        if view.frame.is_none()
            && let Some((status, reason)) = self.trouble(&view.outcome)
        {
            publisher.stale(status, &reason, wait);
        }
    }

    /// What is wrong with the upstream, in words for followers; `None` if nothing is known.
    pub(super) fn trouble(&self, outcome: &Outcome) -> Option<(Option<StatusCode>, String)> {
        match outcome {
            Outcome::Failed(failure) => Some((failure.status, failure.reason.clone())),
            Outcome::Relay(answer) => Some(match &answer.failure {
                Some(failure) => (failure.status, failure.reason.clone()),
                None => {
                    let reason = self.named(&format!("it answered {}", answer.status));
                    (Some(answer.status), reason)
                }
            }),
            Outcome::Cold | Outcome::Data => None,
        }
    }

    fn refused(&mut self, publisher: &mut Publisher, number: PollNumber, answer: &Answer) {
        if let Some(feed) = &mut self.content_state.feed {
            // It may be the cursor that the upstream does not want.
            feed.forget_cursor();
        }
        let wait = self.back_off(Some(answer));
        let unfollowed = self.fetch_state.unfollowed.take();
        let failure = Failure {
            class: if unfollowed.is_some() { "redirect" } else { "status" },
            status: Some(answer.status),
            reason: self.named(unfollowed.as_deref().unwrap_or(&format!("it answered {}", answer.status))),
        };
        self.report(&failure, wait);
        let failure = unfollowed.map(|_| failure);
        let relayed = self.relayed(answer, failure);
        self.pass_on(publisher, number, relayed, None, wait);
        self.wait(publisher, wait, self.why_failed());
    }

    /// A complete answer that is no data: passed on while nothing better is known.
    pub(super) fn unfit(
        &mut self,
        publisher: &mut Publisher,
        number: PollNumber,
        answer: &Answer,
        class: &'static str,
        reason: &str,
    ) {
        self.failed(publisher, number, class, Some(answer), reason);
    }

    /// The resource cannot be a snapshot: plain requests stream through for a while.
    fn uncoverable(
        &mut self,
        publisher: &mut Publisher,
        number: PollNumber,
        kind: ExceptionKind,
        class: &'static str,
        reason: &str,
    ) {
        let span = self.services.hub.except(self.topic.key(), kind, reason);
        let failure = Failure { class, status: None, reason: self.named(reason) };
        self.report(&failure, span);
        // A request that comes meanwhile asks for itself.
        self.timing.not_before = Instant::now() + span;
        publisher.fail(number, Arc::new(failure), span);
        self.wait(publisher, span, Why::Backoff);
    }

    /// 404 or 410: told once, asked rarely, and ended only by `gone_after`.
    fn gone(
        &mut self,
        mut publisher: Publisher,
        number: PollNumber,
        answer: &Answer,
    ) -> ControlFlow<(), Publisher> {
        let since = *self.content_state.gone_since.get_or_insert_with(Instant::now);
        let followed = self.topic.view().frame.is_some();
        let wait = if followed {
            self.timing.pace.while_gone(&self.route.poll)
        } else {
            self.back_off(Some(answer))
        };
        let gone = Some(answer.status);
        let relayed = self.relayed(answer, None);
        self.pass_on(&mut publisher, number, relayed, gone, wait);
        if self.route.gone_after.is_some_and(|after| since.elapsed() >= after) {
            publisher.close(Closing::Gone, Some((ExceptionKind::Gone, "the upstream says it is gone")));
            return ControlFlow::Break(());
        }
        let rest = self.route.gone_after.map(|after| after.saturating_sub(since.elapsed()));
        self.timing.due = self.together(Instant::now() + rest.map_or(wait, |rest| wait.min(rest)));
        publisher.schedule(Some(self.timing.due), self.route.poll.interval, Why::Gone);
        ControlFlow::Continue(publisher)
    }

    /// On `share: public` routes signs against sharing are counted, not obeyed (contract §11).
    pub(super) fn note_signals(&self, answer: &Answer) {
        if self.route.share == Share::Public
            && let Some(sign) = not_shareable(&answer.headers, &self.route)
        {
            self.services.metrics.not_obeyed.with_label_values(&[&self.route.path, sign]).inc();
        }
    }

    /// Ends a topic whose answers are one user's, or whose user has to fetch a new session; gives the outcome's label.
    fn end_sharing(
        &self,
        publisher: Publisher,
        number: PollNumber,
        answer: &Answer,
        verdict: &Verdict,
    ) -> &'static str {
        match verdict {
            Verdict::NotShareable(sign) => {
                self.leave_to_cause(&publisher, number, answer);
                let reason = format!("the upstream's answer says {sign}, and no `share` covers the request");
                publisher.close(Closing::NotShareable, Some((ExceptionKind::NotShareable, reason.as_str())));
            }
            _ => publisher.close(Closing::SessionRotated, None),
        }
        "relayed"
    }
}

/// What a failure says against making a snapshot of the resource (contract §1).
fn exception(failure: &upstream::Failure) -> Option<ExceptionKind> {
    use upstream::Failure as F;
    match failure {
        F::NoDocument { found: NoDocument::EventStream } => Some(ExceptionKind::OwnStream),
        F::NoDocument { .. } | F::TooLarge { .. } | F::HeldBack { .. } | F::UnknownCoding { .. } => {
            Some(ExceptionKind::Uncoverable)
        }
        _ => None,
    }
}
