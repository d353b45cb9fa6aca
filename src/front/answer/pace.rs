//! Plain requests of connections that look as if they wanted the API's own wait (contract §3): one tries whether the
//! API holds it, and if so the requests of such connections pass through for a while.
//!
//! Must not know: what makes a connection look so.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode, Version as HttpVersion};

use super::trial::Trial;
use crate::front::context::Context;
use crate::front::covered_request::CoveredRequest;
use crate::front::request::delta_choice;
use crate::hub::{Paced, Topic};
use crate::listener::trusted_proxies;
use crate::metrics::Bypass;
use crate::resource::ResourceKey;
use crate::upstream::{Class, Priority};

/// Longest wait of a try for its turn in the operator's budget.
const TURN_MAX: Duration = Duration::from_millis(50);

impl CoveredRequest<'_> {
    /// The connection of a request whose pace is looked at. Returns `None` for others: many clients share the
    /// connections of proxies and of HTTP/2.
    pub(super) fn paced_connection(&self) -> Option<u64> {
        // A client that asks for patches knows pollcast.
        let is_plain = self.method == Method::GET
            && self.version == HttpVersion::HTTP_11
            && delta_choice::of_answer(&self.route, &self.headers, self.query.as_deref()).is_none();
        if !is_plain || self.connection.is_http2() {
            return None;
        }
        let peer = self.connection.peer()?;
        let trusted =
            trusted_proxies::is_trusted(peer.ip().to_canonical(), &self.front.listener.trusted_proxies);
        (!trusted).then(|| self.connection_number())
    }

    /// Whether the request passes through since it wants, or tries, the API's own wait.
    pub(super) async fn takes_the_apis_pace(&mut self, key: &ResourceKey) -> bool {
        let Some(connection) = self.paced_connection() else { return false };
        let Some(topic) = self.front.shared.hub.get(key) else { return false };
        match topic.pace().request(connection, topic.now_ms()) {
            Paced::Here => false,
            Paced::Passes => true,
            Paced::Tries => self.tries(topic).await,
        }
    }

    /// Whether the request is the one that tries: within the budget, and not while the upstream asked for rest.
    async fn tries(&mut self, topic: Arc<Topic>) -> bool {
        if !topic.is_young(&topic.view()) {
            return false;
        }
        let Some(upstream) = self.ctx.upstream.clone() else { return false };
        let priority = Priority { class: Class::Refresh, weight: 1, patience: Some(TURN_MAX) };
        let Ok(turn) = upstream.turn(priority).await else { return false };
        let shared = self.front.shared.clone();
        if !topic.pace().claims_try(topic.now_ms(), shared.config.times.pace_try) {
            return false;
        }
        let watch = shared.hub.watches().begin(&upstream.config().name);
        self.ctx.trial = Some(Trial { shared, topic, watch, _turn: turn });
        true
    }
}

/// The head of an answer to a request that passes through is there.
pub(in crate::front) fn answered(ctx: &mut Context, status: StatusCode) {
    if status.is_informational() {
        return;
    }
    let took = ctx.started.elapsed();
    match ctx.trial.take() {
        Some(trial) if status.is_success() || status == StatusCode::NOT_MODIFIED => {
            if trial.watch.was_held(took) {
                let time = ctx.shared.config.times.pace_pass;
                trial.topic.pace().passes_for(trial.topic.now_ms(), time);
            }
        }
        Some(_) => {}
        // What such connections wait for says nothing about the upstream.
        None if ctx.bypass == Some(Bypass::Pace) => {}
        None => {
            if let Some(upstream) = &ctx.upstream {
                ctx.shared.hub.watches().answered(&upstream.config().name, took);
            }
        }
    }
}
