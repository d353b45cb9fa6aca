//! One client's permit: what it counts for, and what the client stays by.
//!
//! Must not know: what a refused client is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::client_limit::{ClientCounts, Owner};
use super::grant::{Hold, Pass};
use std::net::IpAddr;

/// One client's permit; free again when dropped.
#[derive(Debug)]
pub struct ClientPermit {
    counts: Arc<ClientCounts>,
    /// Boxed: limits of a route's or an address's own, and passes, are seldom there.
    own: Option<Box<Own>>,
}

impl ClientCounts {
    pub(super) fn take(
        self: &Arc<Self>,
        limit: usize,
        of_route: Option<(usize, usize)>,
        of_address: Option<(usize, IpAddr)>,
        of_subject: Option<(usize, u64)>,
    ) -> Option<ClientPermit> {
        if self.all.fetch_add(1, Ordering::SeqCst) >= limit {
            self.all.fetch_sub(1, Ordering::SeqCst);
            return None;
        }
        let mut permit = ClientPermit { counts: self.clone(), own: None };
        let route = of_route.map(|(limit, route)| (limit, Owner::Route(route)));
        let address = of_address.map(|(limit, address)| (limit, Owner::Address(address)));
        let subject = of_subject.map(|(limit, subject)| (limit, Owner::Subject(subject)));
        for (place, (limit, owner)) in
            [route, address, subject].into_iter().enumerate().filter_map(|(n, o)| Some((n, o?)))
        {
            if !self.take_of(owner, limit) {
                return None;
            }
            permit.own.get_or_insert_default().owners[place] = Some(owner);
        }
        Some(permit)
    }
}

impl ClientPermit {
    /// The same permit for a client that stays by a pass.
    #[must_use]
    pub fn with_pass(mut self, pass: Arc<Pass>) -> ClientPermit {
        self.own.get_or_insert_default().pass = Some(pass);
        self
    }

    /// The same permit for a client that stays by one thing more.
    #[must_use]
    pub fn held_by(self, hold: Arc<Hold>) -> ClientPermit {
        match self.pass() {
            Some(pass) => {
                pass.add(None, Some(hold));
                self
            }
            None => self.with_pass(Pass::new(None, vec![hold])),
        }
    }

    /// What the client stays by; `None` if that cannot end.
    pub fn pass(&self) -> Option<&Arc<Pass>> {
        self.own.as_ref()?.pass.as_ref()
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.counts.all.fetch_sub(1, Ordering::SeqCst);
        self.pass().into_iter().for_each(|pass| pass.leave());
        for owner in self.own.iter().flat_map(|own| own.owners.iter().flatten()) {
            self.counts.leave(owner);
        }
    }
}

/// What is one permit's own.
#[derive(Debug, Default)]
struct Own {
    owners: [Option<Owner>; 3],
    pass: Option<Arc<Pass>>,
}
