//! The proxy on the way to an upstream: `upstreams.<name>.proxy`.
//!
//! Must not know: connections.

use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::{Secret, SecretFile};

/// Longest user and longest password, bytes (RFC 1929 §2 counts them in one).
const CREDENTIAL_BYTES_MAX: usize = 255;

/// A proxy that all connections to an upstream go through. It resolves the names of the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The protocol that it speaks.
    pub protocol: ProxyProtocol,
    /// A name, or an address without brackets.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// The user and the password when the configuration was read.
    pub credentials: Option<(String, Secret)>,
    /// The file with the password, if other programs may replace it: then the file counts.
    pub password_file: Option<Arc<SecretFile>>,
}

/// The protocol of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// `CONNECT` for what is secured, requests in absolute form for what is not (RFC 9110 §9.3.6, RFC 9112 §3.2.2).
    Http,
    /// SOCKS version 5 (RFC 1928, RFC 1929).
    Socks5,
}

impl Proxy {
    /// Reads `http://user:password@host:port`, `socks5://…` or `socks5h://…`.
    ///
    /// # Errors
    /// Says what is wrong, without anything of the text: a password is in it.
    pub fn parse(text: &str) -> Result<Proxy, &'static str> {
        const WANTED: &str =
            "is no proxy; write it like http://user:password@proxy:3128 or socks5://proxy:1080";
        let (scheme, rest) = text.split_once("://").ok_or(WANTED)?;
        let protocol = match scheme.to_ascii_lowercase().as_str() {
            "http" => ProxyProtocol::Http,
            "socks5" | "socks5h" => ProxyProtocol::Socks5,
            "https" => {
                return Err(
                    "is a proxy that is spoken to in TLS, which pollcast does not; http:// it is, if any",
                );
            }
            "socks4" | "socks4a" | "socks" => {
                return Err("speaks a SOCKS that pollcast does not; only socks5:// is known");
            }
            _ => return Err(WANTED),
        };
        // A password as it comes from the environment may have any character in it.
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        let (host, port) = place.rsplit_once(':').ok_or("has no port; write it like http://proxy:3128")?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or("has a port that is none")?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bare {
            Some(host) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
            }
        };
        if !is_host {
            return Err(WANTED);
        }
        let credentials = user.map(credentials).transpose()?;
        let host = bare.unwrap_or(host).to_owned();
        Ok(Proxy { protocol, host, port, credentials, password_file: None })
    }

    /// Takes the password that stands beside the URL.
    ///
    /// # Errors
    /// The URL names no user, or a password, too; or it is one that no proxy can be told.
    pub fn take_password(
        &mut self,
        password: Secret,
        file: Option<Arc<SecretFile>>,
    ) -> Result<(), &'static str> {
        let Some((_, own)) = &mut self.credentials else {
            return Err("has a password and no user; write the user into url: http://user@proxy:3128");
        };
        if !own.0.is_empty() {
            return Err("has a password in url and beside it; remove one of them");
        }
        is_tellable(&password.0)?;
        (*own, self.password_file) = (password, file);
        Ok(())
    }

    /// The same with another password. Returns `None` where the proxy cannot be told it.
    pub fn with_password(&self, password: &str) -> Option<Proxy> {
        is_tellable(password).ok()?;
        let (user, _) = self.credentials.as_ref()?;
        let credentials = Some((user.clone(), Secret(password.to_owned())));
        Some(Proxy { credentials, ..self.clone() })
    }

    /// `host:port`, without the credentials.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

fn credentials(said: &str) -> Result<(String, Secret), &'static str> {
    let (user, password) = said.split_once(':').unwrap_or((said, ""));
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned());
    let (Ok(user), Ok(password)) = (decoded(user), decoded(password)) else {
        return Err("has a user or a password that is not UTF-8 behind its escapes");
    };
    if user.is_empty() {
        return Err("has an empty user; leave user and \"@\" out if the proxy wants none");
    }
    is_tellable(&user)?;
    is_tellable(&password)?;
    if user.contains(':') {
        return Err(UNTELLABLE);
    }
    Ok((user, Secret(password)))
}

const UNTELLABLE: &str = "has a character in its user or password that no proxy can be told";

/// Whether a user or a password is one that a proxy can be told.
fn is_tellable(text: &str) -> Result<(), &'static str> {
    if text.len() > CREDENTIAL_BYTES_MAX {
        return Err("has a user or a password of more than 255 bytes");
    }
    if text.contains(char::is_control) { Err(UNTELLABLE) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_as_curl_reads_them() {
        let read = |text: &str| {
            let proxy = Proxy::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let credentials = proxy.credentials.clone().map(|(user, password)| (user, password.0));
            (proxy.protocol, proxy.authority(), credentials)
        };
        let with = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (text, wanted) in [
            ("http://proxy:3128", (ProxyProtocol::Http, "proxy:3128", None)),
            ("HTTP://proxy:3128/", (ProxyProtocol::Http, "proxy:3128", None)),
            ("http://ann:word@10.0.0.1:80", (ProxyProtocol::Http, "10.0.0.1:80", with("ann", "word"))),
            ("http://ann@proxy:80", (ProxyProtocol::Http, "proxy:80", with("ann", ""))),
            ("socks5://[::1]:1080", (ProxyProtocol::Socks5, "[::1]:1080", None)),
            ("socks5h://a.b-c:1080", (ProxyProtocol::Socks5, "a.b-c:1080", None)),
            // A password may be written as the environment has it, and as a URL has it.
            ("socks5://ann:p@ss:w/o?r#d@s:1", (ProxyProtocol::Socks5, "s:1", with("ann", "p@ss:w/o?r#d"))),
            ("http://a%40b:p%3Aw%25@p:1", (ProxyProtocol::Http, "p:1", with("a@b", "p:w%"))),
            ("http://ann:100%@p:1", (ProxyProtocol::Http, "p:1", with("ann", "100%"))),
        ] {
            let (protocol, authority, credentials) = wanted;
            assert_eq!(read(text), (protocol, authority.to_owned(), credentials), "{text}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_told_without_its_password() {
        for text in [
            "proxy:3128",
            "https://ann:hidden@proxy:3128",
            "socks4://ann:hidden@proxy:1080",
            "ftp://ann:hidden@proxy:21",
            "http://ann:hidden@proxy",
            "http://ann:hidden@proxy:0",
            "http://ann:hidden@proxy:99999",
            "http://ann:hidden@pro xy:3128",
            "http://ann:hidden@proxy:3128/path",
            "http://:hidden@proxy:3128",
            "http://a%3Ab:hidden@proxy:3128",
            "http://ann:hidden%0d%0a@proxy:3128",
            "http://ann:hidden@[proxy]:3128",
            "http://ann:hidden@:3128",
            "",
        ] {
            let error = Proxy::parse(text).expect_err(text);
            assert!(!error.contains("hidden"), "{error}");
        }
        let long = format!("http://{}@proxy:1", "a".repeat(256));
        assert!(Proxy::parse(&long).is_err());
        let shown = format!("{:?}", Proxy::parse("http://ann:hidden@proxy:1"));
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
