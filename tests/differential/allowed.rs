//! What may differ: the one list of documented differences. Each entry names its section of the contract, and is as
//! narrow as that.

use super::judge::{Difference, What};
use super::scene::{FIRST_ANSWER_MS, FIRST_BYTE_TIMEOUT_MS};
use super::traits::{Framing, Head, Trait};
use crate::support::wire::field;

/// A difference that is documented.
pub struct Allowance {
    /// Of the contract.
    pub section: &'static str,
    pub why: &'static str,
    pub covers: fn(&Difference) -> bool,
}

/// What a busy machine adds to a documented wait.
const LATER_MAX_MS: u64 = 700;

/// Fields of an answer about its storage or its user, which are in no snapshot.
const NEVER_IN_A_SNAPSHOT: &[&str] = &[
    "clear-site-data",
    "www-authenticate",
    "authentication-info",
    "alt-svc",
    "x-request-id",
    "x-runtime",
    "server-timing",
    "x-ratelimit-remaining",
    "ratelimit",
    "retry-after",
    "accept-ranges",
    "x-csrf-token",
    "x-next-page-token",
];

pub const ALLOWED: &[Allowance] = &[
    Allowance {
        section: "§3",
        why: "a covered GET or HEAD says in Cache-Status what became of it, behind what was there",
        covers: |d| d.is_field("cache-status") && d.through_adds("cache-status", "pollcast; "),
    },
    Allowance {
        section: "§3",
        why: "while a resource is followed, what passes through varies by Accept and Prefer, too",
        covers: |d| {
            !d.here && d.is_followed && d.is_field("vary") && d.only_adds_to_vary(&["accept", "prefer"])
        },
    },
    Allowance {
        section: "§12",
        why: "the API is told whom a request came from, and by which scheme and host",
        covers: |d| match &d.what {
            What::SawField(name) => {
                matches!(name.as_str(), "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host")
            }
            _ => false,
        },
    },
    Allowance {
        section: "§3",
        why: "an answer from a snapshot has ETag, Age, Cache-Status and Cache-Control of its own, and no other lifetime",
        covers: |d| {
            let is_lost = |name: &str| d.what == What::FieldLost(name.to_owned());
            let is_own = ["etag", "age", "cache-status"].iter().any(|name| d.is_field(name))
                || is_lost("expires")
                || is_lost("pragma");
            d.here && (is_own || (d.is_field("cache-control") && d.through_says("cache-control", "no-cache")))
        },
    },
    Allowance {
        section: "§3",
        why: "an answer from a snapshot varies by what chooses its form here, beside what the API says",
        covers: |d| {
            let own = [
                "accept",
                "prefer",
                "accept-encoding",
                "authorization",
                "cookie",
                "origin",
                "x-requested-with",
            ];
            d.here && d.is_field("vary") && d.only_adds_to_vary(&own)
        },
    },
    Allowance {
        section: "§3",
        why: "what belongs to one answer is in no snapshot",
        covers: |d| match &d.what {
            What::FieldLost(name) => d.here && NEVER_IN_A_SNAPSHOT.contains(&name.as_str()),
            _ => false,
        },
    },
    Allowance {
        section: "§2",
        why: "`If-None-Match: *` matches any snapshot, with a tag of the API's or not",
        covers: |d| {
            d.here && matches!(d.what, What::Status(200, 304)) && d.asked("if-none-match") == Some("*")
        },
    },
    Allowance {
        section: "§3",
        why: "an answer that breaks off is no answer; the last good one, or 502 is given in its place",
        covers: |d| d.direct.is_err() && d.what == What::Failed,
    },
    Allowance {
        section: "§3",
        why: "a snapshot younger than the interval is a hit, also for a client that has seen more in an answer that \
              passed through, unless it names what it has seen",
        covers: |d| {
            let names_a_state = d.asked("if-none-match").is_some();
            d.here && !names_a_state && matches!(d.what, What::WentBack { passed: true, .. })
        },
    },
    Allowance {
        section: "§3",
        why: "trailers are dropped, and so is the field that announces them",
        covers: |d| d.what == What::FieldLost("trailer".into()),
    },
    Allowance {
        section: "§11",
        why: "quotes and angle brackets, which no target may hold, reach the API escaped",
        covers: |d| {
            let odd = ['"', '<', '>'];
            let target = d.request.as_ref().map_or("", |request| request.target.as_str());
            d.what == What::SawField("request line or body".into()) && target.contains(odd)
        },
    },
    Allowance {
        section: "§10",
        why: "a read whose head has a line that is no field is asked once more, to be read without it",
        covers: |d| {
            let is_read = d.request.as_ref().is_some_and(|r| matches!(r.method, "GET" | "HEAD"));
            is_read && d.what == What::Asked(2) && d.has(|t| *t == Trait::Head(Head::UnreadableLine))
        },
    },
    Allowance {
        section: "§1",
        why: "an answer that does not end is no document once `first_answer` is over, nor one that does not begin \
              within `first_byte_timeout`; then the request that waited gets its own",
        covers: |d| {
            let is_late = |t: &Trait| matches!(t, Trait::Slow(ms) if *ms >= FIRST_BYTE_TIMEOUT_MS);
            let waited_ms = match d.has(|t| *t == Trait::Framing(Framing::Endless)) {
                true => FIRST_ANSWER_MS,
                false if d.has(is_late) => FIRST_BYTE_TIMEOUT_MS,
                false => return false,
            };
            let is_shared = !d.setting.passes() && d.through_says("cache-status", "detail=uncoverable");
            is_shared && matches!(d.what, What::Slow(tenths) if tenths * 100 <= waited_ms + LATER_MAX_MS)
        },
    },
    Allowance {
        section: "§1",
        why: "an API of which nothing was answered in time is slow or down: one poll, and no request for each client",
        covers: |d| {
            let is_late = |t: &Trait| matches!(t, Trait::Slow(ms) if *ms >= FIRST_BYTE_TIMEOUT_MS);
            let is_told = d.through.as_ref().is_ok_and(|answer| {
                answer.line("content-type").is_some_and(|said| said.starts_with("application/problem+json"))
            });
            !d.setting.passes() && matches!(d.what, What::Status(_, 504)) && is_told && d.has(is_late)
        },
    },
    Allowance {
        section: "§3",
        why: "a digest of bytes that were decoded for the snapshot is dropped",
        covers: |d| {
            let is_digest = ["digest", "content-md5", "repr-digest", "content-digest"]
                .iter()
                .any(|name| d.what == What::FieldLost((*name).to_owned()));
            d.here && is_digest && d.has(|t| matches!(t, Trait::Coding(_)))
        },
    },
    Allowance {
        section: "§11",
        why: "the poller of a public route has a cookie jar: an API that sets a cookie once says so to it once",
        covers: |d| {
            let is_vary = d.here && d.setting.is_public() && d.is_field("vary");
            is_vary && d.has(|t| *t == Trait::SetsCookie)
        },
    },
    Allowance {
        section: "§11",
        why: "on a public route cookies that the API sets are counted, not given",
        covers: |d| d.here && d.setting.is_public() && d.is_field("set-cookie"),
    },
    Allowance {
        section: "§11",
        why: "what browsers, HTTP and tracing add chooses nothing unless Vary or the route says so",
        covers: |d| {
            let known =
                ["User-Agent", "Accept-Language", "Sec-CH-UA-Mobile", "Save-Data", "Cookie", "Origin"];
            let is_silent = |t: &Trait| matches!(t, Trait::Chooses(name, false) if known.contains(name));
            d.here && d.what == What::Body && d.has(is_silent)
        },
    },
    Allowance {
        section: "§11",
        why: "utm_* and numbers of ten digits that only defeat caches leave key and poll",
        covers: |d| {
            let target = d.request.as_ref().map_or("", |request| request.target.as_str());
            let is_left_out = target.contains("?utm_source=") || target.contains("?_=1795906076548");
            d.here && is_left_out && matches!(d.what, What::Body | What::Length)
        },
    },
];

/// The entry that covers a difference.
pub fn entry(difference: &Difference) -> Option<&'static Allowance> {
    // Whatever is documented, no user gets what is another's.
    if matches!(difference.what, What::Leak(_)) {
        return None;
    }
    ALLOWED.iter().find(|allowance| (allowance.covers)(difference))
}

impl Difference {
    /// Whether it is about this field of the answer.
    fn is_field(&self, wanted: &str) -> bool {
        match &self.what {
            What::FieldLost(name) | What::FieldAdded(name) | What::FieldChanged(name) => name == wanted,
            _ => false,
        }
    }

    /// Whether the API is odd in this way at the place.
    fn has(&self, is_it: impl Fn(&Trait) -> bool) -> bool {
        self.place.traits.iter().any(is_it)
    }

    /// What the request said in this field.
    fn asked(&self, name: &str) -> Option<&str> {
        field(&self.request.as_ref()?.fields, name)
    }

    fn lines(&self, name: &str) -> [String; 2] {
        [&self.direct, &self.through]
            .map(|outcome| outcome.as_ref().ok().and_then(|answer| answer.line(name)).unwrap_or_default())
    }

    /// Whether the answer that came through has what the API said, and behind it what begins so.
    fn through_adds(&self, name: &str, added: &str) -> bool {
        let [direct, through] = self.lines(name);
        let behind = through.strip_prefix(&direct).map(|rest| rest.trim_start_matches(", "));
        behind.is_some_and(|rest| rest.starts_with(added))
    }

    fn through_says(&self, name: &str, word: &str) -> bool {
        self.lines(name)[1].contains(word)
    }

    /// Whether Vary names all that the API names, and else only these.
    fn only_adds_to_vary(&self, own: &[&str]) -> bool {
        let names = |line: &str| -> Vec<String> {
            line.split(',').map(|n| n.trim().to_ascii_lowercase()).filter(|n| !n.is_empty()).collect()
        };
        let [direct, through] = self.lines("vary").map(|line| names(&line));
        direct.iter().all(|name| through.contains(name))
            && through.iter().all(|name| direct.contains(name) || own.contains(&name.as_str()))
    }
}
