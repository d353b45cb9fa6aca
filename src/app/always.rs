//! Resources that are polled without subscribers (`poll.always`).
//!
//! Must not know: requests.

use std::sync::Arc;

use crate::config::Route;
use crate::front::Shared;
use crate::hub::{Attend, Attendance};
use crate::resource::{KeyParts, ResourceKey};

/// Attends to the resources of `always` routes for as long as the application runs.
pub(super) fn attend(shared: &Arc<Shared>) -> Vec<Attendance> {
    let routes = shared.config.routes.iter().filter(|route| route.poll.always);
    let attend = |route: &Arc<Route>| {
        let key = ResourceKey::new(KeyParts {
            route: route.index,
            proto: if shared.config.listeners.iter().any(|l| l.tls.is_none()) { "http" } else { "https" },
            host: None,
            path: route.path.clone(),
            query: None,
            class: Vec::new(),
            vary: Vec::new(),
        });
        let start = |publisher| drop(shared.relay.start(publisher));
        shared.hub.attend(&key, route, Attend::Visit, start).ok()
    };
    routes.filter_map(attend).collect()
}
