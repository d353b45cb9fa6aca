//! Acts on what was decided about a request: the one file that answers, refuses and hands over.
//!
//! Must not know: why anything was decided.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::Result;
use pingora::proxy::Session;

use super::application::Front;
use super::context::Context;
use super::covered_request::keeps_alive;
use super::decision::{Afterwards, Answer, Decision, Refusal};
use super::{hand_over, refuse, respond};
use crate::fanout::Home;
use crate::metrics::Bypass;
use crate::transport::answer;

/// Does what was decided. Returns why the request passes through, or `None` if nothing is left to do for it.
pub(super) async fn act(
    front: &Front,
    session: &mut Session,
    ctx: &mut Context,
    decision: Decision,
) -> Result<Option<Bypass>> {
    match decision {
        Decision::PassThrough(reason) => return Ok(Some(reason)),
        Decision::Answer(Answer { status, phrase, headers, body }) => {
            respond::respond(session, (status, phrase.as_deref()), &headers, body).await?;
        }
        // The others are seldom, and the future of every request holds this one.
        Decision::Refuse(refusal) => Box::pin(refuse_as(front, session, ctx, *refusal)).await?,
        Decision::RefuseForNow(now) => Box::pin(refuse::for_now(session, ctx, &now)).await?,
        Decision::HandOver(departure) => Box::pin(hand_over::depart(front, session, ctx, *departure)).await?,
        Decision::Board(boarding) => Box::pin(hand_over::board(front, session, ctx, *boarding)).await?,
        // Nothing is left to do, or nothing is to be done.
        Decision::Abandon | Decision::Foreseen(_) => {}
    }
    Ok(None)
}

/// Does what was decided about a request that was held beside the API: its answer takes the place of one that was not
/// read to its end, and goes out on a connection that lives on, where it can. Pingora would end it.
///
/// # Errors
/// The answer could not be written.
pub(super) async fn act_instead(
    front: &Front,
    session: &mut Session,
    ctx: &mut Context,
    decision: Decision,
) -> Result<()> {
    let Decision::Answer(Answer { status, headers, body, .. }) = decision else {
        return act(front, session, ctx, decision).await.map(drop);
    };
    ctx.status = Some(status);
    let Some(home) = home_after(front, session, ctx) else {
        session.set_keepalive(None);
        return respond::respond(session, (status, None), &headers, body).await;
    };
    go_on_with(home, session, ctx, (status, &headers, &body)).await
}

/// Answers in the place of the API, on a connection that lives on.
async fn go_on_with(
    home: &Arc<dyn Home>,
    session: &mut Session,
    ctx: &Context,
    (status, headers, body): (StatusCode, &HeaderMap, &Bytes),
) -> Result<()> {
    let mut whole = answer::head_bytes(status, headers, b"", false);
    whole.extend_from_slice(body);
    respond::respond_and_go_on(home, session, &whole, ctx.shared.config.limits.send_timeout).await
}

async fn refuse_as(front: &Front, session: &mut Session, ctx: &mut Context, refusal: Refusal) -> Result<()> {
    let (afterwards, label) = (refusal.afterwards, refusal.label);
    ctx.refused = Some(refusal.reason);
    if afterwards == Afterwards::GoesOn
        && let Some(home) = home_after(front, session, ctx)
    {
        return refuse_and_go_on(home, session, ctx, refusal).await;
    }
    if afterwards != Afterwards::Usual {
        session.set_keepalive(None);
    }
    ctx.answer = label;
    let refused = refuse::refuse(session, ctx, refusal).await;
    if afterwards == Afterwards::Shutdown {
        session.downstream_session.shutdown().await;
    }
    refused
}

/// Refuses on a connection that lives on: Pingora would end it, as the API's answer was not read to its end.
async fn refuse_and_go_on(
    home: &Arc<dyn Home>,
    session: &mut Session,
    ctx: &mut Context,
    refusal: Refusal,
) -> Result<()> {
    let status: StatusCode = refusal.status;
    ctx.answer = refusal.label;
    let (headers, body) = refuse::problem(session, ctx, refusal);
    ctx.status = Some(status);
    go_on_with(home, session, ctx, (status, &headers, &body)).await
}

/// Where a connection of HTTP/1 goes on that serves another request after an answer in the API's place. Returns `None`
/// if it does not.
fn home_after<'a>(front: &'a Front, session: &Session, ctx: &Context) -> Option<&'a Arc<dyn Home>> {
    let request = session.req_header();
    let keeps = ctx.bond.is_none() && keeps_alive(&request.headers, request.version, &ctx.shared);
    front.home.get().filter(|_| keeps && !session.is_http2())
}
