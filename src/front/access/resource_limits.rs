//! The way to a resource: which client pays for one that is asked for first, how many that may be, and how fast they may
//! come.
//!
//! Must not know: how resources are polled.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::config::Route;
use crate::front::request::client_address::household;
use crate::front::services::Shared;
use crate::hub::{Attend, Attendance, ChargeLimits, ChargedClient, Full};
use crate::resource::ResourceKey;

/// Whom a request is from, as far as its limits go.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::front) struct Asker {
    pub(in crate::front) address: Option<IpAddr>,
    /// A number for its subject or class.
    pub(in crate::front) subject: Option<u64>,
}

/// A known client pays for resources itself, wherever it comes from; bytes are its address's. Returns `None` if no client
/// is charged.
pub(in crate::front) fn charge_limits(shared: &Shared, asker: Asker) -> Option<ChargeLimits> {
    let limits = &shared.config.limits;
    let address = asker.address.map(household);
    let of_subject = asker.subject.map(ChargedClient::Subject).zip(limits.resources_per_subject);
    let of_address = address.map(ChargedClient::Address).zip(limits.resources_per_address);
    let charge_limits = ChargeLimits {
        resources: of_subject.or(of_address),
        bytes: address.zip(limits.snapshot_bytes_per_address),
    };
    (charge_limits != ChargeLimits::default()).then_some(charge_limits)
}

/// Attends to a resource and starts its polls if there are none, at the client's expense.
///
/// # Errors
/// The limit that bites; it is counted.
pub(in crate::front) fn attend(
    shared: &Shared,
    asker: Asker,
    route: &Arc<Route>,
    key: &ResourceKey,
    kind: Attend,
) -> Result<Attendance, Full> {
    if kind == Attend::Visit {
        turn(shared, asker, key, Duration::ZERO)?;
    }
    let start = |publisher| drop(shared.relay.start(publisher));
    let attendance = shared.hub.attend_for(charge_limits(shared, asker), key, route, kind, start);
    attendance.inspect_err(|full| shared.metrics.refused(full.reason()))
}

/// Whether a client would attend to a resource, as far as limits go. Nothing is begun or counted.
///
/// # Errors
/// The limit that would bite.
pub(in crate::front) fn would_attend(
    shared: &Shared,
    asker: Asker,
    route: &Route,
    key: &ResourceKey,
    kind: Attend,
) -> Result<(), Full> {
    // Ordinary polls do not wait for their turn.
    let wait_max = if kind == Attend::Visit { Duration::ZERO } else { route.first_answer };
    if let Some((newcomers, address)) = shared.newcomers.as_ref().zip(asker.address)
        && shared.hub.get(key).is_none()
        && !newcomers.has_turn(household(address), Instant::now(), wait_max)
    {
        return Err(Full::Newcomers);
    }
    shared.hub.would_attend(charge_limits(shared, asker), key, route, kind)
}

/// Waits for the turn of a resource that is new, for `first_answer` at most (`limits.new_resources_per_address`). Ordinary
/// polls do not wait.
///
/// # Errors
/// It takes longer; that is counted.
pub(in crate::front) async fn await_turn(
    shared: &Shared,
    asker: Asker,
    route: &Route,
    key: &ResourceKey,
) -> Result<(), Full> {
    let wait = turn(shared, asker, key, route.first_answer)?;
    if !wait.is_zero() {
        sleep(wait).await;
    }
    Ok(())
}

/// How long it is to the turn of a resource.
fn turn(shared: &Shared, asker: Asker, key: &ResourceKey, wait_max: Duration) -> Result<Duration, Full> {
    let Some((newcomers, address)) = shared.newcomers.as_ref().zip(asker.address) else {
        return Ok(Duration::ZERO);
    };
    if shared.hub.get(key).is_some() {
        return Ok(Duration::ZERO);
    }
    newcomers.turn(household(address), Instant::now(), wait_max).ok_or_else(|| {
        shared.metrics.refused(Full::Newcomers.reason());
        Full::Newcomers
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_network_is_one_address() {
        let of = |text: &str| household(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
