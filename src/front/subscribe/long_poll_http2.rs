//! A held long-poll on an HTTP/2 stream: it cannot leave Pingora's connection, so it waits in the task of its
//! request. What it is answered says `transport::LongPoll`, as on HTTP/1.
//!
//! Must not know: shards, what an answer says.

use http::HeaderValue;
use tokio::time::sleep_until;

use crate::fanout::{Staying, draining};
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::Decision;
use crate::front::request::cors;
use crate::front::spans;
use crate::hub::Subscription;
use crate::transport::{Answer, End, LongPoll};

/// Waits for an answer. `applied`: the wait that is granted, as `Preference-Applied` says it.
pub(in crate::front) async fn hold(
    cover: &mut CoveredRequest<'_>,
    mut subscription: Subscription,
    stay: Staying,
    held: &LongPoll,
    applied: &str,
) -> Decision {
    let shared = cover.front.shared.clone();
    let metrics = shared.metrics.stream(crate::metrics::LONG_POLL, &cover.route.path);
    spans::follows(&cover.headers, cover.ctx, crate::metrics::LONG_POLL);
    metrics.subscribers.inc();
    let answer = wait(cover, &mut subscription, stay, held).await;
    metrics.subscribers.dec();
    metrics.ended(answer.as_ref().map_or("client-gone", |answer| answer.reason));
    let Some(Answer { status, mut headers, body, .. }) = answer else { return Decision::Abandon };
    if let Ok(applied) = HeaderValue::try_from(applied) {
        headers.insert("preference-applied", applied);
    }
    cors::add(&mut headers, &cover.route, &cover.headers);
    cover.ctx.answer = crate::metrics::LONG_POLL;
    Decision::answer(status, headers, body)
}

/// The answer; `None` if the client has gone.
async fn wait(
    cover: &mut CoveredRequest<'_>,
    subscription: &mut Subscription,
    mut stay: Staying,
    held: &LongPoll,
) -> Option<Answer> {
    let topic = subscription.topic().clone();
    let mut views = topic.views();
    let mut ending = cover.front.shared.ending.clone();
    loop {
        let view = views.borrow_and_update().clone();
        while let Some(delivery) = subscription.next(&view) {
            if let Some(answer) = held.answer_to(&delivery, &view) {
                return Some(answer);
            }
        }
        tokio::select! {
            // First: nothing is told to a client that may not stay.
            biased;
            why = stay.is_over() => return Some(held.answer_to_end(End::Expelled(why), None)),
            _ = views.changed() => {}
            () = cover.connection.has_gone() => return None,
            () = sleep_until(held.deadline().into()) => return Some(held.answer_to_deadline(Some(&view))),
            (retry, _) = draining(&mut ending) => {
                return Some(held.answer_to_end(End::Drain { retry }, Some(&view)));
            }
        }
    }
}
