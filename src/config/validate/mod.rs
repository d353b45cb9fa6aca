//! From the file as typed to a [`Config`]: every value read, every bound held, everything that must go together.
//!
//! Each section has its file. All of them go on after a problem, so that one run tells everything; what they return
//! is only used if nothing was told.
//! Must not know: how the text was parsed; what the values are used for.

mod access;
mod auth;
mod authority;
mod batch;
mod budget;
mod change;
mod cluster;
mod context;
mod headers;
mod identity;
mod jwt;
mod limits;
mod listeners;
mod paths;
mod poll;
mod presence;
mod routes;
mod server;
mod settings;
mod tls;
mod tracing;
mod units;
mod upgrade;
mod upstream_path;
mod upstream_tls;
mod upstreams;
mod value;
mod websocket;

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::defaults::PUBLIC_PREFIX;
use super::problem::{Findings, Place};
use super::{
    AccessLines, Config, Drain, Files, Log, LogLevel, Reload, Secret, Threads, Times, Upstream, raw,
};
use context::{Context, upstream_named};
use units::{HOUR, MILLISECOND, MINUTE};
use value::{Said, at};

/// Reads everything; relative paths are relative to `base_dir`.
pub(super) fn config(file: &raw::File, base_dir: &Path, findings: &mut Findings) -> Config {
    let root = Place::root();
    let listeners = listeners::listeners(file, base_dir, findings);
    let admin = listeners::admin(file, base_dir, &listeners, findings);
    let upstreams = upstreams::upstreams(file, base_dir, findings);
    let public_prefix = public_prefix(at!(root, file.public_prefix), findings);
    let passthrough = passthrough(at!(root, file.passthrough), &upstreams, findings);
    let context = Context { base_dir, upstreams: &upstreams, used: RefCell::default() };
    let routes = routes::routes(file, &context, &public_prefix, findings);
    let nothing_to_do = |list: &Option<raw::List<raw::Route>>| list.as_ref().is_none_or(Vec::is_empty);
    if nothing_to_do(&file.routes) && file.passthrough.is_none() {
        findings.problem(
            &root,
            "neither \"routes\" nor \"passthrough\" is there; at least one of them is needed",
        );
    }
    let tracing = tracing::tracing(file, &context, findings);
    let used = context.used.into_inner();
    warn_of_unused(&upstreams, &used, &passthrough, &routes, findings);
    routes::secrets_have_a_host(&routes, &listeners, findings);
    Config {
        limits: limits::limits(file, findings),
        drain: drain(file, findings),
        upgrade: upgrade::upgrade(file, base_dir, findings),
        reload: reload(file, findings),
        threads: threads(file, findings),
        version_key: version_key(at!(root, file.version_key), findings),
        log: log(file, findings),
        cluster: cluster::cluster(file, base_dir, &routes, findings),
        tracing,
        listeners,
        admin,
        upstreams,
        passthrough,
        routes,
        public_prefix,
        times: Times::default(),
        files: Files::default(),
        warnings: Vec::new(),
    }
}

fn passthrough(
    (place, said): Said<'_, raw::Text>,
    upstreams: &[Arc<Upstream>],
    findings: &mut Findings,
) -> Option<Arc<Upstream>> {
    said.and_then(|name| upstream_named(&place, &name.0, upstreams, findings))
}

fn warn_of_unused(
    upstreams: &[Arc<Upstream>],
    used_by_others: &[String],
    passthrough: &Option<Arc<Upstream>>,
    routes: &[Arc<super::Route>],
    findings: &mut Findings,
) {
    for upstream in upstreams {
        let mut used = routes.iter().map(|route| &route.upstream).chain(passthrough);
        if !used.any(|used| used.name == upstream.name) && !used_by_others.contains(&upstream.name) {
            let place = Place::root().key("upstreams").key(&upstream.name);
            findings.warning(&place, "neither a route nor passthrough uses this upstream");
        }
    }
}

fn public_prefix((place, said): Said<'_, raw::Text>, findings: &mut Findings) -> String {
    let Some(said) = said else {
        return PUBLIC_PREFIX.to_owned();
    };
    let prefix = said.0.as_str();
    if !prefix.starts_with('/') || !prefix.ends_with('/') || prefix.len() < 2 || prefix.contains(['{', '}']) {
        findings.bad(&place, prefix, "is no prefix; it starts and ends with \"/\", as /-/pollcast/");
    } else if let Err(message) = paths::plain(prefix) {
        findings.bad(&place, prefix, message);
    }
    prefix.to_owned()
}

fn version_key((place, said): Said<'_, raw::SecretText>, findings: &mut Findings) -> Option<Secret> {
    let key = said.map(|said| said.0.clone()).filter(|key| !key.is_empty())?;
    if key.len() < 16 {
        findings.problem(&place, "is too short for a secret key; at least 16 characters");
    }
    Some(Secret(key))
}

fn drain(file: &raw::File, findings: &mut Findings) -> Drain {
    let mut drain = Drain::default();
    let (place, Some(raw)) = at!(Place::root(), file.drain) else {
        return drain;
    };
    findings.time(at!(place, raw.delay), Duration::ZERO..=10 * MINUTE, &mut drain.delay);
    findings.time(at!(place, raw.window), Duration::ZERO..=HOUR, &mut drain.window);
    findings.times(at!(place, raw.retry), 100 * MILLISECOND..=HOUR, &mut drain.retry);
    drain
}

fn reload(file: &raw::File, findings: &mut Findings) -> Reload {
    let mut reload = Reload::default();
    let (place, Some(raw)) = at!(Place::root(), file.reload) else {
        return reload;
    };
    findings.flag(at!(place, raw.watch), &mut reload.watch);
    reload
}

fn threads(file: &raw::File, findings: &mut Findings) -> Threads {
    let mut threads = Threads::default();
    let (place, Some(raw)) = at!(Place::root(), file.threads) else {
        return threads;
    };
    for (said, to) in
        [(at!(place, raw.front), &mut threads.front), (at!(place, raw.shards), &mut threads.shards)]
    {
        if said.1.is_some_and(|said| said.0 != "auto") {
            findings.count(said, 1..=1024, to);
        }
    }
    threads
}

fn access_lines((place, said): Said<'_, raw::AccessSetting>, to: &mut AccessLines, findings: &mut Findings) {
    let raw = match said {
        None => return,
        Some(raw::AccessSetting::Word(word)) => {
            match word.0.as_str() {
                "true" => *to = AccessLines::ALL,
                "false" => *to = AccessLines::None,
                other => findings.bad(&place, other, "is neither true nor false nor { sample } nor { only }"),
            }
            return;
        }
        Some(raw::AccessSetting::Some(raw)) => raw,
    };
    let ((sample_place, sample), (only_place, only)) = (at!(place, raw.sample), at!(place, raw.only));
    if let Some(share) = sample.and_then(|said| findings.read_number(&sample_place, &said.0, 0.0001..=1.0)) {
        *to = AccessLines::ErrorsAnd(share);
    }
    if let Some(said) = only {
        findings.choice((only_place, Some(said)), &[("errors", AccessLines::ErrorsAnd(0.0))], to);
    }
}

fn log(file: &raw::File, findings: &mut Findings) -> Log {
    let mut log = Log::default();
    let (place, Some(raw)) = at!(Place::root(), file.log) else {
        return log;
    };
    findings.choice(at!(place, raw.format), &[("text", false), ("json", true)], &mut log.json);
    findings.choice(at!(place, raw.level), &LogLevel::ALL, &mut log.level);
    access_lines(at!(place, raw.access), &mut log.access, findings);
    findings.count(at!(place, raw.buffer), 16..=1_000_000, &mut log.buffer);
    log
}
