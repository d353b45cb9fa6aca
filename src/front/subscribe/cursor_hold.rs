//! A long-poll by entity tag on a feed that is polled with the upstream's cursor (contract §8): no snapshot is the
//! whole list, so that only the API knows whether a tag is the newest one. It is asked at once; while it says 304 the
//! request is held until the feed has a new item, and then the API answers, or until the wait is over.
//!
//! Must not know: how items are found, and what is rewritten on its way.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};
use tokio::time::sleep_until;

use super::cursor_wait::{CursorHold, Ended};
use crate::fanout::{ClientPermit, draining};
use crate::front::access::client_limit::staying;
use crate::front::connection::Connection;
use crate::front::context::Context;
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::Decision;
use crate::front::passthrough::upstream_path;
use crate::front::{freshness, passthrough};
use crate::hub::{Attendance, View};
use crate::metrics::{Bypass, LONG_POLL};
use crate::transport;

/// The error that ends the exchange with the API: it is asked again once the wait has ended.
const HELD: ErrorType = ErrorType::Custom("held-by-cursor");

/// The error that ends a request whose wait brought no new item.
const ENDED: ErrorType = ErrorType::Custom("wait-is-over");

impl CoveredRequest<'_> {
    /// Asks the API, and has the request held if nothing is new. Without a tag, or where the feed has no answer to go by,
    /// the API alone says how long it waits.
    pub(in crate::front) fn hold_by_cursor(
        &mut self,
        attendance: Attendance,
        view: &View,
        asked: Duration,
        permit: ClientPermit,
    ) -> Decision {
        let newest = view.frame.as_ref().and_then(|frame| frame.batch.as_ref()).map(|batch| batch.until());
        if let Some(after) = newest
            && self.headers.contains_key(header::IF_NONE_MATCH)
            && !has_ended(view)
        {
            let wait = asked.min(self.route.max_wait);
            self.ctx.cursor_hold = Some(Box::new(CursorHold {
                attendance,
                after,
                wait,
                deadline: Instant::now() + transport::hold(wait, fastrand::f64()),
                stay: staying(&self.front.shared, &permit),
                _permit: permit,
                unchanged: None,
                ended: None,
            }));
        }
        Decision::PassThrough(Bypass::Cursor)
    }
}

/// Whether the feed cannot tell of new items: the API is to say what there is.
fn has_ended(view: &View) -> bool {
    view.closing.is_some()
        || view.withdrawn
        || view.condition.state.is_gone()
        || freshness::refusal(view).is_some()
}

/// Whether there is a reason to ask the API again.
fn has_news(view: &View, after: u64) -> bool {
    let newest = view.frame.as_ref().and_then(|frame| frame.batch.as_ref()).map(|batch| batch.until());
    has_ended(view) || newest != Some(after)
}

/// Looks at the head of the API's answer.
///
/// # Errors
/// The answer says that nothing is new: the request is held, and its connection to the API is let go.
pub(in crate::front) fn look(response: &ResponseHeader, ctx: &mut Context) -> Result<()> {
    let Some(hold) = ctx.cursor_hold.as_deref_mut() else { return Ok(()) };
    if hold.unchanged.is_some() || response.status != StatusCode::NOT_MODIFIED {
        return Ok(());
    }
    hold.unchanged = Some(Box::new(response.clone()));
    // Until it is asked again it is none that passes through.
    ctx.place = None;
    ctx.pauses();
    let mut error = Error::explain(HELD, "nothing is new yet");
    error.set_retry(true);
    Err(error)
}

/// Whether an error is the beginning or the end of a wait, which are no failures.
pub(in crate::front) fn is_wait(error: &Error) -> bool {
    *error.etype() == HELD || is_over(error)
}

/// Whether the request has been held, and is to be answered without the API.
pub(in crate::front) fn is_over(error: &Error) -> bool {
    *error.etype() == ENDED
}

/// Waits until there is a reason to ask the API again; returns at once for a request that is not held.
///
/// # Errors
/// The wait ended without one, as [`answer_held`] says; status 503 if the upstream has no place for the request any more.
pub(in crate::front) async fn wait(mut connection: Connection<'_>, ctx: &mut Context) -> Result<()> {
    let Some(hold) = ctx.cursor_hold.as_deref_mut().filter(|hold| hold.unchanged.is_some()) else {
        return Ok(());
    };
    let path = hold.attendance.topic().route().path.clone();
    let metrics = ctx.shared.metrics.stream(LONG_POLL, &path);
    metrics.subscribers.inc();
    hold.ended = until_news(&mut connection, hold, ctx.shared.ending.clone()).await;
    metrics.subscribers.dec();
    metrics.ended(hold.ended.map_or("answered", Ended::reason));
    if hold.ended.is_some() {
        return Error::e_explain(ENDED, "no new item came");
    }
    ctx.passes();
    ctx.place = ctx.upstream.as_ref().and_then(|upstream| upstream.passing.enter());
    match ctx.place {
        None if ctx.upstream.is_some() => Error::e_explain(
            ErrorType::HTTPStatus(503),
            "it has as many requests as it may have (max_requests)",
        ),
        _ => Ok(()),
    }
}

async fn until_news(
    connection: &mut Connection<'_>,
    hold: &mut CursorHold,
    mut ending: crate::fanout::Ending,
) -> Option<Ended> {
    let topic = hold.attendance.topic().clone();
    let mut views = topic.views();
    loop {
        if has_news(&views.borrow_and_update(), hold.after) {
            return None;
        }
        tokio::select! {
            // First: nothing is told to a client that may not stay.
            biased;
            why = hold.stay.is_over() => return Some(Ended::Expelled(why)),
            () = views.changed() => {}
            () = connection.has_gone() => return Some(Ended::ClientGone),
            () = sleep_until(hold.deadline.into()) => return Some(Ended::Timeout),
            _ = draining(&mut ending) => return Some(Ended::Drain),
        }
    }
}

/// What a request is answered whose wait ended without a new item: the API's 304.
///
/// # Errors
/// The API's answer cannot be given.
pub(in crate::front) fn answer_held(mut connection: Connection<'_>, ctx: &mut Context) -> Result<Decision> {
    let Some(hold) = ctx.cursor_hold.take() else { return Ok(Decision::Abandon) };
    match (hold.ended, hold.unchanged) {
        (Some(Ended::ClientGone), _) => {
            ctx.answer = "abandoned";
            Ok(Decision::Abandon)
        }
        (Some(Ended::Expelled(why)), _) => Ok(Decision::expel(why)),
        (_, Some(unchanged)) => not_modified(&mut connection, ctx, *unchanged, hold.wait),
        (_, None) => Ok(Decision::Abandon),
    }
}

fn not_modified(
    connection: &mut Connection<'_>,
    ctx: &mut Context,
    mut unchanged: ResponseHeader,
    wait: Duration,
) -> Result<Decision> {
    upstream_path::answer(connection.head(), &mut unchanged, ctx)?;
    passthrough::rewrite_response(connection, &mut unchanged, ctx)?;
    if let Ok(applied) = HeaderValue::try_from(format!("wait={}", wait.as_secs())) {
        unchanged.insert_header("preference-applied", applied)?;
    }
    ctx.answer = LONG_POLL;
    Ok(Decision::answer(StatusCode::NOT_MODIFIED, unchanged.headers.clone(), Bytes::new()))
}
