//! The head of an answer that passes through: its framing is judged, and what speaks of the upstream's connection only is
//! dropped (RFC 9110 §7.6.1).
//!
//! Must not know: what the request asked for.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};

use super::bypass;
use crate::front::connection::Connection;
use crate::front::context::Context;
use crate::front::request::cors;
use crate::metrics::Bypass;

/// Pingora's own business.
static FRAMING: [HeaderName; 2] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Which fields of a head have to be acted on, seen in one pass: a look-up for each of them costs several times as much,
/// and most heads have few of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Seen {
    lengths: usize,
    codings: usize,
    /// A Content-Length is a list.
    is_listed: bool,
    has_trailer: bool,
    has_connection: bool,
    has_keep_alive: bool,
    has_proxy_connection: bool,
}

impl Seen {
    fn of(headers: &HeaderMap) -> Seen {
        let mut seen = Seen::default();
        for (name, value) in headers {
            match *name {
                header::CONTENT_LENGTH => {
                    seen.lengths += 1;
                    seen.is_listed |= value.as_bytes().contains(&b',');
                }
                header::TRANSFER_ENCODING => seen.codings += 1,
                header::TRAILER => seen.has_trailer = true,
                header::CONNECTION => seen.has_connection = true,
                _ => {
                    seen.has_keep_alive |= *name == KEEP_ALIVE;
                    seen.has_proxy_connection |= *name == PROXY_CONNECTION;
                }
            }
        }
        seen
    }

    /// Judges how an answer says where it ends.
    ///
    /// # Errors
    /// Status 502 for what is said twice or not understood.
    fn judge(&self, response: &ResponseHeader) -> Result<()> {
        if self.is_listed || self.lengths > 1 || self.codings > 1 {
            return Error::e_explain(ErrorType::HTTPStatus(502), "the framing of the answer is said twice");
        }
        if self.codings == 0 {
            return Ok(());
        }
        let coding = response.headers.get(header::TRANSFER_ENCODING).map(HeaderValue::as_bytes);
        let last = coding.and_then(|coding| coding.split(|byte| *byte == b',').next_back());
        let is_chunked = last.is_none_or(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        if is_chunked && response.version != Version::HTTP_10 {
            return Ok(());
        }
        Error::e_explain(ErrorType::HTTPStatus(502), "the answer does not say where it ends")
    }
}

/// Drops what speaks of the upstream's connection only, and adds what contract §3 says.
///
/// # Errors
/// Status 502 for a head whose framing is said twice or not understood, and for a 101 that was not asked for
/// (contract §12). A Content-Length beside a Transfer-Encoding was removed by Pingora, which does not use that connection
/// again.
pub(in crate::front) fn rewrite_response(
    connection: &mut Connection<'_>,
    response: &mut ResponseHeader,
    ctx: &Context,
) -> Result<()> {
    let server = ctx.server.as_ref();
    if let Some(error) = server.and_then(|server| server.not_its_own(response.status, &response.headers)) {
        return Err(error);
    }
    let seen = Seen::of(&response.headers);
    seen.judge(response)?;
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        if connection.head().headers.contains_key(header::UPGRADE) || connection.is_http2() {
            return Ok(());
        }
        return Error::e_explain(ErrorType::HTTPStatus(502), "the answer switches protocols unasked");
    }
    if response.version < Version::HTTP_2 {
        // The version is ours, whatever the upstream speaks (RFC 9112 §2.3), and its trailers are dropped.
        response.set_version(Version::HTTP_11);
        if seen.has_trailer {
            response.remove_header(&header::TRAILER);
        }
    }
    if let Some(route) = ctx.route.as_ref().filter(|_| !response.status.is_informational()) {
        cors::complete(response, route, &connection.head().headers)?;
        bypass::complete(response, connection.head(), route, ctx)?;
    } else if ctx.bypass == Some(Bypass::Path) && bypass::is_read(&connection.head().method) {
        bypass::tell(response, Bypass::Path)?;
    }
    if seen.codings > 0 && connection.head().version == Version::HTTP_10 {
        // The client cannot read chunks: its body ends with the connection.
        response.remove_header(&header::TRANSFER_ENCODING);
        connection.ends_afterwards();
    }
    drop_hop_by_hop(response, seen);
    Ok(())
}

fn drop_hop_by_hop(response: &mut ResponseHeader, seen: Seen) {
    if seen.has_connection {
        for name in named(&response.headers) {
            response.remove_header(&name);
        }
        response.remove_header(&header::CONNECTION);
    }
    if seen.has_keep_alive {
        response.remove_header(&KEEP_ALIVE);
    }
    if seen.has_proxy_connection {
        response.remove_header(&PROXY_CONNECTION);
    }
}

/// The fields that a head names in its Connection, without those of framing.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(header::CONNECTION).iter().filter(|line| line.to_str().is_ok());
    let words = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    // What most heads say there; the fields of these names are dropped anyway.
    let others = words.filter(|word| !word.eq_ignore_ascii_case(KEEP_ALIVE.as_str().as_bytes()));
    others.filter_map(|word| HeaderName::try_from(word).ok()).filter(|name| !FRAMING.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(lines: &[(&str, &str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in lines {
            response.append_header((*name).to_owned(), *value).unwrap();
        }
        response
    }

    #[test]
    fn what_is_said_twice_or_is_not_understood_goes_no_further() {
        let status = |lines: &[(&str, &str)], version| {
            let mut response = head(lines);
            response.set_version(version);
            Seen::of(&response.headers).judge(&response).is_ok()
        };
        for (lines, is_good) in [
            (&[][..], true),
            (&[("Content-Length", "5")], true),
            (&[("Content-Length", "5, 5")], false),
            (&[("Content-Length", "5"), ("content-length", "5")], false),
            (&[("Transfer-Encoding", "chunked")], true),
            (&[("Transfer-Encoding", "gzip, Chunked ")], true),
            (&[("Transfer-Encoding", "chunked, gzip")], false),
            (&[("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked")], false),
        ] {
            assert_eq!(status(lines, Version::HTTP_11), is_good, "{lines:?}");
        }
        assert!(!status(&[("Transfer-Encoding", "chunked")], Version::HTTP_10));
        assert!(status(&[("Content-Length", "5")], Version::HTTP_10));
    }

    #[test]
    fn what_speaks_of_the_connection_is_dropped_and_nothing_else() {
        for (lines, kept) in [
            (&[("Server", "a"), ("Connection", "keep-alive")][..], &["server"][..]),
            (&[("Keep-Alive", "timeout=5"), ("Proxy-Connection", "close"), ("X", "1")], &["x"]),
            (&[("Connection", "close, X-Hop ,Y"), ("X-Hop", "1"), ("Y", "1"), ("Z", "1")], &["z"]),
            (&[("Connection", "content-length"), ("Content-Length", "5")], &["content-length"]),
            (&[("Connection", "x"), ("Connection", "y, @"), ("X", "1"), ("Y", "1"), ("Y", "2")], &[]),
        ] {
            let mut response = head(lines);
            let seen = Seen::of(&response.headers);
            drop_hop_by_hop(&mut response, seen);
            let left: Vec<&str> = response.headers.keys().map(HeaderName::as_str).collect();
            assert_eq!(left, kept, "{lines:?}");
        }
    }
}
