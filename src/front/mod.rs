//! Requests in, through Pingora: route, decide, answer or take over, or pass through.
//!
//! `receive` looks at a request first, `covered` is the flow of one whose URL a route covers. The rooms are
//! in the order of that flow: `request` says what it asks for, `access` whether it may have that, `passthrough`, `answer`
//! and `subscribe` give it. All of them decide, and `act` does what is decided (`Decision`): only it writes to clients.
//! `listener` has the connections. Must not know: how changes are detected or encoded.

mod access;
mod act;
mod answer;
mod answer_instead;
mod application;
mod connection;
mod context;
mod covered;
mod covered_request;
mod decision;
mod explain;
mod freshness;
#[cfg(fuzzing)]
pub mod fuzzing;
mod hand_over;
mod passthrough;
mod progress;
mod proxy;
mod receive;
mod refuse;
mod reload;
mod remembered;
mod request;
mod request_end;
mod resource_key;
mod respond;
mod services;
mod spans;
mod steps;
mod subscribe;
mod trace;
mod vary_memory;

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;

use crate::listener::{guarded_stream, http2};
use crate::upstream::Client;
use answer::pace;
use application::{Entrance, Front};
use connection::Connection;
use context::Context;
use passthrough::deadlines::Deadlines;
use passthrough::{connection_auth, not_passed, upstream_path, writes};
use request::framing;
use subscribe::fallback::{AskFirst, Fallback};
use subscribe::{ask_first, cursor_hold};

pub use crate::listener::accept_rate::Turnstile;
pub use crate::listener::control::Prepared;
pub use crate::listener::descriptors::{Descriptors, shortage};
pub use crate::listener::service::{ListenError, Watches};
pub use access::authenticate::end_subject;
pub use access::checks::Checks;
pub use access::doubt::Doubts;
pub use access::new_resources::Newcomers;
pub use access::share::{is_good_for_one, is_scheme_for_one};
pub use access::subjects::Subjects;
pub use answer::holds::Holds;
pub use answer::new_keys::NewKeys;
pub use explain::{Asked, Explanation, explain};
pub use passthrough::node_writes::NodeWrites;
pub use passthrough::writes::poll_now;
pub use passthrough::written_topics::hear_writes;
pub use proxy::{Entry, service};
pub use request::origins::Origins;
pub use request::route::{Match, Routes};
pub use services::{Present, Shared};
pub use subscribe::long_poll_interner::LongPollInterner;
pub use trace::{Step, Subject, Trace};
pub use vary_memory::VaryMemory;

impl Front {
    /// Answers a request whose answer from the API was put aside.
    async fn answer_instead(&self, session: &mut Session, ctx: &mut Context, fallback: Fallback) {
        let decided = answer_instead::answer_instead(self, Connection::of(session), ctx, fallback).await;
        let answered = match decided {
            Ok(decision) => act::act(self, session, ctx, decision).await.map(drop),
            Err(error) => Err(error),
        };
        if let Err(error) = answered {
            tracing::debug!("a request that had asked the API first could not be answered: {error}");
        }
    }

    /// Answers a request that was held beside the upstream's cursor.
    async fn answer_held(&self, session: &mut Session, ctx: &mut Context) {
        let answered = match cursor_hold::answer_held(Connection::of(session), ctx) {
            Ok(decision) => act::act_instead(self, session, ctx, decision).await,
            Err(error) => Err(error),
        };
        if let Err(error) = answered {
            tracing::debug!("a held request could not be answered: {error}");
        }
    }
}

#[async_trait]
impl ProxyHttp for Entrance {
    /// Apart from the future of a request, which would move it, and have room for it several times.
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Box<Context> {
        Box::new(Context::new(self.0.load_full()))
    }

    fn persist_connection_context(
        &self,
        _session: &Session,
        ctx: &Self::CTX,
    ) -> Option<Box<dyn Any + Send + Sync>> {
        remembered::remember(ctx)
    }

    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        ctx: &mut Self::CTX,
        before: Box<dyn Any + Send + Sync>,
    ) {
        remembered::recall(ctx, before);
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        guarded_stream::Attended::asked(session);
        let front = &*ctx.front.clone();
        if session.is_http2() {
            session.set_write_timeout(Some(http2::send_timeout(&front.shared.config.limits)));
        }
        // What is sent behind a request is the next one (RFC 9112 §9.3.2).
        session.set_pipelining_enabled(true);
        // A request answered here has its body drained within a limit (contract §12).
        session.set_total_drain_timeout(Some(framing::DRAIN_TIME_MAX));
        let drain_bytes_max = front.shared.config.limits.drain_body;
        let drainable = framing::is_drainable(&session.req_header().headers, drain_bytes_max);
        if drainable {
            // Pingora would end the connection with any answer that comes before the body.
            session.set_close_on_response_before_downstream_finish(false);
        } else {
            session.set_keepalive(None);
        }
        let decision = front.decide(Connection::of(session), ctx).await?;
        match act::act(front, session, ctx, decision).await? {
            None => {
                if !drainable {
                    Connection::of(session).linger(drain_bytes_max).await;
                }
                Ok(true)
            }
            Some(reason) => {
                passthrough::begin(session, ctx, reason, drainable);
                Ok(false)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        cursor_hold::wait(Connection::of(session), ctx).await?;
        passthrough::peer(session, ctx).await
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        if end {
            ctx.body_is_read();
        }
        ctx.deadlines.iter().for_each(|deadlines| deadlines.read(end));
        passthrough::passes(session, body.as_ref().map_or(0, Bytes::len), ctx)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        let front = ctx.front.clone();
        passthrough::rewrite_request(&front, session, request, ctx)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        if let Some(deadlines) = &ctx.deadlines {
            deadlines.came(response.status)?;
        }
        connection_auth::answered(session.is_http2(), response, ctx)?;
        ask_first::look(response, ctx)?;
        cursor_hold::look(response, ctx)?;
        ctx.head_goes_out(response.status);
        upstream_path::answer(session.req_header(), response, ctx)?;
        let front = ctx.front.clone();
        // Before the client can know that its write is done.
        pace::answered(ctx, response.status);
        if let Some(telling) = writes::passed(&front, session.req_header(), response, ctx) {
            // Apart, so that a request that no other node hears of is no larger for it.
            Box::pin(telling.tell()).await;
        }
        passthrough::rewrite_response(&mut Connection::of(session), response, ctx)
    }

    async fn connected_to_upstream(
        &self,
        session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        fd: std::os::fd::RawFd,
        digest: Option<&Digest>,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        connection_auth::connected(reused, digest, ctx)?;
        // Pingora bounds the bodies of HTTP/1.
        let body = (session.is_http2() && !ctx.body_read).then_some(ctx.shared.config.limits.body_timeout);
        let watch = (&ctx.shared.deadlines, &ctx.shared.metrics);
        let begin = |upstream: &Arc<Client>| Deadlines::begin(fd, upstream, body, watch);
        ctx.deadlines = ctx.upstream.as_ref().and_then(begin);
        Ok(())
    }

    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<pingora::Error>,
        ctx: &mut Self::CTX,
        reused: bool,
    ) -> Box<pingora::Error> {
        if cursor_hold::is_wait(&error) {
            return error;
        }
        passthrough::broken(peer, session, error, ctx, reused)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Self::CTX,
        mut error: Box<pingora::Error>,
    ) -> Box<pingora::Error> {
        ctx.connects += 1;
        // Nothing was sent: another server may be better.
        error.set_retry(ctx.connects < passthrough::CONNECTS_MAX);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &pingora::Error,
        ctx: &mut Self::CTX,
    ) -> FailToProxy {
        let answered = FailToProxy { error_code: 0, can_reuse_downstream: false };
        let front = ctx.front.clone();
        if let AskFirst::Discarded(fallback) = ctx.ask_first {
            Box::pin(front.answer_instead(session, ctx, fallback)).await;
            return answered;
        }
        if cursor_hold::is_over(error) {
            Box::pin(front.answer_held(session, ctx)).await;
            return answered;
        }
        if connection_auth::needs_http1(error) {
            connection_auth::send_to_http1(Connection::of(session), ctx);
            return answered;
        }
        let is_answered = session.response_written().is_some();
        let (error_code, refusal) = not_passed::refusal(error, ctx, is_answered).await;
        if let Some(refusal) = refusal
            && let Err(error) = act::act(&front, session, ctx, refusal.decision()).await
        {
            tracing::debug!("a failure could not be reported: {error}");
        }
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// An answer of the API's that was put aside is no failure.
    fn suppress_error_log(&self, _session: &Session, ctx: &Self::CTX, error: &pingora::Error) -> bool {
        matches!(ctx.ask_first, AskFirst::Discarded(_))
            || connection_auth::needs_http1(error)
            || cursor_hold::is_wait(error)
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Self::CTX,
        error: &pingora::Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        cursor_hold::is_wait(error)
    }

    /// What Pingora's own messages say of a request: no query, where the keys of many an API live.
    fn request_summary(&self, session: &Session, _ctx: &Self::CTX) -> String {
        format!("{} {:?}", session.req_header().method, session.req_header().uri.path())
    }

    async fn logging(&self, session: &mut Session, error: Option<&pingora::Error>, ctx: &mut Self::CTX) {
        request_end::ended(session, error, ctx);
    }
}
