//! Budgets of upstreams that all nodes use together: tokens from the engine, parts by what each node polls, and what an upstream
//! says of its own quota to one of them (contract §13).
//!
//! Must not know: how turns are handed out, what is asked.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;

use super::message::UpstreamSaid;
use super::node::Node;
use super::seal::Name;
use crate::upstream::schedule::Quota;
use crate::upstream::{Bucket, Common, Fetched, Gate, Share};

/// The longest that a quota of another node's is believed.
const QUOTA_RESET_MAX: Duration = Duration::from_secs(600);

/// The bucket of one upstream in the engine.
struct InEngine {
    node: Weak<Node>,
    name: Name,
    /// The upstream's name in the configuration: a label.
    upstream: String,
}

#[async_trait]
impl Common for InEngine {
    async fn take(&self, bucket: Bucket, count: u32) -> Option<Fetched> {
        let node = self.node.upgrade()?;
        let taken = node.engine.take(&self.name, bucket.rate, bucket.burst, count).await.ok()?;
        node.metrics.tokens.with_label_values(&[&self.upstream]).inc_by(taken.granted.into());
        Some(Fetched { granted: taken.granted, wait: taken.wait })
    }
}

impl Node {
    /// The name of an upstream in the engine.
    pub(super) fn upstream_name(&self, upstream: &str) -> Name {
        self.secret.name([&b"upstream"[..], upstream.as_bytes()])
    }

    /// Has these gates, and no others, use their budgets together with other nodes.
    pub(super) fn share_budgets(self: &Arc<Self>, gates: Vec<(String, Arc<Gate>)>) {
        let shared = gates.into_iter().map(|(upstream, gate)| {
            let name = self.upstream_name(&upstream);
            gate.join(Arc::new(InEngine { node: Arc::downgrade(self), name, upstream }));
            (name, gate)
        });
        let shared = shared.collect();
        *self.budgets.write() = shared;
        self.divide_budgets();
    }

    /// Gives each gate its part, by what this node and the others poll.
    pub(super) fn divide_budgets(&self) {
        let budgets = self.budgets.read().clone();
        let shares: Vec<Share> = {
            let state = self.state.lock();
            let own = &state.seats.by_upstream;
            let nodes = u32::try_from(state.members.count()).unwrap_or(u32::MAX).max(1);
            // Until the engine was there or could not be had, nothing is known of it.
            let is_common = state.is_connected || state.losses == 0;
            let share = |(name, _): &(Name, Arc<Gate>)| {
                let own = own.get(&name.number()).copied().unwrap_or_default();
                let others = state.told.values().flat_map(|(beat, _)| &beat.upstreams);
                let others = others.filter(|said| said.upstream == name.number()).map(|said| said.seats);
                let all = others.fold(own, u64::saturating_add);
                Share { is_common, nodes, own, all }
            };
            budgets.iter().map(share).collect()
        };
        budgets.iter().zip(shares).for_each(|((_, gate), share)| gate.divide(share));
    }

    /// What this node says of its upstreams.
    pub(super) fn upstreams_said(&self) -> Vec<UpstreamSaid> {
        let own = self.state.lock().seats.by_upstream.clone();
        let said = self.budgets.read().clone().into_iter().map(|(name, gate)| UpstreamSaid {
            upstream: name.number(),
            seats: own.get(&name.number()).copied().unwrap_or_default(),
            quota: gate.take_said().map(|quota| (quota.remaining, quota.reset)),
        });
        said.filter(|said| said.seats > 0 || said.quota.is_some()).collect()
    }

    /// Another node was told of these quotas.
    pub(super) fn hear_quotas(&self, said: &[UpstreamSaid]) {
        let budgets = self.budgets.read().clone();
        for UpstreamSaid { upstream, quota, .. } in said {
            let Some((remaining, reset)) = *quota else { continue };
            if let Some((_, gate)) = budgets.iter().find(|(name, _)| name.number() == *upstream) {
                gate.hear(Quota { remaining, reset: reset.min(QUOTA_RESET_MAX) });
            }
        }
    }
}
