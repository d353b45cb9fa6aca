//! Requests in progress (contract §12, `limits.requests`): until the head of their answer is sent and their body is
//! read. Clients that follow have a permit instead, and downloads that flow hold little.
//!
//! Must not know: what a request asks for.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use crate::config::Limits;
use crate::metrics::RefusalReason;

/// All requests in progress.
#[derive(Debug, Default)]
pub struct Progress {
    all: AtomicUsize,
    by_address: DashMap<IpAddr, usize>,
}

/// One request in progress.
#[derive(Debug)]
pub(super) struct InProgress {
    progress: Arc<Progress>,
    /// Where its address counts.
    address: Option<IpAddr>,
}

impl Progress {
    /// Counts one more request. `address`: what counts as its client's.
    ///
    /// # Errors
    /// The limit that leaves no room, as metrics say it.
    pub(super) fn enter(
        self: &Arc<Self>,
        limits: &Limits,
        address: Option<IpAddr>,
    ) -> Result<InProgress, RefusalReason> {
        let before = self.all.fetch_add(1, Ordering::Relaxed);
        let mut entered = InProgress { progress: self.clone(), address: None };
        if before >= limits.requests {
            return Err(RefusalReason::Requests);
        }
        if let Some((most, address)) = limits.requests_per_address.zip(address) {
            let mut count = self.by_address.entry(address).or_default();
            *count += 1;
            let is_full = *count > most;
            drop(count);
            entered.address = Some(address);
            if is_full {
                return Err(RefusalReason::AddressRequests);
            }
        }
        Ok(entered)
    }

    /// Returns the same counts, which go on by themselves: what enters there counts nowhere else.
    pub(super) fn copy(&self) -> Progress {
        let all = AtomicUsize::new(self.all.load(Ordering::Relaxed));
        Progress { all, by_address: self.by_address.clone() }
    }

    /// Requests in progress now.
    pub fn count(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.progress.all.fetch_sub(1, Ordering::Relaxed);
        if let Some(address) = self.address {
            if let Some(mut count) = self.progress.by_address.get_mut(&address) {
                *count -= 1;
            }
            self.progress.by_address.remove_if(&address, |_, count| *count == 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_counts_what_has_not_ended() {
        let progress = Arc::new(Progress::default());
        let limits = Limits { requests: 3, requests_per_address: Some(2), ..Limits::default() };
        let of = |text: &str| Some(text.parse().unwrap());
        let first = progress.enter(&limits, of("192.0.2.1")).unwrap();
        let second = progress.enter(&limits, of("192.0.2.1")).unwrap();
        assert_eq!(progress.enter(&limits, of("192.0.2.1")).err(), Some(RefusalReason::AddressRequests));
        let third = progress.enter(&limits, of("192.0.2.2")).unwrap();
        assert_eq!(progress.enter(&limits, None).err(), Some(RefusalReason::Requests));
        drop(first);
        assert!(progress.enter(&limits, of("192.0.2.1")).is_ok());
        drop((second, third));
        assert_eq!((progress.count(), progress.by_address.len()), (0, 0));
    }
}
