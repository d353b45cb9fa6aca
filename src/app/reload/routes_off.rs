//! Routes that an operator switches off until the next reload, or on again: a generation that differs from the one before
//! in nothing else.
//!
//! No file is read for it, so that none can stand in the way. Must not know: how operators ask.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Reloader, State, generation};
use crate::admin::{NotSwitched, Switched};
use crate::config::{Config, Route};
use crate::hub::{Closing, Ended};

impl Reloader {
    /// Switches all routes with this path, as it stands in the file, on or off. One that is so already stays as it is.
    ///
    /// # Errors
    /// There is no such route, or it cannot be switched. Then nothing was changed.
    pub(in crate::app) fn switch(&self, path: &str, on: bool) -> Result<Switched, NotSwitched> {
        let mut state = self.state.lock();
        if state.shared.is_draining() {
            return Err(NotSwitched::Draining);
        }
        let before = state.shared.config.clone();
        let meant: Vec<_> = before.routes.iter().filter(|route| route.path == path).collect();
        if meant.is_empty() {
            let known: HashSet<String> = before.routes.iter().map(|route| route.path.clone()).collect();
            return Err(NotSwitched::Unknown(known.into_iter().collect()));
        }
        if meant.iter().all(|route| !route.polled && route.switched_off.is_none()) {
            return Err(NotSwitched::Configured);
        }
        let switched: HashSet<usize> =
            meant.iter().filter(|route| differs(route, on)).map(|route| route.index).collect();
        if switched.is_empty() {
            return Ok(Switched { routes: 0, ended: Ended::default() });
        }
        let config = state.switched(&before, &switched, on);
        let made = generation::of_routes(&state.shared, config, &self.cluster)
            .map_err(|error| NotSwitched::Failed(error.to_string()))?;
        let ended = state.put_in_place(made, self, |number| match switched.contains(&number) {
            true => Closing::SwitchedOff,
            false => Closing::Reconfigured,
        });
        self.status.lock().counts(state.shared.generation);
        Ok(Switched { routes: switched.len(), ended })
    }
}

impl State {
    /// The configuration with the routes of these numbers switched. Each gets a number that none has had: what an earlier
    /// request makes of the old one ends.
    fn switched(&mut self, before: &Config, numbers: &HashSet<usize>, on: bool) -> Config {
        let mut config = before.clone();
        for route in config.routes.iter_mut().filter(|route| numbers.contains(&route.index)) {
            let route = Arc::make_mut(route);
            route.index = self.next_route;
            self.next_route += 1;
            route.polled = on;
            route.switched_off = (!on).then(SystemTime::now);
        }
        config
    }
}

/// Whether the switch changes anything of a route. One that the file has off is none of the switch's.
fn differs(route: &Route, on: bool) -> bool {
    match on {
        true => route.switched_off.is_some(),
        false => route.polled,
    }
}
