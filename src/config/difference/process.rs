//! Two forms of what is neither a route nor an upstream: which keys differ, and which of them need a restart.
//!
//! Must not know: routes, upstreams.

use super::super::{Config, Drain, Limits, Listener, Log};
use super::keys::{Keys, Reach, compare};

/// Notes what differs but routes and upstreams.
pub fn process(old: &Config, new: &Config, keys: &mut Keys) {
    compare!(Config, old, new, keys, {
        Settings: public_prefix = "public_prefix", reload = "reload.watch";
        Restart:
            admin = "admin", upgrade = "upgrade", threads = "threads", version_key = "version_key",
            cluster = "cluster", tracing = "tracing";
    }, apart: [listeners, upstreams, passthrough, routes, limits, drain, log, times, files, warnings]);
    let passthrough = |config: &Config| config.passthrough.as_ref().map(|upstream| upstream.name.clone());
    keys.note(passthrough(old) == passthrough(new), Reach::Settings, "passthrough");
    listeners(&old.listeners, &new.listeners, keys);
    limits(&old.limits, &new.limits, keys);
    drain(&old.drain, &new.drain, keys);
    log(&old.log, &new.log, keys);
}

fn listeners(old: &[Listener], new: &[Listener], keys: &mut Keys) {
    let addresses =
        |listeners: &[Listener]| listeners.iter().map(|listener| listener.address).collect::<Vec<_>>();
    keys.note(addresses(old) == addresses(new), Reach::Restart, "listeners.address");
    for (place, old) in old.iter().enumerate() {
        let Some(new) = counterpart(old, place, new) else { continue };
        compare!(Listener, old, new, keys, {
            Settings:
                trusted_proxies = "listeners.trusted_proxies",
                hosts = "listeners.hosts", client_address = "listeners.client_address", tls = "listeners.tls";
            Restart:
                reuse_port = "listeners.reuse_port",
                http2 = "listeners.http2", proxy_protocol = "listeners.proxy_protocol";
        }, apart: [address]);
        keys.note(old.tls.is_some() == new.tls.is_some(), Reach::Restart, "listeners.tls");
    }
}

/// The listener of another configuration at the same address, at best at the same place.
fn counterpart<'a>(listener: &Listener, place: usize, others: &'a [Listener]) -> Option<&'a Listener> {
    let is_same = |other: &&Listener| other.address == listener.address;
    others.get(place).filter(is_same).or_else(|| others.iter().find(is_same))
}

/// `new`, with the old values of all that needs a restart.
pub fn with_restart_keys(new: Config, old: &Config) -> Config {
    let kept = |(place, old): (usize, &Listener)| {
        let new = counterpart(old, place, &new.listeners).unwrap_or(old);
        let tls = if new.tls.is_some() == old.tls.is_some() { &new.tls } else { &old.tls };
        let Listener { reuse_port, http2, proxy_protocol, .. } = *old;
        Listener { reuse_port, http2, proxy_protocol, tls: tls.clone(), ..new.clone() }
    };
    let limits = Limits {
        http2_streams: old.limits.http2_streams,
        header_bytes: old.limits.header_bytes,
        ..new.limits
    };
    Config {
        limits,
        listeners: old.listeners.iter().enumerate().map(kept).collect(),
        admin: old.admin.clone(),
        upgrade: old.upgrade.clone(),
        threads: old.threads,
        version_key: old.version_key.clone(),
        cluster: old.cluster.clone(),
        tracing: old.tracing.clone(),
        times: old.times,
        log: Log { json: old.log.json, buffer: old.log.buffer, ..new.log },
        ..new
    }
}

fn limits(old: &Limits, new: &Limits, keys: &mut Keys) {
    compare!(Limits, old, new, keys, {
        Settings:
            clients = "limits.clients", clients_per_address = "limits.clients_per_address",
            clients_per_subject = "limits.clients_per_subject", accept_rate = "limits.accept_rate",
            http2_control_rate = "limits.http2_control_rate",
            first_byte_timeout = "limits.first_byte_timeout", header_timeout = "limits.header_timeout",
            body_timeout = "limits.body_timeout", idle_timeout = "limits.idle_timeout",
            send_timeout = "limits.send_timeout", resources = "limits.resources",
            resources_per_address = "limits.resources_per_address",
            resources_per_subject = "limits.resources_per_subject",
            new_resources_per_address = "limits.new_resources_per_address",
            snapshot_bytes = "limits.snapshot_bytes",
            snapshot_bytes_per_address = "limits.snapshot_bytes_per_address",
            poll_body_bytes = "limits.poll_body_bytes", requests = "limits.requests",
            requests_per_address = "limits.requests_per_address", metric_routes = "limits.metric_routes", history_bytes = "limits.history_bytes",
            header_fields = "limits.header_fields",
            url_bytes = "limits.url_bytes", query_parameters = "limits.query_parameters",
            request_body = "limits.request_body", stall_timeout = "limits.stall_timeout",
            send_buffer = "limits.send_buffer", drain_body = "limits.drain_body",
            resources_per_client = "limits.resources_per_client";
        // What Pingora is told of HTTP/2 at the start.
        Restart: http2_streams = "limits.http2_streams", header_bytes = "limits.header_bytes";
    }, apart: [clients_said]);
}

fn drain(old: &Drain, new: &Drain, keys: &mut Keys) {
    compare!(Drain, old, new, keys, {
        Settings: delay = "drain.delay", window = "drain.window", retry = "drain.retry";
    }, apart: []);
}

fn log(old: &Log, new: &Log, keys: &mut Keys) {
    compare!(Log, old, new, keys, {
        Settings: access = "log.access", level = "log.level";
        Restart: json = "log.format", buffer = "log.buffer";
    }, apart: []);
}
