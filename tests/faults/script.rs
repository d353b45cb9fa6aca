//! What the upstream does: it numbers its polls in a member outside the version, goes through states by a plot, and
//! misbehaves by chance, until it is told to be calm.
//!
//! Must not know: pollcast and its clients.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::record::Journal;
use crate::support::legacy::{Legacy, Reply, Seen};

/// The state that everybody is told in the end.
pub const FINAL: &str = "the end";

/// How a resource goes from state to state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Plot {
    /// Each state is new.
    Counting,
    /// A few states, again and again: A B A.
    Recurring,
    /// Two replicas answer in turn, and one of them is behind.
    Flapping,
}

const MISCODED: &str = "not what it says it is coded in";

/// What can be wrong with one answer.
const FAULTS: [&str; 27] = [
    "reset before the head",
    "closed before the head",
    "hangs before the head",
    "half a head",
    "garbage",
    "reset after the head",
    "reset in mid-body",
    "closed in mid-body",
    "hangs in mid-body",
    "chunked and cut",
    "a bad chunk",
    "length too short",
    "length and bytes too many",
    "an answer that nobody asked for",
    "an answer that nobody asked for, after 304",
    MISCODED,
    "no JSON",
    "another type",
    "500",
    "502",
    "503 with a date to come back",
    "503 with a date long ago",
    "429",
    "302",
    "304 unasked",
    "too many interim heads",
    "404",
];

/// One poll as the upstream saw it.
#[derive(Debug, Clone)]
pub struct Poll {
    pub at: Instant,
    pub number: u64,
    pub fault: Option<&'static str>,
}

impl Poll {
    /// On a connection that was used before, a client may ask again at once: nothing was answered.
    pub fn may_be_repeated(&self) -> bool {
        matches!(self.fault, Some("reset before the head" | "closed before the head"))
    }
}

/// Which answers are wrong: some alone, some in a row.
pub struct Luck {
    pub rng: fastrand::Rng,
    row: u32,
    pub calm: bool,
}

impl Luck {
    pub fn new(seed: u64) -> Luck {
        Luck { rng: fastrand::Rng::with_seed(seed), row: 0, calm: false }
    }

    /// The fault of the answer to a poll, if it is to have one.
    pub fn fault(&mut self, seen: &Seen) -> Option<&'static str> {
        let passes_on = |fault: &str| fault.starts_with("hangs") || fault == MISCODED;
        self.any_fault().filter(|fault| !may_be_first(seen) || !passes_on(fault))
    }

    fn any_fault(&mut self) -> Option<&'static str> {
        if self.calm {
            return None;
        }
        if self.rng.u8(..12) == 0 {
            self.row = self.rng.u32(1..5);
        }
        let is_bad = self.row > 0 || self.rng.u8(..5) == 0;
        self.row = self.row.saturating_sub(1);
        is_bad.then(|| FAULTS[self.rng.usize(..FAULTS.len())])
    }

    /// An answer to `seen` with this content: right in one of many forms, or with this fault. `forged`: what the
    /// upstream says without having been asked.
    pub fn answer(
        &mut self,
        seen: &Seen,
        fault: Option<&str>,
        (tag, body): (&str, String),
        forged: &Value,
        journal: &Journal,
    ) -> Reply {
        journal.count("polls");
        match fault {
            Some(fault) => {
                journal.count(format!("fault: {fault}"));
                // A false 304 is a lie that no proxy can see through: it would make an old state the newest.
                let may_be_304 = match seen.header("if-none-match") {
                    Some(asked) => asked == tag,
                    None => seen.header("if-modified-since").is_none(),
                };
                faulty(fault, &body, forged, may_be_304, &mut self.rng)
            }
            None => honest(seen, (tag, body), self.calm, &mut self.rng, journal),
        }
    }
}

struct Told {
    luck: Luck,
    plot: Plot,
    serial: u64,
    polls: Vec<Poll>,
    writes: Vec<Instant>,
}

/// One resource of the upstream.
#[derive(Clone)]
pub struct Script {
    told: Arc<Mutex<Told>>,
    journal: Arc<Journal>,
}

impl Script {
    /// Answers for `path` from now on.
    pub fn play(legacy: &Legacy, path: &str, plot: Plot, seed: u64, journal: &Arc<Journal>) -> Script {
        let told = Told { luck: Luck::new(seed), plot, serial: 1, polls: vec![], writes: vec![] };
        let script = Script { told: Arc::new(Mutex::new(told)), journal: journal.clone() };
        let player = script.clone();
        legacy.answer_with(path, move |seen| player.answer(seen));
        script
    }

    /// The final state, and nothing wrong from now on.
    pub fn calm(&self) {
        self.told.lock().luck.calm = true;
    }

    pub fn polls(&self) -> Vec<Poll> {
        self.told.lock().polls.clone()
    }

    pub fn writes(&self) -> Vec<Instant> {
        self.told.lock().writes.clone()
    }

    fn answer(&self, seen: &Seen) -> Reply {
        let mut told = self.told.lock();
        if seen.method != "GET" {
            told.writes.push(Instant::now());
            told.serial += 1;
            self.journal.count("writes");
            let reply = Reply::empty(204);
            let is_numbered = told.plot == Plot::Counting && !told.luck.calm;
            return if is_numbered { reply.header("x-made", &told.serial.to_string()) } else { reply };
        }
        let number = told.number() + 1;
        let fault = told.luck.fault(seen);
        told.polls.push(Poll { at: seen.at, number, fault });
        let state = told.state();
        let (tag, body) = (format!("\"{state}\""), document(number, &state).to_string());
        let forged = document(u64::from(u32::MAX), "FORGED");
        told.luck.answer(seen, fault, (&tag, body), &forged, &self.journal)
    }
}

impl Told {
    fn number(&self) -> u64 {
        self.polls.last().map_or(0, |poll| poll.number)
    }

    fn state(&mut self) -> String {
        if self.luck.calm {
            return FINAL.to_owned();
        }
        match self.plot {
            Plot::Counting => {
                self.serial += u64::from(self.luck.rng.u8(..3) == 0);
                format!("#{}", self.serial)
            }
            Plot::Recurring => {
                if self.luck.rng.u8(..2) == 0 {
                    self.serial = self.luck.rng.u64(..3);
                }
                ["A", "B", "C"][self.serial as usize % 3].to_owned()
            }
            Plot::Flapping => {
                self.serial += u64::from(self.luck.rng.u8(..6) == 0);
                let behind = self.polls.len() as u64 % 2 * self.luck.rng.u64(..2);
                format!("R{}", self.serial.saturating_sub(behind))
            }
        }
    }
}

/// Whether a poll may be the first of a resource. If its answer were held back, the resource's URL would be the API's
/// for a minute (contract §1; `contract::plain::no_document`), and no client would be told the final state in time. If
/// it could not be decoded, the plain request behind it would pass through, and meet the next fault by itself.
fn may_be_first(seen: &Seen) -> bool {
    !["if-none-match", "if-modified-since"].iter().any(|name| seen.header(name).is_some())
}

/// A state, with the number of the poll that asked for it.
fn document(poll: u64, state: &str) -> Value {
    let rows = (0..12).map(|n| match n {
        7 => json!({ "n": n, "of": state }),
        _ => json!({ "n": n, "of": "always the same, so that a change is smaller than all of it" }),
    });
    let rows: Vec<Value> = rows.collect();
    json!({ "poll": poll, "state": state, "again": state, "rows": rows })
}

/// A whole answer in one of the forms that are right; those with clocks of their own among them.
fn honest(
    seen: &Seen,
    (tag, body): (&str, String),
    calm: bool,
    rng: &mut fastrand::Rng,
    journal: &Journal,
) -> Reply {
    let reply = Reply::json(body);
    if calm {
        return reply;
    }
    let reply = match rng.u8(..6) {
        0 => {
            journal.count("fault: Date in 1990");
            reply.header("date", "Mon, 01 Jan 1990 00:00:00 GMT").header("age", "0")
        }
        1 => {
            journal.count("fault: Date in 2090");
            let reply = reply.header("date", "Sun, 01 Jan 2090 00:00:00 GMT");
            reply.header("expires", "Sat, 01 Jan 2000 00:00:00 GMT")
        }
        2 => {
            journal.count("fault: Age of centuries");
            // The date of all states is the same: no 304 follows from it.
            let reply = reply.header("age", "9999999999").ignores_validators();
            reply.header("last-modified", "Sun, 01 Jan 2090 00:00:00 GMT")
        }
        _ => reply,
    };
    match rng.u8(..8) {
        0 | 1 => reply.etag(tag),
        7 => reply.chunked(),
        2 => reply.until_close(),
        3 if !may_be_first(seen) => reply.delay(Duration::from_millis(rng.u64(..300))),
        4 => {
            journal.count("fault: byte by byte");
            reply.drip(8, Duration::from_millis(1))
        }
        5 => reply.header("connection", "close"),
        _ => reply,
    }
}

/// An answer with this fault. None of them is a state.
fn faulty(fault: &str, body: &str, forged: &Value, may_be_304: bool, rng: &mut fastrand::Rng) -> Reply {
    let forged = forged.to_string();
    let unasked = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{forged}",
        forged.len()
    );
    let within = rng.usize(1..body.len() - 1);
    let json = |body: &str| Reply::json(body.to_owned());
    match fault {
        "reset before the head" => Reply::reset(),
        "closed before the head" => Reply::close(),
        "hangs before the head" => Reply::silence(),
        "half a head" => Reply::raw("HTTP/1.1 200 OK\r\nContent-Type: applica"),
        "garbage" => Reply::garbage(),
        "reset after the head" => json(body).reset_after(0),
        "reset in mid-body" => json(body).reset_after(within),
        "closed in mid-body" => json(body).cut_after(within),
        "hangs in mid-body" => json(body).hang_after(within),
        "chunked and cut" => json(body).chunked().cut_after(within),
        "a bad chunk" => Reply::raw(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        ),
        "length too short" => Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {within}\r\n\r\n{body}"
        )),
        "length and bytes too many" => json(&body[..within]).then_unasked(body[within..].to_owned()),
        "an answer that nobody asked for" => Reply::empty(500).then_unasked(unasked),
        "an answer that nobody asked for, after 304" if may_be_304 => Reply::empty(304).then_unasked(unasked),
        MISCODED => json(body).header("content-encoding", "gzip"),
        "no JSON" => json("<html>Service temporarily unavailable</html>"),
        "another type" => Reply::new("text/html", "<html>Please log in</html>"),
        "503 with a date to come back" => {
            Reply::empty(503).header("retry-after", "Sun, 01 Jan 2090 00:00:00 GMT")
        }
        "503 with a date long ago" => {
            Reply::empty(503).header("retry-after", "Mon, 01 Jan 1990 00:00:00 GMT")
        }
        "429" => Reply::empty(429).header("retry-after", "1"),
        "302" => Reply::empty(302).header("location", "/login"),
        "304 unasked" if may_be_304 => Reply::empty(304),
        "too many interim heads" => (0..12).fold(json(body), |reply, _| reply.interim(103, &[])),
        "404" => Reply::empty(404),
        status => Reply::text("out of order").status(status.parse().unwrap_or(500)),
    }
}
