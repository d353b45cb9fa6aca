//! A place among the clients that follow (`limits.clients`, `clients_per_address`, `clients_per_subject`, `max_clients`,
//! `accept_rate`), and what its client stays by.
//!
//! Must not know: what the client follows.

use std::net::IpAddr;
use std::time::Instant;

use crate::config::Route;
use crate::fanout::{ClientPermit, Staying};
use crate::front::context::Context;
use crate::front::request::client_address::household;
use crate::front::services::Shared;
use crate::metrics::RefusalReason;

/// A place for one more client, of a route or of many. `is_new`: its connection counts for `limits.accept_rate`.
///
/// # Errors
/// There is none for now: the limit that bites.
pub(in crate::front) fn permit(
    shared: &Shared,
    ctx: &mut Context,
    route: Option<&Route>,
    is_new: bool,
) -> Result<ClientPermit, RefusalReason> {
    let (clients, of_route, address, subject) = limits(shared, ctx, route);
    let (index, of_route) = of_route.map_or((usize::MAX, None), |(limit, route)| (route, Some(limit)));
    let permit =
        shared.fanout.permit(clients, index, of_route, address, subject).ok_or(RefusalReason::Clients)?;
    // Last, so that a client without a permit uses up no turn.
    if is_new && shared.turnstile.as_ref().is_some_and(|turnstile| !turnstile.lets_in(Instant::now())) {
        return Err(RefusalReason::AcceptRate);
    }
    ctx.let_in |= is_new;
    // From now on it counts as a client.
    ctx.in_progress = None;
    Ok(permit)
}

/// Whether [`permit`] would give one. Nothing is taken.
///
/// # Errors
/// The limit that would bite.
pub(in crate::front) fn would_permit(
    shared: &Shared,
    ctx: &Context,
    route: Option<&Route>,
    is_new: bool,
) -> Result<(), RefusalReason> {
    let (clients, of_route, address, subject) = limits(shared, ctx, route);
    if !shared.fanout.has_room(clients, of_route, address, subject) {
        return Err(RefusalReason::Clients);
    }
    match &shared.turnstile {
        Some(turnstile) if is_new && !turnstile.would_let_in(Instant::now()) => {
            Err(RefusalReason::AcceptRate)
        }
        _ => Ok(()),
    }
}

/// How many clients there may be in all, of a route, of an address and of a subject, each with its owner.
type ClientLimits = (usize, Option<(usize, usize)>, Option<(usize, IpAddr)>, Option<(usize, u64)>);

fn limits(shared: &Shared, ctx: &Context, route: Option<&Route>) -> ClientLimits {
    let limits = &shared.config.limits;
    let address = limits.clients_per_address.zip(ctx.client.map(household));
    let subject = limits.clients_per_subject.zip(ctx.subject);
    let of_route = route.and_then(|route| Some((route.max_clients?, route.index)));
    (limits.clients, of_route, address, subject)
}

/// What the client of a permit stays by, for one that lives in a task.
pub(in crate::front) fn staying(shared: &Shared, permit: &ClientPermit) -> Staying {
    Staying { entitlement: permit.entitlement().cloned(), expulsions: shared.fanout.expulsions() }
}
