//! Makes the connections that Pingora cannot make: through proxies, and to servers whose TLS OpenSSL speaks. Polls and
//! what passes through use the same one.
//!
//! Must not know: requests, pools, which server is chosen.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv4Addr;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use super::bridge;
use super::diagnosis::Diagnosis;
use super::egress::{Reached, Way};
use super::refusal::Refusal;
use super::with_openssl::Terms;
use crate::upstream::target::Target;

/// Makes the connections to one server.
pub(super) struct Dialer {
    pub(super) target: Target,
    pub(super) way: Arc<Way>,
    /// Whether even cleartext HTTP goes through a tunnel of an HTTP proxy.
    pub(super) is_tunnel: bool,
    pub(super) tls: Tls,
}

/// Which library speaks TLS.
pub(super) enum Tls {
    /// Pingora speaks it, with this name of the server; `None` if the connection is cleartext.
    Pingora(Option<String>),
    OpenSsl(OpenSsl),
}

pub(super) struct OpenSsl {
    /// The name that the server has to prove.
    pub(super) name: String,
    /// Whether only HTTP/2 is spoken.
    pub(super) http2: bool,
    pub(super) terms: Arc<Terms>,
    pub(super) diagnosis: Arc<Diagnosis>,
}

impl Dialer {
    /// Returns the peer whose connections it makes. `group` differs whenever anything that trust depends on does.
    pub(super) fn peer(self, group: u64) -> HttpPeer {
        let mut hasher = DefaultHasher::new();
        (group, &self.target, self.is_tunnel).hash(&mut hasher);
        let sni = match &self.tls {
            Tls::Pingora(name) => name.clone(),
            Tls::OpenSsl(openssl) => {
                (&openssl.name, openssl.http2).hash(&mut hasher);
                None
            }
        };
        // Pingora looks whether a connection from its pool leads where the peer is, but for this address. The key of
        // the pool says it all.
        let nowhere = (Ipv4Addr::UNSPECIFIED, 0);
        let mut peer = HttpPeer::new(nowhere, sni.is_some(), sni.unwrap_or_default());
        peer.group_key = hasher.finish();
        peer.options.custom_l4 = Some(Arc::new(self));
        peer
    }
}

impl OpenSsl {
    /// A connection on which Pingora speaks HTTP without TLS, to the server that was reached.
    async fn secure(&self, reached: Reached, target: &Target) -> Result<Stream> {
        let secured = match self.terms.secure(reached, &self.name, self.http2).await {
            Ok(secured) => secured,
            Err(refusal) => {
                let (kind, with) = (ErrorType::TLSHandshakeFailure, target.authority());
                return Error::e_because(
                    kind,
                    format!("TLS with {with}"),
                    self.explained(refusal, target).await,
                );
            }
        };
        let (theirs, near) = bridge::pair()
            .map_err(|error| Error::because(ErrorType::SocketError, "a pair of sockets", error))?;
        let terms = self.terms.clone();
        tokio::spawn(bridge::carry(near, secured, move |error| terms.broke(error)));
        Ok(theirs.into())
    }

    /// Returns the refusal, explained by a look at the server.
    async fn explained(&self, refusal: Refusal, target: &Target) -> Refusal {
        if refusal.is_certain() {
            return refusal;
        }
        self.diagnosis.of(target, &self.name).await.unwrap_or(refusal)
    }
}

#[async_trait]
impl L4Connect for Dialer {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        let reached = self.way.reach(&self.target, self.is_tunnel).await?;
        match &self.tls {
            Tls::Pingora(_) => Ok(reached.into()),
            Tls::OpenSsl(openssl) => openssl.secure(reached, &self.target).await,
        }
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialer of {}", self.target.authority())
    }
}
