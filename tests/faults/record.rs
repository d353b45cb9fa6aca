//! What every client notes, and what no client may ever be told: the same state twice in a row, a state older than
//! one it has seen, a version that means two states, content of two answers.
//!
//! Must not know: transports, and how faults are made.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde_json::Value;

/// What the clients of a run have in common: what versions mean, and counts of all that happened.
pub struct Journal {
    began: Instant,
    states: Mutex<HashMap<String, String>>,
    counts: Mutex<BTreeMap<String, u64>>,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal { began: Instant::now(), states: Mutex::default(), counts: Mutex::default() }
    }
}

impl Journal {
    /// Notes what went wrong, and says it where one run is looked at.
    pub fn fault(&self, what: &str, at: &str) {
        self.count(format!("fault: {what}"));
        if std::env::var_os("FAULTS_SEED").is_some() {
            eprintln!("{} ms: {what} {at}", self.began.elapsed().as_millis());
        }
    }

    pub fn count(&self, what: impl Into<String>) {
        *self.counts.lock().entry(what.into()).or_default() += 1;
    }

    /// How often anything happened whose name begins like this.
    pub fn counted(&self, begin: &str) -> u64 {
        let counts = self.counts.lock();
        counts.iter().filter(|(what, _)| what.starts_with(begin)).map(|(_, n)| n).sum()
    }

    pub fn counts(&self) -> BTreeMap<String, u64> {
        self.counts.lock().clone()
    }

    pub fn add(&self, others: &Journal) {
        let mut counts = self.counts.lock();
        for (what, n) in others.counts() {
            *counts.entry(what).or_default() += n;
        }
    }

    /// A version names one state for good, whichever node says so and whatever happened before.
    fn name(&self, version: &str, state: &str) {
        let mut states = self.states.lock();
        let known = states.entry(version.to_owned()).or_insert_with(|| state.to_owned());
        assert_eq!(known, state, "version {version} means two states");
    }

    pub fn version_of(&self, state: &str) -> Option<String> {
        let states = self.states.lock();
        states.iter().find(|(_, known)| *known == state).map(|(version, _)| version.clone())
    }
}

/// One client's memory, over all its connections.
pub struct Recorder {
    who: String,
    journal: Arc<Journal>,
    /// The number of the newest poll of which it has seen the answer.
    newest: u64,
    /// The number of the newest of those states that have one.
    serial: u64,
    state: Option<String>,
    version: Option<String>,
    /// Versions that it had before.
    earlier: Vec<String>,
    /// Something was told on this connection.
    told: bool,
    /// What it came back with, and what it was told last on this connection.
    has: Option<String>,
    was_told: Option<String>,
    /// The last that happened, for messages.
    trail: Trail,
}

/// The last that happened to a client, with the time of it.
struct Trail(Instant, VecDeque<String>);

impl Trail {
    fn of(journal: &Journal) -> Trail {
        Trail(journal.began, VecDeque::new())
    }

    fn note(&mut self, what: impl Into<String>) {
        if self.1.len() == 24 {
            self.1.pop_front();
        }
        self.1.push_back(format!("{} ms: {}", self.0.elapsed().as_millis(), what.into()));
    }
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.1.fmt(f)
    }
}

impl Recorder {
    pub fn new(who: String, journal: Arc<Journal>) -> Recorder {
        let trail = Trail::of(&journal);
        Recorder {
            who,
            journal,
            newest: 0,
            serial: 0,
            state: None,
            version: None,
            earlier: Vec::new(),
            told: false,
            has: None,
            was_told: None,
            trail,
        }
    }

    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    pub fn earlier(&self) -> &[String] {
        &self.earlier
    }

    /// The number of the newest state that had one.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Notes what happened, for messages.
    pub fn note(&mut self, what: impl Into<String>) {
        self.trail.note(what);
    }

    /// A new connection, on which it said that it has `from`.
    pub fn begin(&mut self, from: Option<&str>) {
        self.note(format!("came with {from:?}"));
        self.told = false;
        self.has = from.map(str::to_owned);
        self.was_told = None;
        self.journal.count("connections");
    }

    /// The same, where states have no names and what it has is this one.
    pub fn begin_with(&mut self, state: Option<String>) {
        self.begin(None);
        self.was_told = state;
    }

    /// What it had is gone: it may be told the same state once more.
    pub fn gone(&mut self) {
        self.note("gone");
        self.told = false;
        self.has = None;
        self.was_told = None;
    }

    /// It was told a whole state. `version`: none, where the transport has no names for states.
    pub fn content(&mut self, version: Option<&str>, body: &str) -> Value {
        let content: Value = serde_json::from_str(body)
            .unwrap_or_else(|error| panic!("{self}: not a whole state ({error}): {body}"));
        let poll = content["poll"].as_u64().unwrap_or_else(|| panic!("{self}: no number: {body}"));
        // A client that comes back may be told once more what is there; after that everything is newer. One state may be
        // the answer to several polls, of which each node has one.
        let is_same = content["state"].as_str() == self.state.as_deref();
        let is_newer = is_same || if self.told { poll > self.newest } else { poll >= self.newest };
        assert!(is_newer, "{self}: told of poll {poll} after poll {}: {body}", self.newest);
        self.newest = self.newest.max(poll);
        self.note(format!("poll {poll}: {version:?}"));
        self.state_of(version, &content);
        content
    }

    /// It was told a change of what it had, and this came of it. Numbers of polls do not travel in changes.
    pub fn changed(&mut self, version: &str, content: &Value) {
        self.note(format!("changed to {version}"));
        self.state_of(Some(version), content);
    }

    fn state_of(&mut self, version: Option<&str>, content: &Value) {
        let state = content["state"].as_str().unwrap_or_else(|| panic!("{self}: no state: {content}"));
        let is_whole = content["again"] == state && content["rows"][7]["of"] == state;
        assert!(is_whole, "{self}: pieces of different states: {content}");
        assert!(!state.contains("FORGED"), "{self}: what nobody asked for was told: {content}");
        // Only where states have numbers that grow.
        if let Some(serial) = state.strip_prefix('#') {
            let serial = serial.parse().expect("a number");
            assert!(serial >= self.serial, "{self}: state {serial} after {}", self.serial);
            self.serial = serial;
        }
        if let Some(version) = version {
            self.journal.name(version, state);
            assert_ne!(self.has.as_deref(), Some(version), "{self}: it said that it has this: {content}");
            self.has = None;
            self.earlier.extend(self.version.replace(version.to_owned()));
        }
        assert_ne!(self.was_told.as_deref(), Some(state), "{self}: the same state twice: {content}");
        self.was_told = Some(state.to_owned());
        self.state = Some(state.to_owned());
        if version.is_none() {
            self.version = self.journal.version_of(state);
        }
        self.told = true;
        self.journal.count("events");
    }
}

impl std::fmt::Display for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (has {:?} of poll {}; {:?})", self.who, self.state, self.newest, self.trail)
    }
}

/// One client's memory of a list: every item once and in order, over all its connections.
pub struct Items {
    who: String,
    journal: Arc<Journal>,
    last: Option<u64>,
    /// The last that happened, for messages.
    trail: Trail,
}

impl std::fmt::Debug for Items {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} that has {:?} ({:?})", self.who, self.last, self.trail)
    }
}

impl Items {
    pub fn new(who: String, journal: Arc<Journal>) -> Items {
        let trail = Trail::of(&journal);
        Items { who, journal, last: None, trail }
    }

    /// Notes what happened, for messages.
    pub fn note(&mut self, what: impl Into<String>) {
        self.trail.note(what);
    }

    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// A new connection.
    pub fn begin(&mut self) {
        self.trail.note(format!("came with {:?}", self.last));
        self.journal.count("connections");
    }

    pub fn told(&mut self, id: &str) {
        let id: u64 = id.parse().expect("items are numbered");
        if let Some(last) = self.last.replace(id) {
            assert_eq!(id, last + 1, "{}: the item after {last} ({:?})", self.who, self.trail);
        }
        self.trail.note(id.to_string());
        self.journal.count("items");
    }
}
