//! A held long-poll on an HTTP/2 stream: it cannot leave Pingora's connection, so it waits in its
//! task and is answered like an ordinary poll.
//!
//! Must not know: HTTP/1, shards.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use pingora::Result;
use tokio::time::sleep_until;

use crate::fanout::{Staying, draining};
use crate::frame::Coding;
use crate::front::covered::Cover;
use crate::front::request::{content_coding, cors};
use crate::front::{Fate, refuse, respond};
use crate::hub::{Delivery, Subscription};
use crate::transport::{End, Expulsion, Have, answer};

/// How the wait ended.
enum Ended {
    /// There is something to say.
    Changed,
    /// Items of a feed, or why there are none: the array, the item to come back with, the reset.
    Items(Bytes, Option<String>, Option<&'static str>),
    /// There was nothing in time.
    Timeout,
    ClientGone,
    /// What let the client in does so no longer.
    Expelled(Expulsion),
}

/// Waits for a change until `deadline`, and answers. `have`: what the client has.
pub(in crate::front) async fn hold(
    cover: &mut Cover<'_>,
    mut subscription: Subscription,
    stay: Staying,
    have: Have,
    deadline: Instant,
    applied: &str,
) -> Result<Fate> {
    let shared = cover.front.shared.clone();
    let metrics = shared.metrics.stream(crate::metrics::LONG_POLL, &cover.route.path);
    metrics.subscribers.inc();
    let ended = wait(cover, &mut subscription, stay, have, deadline).await;
    metrics.subscribers.dec();
    metrics.ended(match ended {
        Ended::Changed | Ended::Items(_, _, None) => "answered",
        Ended::Items(..) => "reset",
        Ended::Timeout => "timeout",
        Ended::ClientGone => "client-gone",
        Ended::Expelled(why) => End::Expelled(why).reason(),
    });
    let key = subscription.topic().key().clone();
    let coded = subscription.topic().view().frame.as_ref().is_some_and(|frame| {
        content_coding::coding(&cover.route, &key, &cover.headers) == Coding::Deflated
            && frame.gzip_made().is_some()
    });
    let empty = Bytes::from_static(b"[]");
    let (status, headers, body) = match (ended, have) {
        (Ended::ClientGone, _) => return Ok(Fate::Answered),
        (Ended::Expelled(why), _) => return expelled(cover, why).await,
        (Ended::Changed, _) => {
            cover.applied = HeaderValue::try_from(applied).ok();
            let view = subscription.topic().view();
            return cover.answer(&key, &view, false).await;
        }
        (Ended::Timeout, Have::Version(version)) => {
            let view = subscription.topic().view();
            let headers = answer::unchanged_in(Some(&view), version, &key, &cover.route, coded);
            (StatusCode::NOT_MODIFIED, headers, Bytes::new())
        }
        (Ended::Timeout, Have::Items) => {
            (StatusCode::OK, answer::items(&key, &cover.route, empty.len(), None, None), empty)
        }
        (Ended::Items(array, last, reset), _) => {
            let headers = answer::items(&key, &cover.route, array.len(), last.as_deref(), reset);
            (StatusCode::OK, headers, array)
        }
    };
    respond(cover, status, headers, body, applied).await
}

/// The answer of a client that may not stay: nothing of the resource.
pub(in crate::front) async fn expelled(cover: &mut Cover<'_>, why: Expulsion) -> Result<Fate> {
    let (status, detail) = match why {
        Expulsion::Forbidden => (StatusCode::FORBIDDEN, "the upstream gives this client something else now"),
        Expulsion::Expired | Expulsion::Revoked => {
            (StatusCode::UNAUTHORIZED, "what let this client in is no longer good")
        }
    };
    refuse::with(cover.session, cover.ctx, status, detail).await
}

async fn respond(
    cover: &mut Cover<'_>,
    status: StatusCode,
    mut headers: HeaderMap,
    body: Bytes,
    applied: &str,
) -> Result<Fate> {
    if let Ok(applied) = HeaderValue::try_from(applied) {
        headers.insert("preference-applied", applied);
    }
    cors::add(&mut headers, &cover.route, &cover.headers);
    cover.ctx.answer = crate::metrics::LONG_POLL;
    respond::respond(cover.session, status, &headers, body).await?;
    Ok(Fate::Answered)
}

async fn wait(
    cover: &mut Cover<'_>,
    subscription: &mut Subscription,
    mut stay: Staying,
    have: Have,
    deadline: Instant,
) -> Ended {
    let mut views = subscription.topic().views();
    let mut ending = cover.front.shared.ending.clone();
    loop {
        let view = views.borrow_and_update();
        while let Some(delivery) = subscription.next(&view) {
            match delivery {
                Delivery::Items(batch) => {
                    let last = batch.items().last().map(|item| item.id.clone());
                    return Ended::Items(batch.array(), last, None);
                }
                Delivery::Reset(reason) if have == Have::Items => {
                    return Ended::Items(Bytes::from_static(b"[]"), None, Some(reason));
                }
                Delivery::Frame(_) | Delivery::Patches(_) | Delivery::Closing(_) => return Ended::Changed,
                Delivery::Condition(condition) if condition.state.is_gone() => return Ended::Changed,
                Delivery::Condition(_) | Delivery::Reset(_) => {}
            }
        }
        tokio::select! {
            // First: nothing is told to a client that may not stay.
            biased;
            why = stay.is_over() => return Ended::Expelled(why),
            () = views.changed() => {}
            _ = cover.session.downstream_session.read_body_or_idle(true) => return Ended::ClientGone,
            () = sleep_until(deadline.into()) => return Ended::Timeout,
            _ = draining(&mut ending) => return Ended::Timeout,
        }
    }
}
