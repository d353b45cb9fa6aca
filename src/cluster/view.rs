//! What people are shown of the cluster: the nodes, and what this one is for each resource.
//!
//! Must not know: how it is shown.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Others;
use super::naming;
use super::node::State;
use super::resource_counts::role_place;
pub use super::unshared::Unshared;
use crate::config::Route;
use crate::metrics::ROLES;
use crate::poll::backplane::{Order, Role};
use crate::resource::ResourceKey;

/// Digits of a session by which a node is called that has not said its name.
const UNNAMED_CHARS: usize = 6;

/// The cluster as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// What people call this node.
    pub node: String,
    /// The nodes that live, this one first. While the engine is lost: those that lived.
    pub members: Vec<MemberView>,
    /// For how long the engine has been lost. `None` while it can be had.
    pub alone_for: Option<Duration>,
    /// An operator had this node leave: it holds only what no other node has a client for.
    pub has_left: bool,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// What people call it.
    pub node: String,
    /// The version of pollcast. `None` until the node has said it.
    pub build: Option<String>,
    /// How many resources it holds. `None` until the node has said it.
    pub seats: Option<u64>,
    /// How long ago it said that it lives. `None` if this node has not heard it yet.
    pub beat_ago: Option<Duration>,
    /// It gives up what it holds.
    pub is_leaving: bool,
}

/// What this node is for a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceView {
    /// One of [`ROLES`].
    pub role: &'static str,
    /// The node that polls it for all. `None` if this node polls it for itself, or no node holds it.
    pub holder: Option<String>,
    /// The content that is stored, as far as is known here. `None` before the first one.
    pub order: Option<Order>,
    /// For how long the holder has had a newer content than this node. Of mirrors only.
    pub behind: Option<Duration>,
    /// Why the nodes do not share it. `None` if they do.
    pub unshared: Option<Unshared>,
}

impl Others {
    /// The cluster as this node knows it.
    pub fn view(&self) -> ClusterView {
        let node = &self.node;
        let has_left = node.is_leaving.load(Ordering::Acquire);
        let state = node.state.lock();
        let is_held = |role: Role| matches!(role, Role::Holder { .. });
        let seats = state.resources.values().filter(|resource| is_held(resource.state.lock().role)).count();
        let own = MemberView {
            node: node.name(),
            build: Some(env!("CARGO_PKG_VERSION").to_owned()),
            seats: Some(seats as u64),
            beat_ago: state.renewed_ago(),
            is_leaving: has_left,
        };
        let is_own = |session: &str| node_of(session) == node_of(&state.session);
        let others = state.members.sessions().filter(|session| !is_own(session));
        let others = others.map(|session| member(&state, session));
        ClusterView {
            node: own.node.clone(),
            members: std::iter::once(own.clone()).chain(others).collect(),
            alone_for: state.lost_since.map(|since| since.elapsed()),
            has_left,
        }
    }

    /// Why a resource is not shared, as far as its key and its route say. `None` if they say nothing against it.
    pub(super) fn unshared(&self, key: &ResourceKey, route: &Route) -> Option<Unshared> {
        if !route.clustered {
            return Some(Unshared::Off);
        }
        (key.is_private() && !self.node.settings.shares_private).then_some(Unshared::Private)
    }

    /// What this node is for a resource.
    pub fn resource(&self, key: &ResourceKey, route: &Arc<Route>) -> ResourceView {
        let view = |role: Role, unshared| ResourceView {
            role: ROLES[role_place(role)],
            holder: None,
            order: None,
            behind: None,
            unshared,
        };
        let unshared = self.unshared(key, route);
        if unshared.is_some() {
            return view(Role::Alone, unshared);
        }
        let Some(fingerprint) = self.node.fingerprint(route.index) else { return view(Role::Alone, None) };
        let parts = naming::parts(key, &fingerprint);
        let name = self.node.secret.name(parts.iter().map(Vec::as_slice));
        let state = self.node.state.lock();
        // One that no loop attends to: its last client has just left.
        let Some(resource) = state.resources.get(&name) else { return view(Role::Waiting, None) };
        let resource = resource.state.lock();
        let holder = match resource.role {
            Role::Holder { .. } => Some(self.node.name()),
            Role::Mirror if !resource.holder.is_empty() => Some(name_of(&state, &resource.holder)),
            _ => None,
        };
        let behind = resource.behind_since.map_or(Duration::ZERO, |since| since.elapsed());
        ResourceView {
            holder,
            order: (resource.order != Order::default()).then_some(resource.order),
            behind: (resource.role == Role::Mirror).then_some(behind),
            ..view(resource.role, resource.apart)
        }
    }
}

/// The part of a session that stays the same as long as the node runs.
fn node_of(session: &str) -> &str {
    session.split('.').next().unwrap_or_default()
}

/// What people call the node of a session.
fn name_of(state: &State, session: &str) -> String {
    match state.told.get(session) {
        Some((beat, _)) => beat.node.clone(),
        None => session.chars().take(UNNAMED_CHARS).collect(),
    }
}

fn member(state: &State, session: &str) -> MemberView {
    let told = state.told.get(session);
    MemberView {
        node: name_of(state, session),
        build: told.map(|(beat, _)| beat.build.clone()),
        seats: told.map(|(beat, _)| beat.seats),
        beat_ago: told.map(|(_, at)| Instant::now().duration_since(*at)),
        is_leaving: !state.members.stays(session),
    }
}
