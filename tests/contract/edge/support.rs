//! Configurations for the tests of the edge: one upstream, `/r/{name}` covered, the rest passed through.
//!
//! Must not know: what the tests claim.

use std::net::SocketAddr;

use pollcast::app::App;

use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::Legacy;

/// What a test's configuration says beyond the least; each is YAML flow style that begins with a comma, or empty.
#[derive(Clone, Copy, Default)]
pub struct Extra<'a> {
    pub listener: &'a str,
    pub upstream: &'a str,
    pub route: &'a str,
    /// Whole lines.
    pub top: &'a str,
}

/// A configuration with this listener and admin address.
pub fn yaml_at(upstream: SocketAddr, address: &str, admin: &str, extra: Extra<'_>) -> String {
    format!(
        "listeners: [{{address: '{address}'{}}}]\n\
         admin: {{address: '{admin}'}}\n\
         upstreams: {{legacy: {{servers: ['{upstream}']{}}}}}\n\
         passthrough: legacy\n\
         defaults: {{poll: {{interval: 100ms, backoff: {{min: 100ms, max: 300ms}}}}}}\n\
         routes: [{{path: '/r/{{name}}', upstream: legacy{}}}]\n{}\n",
        extra.listener, extra.upstream, extra.route, extra.top
    )
}

/// The same on free ports.
pub fn yaml(legacy: &Legacy, extra: Extra<'_>) -> String {
    yaml_at(legacy.address(), "127.0.0.1:0", "127.0.0.1:0", extra)
}

/// pollcast in front of this legacy API, `/r/{name}` with these keys.
pub fn start(legacy: &Legacy, route: &str) -> App {
    start_with(legacy, Extra { route, ..Extra::default() })
}

pub fn start_with(legacy: &Legacy, extra: Extra<'_>) -> App {
    app::start(&yaml(legacy, extra))
}

/// The configuration of the real binary, for `Process`.
pub fn process_yaml(legacy: &Legacy, extra: Extra<'_>) -> String {
    yaml_at(legacy.address(), "PUBLIC_ADDRESS", "ADMIN_ADDRESS", extra)
}

/// A connection to the first listener.
pub async fn http(app: &App) -> Http {
    Http::connect(app.addresses()[0]).await
}

/// A connection to the admin listener.
pub async fn admin(app: &App) -> Http {
    Http::connect(app.admin_address().expect("the test's configuration has one")).await
}
