//! Which connections ask the same again: those leave Pingora for a shard, which answers what repeats
//! without deciding anew. A connection that asks this and that stays here.
//!
//! Must not know: how repeats are recognized or answered.

use std::time::Instant;

use http::{HeaderMap, Method, StatusCode, Version as HttpVersion, header};
use pingora::Result;

use crate::fanout::Following;
use crate::frame::Coding;
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::Fate;
use crate::front::hand_over::{Departure, depart};
use crate::front::request::{cors, delta_choice};
use crate::hub::{Attend, Streak, View};
use crate::resource::ResourceKey;
use crate::transport::{Plain, Repeat, Transport, answer};

/// A request by which a held poll's or a connection's next one is recognized. Returns `None` if there is none.
pub(in crate::front) fn repeat(cover: &CoveredRequest<'_>, key: &ResourceKey, view: &View) -> Option<Repeat> {
    let plain = cover.method == Method::GET
        && cover.version == HttpVersion::HTTP_11
        && !cover.session.is_http2()
        // A client that has to prove its identity proves it every time.
        && answer::is_everybodys(key, &cover.route)
        && cover.route.hold_not_modified.is_none()
        && cover.route.feed.is_none()
        && view.frame.as_ref().is_some_and(|frame| {
            frame.snapshot.vary.is_empty() && !frame.snapshot.forbids_transformation()
        })
        && !cover.headers.contains_key(header::IF_MODIFIED_SINCE)
        && delta_choice::of_answer(&cover.route, &cover.headers, cover.query.as_deref()).is_none();
    plain.then(|| Repeat::of(&cover.session.to_h1_raw(), Instant::now())).flatten()
}

impl CoveredRequest<'_> {
    /// Answers a hit, and keeps the connection in a shard if it has asked the same before. Returns `None` if it
    /// is to be answered here.
    pub(in crate::front) async fn stay(
        &mut self,
        key: &ResourceKey,
        view: &View,
        status: StatusCode,
        (headers, body): (&HeaderMap, &bytes::Bytes),
        streak: Option<Streak>,
    ) -> Result<Option<Fate>> {
        if self.is_patient || self.unconfirmed || !self.keeps_alive() {
            return Ok(None);
        }
        let Some(repeat) = repeat(self, key, view) else { return Ok(None) };
        let Some(client) = self.session.client_addr().and_then(|address| address.as_inet()).copied() else {
            return Ok(None);
        };
        let shared = self.front.shared.clone();
        if !shared.repeats.is_second(client, repeat.number()) {
            return Ok(None);
        }
        let Ok(attendance) = self.attend(key, Attend::Visit) else { return Ok(None) };
        let mut own = HeaderMap::new();
        cors::add(&mut own, &self.route, &self.headers);
        let gzip = crate::front::request::content_coding::coding(&self.route, key, &self.headers)
            == Coding::Deflated;
        let plain = Plain::new(
            attendance,
            (shared.repeats.number(client), streak),
            self.route.clone(),
            answer::lines(&own),
            gzip,
            repeat,
        );
        let mut greeting = answer::head_bytes(status, headers, b"", false);
        greeting.extend_from_slice(body);
        let label = self.ctx.answer;
        let departure = Departure {
            shard: shared.fanout.choose(),
            greeting: greeting.freeze(),
            transport: Transport::Plain(Box::new(plain)),
            following: Following::OnDemand,
            seat: None,
            messages: None,
        };
        let fate = depart(self.front, self.session, self.ctx, departure).await?;
        // This request is an answer like others; the connection has no line of its own.
        (self.ctx.answer, self.ctx.taken) = (label, false);
        self.ctx.status = Some(status);
        Ok(Some(fate))
    }
}
