//! How many requests pass through to one upstream at a time.
//!
//! Must not know: requests, what one without a place is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The places of one upstream.
#[derive(Debug)]
pub struct InFlight {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// A place for one request. It is free again when this is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl InFlight {
    /// `most` is `None` if there is no bound.
    pub fn new(most: Option<usize>) -> InFlight {
        InFlight { taken: Arc::default(), most: most.unwrap_or(usize::MAX) }
    }

    /// Takes a place, if there is one.
    pub fn enter(&self) -> Option<Place> {
        let more = |taken: usize| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Place(self.taken.clone()))
    }

    /// Whether there is a place.
    pub fn has_room(&self) -> bool {
        self.count() < self.most
    }

    /// Returns how many requests have a place.
    pub fn count(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_request_is_over() {
        let in_flight = InFlight::new(Some(2));
        let (first, _second) = (in_flight.enter().unwrap(), in_flight.enter().unwrap());
        assert!(in_flight.enter().is_none());
        drop(first);
        assert!(in_flight.enter().is_some());
        let open = InFlight::new(None);
        let all: Vec<_> = (0..1000).filter_map(|_| open.enter()).collect();
        assert_eq!(all.len(), 1000);
    }
}
