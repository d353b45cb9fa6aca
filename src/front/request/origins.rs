//! Origins whose answers are for all origins.
//!
//! Must not know: how a key is made of that.

use dashmap::DashMap;
use http::HeaderValue;

use crate::resource::ResourceKey;

/// Origins that were answered with `Access-Control-Allow-Origin: *`, by the key without them: what one of them gets is
/// for all others, too. At most `limits.resources`.
#[derive(Default)]
pub struct Origins(pub(super) DashMap<ResourceKey, HeaderValue>);

impl Origins {
    pub(super) fn note(&self, base: &ResourceKey, origin: &HeaderValue, count_max: usize) {
        if self.0.len() >= count_max {
            self.0.clear();
        }
        self.0.insert(base.clone(), origin.clone());
    }
}
