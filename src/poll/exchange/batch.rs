//! Polls that go together: resources of one route that are due at the same time are asked for in one
//! request (`poll.batch`), each as if it had been asked for alone.
//!
//! Must not know: what an answer means for a resource.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use http::{StatusCode, header};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::super::services::Services;
use super::Exchange;
use super::answer::{Exchanged, Tag};
use super::batch_failure::{Part, is_about_names, may_be_about_names, part, shared};
use super::batch_split;
use super::batches::{Item, Poll};
use crate::config::{Batch, Route};
use crate::poll::{conditional, request, spans};
use crate::resource::{ResourceKey, Validators};
use crate::upstream::classify::{not_shareable, obeys_privacy};
use crate::upstream::{Answer, Ask, Class, Document, Failure, FetchError, Priority};

/// Asks for one item together with others. `exchange`: the poll's own, for what it says about it.
///
/// # Errors
/// See [`Failure`].
pub(in crate::poll) async fn join(
    exchange: &Exchange,
    item: &Item,
    ask: &Ask,
    tag: Option<Arc<Tag>>,
    followers: usize,
) -> Result<Exchanged, FetchError> {
    let (reply, answered) = oneshot::channel();
    let poll = Poll {
        name: item.name.clone(),
        priority: exchange.priority,
        followers,
        after_write: ask.headers.iter().any(|(name, _)| *name == header::CACHE_CONTROL),
        is_known: ask.document == Document::Known,
        tag,
        reply,
    };
    let services = &exchange.services;
    let is_first = {
        let mut waiting = services.batches.waiting.lock();
        let polls = waiting.entry(item.group.clone()).or_default();
        polls.push(poll);
        polls.len() == 1
    };
    if is_first {
        let group =
            Group { services: services.clone(), route: exchange.route.clone(), key: item.group.clone() };
        // A task of its own: the first client may be gone before the others are answered.
        tokio::spawn(group.collect());
    }
    answered.await.unwrap_or_else(|_| {
        let reason = "the batch ended without an answer".to_owned();
        Err(exchange.failed(Failure::Batch { class: "batch", reason }))
    })
}

/// Those that go together.
struct Group {
    services: Arc<Services>,
    route: Arc<Route>,
    key: ResourceKey,
}

impl Group {
    async fn collect(self) {
        let Some(batch) = self.route.poll.batch.clone() else {
            return;
        };
        sleep(batch.window).await;
        let mut polls = self.services.batches.waiting.lock().remove(&self.key).unwrap_or_default();
        polls.retain(|poll| !poll.reply.is_closed());
        // The same items make the same requests every time.
        polls.sort_by(|a, b| a.name.cmp(&b.name));
        let (alone, mut polls): (Vec<Poll>, Vec<Poll>) = {
            let now = Instant::now();
            let quarantine = &self.services.batches.quarantine;
            polls.into_iter().partition(|poll| quarantine.holds(&self.key, &poll.name, now))
        };
        let names: Vec<&str> = polls.iter().map(|poll| poll.name.as_str()).collect();
        let portions = batch_split::portions(&batch, &self.key.target(), &names);
        let (group, batch) = (Arc::new(self), Arc::new(batch));
        for portion in portions.into_iter().rev() {
            let polls = polls.split_off(portion.start);
            tokio::spawn(group.clone().ask(batch.clone(), polls));
        }
        for poll in alone {
            tokio::spawn(group.clone().ask(batch.clone(), vec![poll]));
        }
    }

    /// One request for all of these; where the upstream refuses it, or fails and a new name may be why, several for
    /// parts of them (contract §10): one after the other, so that a bad name costs time and not a burst. A name that is
    /// refused alone, or fails alone while others are answered, stays alone for a while.
    async fn ask(self: Arc<Self>, batch: Arc<Batch>, polls: Vec<Poll>) {
        let mut left = vec![polls];
        let (mut is_up, mut trials) = (false, 0);
        while let Some(mut polls) = left.pop() {
            polls.retain(|poll| !poll.reply.is_closed());
            if polls.is_empty() {
                continue;
            }
            let known = polls.iter().filter(|poll| poll.is_known).count();
            let answered = self.ask_once(&batch, &polls).await;
            let parts = match &answered {
                Ok(Answered::Each(_)) => {
                    is_up = true;
                    None
                }
                Ok(Answered::Refused) => Some(Part::Half),
                Ok(Answered::Doubtful(_)) => part(known, polls.len(), is_up, &mut trials),
                Err(error) if may_be_about_names(&error.failure) => {
                    part(known, polls.len(), is_up, &mut trials)
                }
                Err(_) => None,
            };
            match parts {
                Some(part) => {
                    self.services.metrics.batches_refused.with_label_values(&[&self.route.path]).inc();
                    left.extend(part.of(polls, |poll| poll.is_known));
                }
                None => {
                    if let ([only], true, Ok(Answered::Doubtful(_)) | Err(_)) = (&polls[..], is_up, &answered)
                    {
                        self.services.batches.quarantine.put(&self.key, &only.name, Instant::now());
                    }
                    reply(polls, answered);
                }
            }
        }
    }

    /// One request for all of these.
    async fn ask_once(&self, batch: &Batch, polls: &[Poll]) -> Result<Answered, FetchError> {
        let names: Vec<&str> = polls.iter().map(|poll| poll.name.as_str()).collect();
        let target = batch_split::target(batch, &self.key.target(), &names);
        match target.len() {
            ..=batch_split::TARGET_BYTES_MAX => self.answer(batch, polls, &target).await,
            length => Err(self.failed(format!(
                "the name of an item makes a target of {length} bytes, at most {} are sent",
                batch_split::TARGET_BYTES_MAX
            ))),
        }
    }

    /// What each of these polls is told, in their order. What an upstream says to a request for several is given to
    /// none of them, since it may name the others.
    async fn answer(&self, batch: &Batch, polls: &[Poll], target: &str) -> Result<Answered, FetchError> {
        let tag = common_tag(polls, target);
        let followers = polls.iter().map(|poll| poll.followers).sum();
        let mut ask =
            request::poll(&self.key, &self.route, tag.as_ref().map(|tag| &tag.validators), followers);
        target.clone_into(&mut ask.path_and_query);
        if polls.iter().any(|poll| poll.after_write) {
            request::after_write(&mut ask);
        }
        let exchange = Exchange {
            carried_jar: AtomicBool::new(false),
            claim: self.services.bodies.claim(),
            services: self.services.clone(),
            route: self.route.clone(),
            priority: priority(polls),
            resource: None,
            private: false,
            settled: None,
        };
        exchange.claim.admitted().await;
        let turn = self.services.source(&self.route)?.turn(exchange.priority).await?;
        self.services.metrics.batches.with_label_values(&[&self.route.path]).inc();
        let span = spans::begin_batch(&self.services.tracer, &self.route, polls.len(), &mut ask);
        let exchanged = exchange.run(ask, turn).await;
        spans::end_batch(span, exchanged.as_ref().ok().map(|exchanged| exchanged.answer.status));
        let Exchanged { answer, conditional: asked, .. } = exchanged?;
        let status = answer.status;
        if let [only] = polls {
            self.note(only, status);
        }
        match (status.as_u16(), tag) {
            (304, Some(tag)) if asked => {
                let known = conditional::renewed(&tag.validators, &answer.headers).is_some();
                let other = "the upstream answered 304 with the ETag of another version than asked for";
                let unchanged = known.then(|| Answered::Each(unchanged(&answer, polls, &tag)));
                unchanged.ok_or_else(|| self.failed(other.to_owned()))
            }
            (200..=203 | 207..=299, _) => {
                let is_ones = polls.len() > 1
                    && obeys_privacy(&self.route.share, false)
                    && not_shareable(&answer.headers, &self.route).is_some();
                let replies = self.taken_apart(batch, polls, target, answer).await?;
                Ok(if is_ones { Answered::Doubtful(replies) } else { Answered::Each(replies) })
            }
            _ if polls.len() == 1 => Ok(told(status, portioned(&answer, 1, |_| answer.clone()))),
            (400..=499, _) if is_about_names(&answer) => Ok(Answered::Refused),
            (400..=599, _) => {
                let headers = batch_split::pace(&answer.headers);
                let bare = Answer { headers, body: Bytes::new(), phrase: None, ..answer.clone() };
                Ok(told(status, portioned(&answer, polls.len(), |_| bare.clone())))
            }
            // Of which of them should that be true?
            _ => Err(self.failed(format!("the upstream answered {status} to a batch"))),
        }
    }

    /// Notes how the upstream takes a name alone.
    fn note(&self, poll: &Poll, status: StatusCode) {
        let quarantine = &self.services.batches.quarantine;
        match status.as_u16() {
            200..=399 => quarantine.release(&self.key, &poll.name),
            401 | 403 | 429 => {}
            400..=499 => quarantine.put(&self.key, &poll.name, Instant::now()),
            _ => {}
        }
    }

    async fn taken_apart(
        &self,
        batch: &Batch,
        polls: &[Poll],
        target: &str,
        answer: Answer,
    ) -> Result<Vec<Exchanged>, FetchError> {
        let (bytes, body, rules) = (answer.body.len(), answer.body.clone(), batch.clone());
        let names: HashSet<String> = polls.iter().map(|poll| poll.name.clone()).collect();
        let (all, wanted) = (names.clone(), names.clone());
        let split = move || batch_split::items(body, &rules, &wanted);
        let items = self.services.compute.run(bytes, split).await.map_err(|reason| self.failed(reason))?;
        let validators = Validators::of(&answer.headers);
        let tag = (validators != Validators::default()).then(|| {
            let missing = names.into_iter().filter(|name| !items.contains_key(name)).collect();
            Arc::new(Tag { target: target.to_owned(), validators, missing })
        });
        let headers = batch_split::fields(&answer.headers, &all);
        let answer = Answer { phrase: None, ..answer };
        let item = |at: usize| match items.get(&polls[at].name) {
            Some(body) => Answer { headers: headers.clone(), body: body.clone(), ..answer.clone() },
            None => batch_split::missing(&answer),
        };
        let exchanged = |found: Exchanged| Exchanged { tag: tag.clone(), ..found };
        Ok(portioned(&answer, polls.len(), item).map(exchanged).collect())
    }

    fn failed(&self, reason: String) -> FetchError {
        let failure = Failure::Batch { class: "batch", reason };
        FetchError { upstream: self.route.upstream.name.clone(), server: None, failure }
    }
}

/// The batch that all of these are from, if it was the same request: then the upstream may say that
/// nothing changed.
fn common_tag(polls: &[Poll], target: &str) -> Option<Arc<Tag>> {
    let first = polls.first()?.tag.clone()?;
    let same = |poll: &Poll| poll.tag.as_ref().is_some_and(|tag| Arc::ptr_eq(tag, &first));
    (first.target == target && polls.iter().all(same)).then_some(first)
}

/// The place of a request in the budget: the best of its polls', and all their weight.
fn priority(polls: &[Poll]) -> Priority {
    let is = |class: Class| polls.iter().any(|poll| poll.priority.class == class);
    let class = [Class::Interactive, Class::Scheduled].into_iter().find(|class| is(*class));
    Priority {
        class: class.unwrap_or(Class::Refresh),
        weight: polls.iter().fold(0, |sum: u32, poll| sum.saturating_add(poll.priority.weight)).max(1),
        patience: polls.iter().filter_map(|poll| poll.priority.patience).min(),
    }
}

/// 304 to all of them: what was there is there, what was missing is missing.
fn unchanged(answer: &Answer, polls: &[Poll], tag: &Arc<Tag>) -> Vec<Exchanged> {
    let names = polls.iter().map(|poll| poll.name.clone()).collect();
    let kept =
        Answer { headers: batch_split::fields(&answer.headers, &names), phrase: None, ..answer.clone() };
    let item = |at: usize| match tag.missing.contains(&polls[at].name) {
        true => batch_split::missing(answer),
        false => kept.clone(),
    };
    let found = portioned(answer, polls.len(), item);
    found.map(|found| Exchanged { tag: Some(tag.clone()), conditional: true, ..found }).collect()
}

/// So many answers that share what the whole one cost.
fn portioned(
    whole: &Answer,
    count: usize,
    item: impl Fn(usize) -> Answer,
) -> impl Iterator<Item = Exchanged> {
    let share = move |bytes: usize, at: usize| bytes / count + usize::from(at < bytes % count);
    let (head, body) = (whole.head_bytes, whole.body_bytes);
    (0..count).map(move |at| {
        let answer = Answer { head_bytes: share(head, at), body_bytes: share(body, at), ..item(at) };
        Exchanged { answer, conditional: false, settled: None, tag: None, unfollowed: None }
    })
}

/// What the upstream says to one request.
enum Answered {
    /// What each of the polls is told.
    Each(Vec<Exchanged>),
    /// It refuses the request for several, and may answer for some of them.
    Refused,
    /// The same that each of them is told, which one of the names may have caused: a failure of the upstream's, or a
    /// sign that the answer is one user's.
    Doubtful(Vec<Exchanged>),
}

/// What each is told of an answer of this status.
fn told(status: StatusCode, replies: impl Iterator<Item = Exchanged>) -> Answered {
    match status.is_server_error() {
        true => Answered::Doubtful(replies.collect()),
        false => Answered::Each(replies.collect()),
    }
}

/// Tells each of the polls what came.
fn reply(polls: Vec<Poll>, answered: Result<Answered, FetchError>) {
    match answered {
        Ok(Answered::Each(replies) | Answered::Doubtful(replies)) => {
            for (poll, reply) in polls.into_iter().zip(replies) {
                let _ = poll.reply.send(Ok(reply));
            }
        }
        // A refusal of one name is an answer, so that this is none.
        Ok(Answered::Refused) => {}
        Err(error) => {
            let are_several = polls.len() > 1;
            for poll in polls {
                let _ = poll.reply.send(Err(shared(&error, are_several)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_has_the_best_place_of_its_polls() {
        let poll = |class, weight, patience: Option<u64>| Poll {
            name: String::new(),
            priority: Priority { class, weight, patience: patience.map(Duration::from_secs) },
            followers: 1,
            after_write: false,
            is_known: false,
            tag: None,
            reply: oneshot::channel().0,
        };
        let polls = [
            poll(Class::Refresh, 1, None),
            poll(Class::Interactive, 2, Some(3)),
            poll(Class::Scheduled, u32::MAX, None),
        ];
        let patience = Some(Duration::from_secs(3));
        assert_eq!(priority(&polls), Priority { class: Class::Interactive, weight: u32::MAX, patience });
        assert_eq!(priority(&polls[..1]), Priority { class: Class::Refresh, weight: 1, patience: None });
    }
}
