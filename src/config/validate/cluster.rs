//! `cluster`: the engine, how it is reached, and what goes badly with routes.
//!
//! Must not know: engines.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::problem::{Findings, Place};
use super::super::{Cluster, ClusterEngine, Route, Secret, SecretForm, WhenLost, raw};
use super::auth;
use super::units::{MILLISECOND, MINUTE};
use super::upstream_tls::upstream_tls;
use super::upstreams::unreachable_address;
use super::value::{Said, at};

/// What builds without the engine's client say.
const NEEDS_ENGINE: &str =
    "needs a client that this build of pollcast does not have (cargo features \"redis\" and \"nats\")";
/// The largest content over NATS if the file says none: its servers take messages of 1 MiB by default.
const NATS_VALUE_BYTES: usize = 896 * 1024;

/// Shortest secret: it is the only thing that keeps what is in the engine from those that can read it.
const SECRET_BYTES_MIN: usize = 32;
/// Commands that may be on their way at once.
const COMMANDS: std::ops::RangeInclusive<usize> = 1..=65_536;
/// Longest name of a cluster, and of a node.
const NAME_BYTES_MAX: usize = 64;

/// Reads the section. Returns `None` if there is none.
pub fn cluster(
    file: &raw::File,
    base_dir: &Path,
    routes: &[Arc<Route>],
    findings: &mut Findings,
) -> Option<Arc<Cluster>> {
    let (place, Some(raw)) = at!(Place::root(), file.cluster) else { return None };
    let mut cluster = Cluster::unsaid();
    let engines = [("redis", ClusterEngine::Redis), ("nats", ClusterEngine::Nats)];
    findings.choice(at!(place, raw.engine), &engines, &mut cluster.engine);
    engine(&place, raw, &mut cluster, findings);
    reach(&place, raw, base_dir, &mut cluster, findings);
    if let Some(name) = name(at!(place, raw.name), findings) {
        cluster.name = name;
    }
    cluster.node = name_or_none(at!(place, raw.node), findings);
    cluster.secret = secret(at!(place, raw.secret), findings).unwrap_or(cluster.secret);
    let previous = at!(place, raw.previous_secret);
    // An empty one is what `${NAME:-}` gives when nothing is set.
    if previous.1.is_some_and(|said| !said.0.is_empty()) {
        cluster.previous_secret = secret(previous, findings);
    }
    findings.time(at!(place, raw.lease), 300 * MILLISECOND..=MINUTE, &mut cluster.lease);
    findings.time(at!(place, raw.timeout), 10 * MILLISECOND..=MINUTE, &mut cluster.timeout);
    if cluster.timeout > cluster.lease {
        let message =
            "is longer than lease: a node would lose its resources before it notices that the engine hangs";
        findings.problem(&place.key("timeout"), message);
    }
    let ways = [("poll", WhenLost::Poll), ("hold", WhenLost::Hold)];
    findings.choice(at!(place, raw.when_lost), &ways, &mut cluster.when_lost);
    findings.choice(
        at!(place, raw.private),
        &[("local", false), ("shared", true)],
        &mut cluster.shares_private,
    );
    findings.size(at!(place, raw.max_value), 4096..=64 << 20, &mut cluster.max_value);
    findings.count(at!(place, raw.max_commands), COMMANDS, &mut cluster.max_commands);
    warn(&place, &cluster, routes, findings);
    warn_of_jars(file, findings);
    Some(Arc::new(cluster))
}

/// What goes with the engine, and what does not.
fn engine(place: &Place, raw: &raw::Cluster, cluster: &mut Cluster, findings: &mut Findings) {
    let is_built = match cluster.engine {
        ClusterEngine::Redis => cfg!(feature = "redis"),
        ClusterEngine::Nats => cfg!(feature = "nats"),
    };
    if !is_built {
        findings.problem(&place.key("engine"), NEEDS_ENGINE);
    }
    if cluster.engine != ClusterEngine::Nats {
        return;
    }
    cluster.max_value = NATS_VALUE_BYTES;
    let sni = raw.tls.as_ref().and_then(|tls| tls.sni.as_ref());
    for (key, is_said) in
        [("sentinel", raw.sentinel.is_some()), ("database", raw.database.is_some()), ("tls", sni.is_some())]
    {
        if is_said {
            let place = if key == "tls" { place.key(key).key("sni") } else { place.key(key) };
            findings.problem(&place, "is nothing that NATS has; leave it out with engine: nats");
        }
    }
}

/// Servers, user and TLS.
fn reach(place: &Place, raw: &raw::Cluster, base_dir: &Path, cluster: &mut Cluster, findings: &mut Findings) {
    if raw.servers.as_ref().is_some_and(Vec::is_empty) {
        findings.problem(&place.key("servers"), "is empty; at least one server is needed");
    }
    let read = |findings: &mut Findings, place: &Place, said: &str| {
        match unreachable_address(said) {
            Some(message) => findings.bad(place, said, message),
            None => return Some(said.to_owned()),
        }
        None
    };
    findings.list(at!(place, raw.servers), read, &mut cluster.servers);
    cluster.sentinel = name_or_none(at!(place, raw.sentinel), findings);
    let filled = |said: &&raw::Text| !said.0.is_empty();
    cluster.username = raw.username.as_ref().filter(filled).map(|said| said.0.clone());
    if let (place, Some(said)) = at!(place, raw.password)
        && !said.0.is_empty()
        && let Some(password) = auth::text_or_file(&place, said, SecretForm::Password, base_dir, findings)
    {
        let (password, file) = password.parts();
        (cluster.password, cluster.password_file) = (Some(password), file);
    }
    let mut database = 0;
    findings.count(at!(place, raw.database), 0..=65_535, &mut database);
    cluster.database = u32::try_from(database).unwrap_or_default();
    if let (place, Some(raw)) = at!(place, raw.tls) {
        cluster.tls = Some(upstream_tls(&place, &as_upstream(raw), base_dir, findings));
    }
}

/// What an engine's TLS may say, an upstream's may, too.
fn as_upstream(raw: &raw::EngineTls) -> raw::UpstreamTls {
    raw::UpstreamTls {
        sni: raw.sni.clone(),
        ca: raw.ca.clone(),
        verify: raw.verify.clone(),
        pin: None,
        legacy: None,
        cert: raw.cert.clone(),
        key: raw.key.clone(),
        password: raw.password.clone(),
        reload: None,
    }
}

/// A word of letters, digits, `-`, `_` and `.`.
fn name((place, said): Said<'_, raw::Text>, findings: &mut Findings) -> Option<String> {
    let said = said?.0.as_str();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if said.is_empty() || said.len() > NAME_BYTES_MAX || !said.bytes().all(is_plain) {
        findings.bad(&place, said, "is no name of 1 to 64 letters, digits, \"-\", \"_\" and \".\"");
        return None;
    }
    Some(said.to_owned())
}

/// The same, where an empty one is none: `${NAME:-}` gives it when nothing is set.
fn name_or_none(said: Said<'_, raw::Text>, findings: &mut Findings) -> Option<String> {
    said.1.filter(|said| !said.0.is_empty())?;
    name(said, findings)
}

fn secret((place, said): Said<'_, raw::SecretText>, findings: &mut Findings) -> Option<Secret> {
    let secret = said?.0.clone();
    if secret.len() < SECRET_BYTES_MIN {
        findings.problem(&place, "is too short for what names and seals everything; at least 32 characters");
    }
    Some(Secret(secret))
}

/// What works, and other than one may think.
fn warn(place: &Place, cluster: &Cluster, routes: &[Arc<Route>], findings: &mut Findings) {
    let shared = || routes.iter().filter(|route| route.polled && route.clustered);
    let shortest = shared().map(|route| route.poll.interval).min();
    // A node that dies is noticed after lease and a third, and its polls are due once more by then.
    let bound = |interval: Duration| interval.mul_f64(0.6);
    if let Some(interval) = shortest.filter(|interval| cluster.lease > bound(*interval)) {
        let message = format!(
            "is more than 0.6 of the shortest poll.interval ({}): when a node dies, more than one poll of its resources \
             is missed; at most {} keeps it at one",
            super::value::time(interval),
            super::value::time(bound(interval))
        );
        findings.warning(&place.key("lease"), message);
    }
    if cluster.shares_private && cluster.when_lost == WhenLost::Hold {
        let message = "with private: shared: without the engine clients with credentials get what was polled last, \
                       also where the API would refuse them by now; when_lost: poll asks it";
        findings.warning(&place.key("when_lost"), message);
    }
    let routes_place = Place::root().key("routes");
    for route in shared() {
        let place = routes_place.index(route.index).key("poll");
        if route.poll.batch.is_some() {
            let message = "the resources of a batch are spread over the nodes of the cluster, so its requests are smaller; \
                           with cluster: off on the route each node asks for all of its own";
            findings.warning(&place.key("batch"), message);
        }
    }
}

/// Warns where the file says that polls keep cookies: a session that the API gave to one node is none of the others'.
fn warn_of_jars(file: &raw::File, findings: &mut Findings) {
    let mut warn = |place: Place, settings: &raw::RouteSettings| {
        let Some(raw::PollSetting::On(poll)) = &settings.poll else { return };
        if poll.cookie_jar.as_ref().is_some_and(|said| said.0 == "true") {
            let message = "each node of the cluster has a jar of its own, and a resource that goes to another node begins \
                           without cookies; where that matters say cluster: off, or cookie_jar: false";
            findings.warning(&place.key("poll").key("cookie_jar"), message);
        }
    };
    if let Some(defaults) = &file.defaults {
        warn(Place::root().key("defaults"), defaults);
    }
    for (index, route) in file.routes.iter().flat_map(|routes| routes.iter()).enumerate() {
        let is_off = route
            .as_ref()
            .and_then(|route| route.settings.cluster.as_ref())
            .is_some_and(|said| said.0 == "off");
        if let Some(route) = route.as_ref().filter(|_| !is_off) {
            warn(Place::root().key("routes").index(index), &route.settings);
        }
    }
}
