//! Whether a response head as received (HTTP/1) delimits its message in exactly one way.
//!
//! The parser below normalizes up what RFC 9112 lets a proxy normalized up (a bare LF, a folded line, a space before the colon:
//! what old devices send), and accepts more than that (both lengths at once), so that two readers of the same bytes may
//! disagree about where a message ends. This file reads what is normalized as the parser does; the rest is a fault. A line
//! that is no field at all would cost the whole answer there, so it is taken out before. Must not know: connections,
//! bodies, time.

use crate::resource::alphanumerics_and;

/// Longest head accepted, bytes.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Returns what is wrong with the framing of `raw`, a head up to and including its empty line. `None` if nothing is.
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

/// What is left of `raw` without the lines that are no fields (contract §10): those without a colon, and those whose
/// name is none. Returns `None` if all are fields, or if one that is none could decide where the message ends.
///
/// A line that may have said who may have the answer counts as its strictest reading: `Cache-Control: private`.
pub(super) fn without_unreadable(raw: &[u8]) -> Option<Vec<u8>> {
    if is_readable(raw) { None } else { readable_lines(raw) }
}

/// The same, line by line.
fn readable_lines(raw: &[u8]) -> Option<Vec<u8>> {
    let mut kept = Vec::with_capacity(raw.len() + PRIVATE.len());
    let (mut drops, mut is_doubtful, mut has_fields) = (false, false, false);
    let mut dropped = 0;
    for (number, line) in raw.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return None;
        }
        let is_continued = matches!(text.first(), Some(b' ' | b'\t'));
        match number {
            0 if !text.starts_with(b"HTTP/1.") => return None,
            0 => drops = false,
            _ if text.is_empty() => drops = false,
            // The line would continue the status line.
            _ if is_continued && !has_fields => return None,
            _ if is_continued => {}
            _ => {
                drops = !has_name(text);
                has_fields = true;
                dropped += usize::from(drops);
            }
        }
        if !drops {
            kept.extend_from_slice(line);
            continue;
        }
        let letters: Vec<u8> =
            text.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase).collect();
        let says = |word: &&[u8]| memchr::memmem::find(&letters, word).is_some();
        if FRAMES.iter().any(&says) {
            return None;
        }
        is_doubtful |= RESTRICTS.iter().any(says);
    }
    if is_doubtful {
        let status_end = kept.iter().position(|byte| *byte == b'\n')? + 1;
        kept.splice(status_end..status_end, PRIVATE.iter().copied());
    }
    (dropped > 0).then_some(kept)
}

/// Whether all lines are fields, none of them folded, as in most heads. One that is not may still have no other lines.
fn is_readable(raw: &[u8]) -> bool {
    let mut lines = raw.split_inclusive(|byte| *byte == b'\n');
    let is_status = lines.next().is_some_and(|line| line.starts_with(b"HTTP/1.") && has_no_controls(line));
    is_status
        && lines.all(|line| matches!(line, b"\r\n" | b"\n") || (has_no_controls(line) && has_name(line)))
}

/// Whether a line has no control characters but tabs and its end.
fn has_no_controls(line: &[u8]) -> bool {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    // All bytes, whatever comes of the first ones: so many are looked at together.
    !text.iter().fold(false, |found, byte| found | (byte.is_ascii_control() & (*byte != b'\t')))
}

/// The line that stands for an unreadable one which may have restricted sharing.
const PRIVATE: &[u8] = b"Cache-Control: private\r\n";

/// An unreadable line with these letters may say where the message ends.
const FRAMES: [&[u8]; 2] = [b"contentlength", b"transferencoding"];

/// An unreadable line with these letters may say whose answer it is, or by what it was chosen (contract §11).
const RESTRICTS: [&[u8]; 12] = [
    b"cachecontrol",
    b"pragma",
    b"private",
    b"nostore",
    b"vary",
    b"cookie",
    b"token",
    b"session",
    b"csrf",
    b"xsrf",
    b"secret",
    b"password",
];

/// Whether a line begins with the name of a field and a colon; a space before the colon is normalized by the parser.
fn has_name(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let name = line[..colon].trim_ascii_end();
    !name.is_empty() && name.iter().all(|byte| IN_NAMES[usize::from(*byte)])
}

/// Which bytes are in names of fields (RFC 9110 §5.6.2). Each name of each answer is held against it.
const IN_NAMES: [bool; 256] = alphanumerics_and(b"!#$%&'*+-.^_`|~");

/// Where the first head of `bytes` ends, its empty line included. Returns `None` as long as it has no end.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match &bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Whether the head that begins so is followed by another one (RFC 9110 §15.2).
pub(super) fn is_interim(head: &[u8]) -> bool {
    let code = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    code.starts_with(b"1") && !code.starts_with(b"101")
}

/// Whether the body behind a head comes in chunks.
pub(super) fn is_chunked(head: &[u8]) -> bool {
    head.split(|byte| *byte == b'\n').any(|line| {
        if !matches!(line.first(), Some(b't' | b'T')) {
            return false;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
        let (name, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
        name.eq_ignore_ascii_case(b"transfer-encoding") && value.eq_ignore_ascii_case(b"chunked")
    })
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

/// The name of a line's field: a value may be a user's cookie, and what is wrong is told to clients.
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_heads_have_no_fault() {
        for head in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200\r\nContent-Length: 5\r\nX:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nServer: a: b\r\n\r\n",
            "HTTP/1.0 200 OK\r\nDate: x\r\n\r\n",
            // Old devices send this.
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
    fn lines_that_are_no_fields_are_dropped_with_what_continues_them() {
        for (head, wanted) in [
            ("HTTP/1.1 200 OK\r\nno colon\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"),
            ("HTTP/1.1 200 OK\nA: b\nno colon\n more of it\nC: d\n\n", "HTTP/1.1 200 OK\nA: b\nC: d\n\n"),
            ("HTTP/1.1 200 OK\r\nX Powered By: me\r\n: empty\r\n(a): b\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"),
            (
                "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nC : d\r\nE\r\n\r\n",
                "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nC : d\r\n\r\n",
            ),
            ("HTTP/1.1 100 Continue\r\noops\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n"),
        ] {
            let left = without_unreadable(head.as_bytes()).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(&left), wanted, "{head:?}");
        }
    }

    #[test]
    fn an_unreadable_line_that_may_restrict_sharing_counts_as_private() {
        for line in [
            "Cache-Control private",
            "Cache Control: no-store",
            "Set Cookie: a=b",
            "Vary Cookie",
            "x no-store",
            "X CSRF Token: a",
        ] {
            let head = format!("HTTP/1.1 200 OK\r\nA: b\r\n{line}\r\n\r\n");
            let left = without_unreadable(head.as_bytes()).unwrap_or_default();
            let wanted = "HTTP/1.1 200 OK\r\nCache-Control: private\r\nA: b\r\n\r\n";
            assert_eq!(String::from_utf8_lossy(&left), wanted, "{line}");
        }
    }

    #[test]
    fn what_may_frame_the_message_is_never_dropped() {
        for head in [
            "HTTP/1.1 200 OK\r\nA: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n transfer-encoding chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\n(Transfer-Encoding): chunked\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno\0colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno\rcolon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: \x01\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\n folded\r\nno colon\r\n\r\n",
            "SSH-2.0-x\r\nno colon\r\n\r\n",
        ] {
            assert_eq!(without_unreadable(head.as_bytes()), None, "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn a_head_that_is_readable_at_a_glance_is_left_as_it_is(
            lines in prop::collection::vec("(HTTP/1\\.1 200 OK|[A-Za-z :()\t\u{1}-]{0,8})\r?\n?", 0..6),
        ) {
            for raw in [lines.concat(), format!("HTTP/1.1 200 OK\r\n{}", lines.concat())] {
                prop_assert_eq!(without_unreadable(raw.as_bytes()), readable_lines(raw.as_bytes()), "{:?}", raw);
            }
        }
    }

    #[test]
    fn a_head_ends_at_its_first_empty_line_and_an_interim_one_is_followed_by_another() {
        let cases = [
            ("HTTP/1.1 200 OK\r\n\r\nbody", Some(19)),
            ("HTTP/1.1 200 OK\n\nbody\n\n", Some(17)),
            ("HTTP/1.1 200 OK\r\nA: b\r\n", None),
            ("HTTP/1.1 200 OK\r\n\r", None),
        ];
        for (bytes, wanted) in cases {
            assert_eq!(end(bytes.as_bytes()), wanted, "{bytes:?}");
        }
        assert!(is_interim(b"HTTP/1.1 103 Early Hints\r\n\r\n") && is_interim(b"HTTP/1.1 100\r\n\r\n"));
        assert!(!is_interim(b"HTTP/1.1 101 Switching\r\n\r\n") && !is_interim(b"HTTP/1.1 200 100\r\n\r\n"));
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
