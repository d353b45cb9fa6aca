//! What an HTTP/1 connection of a client remembers from one request to the next.
//!
//! HTTP/2 has no such memory: its streams are requests of their own, of several users where a proxy is in front. A connection that was taken over comes back
//! without its bond, so one that has a bond is closed instead of given back where that is up to us.
//! Must not know: why any of it is so.

use std::any::Any;
use std::net::IpAddr;

use super::context::Context;
use crate::upstream::Bond;

/// Handed from a request to the next one.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    /// It was counted for `limits.accept_rate`.
    pub(super) let_in: bool,
    /// Its claim on upstream connections of its own.
    pub(super) bond: Option<Bond>,
    /// The client whose claim that is: a proxy in front may send requests of several on one connection.
    client: Option<IpAddr>,
}

/// What is known of a connection that was held here and comes back: its client is no newcomer.
pub(super) fn given_back() -> Box<dyn Any + Send + Sync> {
    Box::new(Remembered { let_in: true, ..Remembered::default() })
}

/// What the next request is to know. Returns `None` where that is nothing.
pub(super) fn remember(ctx: &Context) -> Option<Box<dyn Any + Send + Sync>> {
    let is_new = !ctx.let_in && ctx.bond.is_none();
    (!is_new).then(|| -> Box<dyn Any + Send + Sync> {
        Box::new(Remembered { let_in: ctx.let_in, bond: ctx.bond.clone(), client: ctx.client })
    })
}

/// Takes up what the last request left.
pub(super) fn recall(ctx: &mut Context, before: Box<dyn Any + Send + Sync>) {
    if let Ok(before) = before.downcast::<Remembered>() {
        (ctx.let_in, ctx.bond, ctx.client) = (before.let_in, before.bond, before.client);
    }
}
