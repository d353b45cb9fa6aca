//! An answer that is no snapshot: what of it goes on, and to whom (contract §3, "What a poll took, a client gets").
//!
//! Must not know: schedules, what followers of a stream are told.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tokio::time::Instant;

use super::poller::Poller;
use super::request;
use crate::config::{Share, says_credential};
use crate::hub::{Audience, Failure, PollNumber, Publisher, Relayed};
use crate::resource::fields_weight;
use crate::upstream::Answer;
use crate::upstream::classify::{
    is_one_users, is_one_users_failure, secondary_names, sets_cookie, varies_by_asker, vary_names,
};
use crate::upstream::fields::of_relay;

impl Poller {
    /// An answer for the clients that may have it. `failure` says what is wrong with it, and is `None` for the answer of
    /// an upstream that works.
    pub(super) fn relayed(&self, answer: &Answer, failure: Option<Failure>) -> Relayed {
        let audience = self.audience(answer, failure.is_some());
        let now = Instant::now();
        let seen = self.seen_headers(&answer.headers);
        Relayed {
            status: answer.status,
            phrase: answer.phrase.clone(),
            headers: of_relay(
                seen.as_ref().unwrap_or(&answer.headers),
                &self.route,
                audience != Audience::Cause,
            ),
            body: answer.body.clone(),
            vary: secondary_names(&answer.headers, &self.route),
            said: self.said(&answer.headers),
            audience,
            failure,
            not_before: Some(self.timing.not_before).filter(|at| *at > now),
        }
    }

    /// Publishes it as what the last poll brought. One that is one request's is left to that request, and its body is
    /// kept nowhere else.
    pub(super) fn pass_on(
        &mut self,
        publisher: &mut Publisher,
        number: PollNumber,
        relayed: Relayed,
        gone: Option<StatusCode>,
        next: Duration,
    ) {
        let shown = match relayed.audience {
            Audience::Cause => {
                let shown = Relayed { body: bytes::Bytes::new(), ..relayed.clone() };
                publisher.give(number, relayed);
                shown
            }
            Audience::All | Audience::Push | Audience::Nobody => relayed,
        };
        // It counts as the snapshot does, until the next poll brings something else.
        self.account(shown.body.len() + fields_weight(&shown.headers));
        publisher.relay(number, Arc::new(shown), gone, next);
    }

    /// Leaves an answer that is not published to the plain request that caused the poll, where it may have it.
    pub(super) fn leave_to_cause(&self, publisher: &Publisher, number: PollNumber, answer: &Answer) {
        // The content behind a 304 is none of this answer's.
        if answer.status == StatusCode::NOT_MODIFIED {
            return;
        }
        let mut relayed = self.relayed(answer, None);
        if matches!(relayed.audience, Audience::All | Audience::Cause) {
            relayed.audience = Audience::Cause;
            publisher.give(number, relayed);
        }
    }

    fn audience(&self, answer: &Answer, is_failure: bool) -> Audience {
        let (headers, route) = (&answer.headers, &*self.route);
        if is_failure {
            // Failures are one for all, or each that waits would ask an upstream that is down.
            return if is_one_users_failure(headers, route, self.topic.key().is_private()) {
                Audience::Nobody
            } else {
                Audience::All
            };
        }
        if sets_cookie(headers, &route.ignore_cookies) {
            return Audience::Nobody;
        }
        let says_who_may = matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        // A request of its own says what the client says, and nothing of the operator's.
        let was_anothers = route.poll_carries_operators()
            || self.fetch_state.carried_jar
            || route.share == Share::Authorize
            || self.fetch_state.tag.is_some();
        let is_anothers = says_who_may || was_anothers || !is_whole(answer);
        match (is_one_users(headers, route, self.topic.key().is_private()), is_anothers) {
            (false, false) => Audience::All,
            (false, true) => Audience::Push,
            (true, false) if !varies_by_asker(headers) => Audience::Cause,
            (true, _) => Audience::Nobody,
        }
    }

    /// What this resource's polls say in the fields that an answer's `Vary` names. A coding is undone for a client that
    /// does not take it, and where the operator says so a client's credentials mean nothing.
    fn said(&self, headers: &HeaderMap) -> Vec<(HeaderName, Option<HeaderValue>)> {
        let ask = request::poll(self.topic.key(), &self.route, None, 0);
        let is_credential =
            |name: &HeaderName| says_credential(name.as_str()) || self.route.credentials.contains(name);
        let means_something = |name: &HeaderName| {
            *name != header::ACCEPT_ENCODING
                && *name != header::HOST
                && !(self.route.share == Share::Public && is_credential(name))
        };
        vary_names(headers)
            .filter_map(|name| HeaderName::try_from(name).ok())
            .filter(means_something)
            .map(|name| {
                let value =
                    ask.headers.iter().find(|(said, _)| *said == name).map(|(_, value)| value.clone());
                (name, value)
            })
            .collect()
    }
}

/// Whether it is sure that nothing of an answer is missing.
fn is_whole(answer: &Answer) -> bool {
    !answer.close_delimited || answer.body.is_empty()
}
