//! The request that an operator asks about, made as a client would send it: its head as bytes, read by what reads the heads
//! of clients.
//!
//! Must not know: what is decided about it.

use std::io::{Cursor, Read};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{fmt, io};

use async_trait::async_trait;
use http::{Uri, header};
use pingora::protocols::l4::socket::SocketAddr as AnyAddress;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::asked::Asked;
use crate::config::{Config, Listener, Route, host_name};
use crate::front::connection::Unsent;
use crate::front::request::hosts;
use crate::front::request::route::Match;
use crate::front::services::Shared;
use crate::listener::raw_head::{Unfit, readable};
use crate::resource::{decode_lossy, shown_target};

/// Most bytes of a head that is explained: what is larger is larger than `limits.header_bytes` may say.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// The head of a request that no client has sent.
pub(super) struct Head {
    /// The place of the listener that it comes to.
    pub(super) listener: usize,
    pub(super) host: String,
    /// Raw, without the query.
    pub(super) path: String,
    target: String,
    bytes: Vec<u8>,
}

impl Head {
    /// Makes the head.
    ///
    /// # Errors
    /// The URL is none, or says a credential; the head is too long.
    pub(super) fn of(shared: &Shared, asked: &Asked) -> Result<Head, String> {
        let config = &shared.config;
        let wanted = "a path (/prices/1) or an absolute URL (https://api.example.com/prices/1) is wanted";
        let (is_https, authority, target) = parts(&asked.url).ok_or(wanted)?;
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Err("no credentials in the URL: say them as a header".to_owned());
        }
        if !target.bytes().all(|byte| byte.is_ascii_graphic() || !byte.is_ascii()) || target.contains('#') {
            return Err(format!("the URL has characters that no request line has; {wanted}"));
        }
        let said = asked.headers.iter().find(|(name, _)| *name == header::HOST);
        let said = said.and_then(|(_, value)| value.to_str().ok()).or(authority);
        let listener = listener(config, is_https, said);
        let path = target.split('?').next().unwrap_or_default().to_owned();
        let host = said.map(str::to_owned);
        let host = host.or_else(|| known_host(shared, &path)).unwrap_or_else(|| {
            config.listeners[listener].hosts.first().cloned().unwrap_or_else(|| "localhost".to_owned())
        });
        let mut bytes = format!("{} {target} HTTP/1.1\r\nHost: {host}\r\n", asked.method).into_bytes();
        for (name, value) in asked.headers.iter().filter(|(name, _)| *name != header::HOST) {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        if bytes.len() > HEAD_BYTES_MAX {
            return Err("the request is too long to be explained".to_owned());
        }
        Ok(Head { listener, host, path, target: target.to_owned(), bytes })
    }

    /// Path and query without what is, or looks like, a credential. `route`: the one that covers the request.
    pub(super) fn shown(&self, route: Option<&Route>) -> String {
        let token = route.and_then(|route| route.authenticate.as_ref()?.token.query.clone());
        let hides = |pair: &str| {
            let name = pair.split('=').next().unwrap_or_default();
            token.as_deref().is_some_and(|token| decode_lossy(name) == token)
        };
        let Some((path, query)) = self.target.split_once('?') else { return self.target.clone() };
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| match hides(pair) {
                true => format!("{}=…", pair.split('=').next().unwrap_or_default()),
                false => pair.to_owned(),
            })
            .collect();
        shown_target(&format!("{path}?{}", pairs.join("&")))
    }

    /// The host by which its route is found.
    pub(super) fn routed_host<'a>(&'a self, listener: &'a Listener) -> Option<&'a str> {
        hosts::routed(listener, Some(&self.host))
    }

    /// Reads the head as that of a request. `client`: where it comes from.
    ///
    /// # Errors
    /// It is none.
    pub(super) async fn read(&self, listener: &Listener, client: Option<IpAddr>) -> Result<Unsent, String> {
        let unfit = |unfit| match unfit {
            Unfit::TooManyFields => "it has more fields than any request may have".to_owned(),
            Unfit::Line | Unfit::Chunk => "its request line is none".to_owned(),
        };
        let readable = readable(&self.bytes).map_err(unfit)?;
        let said =
            Said { bytes: Cursor::new(readable.to_vec()), digest: Arc::new(SocketDigest::from_raw_fd(-1)) };
        // The port tells connections apart, and no connection has this one.
        let peer = client.map(|client| AnyAddress::Inet(SocketAddr::new(client, 0)));
        // Set once: the digest was made above.
        let _ = said.digest.peer_addr.set(peer);
        let _ = said.digest.local_addr.set(Some(AnyAddress::Inet(listener.address)));
        Unsent::read(Box::new(said)).await.map_err(|error| format!("no request can be read: {error}"))
    }
}

/// The scheme of a URL, as far as it says one, its authority, and the target of its request.
fn parts(url: &str) -> Option<(Option<bool>, Option<&str>, &str)> {
    if url.starts_with('/') {
        return Some((None, None, url));
    }
    let (scheme, rest) = url.split_once("://")?;
    let is_https = match scheme.to_ascii_lowercase().as_str() {
        "https" | "wss" => true,
        "http" | "ws" => false,
        _ => return None,
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    authority.parse::<Uri>().ok()?;
    let target = if target.is_empty() { "/" } else { target };
    target.starts_with('/').then_some((Some(is_https), Some(authority), target))
}

/// The host that is most likely meant where none is said: that of a resource which is polled now, or the one by which alone a
/// route covers the path. Returns `None` if there is none.
fn known_host(shared: &Shared, path: &str) -> Option<String> {
    let polled = shared.hub.at_path(path).into_iter().find_map(|topic| topic.key().parts().host.clone());
    let covers = |host: Option<&str>| matches!(shared.routes.find(host, path), Match::Covered { .. });
    let of_route = || {
        let mut hosts = shared.config.routes.iter().flat_map(|route| route.hosts.iter());
        hosts.find(|host| covers(Some(host))).filter(|_| !covers(None)).cloned()
    };
    polled.or_else(of_route)
}

/// The listener that such a request comes to: one with that scheme that serves the host, else the first that comes near.
fn listener(config: &Config, is_https: Option<bool>, host: Option<&str>) -> usize {
    let has_scheme = |listener: &Listener| is_https.is_none_or(|wanted| listener.tls.is_some() == wanted);
    let serves = |listener: &Listener| {
        listener.hosts.is_empty() || host.is_none_or(|host| listener.hosts.contains(&host_name(host)))
    };
    let all = || config.listeners.iter();
    let found = all().position(|listener| has_scheme(listener) && serves(listener));
    found.or_else(|| all().position(serves)).unwrap_or(0)
}

/// A connection on which nothing but this was said, and what is answered goes nowhere.
struct Said {
    bytes: Cursor<Vec<u8>>,
    digest: Arc<SocketDigest>,
}

impl fmt::Debug for Said {
    /// The bytes may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Said")
    }
}

impl AsyncRead for Said {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = [0; 4096];
        let most = piece.len().min(buffer.remaining());
        let read = self.bytes.read(&mut piece[..most])?;
        buffer.put_slice(&piece[..read]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Said {
    fn poll_write(self: Pin<&mut Self>, _context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl Shutdown for Said {
    async fn shutdown(&mut self) {}
}

impl UniqueID for Said {
    fn id(&self) -> UniqueIDType {
        -1
    }
}

impl Ssl for Said {}

impl GetTimingDigest for Said {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Said {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Said {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }
}

impl Peek for Said {}
