//! A server that is not reached as the file says: which lines of its `tls` would change that, found by trying.
//!
//! Must not know: what is asked.

use std::sync::Arc;

use crate::config::{Upstream, UpstreamTls};
use crate::upstream::{Client, FetchError, Remedy, remedies};

/// Lines that are added one after the other before it is given up.
const TRIES_MAX: usize = 4;

/// The lines with which there is a connection, if there are such. Nothing is said over it: it may be anybody's.
pub(super) async fn lines(upstream: &Upstream, error: &FetchError) -> Option<String> {
    let mut upstream = upstream.clone();
    let mut found = remedies(&error.failure);
    let mut is_pinned_here = false;
    for _ in 0..TRIES_MAX {
        if found.is_empty() {
            return None;
        }
        for remedy in found.drain(..) {
            is_pinned_here |= matches!(remedy, Remedy::Pin(_));
            apply(&mut upstream, remedy);
        }
        let client = Client::new(Arc::new(upstream.clone())).ok()?;
        match client.connect().await {
            Ok(()) => return Some(written(&upstream, is_pinned_here)),
            Err(error) => found = remedies(&error.failure),
        }
    }
    None
}

fn apply(upstream: &mut Upstream, remedy: Remedy) {
    if remedy == Remedy::NoTls {
        upstream.tls = None;
        return;
    }
    let tls = upstream.tls.get_or_insert_with(UpstreamTls::unsaid);
    match remedy {
        Remedy::Tls | Remedy::NoTls => {}
        Remedy::Legacy => tls.legacy = true,
        Remedy::Pin(pin) => (tls.pin, tls.ca) = (vec![pin], None),
        Remedy::Sni(name) => tls.sni = Some(name),
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
