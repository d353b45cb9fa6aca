//! Framing and size checks on the raw head of a request (contract §12), before anything trusts the
//! parsed one: Pingora's parser forgets what it resolved.
//!
//! Also whether a request's body that is not read can be dropped. Must not know: routes.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::resource::alphanumerics_and;
use http::{HeaderMap, HeaderValue, Method, Version, header};
use memchr::{memchr, memchr2};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, OrErr, Result};

/// How long the rest of a body that is not read may take.
pub(in crate::front) const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// Whether a request's body is known to be short enough to be read and dropped behind an own
/// answer. If not, the answer is the connection's last.
pub(in crate::front) fn is_drainable(headers: &HeaderMap, limit: usize) -> bool {
    if headers.contains_key(header::TRANSFER_ENCODING) || headers.contains_key(header::EXPECT) {
        return false;
    }
    let Some(length) = headers.get(header::CONTENT_LENGTH) else {
        return true;
    };
    length.to_str().ok().and_then(|text| text.parse::<usize>().ok()).is_some_and(|length| length <= limit)
}

/// Whether a request that passes through is to be its connection's last. Where chunks end is read by other
/// rules in other servers (extensions, line ends, empty sizes), and Pingora's are lenient: what a proxy before
/// this one takes for a part of the body must not be taken for the next request here. Upstreams are safe: the
/// body goes out in chunks of our own.
pub(in crate::front) fn is_last(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
}

/// Why a head is refused; the words go to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) struct BadHead(pub(in crate::front) &'static str);

/// Checks a raw HTTP/1 head, its last empty line included.
pub(in crate::front) fn check(raw: &[u8]) -> Result<(), BadHead> {
    let mut head = raw;
    // Old clients send an empty line behind a body: it is to be borne (RFC 9112 §2.2).
    while let Some(rest) = head.strip_prefix(b"\r\n") {
        head = rest;
    }
    let (request_line, mut rest) = first_line(head);
    let Some(request_line) = request_line.strip_suffix(b"\r\n") else {
        return Err(BadHead("a line ends with a bare LF"));
    };
    target(request_line)?;
    if memchr(0, raw).is_some() {
        return Err(BadHead("the head contains a NUL"));
    }
    let mut framing = Framing::default();
    while !rest.is_empty() {
        let (line, behind) = whole_line(rest)?;
        rest = behind;
        if line.is_empty() {
            break;
        }
        field(line, &mut framing)?;
    }
    framing.judge()
}

/// The first line with its end, and what is behind it.
fn first_line(head: &[u8]) -> (&[u8], &[u8]) {
    head.split_at(memchr(b'\n', head).map_or(head.len(), |end| end + 1))
}

/// The first line without its end, and what is behind it.
///
/// # Errors
/// It has no end, another one than CR LF, or a CR besides that.
fn whole_line(head: &[u8]) -> Result<(&[u8], &[u8]), BadHead> {
    if let Some(at) = memchr2(b'\r', b'\n', head)
        && head[at..].starts_with(b"\r\n")
    {
        return Ok((&head[..at], &head[at + 2..]));
    }
    match first_line(head).0.ends_with(b"\r\n") {
        true => Err(BadHead("a header field contains a bare CR")),
        false => Err(BadHead("a line ends with a bare LF")),
    }
}

/// Whether the target has one of the forms of RFC 9112 §3.2 that are served here. Pingora escapes a second
/// space in the request line instead of refusing it, and cuts a fragment off.
fn target(request_line: &[u8]) -> Result<(), BadHead> {
    let mut words = request_line.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if target.contains(&b'#') {
        return Err(BadHead("a fragment in the target"));
    }
    let is_absolute = [&b"http://"[..], b"https://"]
        .iter()
        .any(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let is_served = target.starts_with(b"/") || is_absolute || (target == b"*" && method == b"OPTIONS");
    if is_served { Ok(()) } else { Err(BadHead("the request line names no target")) }
}

/// A target with an authority is its path, and the authority its Host (RFC 9112 §3.2.2): upstreams
/// seldom know the absolute form. Pingora has refused a Host that says otherwise.
///
/// # Errors
/// Status 400 for a target that names no host.
pub(in crate::front) fn to_origin_form(request: &mut RequestHeader) -> Result<()> {
    let target = request.raw_path();
    if target.starts_with(b"/") {
        return Ok(());
    }
    // Pingora takes the whole of it for a path.
    let Some(at) = target.windows(3).position(|w| w == b"://") else {
        return Ok(());
    };
    let rest = &target[at + 3..];
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = (rest[..end].to_vec(), rest[end..].to_vec());
    let path = if path.starts_with(b"/") { path } else { [b"/", &path[..]].concat() };
    if !is_host(&authority) {
        return Error::e_explain(ErrorType::HTTPStatus(400), "the target names no host");
    }
    let host =
        HeaderValue::try_from(authority).or_err(ErrorType::InvalidHTTPHeader, "the target's authority")?;
    request.insert_header(header::HOST, host)?;
    request.set_raw_path(&path)
}

/// Brings a request of HTTP/2 into the form that HTTP/1 has (contract §12), before anything reads it: what this
/// process and an upstream see is one request.
///
/// # Errors
/// The target has no form of HTTP/1, or a field that says where the body ends, or whom the request is for, is there
/// twice.
pub(in crate::front) fn to_http1_form(request: &mut RequestHeader) -> Result<(), BadHead> {
    let target = request.raw_path();
    if !(target.starts_with(b"/") || (target == b"*" && request.method == Method::OPTIONS)) {
        return Err(BadHead("the request names no target"));
    }
    let headers = &request.headers;
    for (name, words) in
        [(header::CONTENT_LENGTH, BadHead("Content-Length twice")), (header::HOST, BadHead("Host twice"))]
    {
        if headers.get_all(name).iter().nth(1).is_some() {
            return Err(words);
        }
    }
    // Clients may split it for compression (RFC 9113 §8.2.3); servers of HTTP/1 take one line.
    let lines: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1 {
        let Ok(mut joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) else {
            return Err(BadHead("the Cookie cannot be read"));
        };
        joined.set_sensitive(true);
        let inserted = request.insert_header(header::COOKIE, joined);
        inserted.map_err(|_| BadHead("the Cookie cannot be read"))?;
    }
    Ok(())
}

/// Checks which host a request is for, and which page sent it: one host that every server reads as the same one. It is
/// in keys, in fields that upstreams make links of, and compared with the Origin.
pub(in crate::front) fn check_host(request: &RequestHeader) -> Result<(), BadHead> {
    let said = request.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let host = said.or(request.uri.authority().map(|authority| authority.as_str().as_bytes()));
    match host {
        Some(host) if is_host(host) => {}
        Some(_) => return Err(BadHead("the host is none")),
        None if request.version < Version::HTTP_11 => {}
        None => return Err(BadHead("no host is named")),
    }
    // HTTP/2 has a field of its own for it.
    if request.uri.path() == "*" && request.method != Method::OPTIONS {
        return Err(BadHead("the request names no target"));
    }
    // A client whose field cannot be read must not pass for one without it.
    let mut origins = request.headers.get_all(&header::ORIGIN).iter();
    if origins.next().is_some_and(|origin| origin.to_str().is_err()) || origins.next().is_some() {
        return Err(BadHead("the Origin is not one"));
    }
    Ok(())
}

/// Which bytes names of hosts have. Each request's host is held against it.
const IN_NAMES: [bool; 256] = alphanumerics_and(b"-._~");

/// A name, an IPv4 address or an IPv6 address in brackets, and a port perhaps. Narrower than RFC 3986
/// §3.2.2, whose `,`, `;` or `%` no real name has.
pub(in crate::front) fn is_host(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    let (is_name, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, rest))) => (address.parse::<Ipv6Addr>().is_ok(), rest),
        Some(None) => return false,
        None => {
            let (name, port) = host.split_at(memchr(b':', host.as_bytes()).unwrap_or(host.len()));
            (!name.is_empty() && name.bytes().all(|byte| IN_NAMES[usize::from(byte)]), port)
        }
    };
    let digits = port.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    is_name && (port.is_empty() || digits.is_some_and(|port| port.parse::<u16>().is_ok()))
}

#[derive(Default)]
struct Framing {
    lengths: usize,
    encodings: usize,
    hosts: usize,
}

impl Framing {
    fn judge(&self) -> Result<(), BadHead> {
        if self.lengths > 0 && self.encodings > 0 {
            return Err(BadHead("both Content-Length and Transfer-Encoding"));
        }
        if self.lengths > 1 {
            return Err(BadHead("Content-Length twice"));
        }
        if self.encodings > 1 {
            return Err(BadHead("Transfer-Encoding twice"));
        }
        if self.hosts > 1 {
            return Err(BadHead("Host twice"));
        }
        Ok(())
    }
}

fn field(line: &[u8], framing: &mut Framing) -> Result<(), BadHead> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(BadHead("a folded header line"));
    }
    // Names are short: a search would cost more to begin than it saves.
    let is_end = |byte: &u8| *byte == b':' || byte.is_ascii_whitespace();
    let end = line.iter().position(is_end);
    let Some(colon) = end.filter(|end| *end > 0 && line[*end] == b':') else {
        return Err(match memchr(b':', line) {
            None => BadHead("a header line without a colon"),
            Some(_) => BadHead("white space in or after a header name"),
        });
    };
    let name = &line[..colon];
    // Most names begin with another letter than those of framing.
    if !matches!(name[0], b'C' | b'c' | b'T' | b't' | b'H' | b'h') {
        return Ok(());
    }
    let value = line[colon + 1..].trim_ascii();
    if name.eq_ignore_ascii_case(b"content-length") {
        framing.lengths += 1;
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(BadHead("Content-Length is not a plain number"));
        }
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        framing.encodings += 1;
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(BadHead("a Transfer-Encoding other than chunked"));
        }
    } else if name.eq_ignore_ascii_case(b"host") {
        framing.hosts += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shapes_of_request_smuggling_are_refused() {
        let good = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
        ];
        for head in good {
            assert_eq!(check(head.as_bytes()), Ok(()), "{head:?}");
        }
        let bad = [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "both"),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", "twice"),
            ("Content-Length: 1, 1\r\n", "plain number"),
            ("Content-Length: +1\r\n", "plain number"),
            ("Content-Length:\r\n", "plain number"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "twice"),
            ("Transfer-Encoding: gzip, chunked\r\n", "other than"),
            ("Transfer-Encoding : chunked\r\n", "white space"),
            ("X: a\r\n b\r\n", "folded"),
            ("X: a\nY: b\r\n", "bare LF"),
            ("X: a\rY: b\r\n", "bare CR"),
            ("X: a\0\r\n", "NUL"),
            ("X\r\n", "colon"),
            (": x\r\n", "white space"),
            ("Host: b\r\n", "Host twice"),
        ];
        for (lines, words) in bad {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            let refused = check(head.as_bytes()).unwrap_err();
            assert!(refused.0.contains(words), "{lines:?}: {refused:?}");
        }
        assert!(check(b"GET / HTTP/1.1\nHost: a\r\n\r\n").is_err());
        assert!(check(b"GET %20/ HTTP/1.1\r\nHost: a\r\n\r\n").is_err());
    }

    #[test]
    fn a_target_has_a_form_of_http() {
        let of = |line: &str| check(format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        for good in ["GET /", "\r\nGET /", "OPTIONS *", "GET http://a", "GET HTTPS://a/b?c"] {
            assert_eq!(of(good), Ok(()), "{good:?}");
        }
        for bad in
            ["GET *", "GET /a#b", "GET a", "GET ftp://a/b", "GET a?b=http://c", "CONNECT a:443", "\nGET /"]
        {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for good in ["a", "A-1.b_c.", "a:0", "a:65535", "127.0.0.1:80", "[::1]", "[fe80::1]:80"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":", ":80", "a:", "a:b", "a:+1", "a:65536", "a:1:2", "a b", "a@b", "a,b", "a/b", "[::1",
            "[a]", "[::1]a", "[]", "é",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
        }
    }
}
