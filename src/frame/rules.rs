//! What a route says about encoding, and the count of what was compressed.
//!
//! Must not know: a format.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Route;

/// What a route says about encoding.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// SSE `event:` of snapshots.
    pub event_name: Option<String>,
    /// Bodies that are not text go out as base64.
    pub base64: bool,
    /// A patch larger than this part of the body is not worth sending.
    pub patch_max_ratio: f64,
    /// Bodies smaller than this are not compressed, bytes.
    pub compress_min: usize,
    /// Counts what was compressed.
    pub compressions: Arc<Compressions>,
}

impl Rules {
    /// Those of a route.
    pub fn of(route: &Route, compressions: &Arc<Compressions>) -> Rules {
        Rules {
            event_name: route.event_name.clone(),
            base64: route.base64,
            patch_max_ratio: route.delta.patch_max_ratio,
            compress_min: route.compress_min,
            compressions: compressions.clone(),
        }
    }

    /// Counts what was just made.
    pub(super) fn compressed<T>(&self, made: Option<T>, weight: impl Fn(&T) -> usize) -> Option<T> {
        if let Some(made) = &made {
            self.compressions.count.fetch_add(1, Ordering::Relaxed);
            self.compressions.bytes.fetch_add(weight(made) as u64, Ordering::Relaxed);
        }
        made
    }
}

/// How often something was compressed, whatever the number of clients, and what came of it.
#[derive(Debug, Default)]
pub struct Compressions {
    /// Forms that were made.
    pub count: AtomicU64,
    /// Bytes of all forms that were made.
    pub bytes: AtomicU64,
}
