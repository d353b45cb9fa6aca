//! The fields that resources were seen to vary by, so that the next key has their values at once (contract §11).
//!
//! Must not know: which names choose, how a key is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use http::HeaderName;

use crate::metrics::Metrics;
use crate::resource::ResourceKey;

/// Most memory of keys, which clients choose, and of names, which upstreams do.
const BYTES_MAX: usize = 16 << 20;

/// The names of a resource's own Vary, by its key without their values.
pub struct VaryMemory {
    known: DashMap<ResourceKey, Arc<[HeaderName]>>,
    bytes: AtomicUsize,
    /// Resources that are remembered.
    most: AtomicUsize,
    bytes_max: usize,
    /// What is known there is known here. Nothing is noted in it.
    beneath: Option<Arc<VaryMemory>>,
}

impl VaryMemory {
    /// `most`: as many as there may be resources.
    pub fn new(most: usize) -> VaryMemory {
        let most = AtomicUsize::new(most);
        let (known, bytes) = (DashMap::new(), AtomicUsize::new(0));
        VaryMemory { known, bytes, most, bytes_max: BYTES_MAX, beneath: None }
    }

    /// Returns a memory that knows what `beneath` knows, and keeps for itself what is noted in it.
    pub(super) fn above(beneath: &Arc<VaryMemory>) -> VaryMemory {
        let most = beneath.most.load(Ordering::Relaxed);
        VaryMemory { beneath: Some(beneath.clone()), ..VaryMemory::new(most) }
    }

    /// From now on as many are remembered as there may be resources.
    pub fn resize(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    pub(super) fn get(&self, base: &ResourceKey) -> Option<Arc<[HeaderName]>> {
        let known = self.known.get(base).map(|names| names.clone());
        known.or_else(|| self.beneath.as_ref()?.get(base))
    }

    /// Remembers the names of a resource. Where there is no room everything is forgotten: each resource tells again.
    pub(super) fn insert(&self, base: &ResourceKey, names: &[HeaderName], metrics: &Metrics) {
        let bytes = weight(base, names);
        let held = self.bytes.load(Ordering::Relaxed);
        if self.known.len() >= self.most.load(Ordering::Relaxed) || held + bytes > self.bytes_max {
            self.known.clear();
            self.bytes.store(0, Ordering::Relaxed);
            metrics.vary_forgotten.inc();
        }
        if bytes > self.bytes_max {
            return;
        }
        let before = self.known.insert(base.clone(), names.into());
        let before = before.map_or(0, |names| weight(base, &names));
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // Another thread may have forgotten everything meanwhile.
        let _ = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held.saturating_sub(before)));
    }
}

fn weight(base: &ResourceKey, names: &[HeaderName]) -> usize {
    let names: usize = names.iter().map(|name| size_of::<HeaderName>() + name.as_str().len()).sum();
    base.weight() + names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::route::key;

    fn held(memory: &VaryMemory) -> (usize, usize) {
        let real: usize = memory.known.iter().map(|entry| weight(entry.key(), entry.value())).sum();
        (memory.bytes.load(Ordering::Relaxed), real)
    }

    #[test]
    fn memory_is_bound_in_bytes_however_long_the_paths_are() {
        let metrics = Metrics::new().unwrap();
        let memory = VaryMemory { bytes_max: 64 << 10, ..VaryMemory::new(1000) };
        let name = [HeaderName::from_static("x-a")];
        for n in 0..100 {
            memory.insert(&key(&format!("/{n}/{}", "a".repeat(8000))), &name, &metrics);
            let (counted, real) = held(&memory);
            assert_eq!(counted, real);
            assert!(real <= 64 << 10);
        }
        assert!(metrics.vary_forgotten.get() > 5);
        memory.insert(&key(&format!("/{}", "a".repeat(80_000))), &name, &metrics);
        assert!(memory.known.is_empty(), "one that is too long by itself is not remembered");
    }

    #[test]
    fn newer_names_replace_older_ones() {
        let metrics = Metrics::new().unwrap();
        let memory = VaryMemory::new(10);
        let base = key("/a");
        memory.insert(&base, &[HeaderName::from_static("x-a"), HeaderName::from_static("x-b")], &metrics);
        memory.insert(&base, &[HeaderName::from_static("x-c")], &metrics);
        assert_eq!(memory.get(&base).as_deref(), Some(&[HeaderName::from_static("x-c")][..]));
        let (counted, real) = held(&memory);
        assert_eq!(counted, real);
    }
}
