//! Delivery times as a histogram: small, and those of several processes can be added.
//! Must not know: whose deliveries.

use serde::{Deserialize, Serialize};

/// Counts per bucket; buckets are exact to 64 µs, then about 3 % wide.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Lag {
    counts: Vec<u64>,
}

impl Lag {
    pub fn add(&mut self, microseconds: u64) {
        let bucket = bucket(microseconds);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        self.counts.resize(self.counts.len().max(other.counts.len()), 0);
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }

    /// Milliseconds that this share (0 to 1) of the deliveries did not exceed.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let rank = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && seen > 0 {
                return lower_bound(bucket) as f64 / 1000.0;
            }
        }
        0.0
    }
}

/// 32 buckets for every doubling.
fn bucket(microseconds: u64) -> usize {
    if microseconds < 64 {
        return microseconds as usize;
    }
    let shift = microseconds.ilog2() - 5;
    shift as usize * 32 + (microseconds >> shift) as usize
}

fn lower_bound(bucket: usize) -> u64 {
    if bucket < 64 {
        return bucket as u64;
    }
    let shift = (bucket - 32) / 32;
    ((bucket - shift * 32) as u64) << shift
}
