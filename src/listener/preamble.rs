//! What comes on a connection before HTTP: a PROXY header, a TLS handshake; each within a limit.
//!
//! Must not know: requests.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use pingora::protocols::{GetSocketDigest, Stream, l4};
use tokio::time::timeout;

use super::tls::Tls;
use super::{proxy_protocol, trusted_proxies};
use crate::config::Listener;
use crate::metrics::Metrics;

/// What connections of a listener begin with.
pub(super) struct Preamble {
    proxy_protocol: bool,
    tls: Option<Arc<Tls>>,
    rules: ArcSwap<Rules>,
}

/// What a reload may change.
struct Rules {
    /// The peers that may write a PROXY header; empty for all.
    trusted: Vec<IpNet>,
    /// For the header, and for the handshake.
    patience: Duration,
}

impl Rules {
    fn of(listener: &Listener, patience: Duration) -> Rules {
        Rules { trusted: listener.trusted_proxies.clone(), patience }
    }
}

impl Preamble {
    pub(super) fn new(listener: &Listener, tls: Option<Arc<Tls>>, patience: Duration) -> Preamble {
        let rules = ArcSwap::from_pointee(Rules::of(listener, patience));
        Preamble { proxy_protocol: listener.proxy_protocol, tls, rules }
    }

    /// Has the connections that come from now on begin by these.
    pub(super) fn renew(&self, listener: &Listener, patience: Duration) {
        self.rules.store(Arc::new(Rules::of(listener, patience)));
    }

    /// A new connection, ready for HTTP. Returns `None` if it did not come that far, and is closed.
    pub(super) async fn pass(&self, stream: Stream, metrics: &Metrics) -> Option<Stream> {
        if !self.proxy_protocol && self.tls.is_none() {
            return Some(stream);
        }
        let rules = self.rules.load_full();
        let refused = |reason: &str| metrics.refusals.with_label_values(&[reason]).inc();
        // Pingora accepts in the clear here, and wraps nothing around what it has accepted.
        let mut socket = stream.into_any().downcast::<l4::stream::Stream>().ok()?;
        if self.proxy_protocol && rules.expects_header(&socket) {
            match timeout(rules.patience, proxy_protocol::read(&mut socket)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    refused("proxy-header");
                    tracing::debug!("a connection without a good PROXY header: {error}");
                    return None;
                }
                Err(_) => {
                    refused("first-byte");
                    return None;
                }
            }
        }
        let Some(tls) = &self.tls else { return Some(socket) };
        match timeout(rules.patience, tls.handshake(*socket)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                refused("tls-handshake");
                tracing::debug!("a TLS handshake failed: {error}");
                None
            }
            Err(_) => {
                refused("first-byte");
                None
            }
        }
    }
}

impl Rules {
    /// A peer that is not trusted speaks for itself: its own address counts, and a header would be no HTTP.
    fn expects_header(&self, socket: &l4::stream::Stream) -> bool {
        let digest = socket.get_socket_digest();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr()?.as_inet().copied());
        self.trusted.is_empty()
            || peer.is_some_and(|peer| trusted_proxies::is_trusted(peer.ip().to_canonical(), &self.trusted))
    }
}
