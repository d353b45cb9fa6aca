//! The exchange with a proxy before it leads to a server: HTTP's CONNECT (RFC 9110 §9.3.6) and SOCKS version 5 (RFC
//! 1928). No byte is read that belongs to the server.
//!
//! Must not know: how the proxy is reached, what is said to the server.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::config::Proxy;
use crate::upstream::target::{Site, Target};

/// Longest head of an answer to CONNECT, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The reason if a proxy wants a user and a password, or refuses those it was given.
pub(super) const WANTS_CREDENTIALS: &str =
    "the proxy answers 407: it wants a user and a password, or others than `proxy` has";

/// A host name longer than this cannot be told to a SOCKS proxy (RFC 1928 §5).
const NAME_BYTES_MAX: usize = 255;

/// The credentials of pollcast, as an HTTP proxy wants them.
pub(super) fn authorization(proxy: &Proxy) -> Option<HeaderValue> {
    let (user, password) = proxy.credentials.as_ref()?;
    let pair = STANDARD.encode(format!("{user}:{}", password.0));
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Has an HTTP proxy lead to a server.
///
/// # Errors
/// Says why it does not.
pub(super) async fn connect(
    connection: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proxy: &Proxy,
    target: &Target,
) -> Result<(), String> {
    let place = target.authority();
    let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
    if let Some(value) = authorization(proxy) {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    connection.write_all(&request).await.map_err(|error| ended(&error))?;
    match status(connection).await? {
        200..=299 => Ok(()),
        407 => Err(WANTS_CREDENTIALS.to_owned()),
        status @ 500.. => Err(format!("the proxy cannot reach {place}: it answers {status}")),
        status => Err(format!("the proxy does not let pollcast reach {place}: it answers {status}")),
    }
}

/// The status of the answer, whose head is read to its end. Informational ones are read over.
async fn status(connection: &mut (impl AsyncRead + Unpin)) -> Result<u16, String> {
    let mut read = 0;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
            // Bytes are read one by one: those behind the head are the server's.
            let byte = connection.read_u8().await.map_err(|error| ended(&error))?;
            head.push(byte);
            read += 1;
            let is_http = head.iter().zip(b"HTTP/1.").all(|(found, wanted)| found == wanted);
            if !is_http || read > HEAD_BYTES_MAX {
                return Err("the proxy does not speak HTTP/1.1".to_owned());
            }
        }
        let status = head
            .split(|byte| *byte == b' ')
            .nth(1)
            .and_then(|digits| std::str::from_utf8(digits.trim_ascii()).ok()?.get(..3)?.parse::<u16>().ok());
        match status {
            Some(100..=199) => {}
            Some(status) => return Ok(status),
            None => return Err("the proxy does not speak HTTP/1.1".to_owned()),
        }
    }
}

/// Has a SOCKS proxy lead to a server, whose name it resolves.
///
/// # Errors
/// Says why it does not.
pub(super) async fn socks5(
    connection: &mut (impl AsyncRead + AsyncWrite + Unpin),
    proxy: &Proxy,
    target: &Target,
) -> Result<(), String> {
    const VERSION: u8 = 5;
    const NO_AUTHENTICATION: u8 = 0;
    const USER_AND_PASSWORD: u8 = 2;
    const NONE_ACCEPTABLE: u8 = 0xff;
    let methods: &[u8] = match &proxy.credentials {
        Some(_) => &[VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD],
        None => &[VERSION, 1, NO_AUTHENTICATION],
    };
    connection.write_all(methods).await.map_err(|error| ended(&error))?;
    let [version, method] = read(connection).await?;
    match (version, method, &proxy.credentials) {
        (VERSION, NO_AUTHENTICATION, _) => {}
        (VERSION, USER_AND_PASSWORD, Some((user, password))) => {
            sign_in(connection, user, &password.0).await?;
        }
        (VERSION, NONE_ACCEPTABLE, None) => return Err("the proxy wants a user and a password".to_owned()),
        (VERSION, NONE_ACCEPTABLE, Some(_)) => {
            return Err("the proxy takes no user with a password".to_owned());
        }
        _ => return Err("the proxy does not speak SOCKS5".to_owned()),
    }
    let place = target.authority();
    connection.write_all(&request(target)?).await.map_err(|error| ended(&error))?;
    let [version, reply, _, kind] = read(connection).await?;
    if version != VERSION {
        return Err("the proxy does not speak SOCKS5".to_owned());
    }
    if reply != 0 {
        return Err(format!("the proxy cannot reach {place}: {}", reason(reply)));
    }
    let address_bytes = match kind {
        1 => 4,
        4 => 16,
        3 => usize::from(connection.read_u8().await.map_err(|error| ended(&error))?),
        _ => return Err("the proxy does not speak SOCKS5".to_owned()),
    };
    let mut bound = [0; NAME_BYTES_MAX + 2];
    connection.read_exact(&mut bound[..address_bytes + 2]).await.map_err(|error| ended(&error))?;
    Ok(())
}

/// RFC 1929. Both are at most 255 bytes long.
async fn sign_in(
    connection: &mut (impl AsyncRead + AsyncWrite + Unpin),
    user: &str,
    password: &str,
) -> Result<(), String> {
    let mut said = vec![1];
    for text in [user, password] {
        said.push(text.len() as u8);
        said.extend_from_slice(text.as_bytes());
    }
    connection.write_all(&said).await.map_err(|error| ended(&error))?;
    match read(connection).await? {
        [_, 0] => Ok(()),
        _ => Err("the proxy does not take the user and the password of `proxy`".to_owned()),
    }
}

/// CONNECT to a server, by its name if it has one.
fn request(target: &Target) -> Result<Vec<u8>, String> {
    let mut request = vec![5, 1, 0];
    match target.host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(1);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(4);
            request.extend_from_slice(&address.octets());
        }
        Err(_) if target.host.len() > NAME_BYTES_MAX => {
            return Err("the server's name is too long".to_owned());
        }
        Err(_) => {
            request.extend_from_slice(&[3, target.host.len() as u8]);
            request.extend_from_slice(target.host.as_bytes());
        }
    }
    let port = match &target.site {
        Site::Named(port) => *port,
        Site::Inet(address) => address.port(),
        Site::Unix(_) => return Err("a Unix socket is reached without a proxy".to_owned()),
    };
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

/// RFC 1928 §6.
fn reason(reply: u8) -> &'static str {
    match reply {
        1 => "it failed",
        2 => "its rules do not allow it",
        3 => "the network is unreachable",
        4 => "the host is unreachable, or its name unknown",
        5 => "the connection was refused",
        6 => "it takes too long",
        7 => "it makes no connections",
        8 => "it does not know this kind of address",
        _ => "it does not say why",
    }
}

async fn read<const N: usize>(connection: &mut (impl AsyncRead + Unpin)) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    connection.read_exact(&mut bytes).await.map_err(|error| ended(&error))?;
    Ok(bytes)
}

fn ended(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "the proxy ended the connection".to_owned(),
        _ => format!("the proxy ended the connection: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    fn target(host: &str, port: u16) -> Target {
        Target { site: Site::Named(port), host: host.into(), addresses: None }
    }

    /// What a proxy that answers so is told, what comes of it, and what is left to be read.
    async fn told(proxy: &str, host: &str, answer: &[u8]) -> (Vec<u8>, Result<(), String>, Vec<u8>) {
        let (mut ours, mut theirs) = duplex(100_000);
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        let (proxy, target) = (Proxy::parse(proxy).unwrap(), target(host, 443));
        let result = match proxy.protocol {
            crate::config::ProxyProtocol::Http => connect(&mut ours, &proxy, &target).await,
            crate::config::ProxyProtocol::Socks5 => socks5(&mut ours, &proxy, &target).await,
        };
        let (mut said, mut left) = (Vec::new(), Vec::new());
        if result.is_ok() {
            ours.read_to_end(&mut left).await.unwrap();
        }
        drop(ours);
        theirs.read_to_end(&mut said).await.unwrap();
        (said, result, left)
    }

    #[tokio::test]
    async fn connect_says_who_asks_and_leaves_the_servers_bytes() {
        let (said, result, left) = told(
            "http://ann:wo:rd@p:1",
            "api",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200\r\nA: b\r\n\r\nhello",
        )
        .await;
        assert_eq!((result, left.as_slice()), (Ok(()), b"hello".as_slice()));
        let wanted =
            "CONNECT api:443 HTTP/1.1\r\nHost: api:443\r\nProxy-Authorization: Basic YW5uOndvOnJk\r\n\r\n";
        assert_eq!(String::from_utf8(said).unwrap(), wanted);
        let (said, _, _) = told("http://p:1", "::1", b"").await;
        assert_eq!(said, b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n");
    }

    #[tokio::test]
    async fn what_a_proxy_says_instead_of_leading_on_is_told() {
        for (answer, wanted) in [
            ("HTTP/1.1 407 No\r\n\r\n", "the proxy answers 407"),
            ("HTTP/1.1 403 No\r\n\r\n", "does not let pollcast reach api:443: it answers 403"),
            ("HTTP/1.1 502 No\r\n\r\n", "the proxy cannot reach api:443: it answers 502"),
            ("SSH-2.0-x\r\n\r\n", "does not speak HTTP"),
            ("\u{5}\u{0}", "does not speak HTTP"),
            ("HTTP/1.1 \r\n\r\n", "does not speak HTTP"),
            ("HTTP/1.1 2é\r\n\r\n", "does not speak HTTP"),
            ("HTTP/1.1 200 OK\r\n", "ended the connection"),
            ("", "ended the connection"),
        ] {
            let (_, result, _) = told("http://ann:hidden@p:1", "api", answer.as_bytes()).await;
            let error = result.expect_err(answer);
            assert!(error.contains(wanted) && !error.contains("hidden"), "{answer:?}: {error}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(HEAD_BYTES_MAX));
        assert!(told("http://p:1", "api", long.as_bytes()).await.1.is_err());
    }

    #[tokio::test]
    async fn socks_is_told_names_as_names_and_addresses_as_addresses() {
        let good = b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50hello";
        for (host, wanted) in [
            ("api", &b"\x05\x01\x00\x05\x01\x00\x03\x03api\x01\xbb"[..]),
            ("10.0.0.1", b"\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x01\xbb"),
            ("::1", b"\x05\x01\x00\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb"),
        ] {
            let (said, result, left) = told("socks5://p:1", host, good).await;
            assert_eq!((result, left.as_slice(), said.as_slice()), (Ok(()), &b"hello"[..], wanted), "{host}");
        }
        let signed_in = b"\x05\x02\x01\x00\x05\x00\x00\x03\x04name\x00\x50hello";
        let (said, result, left) = told("socks5://ann:word@p:1", "api", signed_in).await;
        assert_eq!((result, left.as_slice()), (Ok(()), &b"hello"[..]));
        assert_eq!(said, b"\x05\x02\x00\x02\x01\x03ann\x04word\x05\x01\x00\x03\x03api\x01\xbb");
    }

    #[tokio::test]
    async fn socks_refusals_are_told_in_words() {
        for (proxy, answer, wanted) in [
            ("socks5://p:1", &b"\x05\xff"[..], "wants a user and a password"),
            ("socks5://ann:hidden@p:1", b"\x05\xff", "takes no user"),
            ("socks5://ann:hidden@p:1", b"\x05\x02\x01\x01", "does not take the user"),
            ("socks5://p:1", b"\x05\x02", "does not speak SOCKS5"),
            ("socks5://p:1", b"\x04\x00", "does not speak SOCKS5"),
            ("socks5://p:1", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak SOCKS5"),
            ("socks5://p:1", b"\x05\x00\x05\x04\x00\x01", "cannot reach api:443: the host is unreachable"),
            ("socks5://p:1", b"\x05\x00\x05\x05\x00\x01", "the connection was refused"),
            ("socks5://p:1", b"\x05\x00\x05\x00\x00\x09", "does not speak SOCKS5"),
            ("socks5://p:1", b"\x05\x00\x05\x00\x00\x01\x00", "ended the connection"),
            ("socks5://p:1", b"", "ended the connection"),
        ] {
            let (_, result, _) = told(proxy, "api", answer).await;
            let error = result.expect_err(wanted);
            assert!(error.contains(wanted) && !error.contains("hidden"), "{answer:?}: {error}");
        }
        let long = "a".repeat(256);
        assert!(told("socks5://p:1", &long, b"\x05\x00").await.1.is_err());
    }
}
