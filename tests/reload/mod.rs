//! The running process takes a new configuration, and no stream that it still allows notices.
//!
//! | module | claim it holds |
//! |---|---|
//! | `streams` | streams of routes that mean the same go on, on each transport; others end with their reason |
//! | `settings` | intervals, limits, credentials and upstreams change in place; what connections remember is void |
//! | `process` | signal, call and watch; a wrong file changes nothing; what needs a restart is named |
//! | `repeated` | reloads there and back, and many of them under load: nothing is lost, repeated or left behind |

mod process;
mod repeated;
mod settings;
mod streams;

use std::path::Path;

use pollcast::app::{App, Report};

use crate::support::app;
use crate::support::legacy::Legacy;

/// Polls follow each other as fast as they may.
const FAST: &str = "poll: {interval: 100ms}";

/// pollcast in front of a legacy API, whose configuration changes.
struct Stand {
    legacy: Legacy,
    app: App,
}

impl Stand {
    /// `routes`: one a line.
    fn start(routes: &[&str]) -> Stand {
        let legacy = Legacy::start();
        let app = app::start(&config(&legacy, routes, ""));
        Stand { legacy, app }
    }

    fn address(&self) -> std::net::SocketAddr {
        self.app.addresses()[0]
    }

    /// Takes these routes in the place of the others.
    fn reload(&self, routes: &[&str]) -> Report {
        self.reload_with(routes, "")
    }

    /// The same with more keys of the file.
    fn reload_with(&self, routes: &[&str], top: &str) -> Report {
        let yaml = config(&self.legacy, routes, top);
        let config = pollcast::config::load_str(&yaml, "new.yaml", Path::new("."));
        let config = config.unwrap_or_else(|problems| panic!("{problems}\n{yaml}"));
        self.app.reconfigure(config)
    }
}

/// The text of a configuration. Each of `routes` is the keys of one besides its upstream.
fn config(legacy: &Legacy, routes: &[&str], top: &str) -> String {
    let routes = routes.iter().map(|route| format!("- {{upstream: legacy, {route}}}\n"));
    format!(
        "listeners: [{{address: '127.0.0.1:0', http2: true}}]\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         log: {{access: false}}\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         routes:\n{}{top}\n",
        legacy.address(),
        routes.collect::<String>()
    )
}
