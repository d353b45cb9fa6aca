//! What entitles a client to stay: a proof that may run out, and what may be revoked for many clients at once.
//!
//! Must not know: what is proven, what revokes.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::client_limit::{Claim, Owner};
use crate::transport::Expulsion;

/// A reason for many clients to stay: their subject, or the answer that their credentials got.
#[derive(Debug, Default)]
pub struct Revocable(AtomicU8);

impl Revocable {
    /// Ends all clients that stay by it, once the fan-out was told to look ([`super::Fanout::expel`]).
    pub fn revoke(&self, why: Expulsion) {
        let word = match why {
            Expulsion::Expired => 1,
            Expulsion::Revoked => 2,
            Expulsion::Forbidden => 3,
        };
        self.0.store(word, Ordering::SeqCst);
    }

    /// Returns why no client may stay by it any longer.
    pub fn revoked(&self) -> Option<Expulsion> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Expulsion::Expired),
            2 => Some(Expulsion::Revoked),
            _ => Some(Expulsion::Forbidden),
        }
    }
}

/// What entitles one client to stay.
#[derive(Debug, Default)]
pub struct Entitlement {
    stay: Mutex<Stay>,
    /// The routes and subjects that it counts for, and its places among them; `None` where its permit is the place.
    owners: Mutex<Vec<(Owner, Option<Claim>)>>,
}

#[derive(Debug, Default)]
struct Stay {
    until: Option<Instant>,
    revocables: Vec<Arc<Revocable>>,
}

impl Entitlement {
    /// `until` says when its proof runs out.
    pub fn new(until: Option<Instant>, revocables: Vec<Arc<Revocable>>) -> Arc<Entitlement> {
        Arc::new(Entitlement { stay: Mutex::new(Stay { until, revocables }), owners: Mutex::default() })
    }

    /// When the client's proof runs out; `None` if it stays good.
    pub fn until(&self) -> Option<Instant> {
        self.stay.lock().until
    }

    /// Adds a proof, or what may be revoked. Of several proofs the first to run out counts.
    pub fn add(&self, until: Option<Instant>, revocable: Option<Arc<Revocable>>) {
        let mut stay = self.stay.lock();
        stay.until = stay.until.into_iter().chain(until).min();
        // Many resources of one subject stay by the same.
        let new =
            revocable.filter(|revocable| !stay.revocables.iter().any(|held| Arc::ptr_eq(held, revocable)));
        stay.revocables.extend(new);
    }

    /// Counts the client for this route or subject for as long as it is there, even if it follows nothing of the route
    /// any more, or shows a newer proof. Returns false if `take` gives it no place.
    pub fn counts_for(&self, owner: Owner, take: impl FnOnce(Owner) -> Option<Claim>) -> bool {
        let mut owners = self.owners.lock();
        if owners.iter().any(|(known, _)| *known == owner) {
            return true;
        }
        let claim = take(owner);
        let is_free = claim.is_some();
        owners.extend(claim.map(|claim| (owner, Some(claim))));
        is_free
    }

    /// Notes that the client's permit counts for this route or subject already.
    pub fn note_counted_for(&self, owner: Owner) {
        self.owners.lock().push((owner, None));
    }

    /// Notes that the client has left, although other owners may still hold this.
    pub(super) fn leave(&self) {
        self.owners.lock().clear();
    }

    /// Replaces the proofs by a newer one.
    pub fn renew(&self, until: Option<Instant>, revocables: Vec<Arc<Revocable>>) {
        *self.stay.lock() = Stay { until, revocables };
    }

    /// Returns why the client may not stay any longer.
    pub fn is_over(&self, now: Instant) -> Option<Expulsion> {
        let stay = self.stay.lock();
        let revoked = stay.revocables.iter().find_map(|revocable| revocable.revoked());
        revoked.or_else(|| stay.until.is_some_and(|until| now >= until).then_some(Expulsion::Expired))
    }
}

/// What the client of a task stays by, and when to look whether it still may.
pub struct Staying {
    /// The credential by which the client stays, if its route has `authenticate`.
    pub entitlement: Option<Arc<Entitlement>>,
    /// Counts the operator's orders to end streams.
    pub expulsions: watch::Receiver<u64>,
}

impl Staying {
    /// Waits until the client may not stay any longer.
    pub async fn is_over(&mut self) -> Expulsion {
        let Some(entitlement) = &self.entitlement else { return std::future::pending().await };
        loop {
            if let Some(why) = entitlement.is_over(Instant::now()) {
                return why;
            }
            let expires = async {
                match entitlement.until() {
                    Some(until) => sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            let mut expires = pin!(expires);
            tokio::select! {
                () = &mut expires => {}
                // The sender is gone: only the proof's own time can end it.
                told = self.expulsions.changed() => if told.is_err() { expires.await },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_client_stays_as_long_as_everything_it_stays_by() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let subject = Arc::new(Revocable::default());
        let entitlement = Entitlement::new(Some(later(10)), vec![subject.clone()]);
        assert_eq!(entitlement.is_over(now), None);
        assert_eq!(entitlement.is_over(later(10)), Some(Expulsion::Expired));
        entitlement.add(Some(later(20)), None);
        assert_eq!(entitlement.until(), Some(later(10)));
        entitlement.add(Some(later(5)), None);
        assert_eq!(entitlement.until(), Some(later(5)));
        entitlement.renew(Some(later(30)), vec![subject.clone()]);
        assert_eq!(entitlement.is_over(later(10)), None);
        subject.revoke(Expulsion::Revoked);
        assert_eq!(entitlement.is_over(now), Some(Expulsion::Revoked));
        assert_eq!(Entitlement::new(None, Vec::new()).is_over(later(1000)), None);
    }
}
