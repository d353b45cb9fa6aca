//! One client's permit: what it counts for, and what the client stays by.
//!
//! Must not know: what a refused client is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::client_limit::{ClientCounts, Owner};
use super::entitlement::{Entitlement, Revocable};
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
    /// The same permit for a client that stays as long as it is entitled to.
    #[must_use]
    pub fn with_entitlement(mut self, entitlement: Arc<Entitlement>) -> ClientPermit {
        self.own.get_or_insert_default().entitlement = Some(entitlement);
        self
    }

    /// The same permit for a client that stays no longer than this is unrevoked.
    #[must_use]
    pub fn until_revoked(self, revocable: Arc<Revocable>) -> ClientPermit {
        match self.entitlement() {
            Some(entitlement) => {
                entitlement.add(None, Some(revocable));
                self
            }
            None => self.with_entitlement(Entitlement::new(None, vec![revocable])),
        }
    }

    /// What the client stays by; `None` if that cannot end.
    pub fn entitlement(&self) -> Option<&Arc<Entitlement>> {
        self.own.as_ref()?.entitlement.as_ref()
    }
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        self.counts.all.fetch_sub(1, Ordering::SeqCst);
        self.entitlement().into_iter().for_each(|entitlement| entitlement.leave());
        for owner in self.own.iter().flat_map(|own| own.owners.iter().flatten()) {
            self.counts.leave(owner);
        }
    }
}

/// What is one permit's own.
#[derive(Debug, Default)]
struct Own {
    owners: [Option<Owner>; 3],
    entitlement: Option<Arc<Entitlement>>,
}
