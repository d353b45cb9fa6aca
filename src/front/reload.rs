//! What the rooms of `front` remember between requests, after a reload.
//!
//! Must not know: how a generation is made.

use super::services::Shared;

impl Shared {
    /// Has what is remembered follow the configuration of this generation, and ends the streams of those whose keys are good
    /// no longer. To be called again once no request of an older generation is left: one of them may have been let in
    /// meanwhile.
    pub fn follow(&self) {
        let config = &self.config;
        self.vary.resize(config.limits.resources);
        self.checks.resize(config.limits.clients);
        self.new_keys.keep(|number| config.routes.iter().any(|route| route.index == number));
        let revoked = self.subjects.revoke_keys(&config.routes);
        if revoked > 0 {
            tracing::info!(revoked, "keys were removed or changed: the streams of their clients end");
            self.fanout.expel();
        }
    }
}
