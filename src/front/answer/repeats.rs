//! Which connections ask the same again: those leave Pingora for a shard, which answers what repeats
//! without deciding anew. A connection that asks this and that stays here.
//!
//! Must not know: how repeats are recognized or answered.

use std::time::Instant;

use http::{HeaderMap, Method, StatusCode, Version as HttpVersion, header};

use crate::fanout::Following;
use crate::frame::Coding;
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::Departure;
use crate::front::request::{content_coding, cors, delta_choice};
use crate::hub::{Attend, Streak, View};
use crate::resource::ResourceKey;
use crate::resource::reads_tracing;
use crate::transport::{Differing, Plain, Repeat, Transport, answer};

/// A request by which a held poll's or a connection's next one is recognized. Returns `None` if there is none.
pub(in crate::front) fn repeat(
    cover: &CoveredRequest<'_>,
    key: &ResourceKey,
    view: &View,
    differing: Differing,
) -> Option<Repeat> {
    let plain = cover.method == Method::GET
        && cover.version == HttpVersion::HTTP_11
        && !cover.connection.is_http2()
        // A client that has to prove its identity proves it every time.
        && answer::is_everybodys(key, &cover.route)
        && cover.route.hold_not_modified.is_none()
        && cover.route.feed.is_none()
        && view.frame.as_ref().is_some_and(|frame| {
            frame.snapshot.vary.is_empty() && !frame.snapshot.forbids_transformation()
        })
        && !cover.headers.contains_key(header::IF_MODIFIED_SINCE)
        && delta_choice::of_answer(&cover.route, &cover.headers, cover.query.as_deref()).is_none();
    plain
        .then(|| {
            let generation = cover.front.shared.generation;
            Repeat::of(&cover.connection.raw_head(), Instant::now(), generation, differing)
        })
        .flatten()
}

impl CoveredRequest<'_> {
    /// Keeps the connection of a hit in a shard if it has asked the same before: the answer is its greeting there.
    /// Returns `None` if the request is to be answered as others are.
    pub(super) fn stay(
        &mut self,
        key: &ResourceKey,
        view: &View,
        status: StatusCode,
        (headers, body): (&HeaderMap, &bytes::Bytes),
        streak: Option<Streak>,
    ) -> Option<Departure> {
        if self.is_patient || self.writes.is_unconfirmed || !self.keeps_alive() {
            return None;
        }
        let differing = if reads_tracing(&self.route) { Differing::Condition } else { Differing::Tracing };
        let repeat = repeat(self, key, view, differing)?;
        if !self.connection.repeats_poll(repeat.number()) {
            return None;
        }
        let shared = self.front.shared.clone();
        let attendance = self.attend(key, Attend::Visit).ok()?;
        let mut own = HeaderMap::new();
        cors::add(&mut own, &self.route, &self.headers);
        let gzip = content_coding::coding(&self.route, key, &self.headers) == Coding::Deflated;
        let plain = Plain::new(
            attendance,
            (self.connection_number(), streak),
            self.route.clone(),
            answer::lines(&own),
            gzip,
            repeat,
        );
        let mut greeting = answer::head_bytes(status, headers, b"", false);
        greeting.extend_from_slice(body);
        Some(Departure {
            shard: shared.fanout.choose(),
            greeting: greeting.freeze(),
            transport: Transport::Plain(Box::new(plain)),
            following: Following::OnDemand,
            permit: None,
            messages: None,
            answered: Some(status),
        })
    }
}
