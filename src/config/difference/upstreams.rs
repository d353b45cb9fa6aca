//! Two forms of one upstream: which of its keys differ, and whether it is asked the same.
//!
//! Its servers, times and bounds may change while its resources go on; what polls say to it, and whether anything but
//! its network proves it, is its meaning. Must not know: routes.

use super::super::{ClientCertificate, Server, Upstream, UpstreamTls};
use super::keys::{Keys, Reach, compare};

/// Notes what differs but the name.
pub fn upstream(old: &Upstream, new: &Upstream, keys: &mut Keys) {
    compare!(Upstream, old, new, keys, {
        Meaning: host = "host", forwarded = "forwarded";
        Settings:
            servers = "servers", proxy = "proxy", http2 = "http2", connect_timeout = "connect_timeout",
            first_byte_timeout = "first_byte_timeout",
            passthrough_first_byte_timeout = "passthrough_first_byte_timeout", total_timeout = "total_timeout", keepalive = "keepalive",
            resolve_interval = "resolve_interval", health_check = "health_check", budget = "budget",
            quota_is_shared = "budget.quota", breaker = "breaker", max_requests = "max_requests",
            connection_auth = "connection_auth", connections = "connections";
    }, apart: [name, tls]);
    let is_local = |upstream: &Upstream| {
        upstream.servers.iter().any(|server: &Server| server.address.starts_with("unix:"))
    };
    keys.note(is_local(old) == is_local(new), Reach::Meaning, "servers");
    keys.note(old.proxy.is_some() == new.proxy.is_some(), Reach::Meaning, "proxy");
    let (Some(old), Some(new)) = (&old.tls, &new.tls) else {
        return keys.note(old.tls == new.tls, Reach::Meaning, "tls");
    };
    tls(old, new, keys);
}

fn tls(old: &UpstreamTls, new: &UpstreamTls, keys: &mut Keys) {
    compare!(UpstreamTls, old, new, keys, {
        Settings:
            sni = "tls.sni", ca = "tls.ca", verify = "tls.verify", pin = "tls.pin", legacy = "tls.legacy",
            reload = "tls.reload";
    }, apart: [identity]);
    let (Some(old), Some(new)) = (&old.identity, &new.identity) else {
        return keys.note(old.identity == new.identity, Reach::Meaning, "tls.cert");
    };
    compare!(ClientCertificate, old, new, keys, {
        Settings: cert = "tls.cert", key = "tls.key", password = "tls.password";
    }, apart: []);
}
