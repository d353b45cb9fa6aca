//! What lets a client stay: a proof that may run out, and holds that may be released.
//!
//! Must not know: what is proven, what lets go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::client_limit::{Claim, Owner};
use crate::transport::Expulsion;

/// A reason for many clients to stay: their subject, or the answer that their credentials got.
#[derive(Debug, Default)]
pub struct Hold(AtomicU8);

impl Hold {
    /// Lets go of all clients that stay by it, once the fan-out was told to look ([`super::Fanout::expel`]).
    pub fn let_go(&self, why: Expulsion) {
        let word = match why {
            Expulsion::Expired => 1,
            Expulsion::Revoked => 2,
            Expulsion::Forbidden => 3,
        };
        self.0.store(word, Ordering::SeqCst);
    }

    /// Returns why no client may stay by it any longer.
    pub fn is_let_go(&self) -> Option<Expulsion> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Expulsion::Expired),
            2 => Some(Expulsion::Revoked),
            _ => Some(Expulsion::Forbidden),
        }
    }
}

/// What one client stays by.
#[derive(Debug, Default)]
pub struct Pass {
    stay: Mutex<Stay>,
    /// The routes and subjects that it counts for, and its places among them; `None` where its permit is the place.
    owners: Mutex<Vec<(Owner, Option<Claim>)>>,
}

#[derive(Debug, Default)]
struct Stay {
    until: Option<Instant>,
    holds: Vec<Arc<Hold>>,
}

impl Pass {
    /// `until` says when its proof runs out.
    pub fn new(until: Option<Instant>, holds: Vec<Arc<Hold>>) -> Arc<Pass> {
        Arc::new(Pass { stay: Mutex::new(Stay { until, holds }), owners: Mutex::default() })
    }

    /// When the client's proof runs out; `None` if it stays good.
    pub fn until(&self) -> Option<Instant> {
        self.stay.lock().until
    }

    /// Adds a proof or a hold. Of several proofs the first to run out counts.
    pub fn add(&self, until: Option<Instant>, hold: Option<Arc<Hold>>) {
        let mut stay = self.stay.lock();
        stay.until = stay.until.into_iter().chain(until).min();
        // Many resources of one subject stay by one hold.
        let new = hold.filter(|hold| !stay.holds.iter().any(|held| Arc::ptr_eq(held, hold)));
        stay.holds.extend(new);
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
    pub fn renew(&self, until: Option<Instant>, holds: Vec<Arc<Hold>>) {
        *self.stay.lock() = Stay { until, holds };
    }

    /// Returns why the client may not stay any longer.
    pub fn is_over(&self, now: Instant) -> Option<Expulsion> {
        let stay = self.stay.lock();
        let let_go = stay.holds.iter().find_map(|hold| hold.is_let_go());
        let_go.or_else(|| stay.until.is_some_and(|until| now >= until).then_some(Expulsion::Expired))
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
        let subject = Arc::new(Hold::default());
        let pass = Pass::new(Some(later(10)), vec![subject.clone()]);
        assert_eq!(pass.is_over(now), None);
        assert_eq!(pass.is_over(later(10)), Some(Expulsion::Expired));
        pass.add(Some(later(20)), None);
        assert_eq!(pass.until(), Some(later(10)));
        pass.add(Some(later(5)), None);
        assert_eq!(pass.until(), Some(later(5)));
        pass.renew(Some(later(30)), vec![subject.clone()]);
        assert_eq!(pass.is_over(later(10)), None);
        subject.let_go(Expulsion::Revoked);
        assert_eq!(pass.is_over(now), Some(Expulsion::Revoked));
        assert_eq!(Pass::new(None, Vec::new()).is_over(later(1000)), None);
    }
}
