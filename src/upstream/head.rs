//! Whether a response head as received (HTTP/1) delimits its message in exactly one way.
//!
//! The parser below tidies up what RFC 9112 lets a proxy tidy up (a bare LF, a folded line, a space before the colon:
//! what old devices send), and accepts more than that (both lengths at once), so that two readers of the same bytes may
//! disagree about where a message ends. What is tidied is read here as there; the rest is a fault.
//! Must not know: connections, bodies, time.

/// Longest head accepted, bytes.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// What is wrong with the framing of `raw`, a head up to and including its empty line. Returns `None` if nothing is.
pub(super) fn fault(raw: &[u8]) -> Option<String> {
    let mut lengths = 0;
    let mut encodings = Vec::new();
    let Some(head) = without_end(raw) else {
        return Some("the head does not end with an empty line".to_owned());
    };
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let status = lines.next().unwrap_or_default();
    if !status.starts_with(b"HTTP/1.") {
        return Some(format!("a status line was wanted, found {:?}", shown(status)));
    }
    if status.contains(&b'\r') {
        return Some("bare CR in the status line".to_owned());
    }
    // Whether a folded line would go on with what says where the message ends, or with the status line.
    let mut frames = true;
    for line in lines {
        if line.contains(&b'\r') {
            return Some(format!("bare CR in {}", field_of(line)));
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            if frames {
                return Some("a folded line where it would change the framing".to_owned());
            }
            continue;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Some("a header line without a colon".to_owned());
        };
        let (name, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
        frames = true;
        if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                return Some(format!("Content-Length {:?} is not a number", shown(value)));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            encodings.push(value);
        } else {
            frames = false;
        }
    }
    lengths_fault(lengths, &encodings, status)
}

/// The head without its empty line, whose ends may be LF alone.
fn without_end(raw: &[u8]) -> Option<&[u8]> {
    let line_end = |raw: &'_ [u8]| -> Option<usize> {
        let rest = raw.strip_suffix(b"\n")?;
        Some(rest.strip_suffix(b"\r").unwrap_or(rest).len())
    };
    let last = &raw[..line_end(raw)?];
    Some(&last[..line_end(last)?])
}

fn lengths_fault(lengths: usize, encodings: &[&[u8]], status: &[u8]) -> Option<String> {
    match (lengths, encodings) {
        (0 | 1, []) => None,
        (_, []) => Some(format!("{lengths} Content-Length headers")),
        (0, [value]) if !value.eq_ignore_ascii_case(b"chunked") => {
            Some(format!("Transfer-Encoding {:?} where only chunked is understood", shown(value)))
        }
        (0, [_]) if status.starts_with(b"HTTP/1.0") => Some("Transfer-Encoding in HTTP/1.0".to_owned()),
        (0, [_]) => None,
        (0, many) => Some(format!("{} Transfer-Encoding headers", many.len())),
        _ => Some("both Content-Length and Transfer-Encoding".to_owned()),
    }
}

/// The name of a line's field: a value may be somebody's cookie, and what is wrong is told to clients.
fn field_of(line: &[u8]) -> String {
    match line.iter().position(|byte| *byte == b':') {
        Some(colon) => format!("the field {:?}", shown(&line[..colon])),
        None => "a header line".to_owned(),
    }
}

/// Enough of a line to recognise it in a message.
fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_heads_have_no_fault() {
        for head in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200\r\nContent-Length: 5\r\nX:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nServer: a: b\r\n\r\n",
            "HTTP/1.0 200 OK\r\nDate: x\r\n\r\n",
            // Of old devices.
            "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
            "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\n\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n\tContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length : 5\r\nA\t: b\r\n\r\n",
        ] {
            assert_eq!(fault(head.as_bytes()), None, "{head:?}");
        }
    }

    #[test]
    fn every_ambiguity_is_named() {
        for (head, named) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "both"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "2 Content-Length"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", "not a number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", "not a number"),
            ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "not a number"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                "2 Transfer",
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "only chunked"),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"),
            ("HTTP/1.1 200\rOK\r\nContent-Length: 5\r\n\r\n", "bare CR in the status line"),
            ("HTTP/1.1 200 OK\r\nA: b\rContent-Length: 5\r\n\r\n", "bare CR"),
            ("HTTP/1.1 200 OK\r\nA: b\r\n", "empty line"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\t0\r\n\r\n", "folded"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding:\n chunked\r\n\r\n", "folded"),
            ("HTTP/1.1 200 OK\r\n A: b\r\n\r\n", "folded"),
            ("HTTP/1.1 200 OK\nContent-Length : 5\nContent-Length: 5\n\n", "2 Content-Length"),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", "status line"),
        ] {
            let found = fault(head.as_bytes()).unwrap_or_default();
            assert!(found.contains(named), "{head:?}: {found:?}");
        }
    }
}
