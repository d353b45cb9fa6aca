//! How a connection is made where Pingora cannot make it: to a server whose TLS is OpenSSL's business. Polls and what
//! passes through use the same one.
//!
//! Must not know: requests, pools, which server is chosen.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use super::bridge;
use super::diagnosis::Diagnosis;
use super::refusal::Refusal;
use super::secured::Terms;
use crate::upstream::targets::Target;

/// A connection that is silent for so long is asked whether it lives, so often until it counts as dead.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 5;

/// Makes the connections to one server, on these terms.
pub(super) struct Dialer {
    target: Target,
    /// Whom the server has to be.
    name: String,
    http2: bool,
    terms: Arc<Terms>,
    diagnosis: Arc<Diagnosis>,
}

impl Dialer {
    /// For a server that has to be `name`. `http2`: nothing else is spoken.
    pub(super) fn new(
        target: Target,
        name: String,
        http2: bool,
        terms: Arc<Terms>,
        diagnosis: Arc<Diagnosis>,
    ) -> Dialer {
        Dialer { target, name, http2, terms, diagnosis }
    }

    /// The peer whose connections it makes. Pingora takes it for a server that speaks no TLS. `group` tells apart all
    /// that trust depends on.
    pub(super) fn peer(self, group: u64) -> HttpPeer {
        let mut hasher = DefaultHasher::new();
        (group, self.target.address, &self.name, self.http2).hash(&mut hasher);
        let address = bridge::address(hasher.finish());
        let peer = HttpPeer::new_uds(&address.to_string_lossy(), false, String::new());
        // Fails for a path with a zero byte or a longer one than was checked only.
        let mut peer = peer.unwrap_or_else(|_| HttpPeer::new(self.target.address, false, String::new()));
        peer.options.custom_l4 = Some(Arc::new(self));
        peer
    }

    /// The refusal, or what a look at the server says of it.
    async fn explained(&self, refusal: Refusal) -> Refusal {
        if refusal.is_certain() {
            return refusal;
        }
        self.diagnosis.of(self.target.address, &self.name).await.unwrap_or(refusal)
    }
}

#[async_trait]
impl L4Connect for Dialer {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let connection = reach(&self.target).await?;
        let secured = match self.terms.secure(connection, &self.name, self.http2).await {
            Ok(secured) => secured,
            Err(refusal) => {
                let (kind, with) = (ErrorType::TLSHandshakeFailure, self.target.authority());
                return Error::e_because(kind, format!("TLS with {with}"), self.explained(refusal).await);
            }
        };
        let address = address.as_unix().and_then(|address| address.as_pathname());
        let (theirs, near) = bridge::pair(address)
            .map_err(|error| Error::because(ErrorType::SocketError, "a pair of sockets", error))?;
        let terms = self.terms.clone();
        tokio::spawn(bridge::carry(near, secured, move |error| terms.broke(error)));
        Ok(theirs.into())
    }
}

/// A connection to the server, over which nothing was said yet.
async fn reach(target: &Target) -> Result<TcpStream> {
    let failed = |error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
            io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
            _ => ErrorType::ConnectError,
        };
        Error::because(kind, format!("connecting to {}", target.authority()), error)
    };
    let connection = TcpStream::connect(target.address).await.map_err(failed)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    // A connection without them is one all the same.
    let _ = SockRef::from(&connection).set_tcp_keepalive(&keepalive);
    let _ = connection.set_nodelay(true);
    Ok(connection)
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialer of {}", self.target.authority())
    }
}
