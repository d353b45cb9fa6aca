//! The way to the servers of one upstream: how connections are made, kept and used for one request.
//! Must not know: which server is chosen, what becomes of one that fails, the time of the whole.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{StatusCode, header};
use pingora::ErrorType;
use pingora::connectors::http::Connector;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::http::client::HttpSession;
use pingora::protocols::http::v1::client::HttpSession as Http1Session;
use pingora::protocols::{ALPN, Stream, TcpKeepalive};
use pingora::upstreams::peer::HttpPeer;
use tokio::time::timeout;

use super::certificates::Papers;
use super::diagnosis::Diagnosis;
use super::dialer::{Dialer, OpenSsl, Tls};
use super::egress::{Unreached, Way};
use super::error_text::Cause;
use super::exchange::{self, Broken, Form};
use super::idle::Idle;
use super::normalized_stream::{self, MalformedHeads, NormalizedStream};
use super::refusal::Refusal;
use crate::config;
use crate::upstream::target::{Site, Target};
use crate::upstream::{Answer, Ask, connection_auth};
use crate::upstream::{Failure, NewError};

/// Idle connections kept for one upstream.
const POOL_CONNECTIONS_MAX: usize = 256;

/// Concurrent requests on one HTTP/2 connection.
const HTTP2_STREAMS_MAX: usize = 64;

/// A silent HTTP/2 connection is asked whether it lives this often.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(15);

fn options(upstream: &config::Upstream) -> ConnectorOptions {
    let mut options = ConnectorOptions::new(POOL_CONNECTIONS_MAX);
    if upstream.tls.as_ref().is_none_or(|tls| tls.ca.is_some()) {
        // No roots are read: they would not be used, and a system may have none.
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
    /// Its own: what a reload replaces shares no connections with what comes after it.
    pub(super) number: u64,
    /// Rises when a connection that many requests share must serve no more of them.
    generation: AtomicU64,
    pub(super) way: Arc<Way>,
    pub(super) diagnosis: Arc<Diagnosis>,
    pub(super) malformed_heads: Arc<MalformedHeads>,
    /// Makes the connections of pass-through whose answers are normalized.
    normalized: OnceLock<Arc<TransportConnector>>,
    /// Whether the server has answered in HTTP without TLS, so that it needs no look whether it speaks TLS.
    speaks_http: AtomicBool,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct For {
    may_use_http2: bool,
    /// Whether the connection is upgraded to another protocol, which a proxy has to let through.
    pub(super) is_upgrade: bool,
}

impl For {
    /// A poll, or a request that passes through and is no upgrade.
    pub(super) const REQUESTS: For = For { may_use_http2: true, is_upgrade: false };
    /// An upgrade, which needs HTTP/1.1.
    pub(super) const UPGRADE: For = For { may_use_http2: false, is_upgrade: true };
    /// The requests of one client. Connections of HTTP/2 are for many.
    pub(super) const ONE: For = For { may_use_http2: false, is_upgrade: false };
}

impl Link {
    pub(super) fn new(upstream: Arc<config::Upstream>) -> Result<Self, NewError> {
        let papers = Arc::new(Papers::new(upstream.clone())?);
        let (connector, idle) = (Connector::new(Some(options(&upstream))), Idle::new(POOL_CONNECTIONS_MAX));
        let way = Way::new(upstream.clone());
        let diagnosis = Diagnosis::new(upstream.clone(), papers.clone(), way.clone());
        let malformed_heads = MalformedHeads::of(upstream.name.clone());
        Ok(Self {
            connector,
            idle,
            papers,
            number: fastrand::u64(..),
            generation: AtomicU64::new(0),
            way,
            diagnosis,
            malformed_heads,
            normalized: OnceLock::new(),
            speaks_http: AtomicBool::new(false),
            upstream,
        })
    }

    /// How pass-through connects to a server: as polls do, but for upgrades and for upstreams with malformed heads.
    pub(super) fn passing_peer(&self, target: &Target, group: u64, purpose: For) -> HttpPeer {
        let is_normalized = purpose.is_upgrade || self.malformed_heads.is_known();
        let connect = if is_normalized { Self::normalizing_peer } else { Self::peer };
        connect(self, target, group, purpose)
    }

    /// For one answer of pass-through whose head is normalized, or an upgrade.
    pub(super) fn normalizing_peer(&self, target: &Target, group: u64, purpose: For) -> HttpPeer {
        let new = || Arc::new(TransportConnector::new(Some(options(&self.upstream))));
        let connector = self.normalized.get_or_init(new).clone();
        let peer = self.peer(target, group, For { may_use_http2: false, ..purpose });
        let making = (connector, self.upstream.passthrough_first_byte_timeout);
        normalized_stream::normalizing(peer, making, self.malformed_heads.clone(), purpose.is_upgrade)
    }

    /// Returns how a server is connected to, for polls and for what passes through. `group` keeps connections apart
    /// that must not be shared.
    pub(super) fn peer(&self, target: &Target, group: u64, purpose: For) -> HttpPeer {
        let upstream = &self.upstream;
        let tls = upstream.tls.as_ref();
        // The name is never empty: Pingora does not verify a server without one.
        let name = tls.map(|tls| tls.sni.clone().unwrap_or_else(|| target.host.to_string()));
        let papers = self.papers.current();
        let wants_http2 = upstream.http2 && purpose.may_use_http2;
        let dialer = |tls| Dialer {
            target: target.clone(),
            way: self.way.clone(),
            is_tunnel: self.way.absolute(target, purpose.is_upgrade).is_none(),
            tls,
        };
        let (mut peer, alpn) = match (papers.terms, &target.site) {
            (Some(terms), _) => {
                // Pingora sees no TLS and nothing of its ALPN: it has to be told which one it is.
                let http2 = wants_http2 && terms.allows_http2();
                let (name, diagnosis) = (name.unwrap_or_default(), self.diagnosis.clone());
                let tls = Tls::OpenSsl(OpenSsl { name, http2, terms, diagnosis });
                (dialer(tls).peer(group), if http2 { ALPN::H2 } else { ALPN::H1 })
            }
            (None, site) => {
                let mut peer = match site {
                    Site::Inet(address) if !self.way.is_own(target) => {
                        let mut peer = HttpPeer::new(address, tls.is_some(), name.unwrap_or_default());
                        peer.group_key = group;
                        peer
                    }
                    _ => dialer(Tls::Pingora(name)).peer(group),
                };
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
        let options = &mut peer.options;
        options.connection_timeout = Some(upstream.connect_timeout);
        options.total_connection_timeout = Some(upstream.connect_timeout);
        options.idle_timeout = Some(upstream.keepalive);
        options.verify_cert = tls.is_none_or(|tls| tls.verify);
        options.verify_hostname = options.verify_cert;
        options.alpn = alpn;
        options.max_h2_streams = HTTP2_STREAMS_MAX;
        options.h2_ping_interval = Some(HTTP2_PING_INTERVAL);
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            count: 5,
            #[cfg(target_os = "linux")]
            user_timeout: Duration::ZERO,
        });
        peer
    }

    /// Returns the number that keeps connections apart which must not be shared.
    pub(super) fn group(&self, class: Option<u64>) -> u64 {
        let papers = self.papers.group();
        let generation = self.generation.load(Ordering::Acquire);
        let mut hasher = DefaultHasher::new();
        (self.number, papers, generation, class).hash(&mut hasher);
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
        let group = self.group(ask.class);
        let Some(stream) = self.idle.take(target, group) else {
            // The future is boxed, as it is large and most polls do not need it.
            return Box::pin(self.ask_anew(target, ask)).await;
        };
        let session = self.normalized(stream);
        match self.exchange(session, (target, group), None, ask).await {
            Err(broken) if broken.is_repeatable(ask) => Box::pin(self.ask_once_more(target, ask)).await,
            other => other.map_err(|broken| broken.failure),
        }
    }

    /// Whether a request authenticates its connection (contract §10), or upgrades it to another protocol.
    fn is_bound(&self, ask: &Ask) -> bool {
        let mut fields = ask.headers.iter().map(|(name, value)| (name, value));
        is_upgrade(ask) || connection_auth::is_carried(&self.upstream.connection_auth, &mut fields)
    }

    /// On a connection that carries nothing else, and ends with the answer.
    async fn ask_alone(&self, target: &Target, ask: &Ask) -> Result<Answer, Failure> {
        let purpose = if is_upgrade(ask) { For::UPGRADE } else { For::ONE };
        let group = self.group(ask.class);
        let (peer, session, _) = self.connect(target, group, purpose).await?;
        self.exchange(session, (target, group), Some(&peer), ask).await.map_err(|broken| broken.failure)
    }

    /// On a new connection, or on one of HTTP/2 that there is.
    async fn ask_anew(&self, target: &Target, ask: &Ask) -> Result<Answer, Failure> {
        let group = self.group(ask.class);
        let (peer, session, reused) = self.connect(target, group, For::REQUESTS).await?;
        match self.exchange(session, (target, group), Some(&peer), ask).await {
            Err(broken) if reused && broken.is_repeatable(ask) => self.ask_once_more(target, ask).await,
            other => other.map_err(|broken| broken.failure),
        }
    }

    /// On a connection that is new for certain.
    async fn ask_once_more(&self, target: &Target, ask: &Ask) -> Result<Answer, Failure> {
        // It has another pool key, so that it does not get the next dead connection of HTTP/2.
        let group = self.group(ask.class);
        let (fresh, session, _) = self.connect(target, !group, For::REQUESTS).await?;
        self.exchange(session, (target, group), Some(&fresh), ask).await.map_err(|broken| broken.failure)
    }

    /// A connection to this server, and whether it was used before.
    pub(super) async fn connect(
        &self,
        target: &Target,
        group: u64,
        purpose: For,
    ) -> Result<(HttpPeer, Box<HttpSession>, bool), Failure> {
        let peer = self.peer(target, group, purpose);
        let connected = self.connect_as(target, &peer).await;
        if connected.is_err() && peer.options.alpn == ALPN::H2 {
            // The server may have turned out to speak HTTP/1 alone, which is known from then on.
            let other = self.peer(target, group, purpose);
            if other.options.alpn != ALPN::H2 {
                let (session, reused) = self.connect_as(target, &other).await?;
                return Ok((other, session, reused));
            }
        }
        let (session, reused) = connected?;
        Ok((peer, session, reused))
    }

    async fn connect_as(
        &self,
        target: &Target,
        peer: &HttpPeer,
    ) -> Result<(Box<HttpSession>, bool), Failure> {
        let limit = self.upstream.connect_timeout;
        // The timeout is around everything, as Pingora's own limits leave the HTTP/2 handshake out.
        match timeout(limit, self.connector.get_http_session(peer)).await {
            Ok(Ok((HttpSession::H1(http1), reused))) => Ok((self.normalized(http1.into_inner()), reused)),
            Ok(Ok((session, reused))) => Ok((Box::new(session), reused)),
            Ok(Err(error)) if Unreached::found_in(&error).is_some() => {
                Err(Failure::Unreached { reason: Unreached::found_in(&error).unwrap_or_default() })
            }
            Ok(Err(error)) => Err(match error.etype() {
                ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => {
                    Failure::ConnectTimeout { limit }
                }
                ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert | ErrorType::HandshakeError => {
                    // OpenSSL's own connections have had it looked at.
                    let found = match peer.is_tls() {
                        true => self.diagnosis.of(target, &peer.sni).await,
                        false => None,
                    };
                    Failure::Tls { source: found.map_or_else(|| Cause::of(error).into(), Into::into) }
                }
                _ => Failure::Connect { source: Cause::of(error) },
            }),
            Err(_) => Err(Failure::ConnectTimeout { limit }),
        }
    }

    /// A connection of HTTP/1, for one answer whose head is normalized.
    fn normalized(&self, stream: Stream) -> Box<HttpSession> {
        let stream = Box::new(NormalizedStream::new(stream, self.malformed_heads.clone()));
        Box::new(HttpSession::H1(Http1Session::new(stream)))
    }

    /// With what the server says below HTTP about a connection that broke.
    async fn explained(&self, target: &Target, broken: Broken, look: Duration) -> Broken {
        let refused = || self.papers.current().terms.and_then(|terms| terms.refused());
        let failure = match (&broken.failure, &self.upstream.tls) {
            (Failure::Reset { .. }, Some(_)) => {
                refused().map(|refusal| Failure::Reset { source: refusal.into() })
            }
            // What was no head, or ended without one, may have been TLS.
            (Failure::Framing { found }, None) if found != ErrorType::InvalidHTTPHeader.as_str() => None,
            (
                Failure::Framing { .. } | Failure::Reset { .. } | Failure::Truncated { received: 0, .. },
                None,
            ) => self.speaks_tls(target, look).await.map(|refusal| Failure::Tls { source: refusal.into() }),
            _ => None,
        };
        match failure {
            Some(failure) => broken.explained(failure),
            None => broken,
        }
    }

    /// Whether a server that is asked without TLS speaks it, as far as nothing shows that it does not.
    /// `limit`: a look that takes longer shows nothing.
    pub(super) async fn speaks_tls(&self, target: &Target, limit: Duration) -> Option<Refusal> {
        if self.speaks_http.load(Ordering::Relaxed) || self.upstream.tls.is_some() {
            return None;
        }
        timeout(limit, self.diagnosis.of(target, &target.host)).await.ok().flatten()
    }

    /// Notes that a server was understood. Some say 400 to a client that speaks no TLS.
    pub(super) fn was_understood(&self, status: StatusCode) {
        if status != StatusCode::BAD_REQUEST && !self.speaks_http.load(Ordering::Relaxed) {
            self.speaks_http.store(true, Ordering::Relaxed);
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
        let absolute = self.way.absolute(target, is_upgrade(ask));
        // The look takes only a part of the request's time, which must not run out for a better reason.
        let look = ask.timeout.min(self.upstream.total_timeout) / 8;
        let form = match &absolute {
            Some(absolute) => Form::Absolute(absolute),
            None if cleartext_http2 => Form::CleartextHttp2,
            None => Form::Origin,
        };
        let response = match exchange::exchange(&mut session, ask, form, limit).await {
            Ok(response) => response,
            Err(broken) => return Err(self.explained(target, broken, look).await),
        };
        if response.status() == StatusCode::BAD_REQUEST
            && let Some(refusal) = self.speaks_tls(target, look).await
        {
            return Err(Failure::Tls { source: refusal.into() }.into());
        }
        self.was_understood(response.status());
        let rest = response.idle_limit(self.upstream.keepalive);
        let knows_its_user = connection_auth::is_answered(&self.upstream.connection_auth, response.headers());
        match (*session, peer) {
            // The connection is closed: the next request on it might be taken for one of this sender's.
            (HttpSession::H1(_), _) if knows_its_user || self.is_bound(ask) => {}
            (HttpSession::H1(mut http1), _) => {
                http1.respect_keepalive();
                if let Some(stream) = http1.reuse().await.and_then(NormalizedStream::bare) {
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

/// Whether a request makes another protocol of its connection.
fn is_upgrade(ask: &Ask) -> bool {
    ask.headers.iter().any(|(name, _)| name == header::UPGRADE)
}
