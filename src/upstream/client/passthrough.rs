//! The servers of requests that pass through. Pingora's proxy sends these on its own connections: this file says to
//! which server, how it is reached, and why it is not.
//!
//! Must not know: requests.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use pingora::protocols::SocketDigest;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use tokio::time::timeout;

use super::connector::For;
use super::egress::{Absolute, Unreached};
use super::error_text::Cause;
use super::proxy::WANTS_CREDENTIALS;
use super::proxy_answer;
use super::refusal::{Refusal, Workaround};
use super::{Bond, Client, Whose};
use crate::upstream::failure::{Failure, FetchError};
use crate::upstream::target::Target;

/// The server for one request, and how Pingora connects to it.
pub struct Chosen {
    /// How the proxy reaches the server.
    pub peer: Box<HttpPeer>,
    /// The server that was chosen.
    pub server: Server,
}

/// A server that a request passes through to.
#[derive(Debug)]
pub struct Server {
    target: Target,
    /// The name that the server has to prove.
    name: Arc<str>,
    /// The absolute form of the request, where a proxy reads it.
    pub absolute: Option<Absolute>,
}

impl Server {
    /// The error of an answer that is not this server's, but of a proxy on the way; `None` if it is the server's.
    pub fn not_its_own(&self, status: StatusCode, headers: &HeaderMap) -> Option<Box<Error>> {
        let absolute = self.absolute.as_ref()?;
        let error = Unreached::of(proxy_answer::own(status, headers, &absolute.place)?);
        Some(Error::because(ErrorType::HTTPStatus(502), "the proxy answers itself", error))
    }
}

impl Client {
    /// A server for a pass-through request, for Pingora's proxy, which keeps its own connections. There
    /// is a limit on connecting, none on reading: a stream may be silent for minutes. The first call
    /// resolves the names if [`watch_servers`](Self::watch_servers) has not done so.
    ///
    /// # Errors
    /// [`Failure::NoServer`] if there is none within `connect_timeout`.
    pub async fn peer(&self, whose: Whose<'_>, is_upgrade: bool) -> Result<Chosen, FetchError> {
        let purpose = if is_upgrade { For::UPGRADE } else { For::REQUESTS };
        if let Whose::Own { bond, again: false } = &whose
            && let Some(target) = bond.server(self.link.number)
        {
            return Ok(self.own_peer(bond, target.clone(), is_upgrade));
        }
        self.link.way.freshen().await;
        let target = match self.targets.the_only() {
            Some(target) => target,
            // Apart: its timer would be a part of every request.
            None => Box::pin(self.pick_in_time()).await?,
        };
        let group = self.link.group(None);
        Ok(match whose {
            Whose::Anybodys => self.chosen(self.link.passing_peer(&target, group, purpose), target, purpose),
            Whose::Normalized => {
                self.chosen(self.link.normalizing_peer(&target, group, purpose), target, purpose)
            }
            Whose::New => {
                let group = Bond::new().group(group);
                self.chosen(self.link.passing_peer(&target, group, purpose), target, purpose)
            }
            Whose::Own { bond, .. } => {
                bond.keep_to(self.link.number, &target);
                self.own_peer(bond, target, is_upgrade)
            }
        })
    }

    /// Chooses among several servers, or waits until their names are resolved.
    async fn pick_in_time(&self) -> Result<Target, FetchError> {
        let picked = timeout(self.config().connect_timeout, self.targets.pick(&[])).await;
        let picked = picked.unwrap_or_else(|_| {
            Err(Failure::NoServer { reason: "the server names are still being resolved".to_owned() })
        });
        picked.map_err(|failure| self.failed(None, failure))
    }

    fn own_peer(&self, bond: &Bond, target: Target, is_upgrade: bool) -> Chosen {
        let purpose = if is_upgrade { For::UPGRADE } else { For::ONE };
        let peer = self.link.peer(&target, bond.group(self.link.group(None)), purpose);
        self.chosen(peer, target, purpose)
    }

    fn chosen(&self, peer: HttpPeer, target: Target, purpose: For) -> Chosen {
        let sni = self.config().tls.as_ref().and_then(|tls| tls.sni.as_deref());
        let name = sni.map_or_else(|| target.host.clone(), Arc::from);
        let absolute = self.link.way.absolute(&target, purpose.is_upgrade);
        Chosen { peer: Box::new(peer), server: Server { target, name, absolute } }
    }

    /// Connects to a server as polls do, and sends nothing.
    ///
    /// # Errors
    /// Says why there is no connection.
    pub async fn connect(&self) -> Result<(), FetchError> {
        let target = self.targets.pick(&[]).await.map_err(|failure| self.failed(None, failure))?;
        let connected = self.link.connect(&target, self.link.group(None), For::REQUESTS).await;
        connected.map(drop).map_err(|failure| self.failed(Some(target), failure))
    }

    /// Returns why there is no TLS with a server, in the words that polls have; `None` if a diagnosis shows nothing.
    pub async fn find_out(&self, server: &Server) -> Option<String> {
        self.link.diagnosis.of(&server.target, &server.name).await.map(|refusal| refusal.to_string())
    }

    /// Returns that a server which was asked without TLS speaks it, in the words that polls have; `None` if it does
    /// not.
    pub async fn speaks_tls(&self, server: &Server) -> Option<String> {
        self.link
            .speaks_tls(&server.target, self.config().total_timeout)
            .await
            .map(|refusal| refusal.to_string())
    }

    /// Notes that a server answered a request that passed through.
    pub fn was_understood(&self, status: StatusCode) {
        self.link.was_understood(status);
    }

    /// Takes a connection of pass-through out of use, as it may know its user.
    pub fn retire(&self, connection: &Arc<SocketDigest>) {
        self.retired.add(connection);
        if self.config().http2 {
            // HTTP/2 connections stay in their pool while requests use them, so every later request would get it.
            self.link.retire_all();
        }
    }

    /// Notes that the head of an answer could not be read: the next ones are normalized.
    pub fn note_malformed_head(&self) {
        self.link.malformed_heads.note();
    }

    /// Whether a connection from the pool of pass-through is out of use.
    pub fn is_retired(&self, connection: &Arc<SocketDigest>) -> bool {
        self.retired.holds(connection)
    }
}

/// Returns the settings that would make the server usable, as far as a diagnosis showed.
pub fn workarounds(failure: &Failure) -> Vec<Workaround> {
    let (Failure::Tls { source } | Failure::Reset { source }) = failure else { return Vec::new() };
    if let Some(refusal) = source.downcast_ref::<Refusal>() {
        return refusal.workarounds().to_vec();
    }
    source.downcast_ref::<Cause>().map(Cause::workarounds).unwrap_or_default()
}

/// Whether a proxy wants a user and a password, or others.
pub fn wants_credentials(failure: &Failure) -> bool {
    matches!(failure, Failure::Unreached { reason } if reason == WANTS_CREDENTIALS)
}

/// Returns why a server was not reached, in words that clients must not read; `None` for other errors.
pub fn unreached(error: &Error) -> Option<String> {
    Unreached::found_in(error)
}
