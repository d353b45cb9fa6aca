//! The way to the servers of one upstream: how connections are made, kept and used for one request.
//! Must not know: which server is chosen, what becomes of one that fails, the time of the whole.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pingora::ErrorType;
use pingora::connectors::http::Connector;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1Session;
use pingora::protocols::{ALPN, Stream, TcpKeepalive};
use pingora::upstreams::peer::HttpPeer;
use tokio::time::timeout;

use super::cause::Cause;
use super::diagnosis::Diagnosis;
use super::dialer::Dialer;
use super::exchange::{self, Broken};
use super::idle::Idle;
use super::papers::Papers;
use super::tidy::{self, Sloppiness, Tidy};
use crate::config;
use crate::upstream::failure::{Failure, NewError};
use crate::upstream::targets::Target;
use crate::upstream::{Answer, Ask, connection_auth};

/// Idle connections kept for one upstream.
const POOL_SIZE: usize = 256;

/// Concurrent requests on one HTTP/2 connection.
const HTTP2_STREAMS: usize = 64;

/// A silent HTTP/2 connection is asked whether it lives this often.
const HTTP2_PING: Duration = Duration::from_secs(15);

fn options(upstream: &config::Upstream) -> ConnectorOptions {
    let mut options = ConnectorOptions::new(POOL_SIZE);
    if upstream.tls.as_ref().is_none_or(|tls| tls.ca.is_some()) {
        // No roots: they would be read for nothing, and a system without any is fine here.
        options.ca_file = Some("/dev/null".to_owned());
    }
    options
}

/// The way to the servers: the pool and how connections are made.
pub(super) struct Link {
    pub(super) upstream: Arc<config::Upstream>,
    /// Makes connections, and keeps those of HTTP/2.
    connector: Connector,
    /// Connections of HTTP/1.
    idle: Arc<Idle>,
    pub(super) papers: Arc<Papers>,
    /// Rises when a connection that many requests share must serve no more of them.
    generation: AtomicU64,
    pub(super) diagnosis: Arc<Diagnosis>,
    pub(super) sloppiness: Arc<Sloppiness>,
    /// Makes the connections of pass-through whose answers are tidied.
    tidied: OnceLock<Arc<TransportConnector>>,
}

impl Link {
    pub(super) fn new(upstream: Arc<config::Upstream>) -> Result<Self, NewError> {
        let papers = Arc::new(Papers::new(upstream.clone())?);
        let (connector, idle) = (Connector::new(Some(options(&upstream))), Idle::new(POOL_SIZE));
        let diagnosis = Diagnosis::new(upstream.clone(), papers.clone());
        let sloppiness = Sloppiness::of(upstream.name.clone());
        let (generation, tidied) = (AtomicU64::new(0), OnceLock::new());
        Ok(Self { connector, idle, papers, generation, diagnosis, sloppiness, tidied, upstream })
    }

    /// How pass-through connects to a server: as polls do, but for an upstream whose heads have to be tidied.
    pub(super) fn passing_peer(&self, target: &Target, may_use_http2: bool) -> HttpPeer {
        match self.sloppiness.is_known() {
            true => self.tidying_peer(target),
            false => self.peer(target, may_use_http2),
        }
    }

    /// For one answer of pass-through whose head is tidied.
    pub(super) fn tidying_peer(&self, target: &Target) -> HttpPeer {
        let new = || Arc::new(TransportConnector::new(Some(options(&self.upstream))));
        let connector = self.tidied.get_or_init(new).clone();
        tidy::tidying(self.peer(target, false), connector, self.sloppiness.clone())
    }

    /// How a server is connected to: the one place, for polls and for what passes through.
    pub(super) fn peer(&self, target: &Target, may_use_http2: bool) -> HttpPeer {
        let upstream = &self.upstream;
        let tls = upstream.tls.as_ref();
        // Never empty: Pingora does not verify a server without a name.
        let sni = tls.map(|tls| tls.sni.clone().unwrap_or_else(|| target.host.to_string()));
        let papers = self.papers.current();
        let group = self.group_of(papers.group, None);
        let wants_http2 = upstream.http2 && may_use_http2;
        let (mut peer, alpn) = match papers.terms {
            Some(terms) => {
                // Pingora sees no TLS and nothing of its ALPN: it has to be told which one it is.
                let http2 = wants_http2 && terms.allows_http2();
                let (target, name) = (target.clone(), sni.unwrap_or_default());
                let dialer = Dialer::new(target, name, http2, terms, self.diagnosis.clone());
                (dialer.peer(group), if http2 { ALPN::H2 } else { ALPN::H1 })
            }
            None => {
                let mut peer = HttpPeer::new(target.address, tls.is_some(), sni.unwrap_or_default());
                peer.client_cert_key = papers.identity;
                peer.options.ca = papers.authorities;
                let alpn = match (wants_http2, tls) {
                    (true, Some(_)) => ALPN::H2H1,
                    (true, None) => ALPN::H2,
                    (false, _) => ALPN::H1,
                };
                (peer, alpn)
            }
        };
        peer.group_key = group;
        let options = &mut peer.options;
        options.connection_timeout = Some(upstream.connect_timeout);
        options.total_connection_timeout = Some(upstream.connect_timeout);
        options.idle_timeout = Some(upstream.keepalive);
        options.verify_cert = tls.is_none_or(|tls| tls.verify);
        options.verify_hostname = options.verify_cert;
        options.alpn = alpn;
        options.max_h2_streams = HTTP2_STREAMS;
        options.h2_ping_interval = Some(HTTP2_PING);
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            count: 5,
            #[cfg(target_os = "linux")]
            user_timeout: Duration::ZERO,
        });
        peer
    }

    /// What keeps connections apart that must not serve each other's requests.
    fn group_of(&self, papers: u64, class: Option<u64>) -> u64 {
        let generation = self.generation.load(Ordering::Acquire);
        if generation == 0 && class.is_none() {
            return papers;
        }
        let mut hasher = DefaultHasher::new();
        (papers, generation, class).hash(&mut hasher);
        hasher.finish()
    }

    /// Lets no connection that is there now serve a further request.
    pub(super) fn retire_all(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) async fn ask(&self, target: &Target, ask: &Ask) -> Result<Answer, Failure> {
        if self.is_bound(ask) {
            return Box::pin(self.ask_alone(target, ask)).await;
        }
        let group = self.group_of(self.papers.group(), ask.class);
        let Some(stream) = self.idle.take(target, group) else {
            // Boxed, as most polls need nothing of it and it is large.
            return Box::pin(self.ask_anew(target, ask)).await;
        };
        let session = self.tidied(stream);
        match self.exchange(session, (target, group), None, ask).await {
            Err(broken) if broken.is_repeatable(ask) => Box::pin(self.ask_once_more(target, ask)).await,
            other => other.map_err(|broken| broken.failure),
        }
    }

    /// Whether a request proves who sends it to the connection (contract §10).
    fn is_bound(&self, ask: &Ask) -> bool {
        let fields = ask.headers.iter().map(|(name, value)| (name, value));
        connection_auth::is_carried(&self.upstream.connection_auth, fields)
    }

    /// On a connection that carries nothing else, and ends with the answer.
    async fn ask_alone(&self, target: &Target, ask: &Ask) -> Result<Answer, Failure> {
        // One of HTTP/2 would be there for others.
        let (peer, session, _) = self.connect(target, false, |_| {}).await?;
        let group = peer.group_key;
        self.exchange(session, (target, group), Some(&peer), ask).await.map_err(|broken| broken.failure)
    }

    /// On a new connection, or on one of HTTP/2 that there is.
    async fn ask_anew(&self, target: &Target, ask: &Ask) -> Result<Answer, Failure> {
        let group = self.group_of(self.papers.group(), ask.class);
        let (peer, session, reused) = self.connect(target, true, |peer| peer.group_key = group).await?;
        match self.exchange(session, (target, peer.group_key), Some(&peer), ask).await {
            Err(broken) if reused && broken.is_repeatable(ask) => self.ask_once_more(target, ask).await,
            other => other.map_err(|broken| broken.failure),
        }
    }

    /// On a connection that is new for certain.
    async fn ask_once_more(&self, target: &Target, ask: &Ask) -> Result<Answer, Failure> {
        // Another pool key, so that it cannot meet the next dead connection of HTTP/2.
        let group = self.group_of(self.papers.group(), ask.class);
        let (fresh, session, _) = self.connect(target, true, |peer| peer.group_key = !group).await?;
        self.exchange(session, (target, group), Some(&fresh), ask).await.map_err(|broken| broken.failure)
    }

    /// A connection to this server, and whether it was used before. `change` has the last word on how it is made.
    pub(super) async fn connect(
        &self,
        target: &Target,
        may_use_http2: bool,
        change: impl Fn(&mut HttpPeer),
    ) -> Result<(HttpPeer, Box<HttpSession>, bool), Failure> {
        let mut peer = self.peer(target, may_use_http2);
        change(&mut peer);
        let connected = self.connect_as(&peer).await;
        if connected.is_err() && peer.options.alpn == ALPN::H2 {
            // The server may have turned out to speak HTTP/1 alone, which is known from then on.
            let mut other = self.peer(target, true);
            if other.options.alpn != ALPN::H2 {
                change(&mut other);
                let (session, reused) = self.connect_as(&other).await?;
                return Ok((other, session, reused));
            }
        }
        let (session, reused) = connected?;
        Ok((peer, session, reused))
    }

    async fn connect_as(&self, peer: &HttpPeer) -> Result<(Box<HttpSession>, bool), Failure> {
        let limit = self.upstream.connect_timeout;
        // Around everything: Pingora's own limits leave the HTTP/2 handshake out.
        match timeout(limit, self.connector.get_http_session(peer)).await {
            Ok(Ok((HttpSession::H1(http1), reused))) => Ok((self.tidied(http1.into_inner()), reused)),
            Ok(Ok((session, reused))) => Ok((Box::new(session), reused)),
            Ok(Err(error)) => Err(match error.etype() {
                ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                    Failure::ConnectTimeout { limit }
                }
                ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => {
                    // OpenSSL's own connections have had it looked at.
                    let server = peer._address.as_inet().filter(|_| peer.options.custom_l4.is_none());
                    let found = match server {
                        Some(server) => self.diagnosis.of(*server, &peer.sni).await,
                        None => None,
                    };
                    Failure::Tls { source: found.map_or_else(|| Cause::of(error).into(), Into::into) }
                }
                _ => Failure::Connect { source: Cause::of(error) },
            }),
            Err(_) => Err(Failure::ConnectTimeout { limit }),
        }
    }

    /// A connection of HTTP/1, for one answer whose head is tidied.
    fn tidied(&self, stream: Stream) -> Box<HttpSession> {
        let stream = Box::new(Tidy::new(stream, self.sloppiness.clone()));
        Box::new(HttpSession::H1(Http1Session::new(stream)))
    }

    /// With what the server says below HTTP about a connection that broke.
    async fn explained(&self, target: &Target, broken: Broken) -> Broken {
        let found = match (&broken.failure, &self.upstream.tls) {
            (Failure::Reset { .. }, Some(_)) => self.papers.current().terms.and_then(|terms| terms.refused()),
            // What was no head may have been TLS.
            (Failure::Framing { found }, None) if found == ErrorType::InvalidHTTPHeader.as_str() => {
                self.diagnosis.of(target.address, &target.host).await
            }
            _ => None,
        };
        match found {
            Some(refusal) => broken.explained(Failure::Reset { source: refusal.into() }),
            None => broken,
        }
    }

    /// On any failure the session is dropped, and with it the connection or stream. It leads to `target`, with the
    /// papers of `group`; `peer`: what it was made with, under which an HTTP/2 connection is registered.
    async fn exchange(
        &self,
        mut session: Box<HttpSession>,
        (target, group): (&Target, u64),
        peer: Option<&HttpPeer>,
        ask: &Ask,
    ) -> Result<Answer, Broken> {
        let cleartext_http2 = session.as_http2().is_some() && self.upstream.tls.is_none();
        let limit = self.upstream.first_byte_timeout;
        let response = match exchange::exchange(&mut session, ask, cleartext_http2, limit).await {
            Ok(response) => response,
            Err(broken) => return Err(self.explained(target, broken).await),
        };
        let rest = response.idle_limit(self.upstream.keepalive);
        let knows_its_user = connection_auth::is_answered(&self.upstream.connection_auth, response.headers());
        match (*session, peer) {
            // It is closed: the next request on it might be taken for this one's sender.
            (HttpSession::H1(_), _) if knows_its_user || self.is_bound(ask) => {}
            (HttpSession::H1(mut http1), _) => {
                http1.respect_keepalive();
                if let Some(stream) = http1.reuse().await.and_then(Tidy::bare) {
                    self.idle.keep(target, group, stream, rest);
                }
            }
            (session, Some(peer)) => {
                if knows_its_user {
                    self.retire_all();
                }
                Box::pin(self.connector.release_http_session(session, peer, Some(rest))).await;
            }
            (_, None) => {}
        }
        Ok(response.decoded(ask.max_body).await?)
    }
}
