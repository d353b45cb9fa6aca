//! Framing and size checks on the raw head of a request (contract §12), before anything trusts the
//! parsed one: Pingora's parser forgets what it resolved.
//!
//! Also what becomes of a request's body that nobody reads. Must not know: routes.

use std::time::Duration;

use http::{HeaderMap, header};
use pingora::proxy::Session;
use tokio::time::timeout;

/// How long the rest of a body that nobody reads may take.
pub(super) const DRAIN: Duration = Duration::from_secs(1);

/// Whether a request's body is known to be short enough to be read and dropped behind an own
/// answer. If not, the answer is the connection's last.
pub(super) fn is_drainable(headers: &HeaderMap, limit: usize) -> bool {
    if headers.contains_key(header::TRANSFER_ENCODING) || headers.contains_key(header::EXPECT) {
        return false;
    }
    let Some(length) = headers.get(header::CONTENT_LENGTH) else {
        return true;
    };
    length.to_str().ok().and_then(|text| text.parse::<usize>().ok()).is_some_and(|length| length <= limit)
}

/// Reads on for a moment after the last answer of a connection: a close with bytes unread would
/// reset it, and the client might never see the answer.
pub(super) async fn linger(session: &mut Session, limit: usize) {
    let mut dropped = 0;
    let reading = async {
        while dropped < limit {
            match session.downstream_session.read_request_body().await {
                Ok(Some(bytes)) => dropped += bytes.len(),
                Ok(None) | Err(_) => return,
            }
        }
    };
    // Whether it ended in time or not, the connection does now.
    let _ = timeout(DRAIN, reading).await;
}

/// Why a head is refused; the words go to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadHead(pub(super) &'static str);

/// Checks a raw HTTP/1 head, its last empty line included.
pub(super) fn check(raw: &[u8]) -> Result<(), BadHead> {
    let mut lines = raw.split_inclusive(|byte| *byte == b'\n');
    let request_line = lines.next().unwrap_or_default();
    if !request_line.ends_with(b"\r\n") {
        return Err(BadHead("a line ends with a bare LF"));
    }
    if !names_a_target(request_line) {
        return Err(BadHead("the request line names no target"));
    }
    if raw.contains(&0) {
        return Err(BadHead("the head contains a NUL"));
    }
    let mut framing = Framing::default();
    for line in lines {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(BadHead("a line ends with a bare LF"));
        };
        if line.is_empty() {
            break;
        }
        if line.contains(&b'\r') {
            return Err(BadHead("a header field contains a bare CR"));
        }
        field(line, &mut framing)?;
    }
    framing.judge()
}

/// Pingora escapes a second space in the request line instead of refusing it.
fn names_a_target(request_line: &[u8]) -> bool {
    let target = request_line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    target.starts_with(b"/") || target == b"*" || target.windows(3).any(|w| w == b"://")
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
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Err(BadHead("a header line without a colon"));
    };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || name.iter().any(|byte| byte.is_ascii_whitespace()) {
        return Err(BadHead("white space in or after a header name"));
    }
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

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = check(&bytes);
        }
    }
}
