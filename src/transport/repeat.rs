//! A request that repeats the last one of its connection. Nothing else of requests is read outside of the front.
//!
//! A client that polls sends the same head again and again; only the version that it has differs, and the names that
//! tracing gives each request. Such a head needs no new decision: it was admitted a moment ago. The whole head is compared
//! by a digest; only the line of `If-None-Match` may differ and, where the route reads nothing in them, the lines of
//! tracing. In doubt it is another request, which the front decides about. Must not know: connections, what the answer is.

use std::hash::{BuildHasher, DefaultHasher, Hasher, RandomState};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use memchr::memchr;

use super::compact_instant::Moment;
use crate::resource::is_tracing;

/// How long a decision of the front is good for.
pub const ADMITTED_TIME_MAX: Duration = Duration::from_secs(60);

/// Most bytes of lines of tracing that are left out of a head. Whether a head is too large is the front's to say.
const TRACING_BYTES_MAX: usize = 1024;

/// A digest of a head without the lines that may differ.
type Digest = [u64; 2];

/// Makes the digest of a head. Its keys are this process's secret: a client cannot look for another head of the same
/// digest, and would find with it no more than an answer to the one that it was let in with.
struct Digester([DefaultHasher; 2]);

impl Digester {
    fn new() -> Digester {
        static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
        let [one, other] = KEYS.get_or_init(|| [RandomState::new(), RandomState::new()]);
        Digester([one.build_hasher(), other.build_hasher()])
    }

    /// Takes the next bytes, in whatever pieces they come.
    fn update(&mut self, bytes: &[u8]) {
        self.0.iter_mut().for_each(|hasher| hasher.write(bytes));
    }

    fn digest(&self) -> Digest {
        self.0.each_ref().map(Hasher::finish)
    }
}

/// The head that was admitted, and until when that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeat {
    digest: Digest,
    until: Moment,
    generation: u32,
    differing: Differing,
}

/// Which lines may differ between a request and the one that it repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differing {
    /// The condition alone.
    Condition,
    /// The condition, and the lines that name one request for tracing.
    Tracing,
}

/// What a client has sent after its last answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// Not a whole head yet.
    Partial,
    /// The same request, of so many bytes, with this value of `If-None-Match`.
    Again {
        /// Bytes of the request.
        length: usize,
        /// The value of its `If-None-Match`.
        condition: Option<&'a [u8]>,
    },
    /// Something else.
    Other,
}

impl Repeat {
    /// Remembers the whole head of an admitted request, as it was received. `generation`: of the configuration that it was
    /// admitted by. Returns `None` if it is not of the plain kind that is recognized.
    pub fn of(head: &[u8], admitted: Instant, generation: u32, differing: Differing) -> Option<Repeat> {
        match read(head, differing) {
            Head::Whole { digest, length, .. } if length == head.len() => {
                let until = (admitted + ADMITTED_TIME_MAX).into();
                Some(Repeat { digest, until, generation, differing })
            }
            _ => None,
        }
    }

    /// Has the decision count from now on anew: what it was made from is as it was.
    pub(super) fn renew(&mut self, now: Instant) {
        self.until = (now + ADMITTED_TIME_MAX).into();
    }

    /// Returns until when the decision counts.
    pub fn until(&self) -> Instant {
        self.until.into()
    }

    /// The generation of the configuration whose decision it is.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// A number that differs for different heads, most likely.
    pub fn number(&self) -> u64 {
        self.digest[0]
    }

    /// Reads the bytes that came next.
    pub fn next<'a>(&self, bytes: &'a [u8]) -> Next<'a> {
        match read(bytes, self.differing) {
            Head::Partial => Next::Partial,
            Head::Whole { digest, length, condition } if digest == self.digest => {
                Next::Again { length, condition }
            }
            Head::Whole { .. } | Head::Odd => Next::Other,
        }
    }
}

/// The beginning of some bytes.
enum Head<'a> {
    Partial,
    Whole {
        digest: Digest,
        length: usize,
        condition: Option<&'a [u8]>,
    },
    /// Something that the front has to look at.
    Odd,
}

const CONDITION: &[u8] = b"if-none-match:";

fn read(bytes: &[u8], differing: Differing) -> Head<'_> {
    let mut digester = Digester::new();
    let mut condition = None;
    let (mut start, mut hashed, mut left_out) = (0, 0, 0);
    while let Some(end) = memchr(b'\n', &bytes[start..]) {
        let line = &bytes[start..start + end + 1];
        let Some(text) = line.strip_suffix(b"\r\n") else {
            return Head::Odd;
        };
        if text.is_empty() {
            let length = start + line.len();
            digester.update(&bytes[hashed..length]);
            let digest = digester.digest();
            return if start == 0 { Head::Odd } else { Head::Whole { digest, length, condition } };
        }
        let is_condition = text.len() >= CONDITION.len()
            && start > 0
            && text[..CONDITION.len()].eq_ignore_ascii_case(CONDITION);
        if is_condition {
            let value = text[CONDITION.len()..].trim_ascii();
            // The front looks at a second condition, and at one that goes on in the next line.
            let folded = matches!(bytes.get(start + line.len()), None | Some(b' ' | b'\t'));
            let plain = value.iter().all(|byte| (b' '..=b'~').contains(byte));
            match bytes.get(start + line.len()) {
                None => return Head::Partial,
                Some(_) if folded || !plain || condition.is_some() => return Head::Odd,
                Some(_) => condition = Some(value),
            }
            digester.update(&bytes[hashed..start]);
            hashed = start + line.len();
        } else if differing == Differing::Tracing && start > 0 && names_a_request(text) {
            match bytes.get(start + line.len()) {
                None => return Head::Partial,
                Some(b' ' | b'\t') => return Head::Odd,
                Some(_) => {
                    left_out += line.len();
                    if left_out > TRACING_BYTES_MAX {
                        return Head::Odd;
                    }
                    digester.update(&bytes[hashed..start]);
                    hashed = start + line.len();
                }
            }
        }
        start += line.len();
    }
    Head::Partial
}

/// Whether a line names one request for tracing, in bytes that mean nothing else.
fn names_a_request(line: &[u8]) -> bool {
    let Some(end) = memchr(b':', line) else { return false };
    is_tracing(&line[..end]) && line[end..].iter().all(|byte| (b' '..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &[u8] =
        b"GET /a?b=1 HTTP/1.1\r\nHost: x\r\nPrefer: wait=30\r\nIf-None-Match: \"v1\"\r\nCookie: a=b\r\n\r\n";

    fn repeat() -> Repeat {
        Repeat::of(HEAD, Instant::now(), 1, Differing::Condition).unwrap()
    }

    fn traced() -> Repeat {
        Repeat::of(HEAD, Instant::now(), 1, Differing::Tracing).unwrap()
    }

    #[test]
    fn names_of_tracing_may_differ_where_nothing_reads_them() {
        let with = |line: &str| {
            let head = String::from_utf8(HEAD.to_vec()).unwrap();
            head.replace("Cookie", &format!("{line}\r\nCookie")).into_bytes()
        };
        let condition = Some(&b"\"v1\""[..]);
        for line in ["traceparent: 00-a-b-01", "X-Request-ID:7", "tracestate: a=1\r\nX-B3-TraceId: c"] {
            let head = with(line);
            assert_eq!(traced().next(&head), Next::Again { length: head.len(), condition }, "{line}");
            assert_eq!(repeat().next(&head), Next::Other, "{line}");
        }
        for line in [
            "traceparents: a",
            "x-request-i: a",
            "traceparent : a",
            "traceparent",
            "X-Request-Id: a\u{e9}",
            "X-Request-Id: a\tb",
            "X-Request-Id: a\r\n b",
            "X-Forwarded-For: 192.0.2.1",
        ] {
            assert_eq!(traced().next(&with(line)), Next::Other, "{line}");
        }
        let head = with("traceparent: 00-a-b-01");
        for end in 0..head.len() {
            assert_eq!(traced().next(&head[..end]), Next::Partial, "{end}");
        }
        let long = format!("baggage: {}", "a".repeat(TRACING_BYTES_MAX));
        assert_eq!(traced().next(&with(&long)), Next::Other, "too long to be left out");
        assert_eq!(traced().next(b"traceparent: GET\r\n\r\n"), Next::Other, "it is no request line");
    }

    #[test]
    fn only_the_condition_may_differ() {
        let head = |text: &str| text.replace('\n', "\r\n").into_bytes();
        let again =
            head("GET /a?b=1 HTTP/1.1\nHost: x\nPrefer: wait=30\nIF-NONE-MATCH:W/\"v2\"\nCookie: a=b\n\n");
        let condition = Some(&b"W/\"v2\""[..]);
        assert_eq!(repeat().next(&again), Next::Again { length: again.len(), condition });
        let without = head("GET /a?b=1 HTTP/1.1\nHost: x\nPrefer: wait=30\nCookie: a=b\n\nGET");
        assert_eq!(repeat().next(&without), Next::Again { length: without.len() - 3, condition: None });
        for other in [
            "GET /a?b=2 HTTP/1.1\nHost: x\nPrefer: wait=30\nCookie: a=b\n\n",
            "GET /a?b=1 HTTP/1.1\nHost: x\nPrefer: wait=31\nCookie: a=b\n\n",
            "GET /a?b=1 HTTP/1.1\nhost: x\nPrefer: wait=30\nCookie: a=b\n\n",
            "GET /a?b=1 HTTP/1.1\nHost: x\nPrefer: wait=30\nCookie: a=b\nCookie: c=d\n\n",
            "GET /a?b=1 HTTP/1.1\nHost: x\nPrefer: wait=30\n\n",
            "GET /a?b=1 HTTP/1.1\nHost: x\nPrefer: wait=30\nIf-None-Match: a\nIf-None-Match: b\nCookie: a=b\n\n",
            "GET /a?b=1 HTTP/1.1\nHost: x\nPrefer: wait=30\nIf-None-Match: a\n b\nCookie: a=b\n\n",
            "GET /a?b=1 HTTP/1.1\nHost: x\nPrefer: wait=30\nIf-None-Match : a\nCookie: a=b\n\n",
            "\nGET /a?b=1 HTTP/1.1\nHost: x\nPrefer: wait=30\nCookie: a=b\n\n",
            "POST /a?b=1 HTTP/1.1\nHost: x\nPrefer: wait=30\nCookie: a=b\n\n",
            "GET /a?b=1 HTTP/1.1\nHost: x\nPrefer: wait=30\nCookie: a=b\nContent-Length: 3\n\n",
        ] {
            assert_eq!(repeat().next(&head(other)), Next::Other, "{other}");
        }
        assert_eq!(repeat().next(b"GET /a?b=1 HTTP/1.1\nHost: x\n\n"), Next::Other, "bare LF");
        assert_eq!(
            repeat().next(b"if-none-match: GET\r\n\r\n"),
            Next::Other,
            "a condition is no request line"
        );
        let control = b"GET /a?b=1 HTTP/1.1\r\nHost: x\r\nPrefer: wait=30\r\nIf-None-Match: a\x00\r\nCookie: a=b\r\n\r\n";
        assert_eq!(repeat().next(control), Next::Other);
    }

    #[test]
    fn a_piece_of_a_head_is_waited_for() {
        for end in 0..HEAD.len() {
            assert_eq!(repeat().next(&HEAD[..end]), Next::Partial, "{end}");
        }
        assert_eq!(Repeat::of(&HEAD[..HEAD.len() - 1], Instant::now(), 1, Differing::Tracing), None);
    }

    proptest! {
        /// A head that is taken for a repeat has the same bytes, its condition apart.
        #[test]
        fn what_counts_as_a_repeat_is_one(
            at in 0..HEAD.len(),
            cut in 0usize..4,
            put in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            let mut bytes = HEAD.to_vec();
            bytes.splice(at..(at + cut).min(HEAD.len()), put);
            if let Next::Again { length, .. } = repeat().next(&bytes) {
                let lines = |head: &[u8]| -> Vec<Vec<u8>> {
                    let lines = head.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec);
                    lines.filter(|line| !line.to_ascii_lowercase().starts_with(b"if-none-match:")).collect()
                };
                prop_assert_eq!(lines(&bytes[..length]), lines(HEAD));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
            let _ = repeat().next(&bytes);
            let _ = traced().next(&bytes);
        }
    }
}
