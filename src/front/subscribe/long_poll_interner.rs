//! What held long-polls have in common: one copy for all of a kind.
//!
//! Must not know: how a request is held.

use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};

use lru::LruCache;
use parking_lot::Mutex;

use crate::resource::ResourceKey;
use crate::transport::Common;

/// Kinds of held requests that are remembered, the latest of a resource each.
const KINDS_MAX: usize = 4096;

/// What held requests have in common, by resource: clients of one kind share one copy.
pub struct LongPollInterner(Mutex<LruCache<ResourceKey, Weak<Common>>>);

impl Default for LongPollInterner {
    fn default() -> Self {
        LongPollInterner(Mutex::new(LruCache::new(NonZeroUsize::new(KINDS_MAX).unwrap_or(NonZeroUsize::MIN))))
    }
}

impl LongPollInterner {
    /// The copy that is there already, or this one.
    pub(super) fn intern(&self, common: Common) -> Arc<Common> {
        let mut known = self.0.lock();
        let same = known.get(&common.key).and_then(Weak::upgrade).filter(|same| **same == common);
        same.unwrap_or_else(|| {
            let common = Arc::new(common);
            known.put(common.key.clone(), Arc::downgrade(&common));
            common
        })
    }
}
