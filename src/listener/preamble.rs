//! What comes on a connection before HTTP: a PROXY header, a TLS handshake; each within a limit.
//!
//! Must not know: requests.

use std::sync::Arc;
use std::time::Duration;

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
    /// The peers that may write a PROXY header; empty for all.
    trusted: Vec<IpNet>,
    tls: Option<Arc<Tls>>,
    /// For the header, and for the handshake.
    patience: Duration,
}

impl Preamble {
    pub(super) fn new(listener: &Listener, tls: Option<Arc<Tls>>, patience: Duration) -> Preamble {
        let trusted = listener.trusted_proxies.clone();
        Preamble { proxy_protocol: listener.proxy_protocol, trusted, tls, patience }
    }

    /// A new connection, ready for HTTP. Returns `None` if it did not come that far, and is closed.
    pub(super) async fn pass(&self, stream: Stream, metrics: &Metrics) -> Option<Stream> {
        if !self.proxy_protocol && self.tls.is_none() {
            return Some(stream);
        }
        let refused = |reason: &str| metrics.refusals.with_label_values(&[reason]).inc();
        // Pingora accepts in the clear here, and wraps nothing around what it has accepted.
        let mut socket = stream.into_any().downcast::<l4::stream::Stream>().ok()?;
        if self.proxy_protocol && self.expects_header(&socket) {
            match timeout(self.patience, proxy_protocol::read(&mut socket)).await {
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
        match timeout(self.patience, tls.handshake(*socket)).await {
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

    /// A peer that is not trusted speaks for itself: its own address counts, and a header would be no HTTP.
    fn expects_header(&self, socket: &l4::stream::Stream) -> bool {
        let digest = socket.get_socket_digest();
        let peer = digest.as_ref().and_then(|digest| digest.peer_addr()?.as_inet().copied());
        self.trusted.is_empty()
            || peer.is_some_and(|peer| trusted_proxies::is_trusted(peer.ip().to_canonical(), &self.trusted))
    }
}
