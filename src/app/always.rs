//! Resources that are polled without subscribers (`poll.always`).
//!
//! Must not know: requests.

use std::collections::HashMap;
use std::sync::Arc;

use crate::front::Shared;
use crate::hub::{Attend, Attendance};
use crate::resource::{KeyParts, ResourceKey};

/// Attends to the resources of `always` routes, and to no others, until the next configuration. By the numbers of the
/// routes.
pub(super) fn follow(shared: &Arc<Shared>, attended: &mut HashMap<usize, Attendance>) {
    let routes = shared.config.routes.iter().filter(|route| route.poll.always && route.polled);
    let always: HashMap<usize, _> = routes.map(|route| (route.index, route)).collect();
    // One that was closed is attended to anew.
    attended.retain(|number, attendance| always.contains_key(number) && !attendance.topic().is_closed());
    for (number, route) in always {
        if attended.contains_key(&number) {
            continue;
        }
        let key = ResourceKey::new(KeyParts {
            route: number,
            proto: if shared.config.listeners.iter().any(|l| l.tls.is_none()) { "http" } else { "https" },
            host: None,
            path: route.path.clone(),
            query: None,
            class: Vec::new(),
            vary: Vec::new(),
        });
        let start = |publisher| drop(shared.relay.start(publisher));
        if let Ok(attendance) = shared.hub.attend(&key, route, Attend::Visit, start) {
            attended.insert(number, attendance);
        }
    }
}
