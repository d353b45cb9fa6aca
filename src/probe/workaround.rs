//! Workarounds for a server that cannot be reached with the file's settings: lines of `tls` or `proxy` that help, found
//! by trying.
//!
//! Must not know: what is asked.

use std::sync::Arc;

use crate::config::{Proxy, ProxyProtocol, Upstream, UpstreamTls};
use crate::upstream::{Client, Failure, FetchError, Workaround, wants_credentials, workarounds};

/// Lines that are added one after the other before it is given up.
const TRIES_MAX: usize = 4;

/// The lines with which there is a connection, if there are such. Nothing is said over it: it may be anybody's.
pub(super) async fn lines(upstream: &Upstream, error: &FetchError) -> Option<String> {
    if is_unreached(&error.failure) {
        return of_proxy(upstream, &error.failure).await;
    }
    let mut upstream = upstream.clone();
    let mut found = workarounds(&error.failure);
    let mut is_pinned_here = false;
    for _ in 0..TRIES_MAX {
        if found.is_empty() {
            return None;
        }
        for workaround in found.drain(..) {
            is_pinned_here |= matches!(workaround, Workaround::Pin(_));
            apply(&mut upstream, workaround);
        }
        let client = Client::new(Arc::new(upstream.clone())).ok()?;
        match client.connect().await {
            Ok(()) => return Some(written(&upstream, is_pinned_here)),
            Err(error) => found = workarounds(&error.failure),
        }
    }
    None
}

fn is_unreached(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Connect { .. }
            | Failure::ConnectTimeout { .. }
            | Failure::Unreached { .. }
            | Failure::NoServer { .. }
    )
}

/// Tries other proxies, as no connection was made: one stands in the way, or is missing.
async fn of_proxy(upstream: &Upstream, failure: &Failure) -> Option<String> {
    let name = &upstream.name;
    if let Some(proxy) = &upstream.proxy {
        if wants_credentials(failure) {
            let place = proxy.authority();
            return Some(format!(
                "The proxy wants to know who asks. With a user and a password that it knows (not tried):\n\n\
                 upstreams:\n  {name}:\n    proxy: {{ url: http://USER@{place}, password_file: /run/secrets/proxy }}\n"
            ));
        }
        let direct = Upstream { proxy: None, ..upstream.clone() };
        return connects(direct)
            .await
            .then(|| format!("Without `proxy` it is reached: remove it from upstreams.{name}.\n"));
    }
    if upstream.servers.iter().any(|server| server.address.starts_with("unix:")) {
        return None;
    }
    for variable in variables(upstream) {
        let said = std::env::var(variable).unwrap_or_default();
        let Ok(proxy) = Proxy::parse(&said) else { continue };
        // To one that is asked in absolute form nothing shows but a request.
        let is_tunnel = proxy.protocol == ProxyProtocol::Socks5 || upstream.tls.is_some() || upstream.http2;
        let through = Upstream { proxy: Some(Arc::new(proxy)), ..upstream.clone() };
        if connects(through).await {
            let found = if is_tunnel { "it is reached" } else { "it may be reached (only a request shows)" };
            return Some(format!(
                "Through the proxy that {variable} names {found}. With these lines it is asked so:\n\n\
                 upstreams:\n  {name}:\n    proxy: ${{{variable}}}\n"
            ));
        }
    }
    None
}

/// The environment variables that name a proxy for such a server to other programs. `HTTP_PROXY` is none of them: servers
/// set it to what a client says (`Proxy:`).
fn variables(upstream: &Upstream) -> &'static [&'static str] {
    match upstream.tls {
        Some(_) => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        None => &["http_proxy", "all_proxy", "ALL_PROXY"],
    }
}

async fn connects(upstream: Upstream) -> bool {
    match Client::new(Arc::new(upstream)) {
        Ok(client) => client.connect().await.is_ok(),
        Err(_) => false,
    }
}

fn apply(upstream: &mut Upstream, workaround: Workaround) {
    if workaround == Workaround::NoTls {
        upstream.tls = None;
        return;
    }
    let tls = upstream.tls.get_or_insert_with(UpstreamTls::unsaid);
    match workaround {
        Workaround::Tls | Workaround::NoTls => {}
        Workaround::Legacy => tls.legacy = true,
        Workaround::Pin(pin) => (tls.pin, tls.ca) = (vec![pin], None),
        Workaround::Sni(name) => tls.sni = Some(name),
    }
}

fn written(upstream: &Upstream, is_pinned_here: bool) -> String {
    let name = &upstream.name;
    let Some(tls) = &upstream.tls else {
        return format!("Without `tls` it is reached: remove it from upstreams.{name}.\n");
    };
    let mut keys = Vec::new();
    keys.extend(tls.sni.as_ref().map(|sni| format!("sni: {sni}")));
    keys.extend(tls.ca.as_ref().map(|ca| format!("ca: {:?}", ca.display().to_string())));
    keys.extend(tls.pin.first().map(|pin| format!("pin: [{pin}]")));
    keys.extend(tls.legacy.then(|| "legacy: true".to_owned()));
    keys.extend((!tls.verify).then(|| "verify: false".to_owned()));
    let keys = if keys.is_empty() { String::new() } else { format!(" {} ", keys.join(", ")) };
    let mut text = format!("With these lines it is reached:\n\nupstreams:\n  {name}:\n    tls: {{{keys}}}\n");
    if is_pinned_here {
        text.push_str(
            "\nThe pin is what answered just now: compare it with the server's own before you use it.\n",
        );
    }
    text
}
