//! `routes` and `defaults`: each route starts from the defaults and adds what it says itself.
//!
//! Must not know: what the settings of a route mean one by one.

use std::sync::Arc;

use super::super::problem::{Findings, Place};
use super::super::{Listener, Plain, Route, Upstream, raw, says_credential};
use super::context::{Context, upstream_named};
use super::value::at;
use super::{listeners, paths, settings, upstream_path};

/// Reads `routes`, each on top of `defaults`.
pub fn routes(
    file: &raw::File,
    context: &Context<'_>,
    public_prefix: &str,
    findings: &mut Findings,
) -> Vec<Arc<Route>> {
    // Never leaves this function: it stands in where the upstream is unknown, which has been told.
    let nowhere = Arc::new(Upstream::unsaid(""));
    let mut base = Route::unsaid(nowhere.clone());
    let (place, defaults) = at!(Place::root(), file.defaults);
    if let Some(defaults) = defaults {
        settings::apply(&place, defaults, context, &mut base, findings);
    }
    let default_timeout = defaults.is_some_and(says_timeout);
    let default_plain = defaults.is_some_and(|defaults| defaults.plain.is_some());
    let (place, Some(said)) = at!(Place::root(), file.routes) else {
        return Vec::new();
    };
    let mut patterns = paths::Patterns::default();
    let mut routes = Vec::with_capacity(said.len());
    for (index, raw) in said.iter().enumerate() {
        let (place, Some(raw)) = (place.index(index), raw) else {
            continue;
        };
        let mut route = Route { index, ..base.clone() };
        listeners::hosts(at!(place, raw.hosts), &mut route.hosts, findings);
        path(&place, raw, public_prefix, &mut patterns, &mut route, findings);
        upstream_path::apply(at!(place, raw.upstream_path), &mut route, findings);
        let (upstream_place, name) = at!(place, raw.upstream);
        let upstream =
            name.and_then(|name| upstream_named(&upstream_place, &name.0, context.upstreams, findings));
        route.upstream = upstream.unwrap_or_else(|| nowhere.clone());
        if !default_timeout {
            route.poll.timeout = route.upstream.total_timeout;
        }
        if !default_plain {
            route.plain = Plain::of_path(&route.path);
        }
        settings::apply(&place, &raw.settings, context, &mut route, findings);
        if paths::has_escaped_slash(&route.path) && !route.exact_spelling {
            let message = "has an escaped slash, which servers read differently; say spelling: exact if this API \
                           takes it for a part of a name";
            findings.bad(&place.key("path"), &route.path, message);
        }
        settings::together(&place, &raw.settings, &mut route, findings);
        upstream_path::together(&place, &route, findings);
        routes.push(Arc::new(route));
    }
    routes
}

fn says_timeout(settings: &raw::RouteSettings) -> bool {
    matches!(&settings.poll, Some(raw::PollSetting::On(poll)) if poll.timeout.is_some())
}

fn path(
    place: &Place,
    raw: &raw::Route,
    public_prefix: &str,
    patterns: &mut paths::Patterns,
    route: &mut Route,
    findings: &mut Findings,
) {
    let (place, Some(said)) = at!(place, raw.path) else {
        return;
    };
    route.path = said.0.clone();
    if let Err(message) = paths::parameters(&said.0) {
        findings.bad(&place, &said.0, message);
        return;
    }
    if said.0.starts_with(public_prefix) {
        findings.bad(
            &place,
            &said.0,
            &format!("is under public_prefix ({public_prefix}), which is pollcast's own"),
        );
    }
    patterns.add(&place, &said.0, &route.hosts, route.index, findings);
}

/// Polls say the Host of the client where nothing fixes it: what is the operator's must not go wherever a client
/// says (contract §12).
pub fn secrets_have_a_host(routes: &[Arc<Route>], listeners: &[Listener], findings: &mut Findings) {
    if listeners.iter().all(|listener| !listener.hosts.is_empty()) {
        return;
    }
    let leads = |route: &&Arc<Route>| route.polled && route.upstream.host.is_none() && route.hosts.is_empty();
    for route in routes.iter().filter(leads) {
        let name = &route.upstream.name;
        let cure = format!(
            "say upstreams.{name}.host, or hosts on every listener (or on this route), so that polls go to a host \
             of yours only"
        );
        let place = Place::root().key("routes").index(route.index).key("poll");
        if route.poll.auth.is_some() {
            findings.problem(
                &place.key("auth"),
                format!("would be sent to whatever host a client names: {cure}"),
            );
        }
        if route.upstream.tls.as_ref().is_some_and(|tls| tls.identity.is_some()) {
            let message = format!(
                "show the certificate of upstreams.{name}.tls.cert for whatever host a client names: {cure}"
            );
            findings.problem(&place, message);
        }
        let (secret, other): (Vec<_>, Vec<_>) =
            route.poll.headers.iter().map(|(name, _)| name.as_str()).partition(|name| says_credential(name));
        let place = place.key("headers");
        if let Some(header) = secret.first() {
            let message = format!("{header:?} would be sent to whatever host a client names: {cure}");
            findings.problem(&place, message);
        } else if let Some(header) = other.first() {
            findings.warning(&place, format!("{header:?} is sent to whatever host a client names: {cure}"));
        }
    }
}
