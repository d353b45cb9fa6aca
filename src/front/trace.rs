//! The steps of a decision about a request, for operators who ask what becomes of it (`/-/explain`).
//!
//! A request that is served has no trace: it pays a comparison with `None`. Where there is one, nothing of what is decided
//! is done, counted or remembered. Must not know: what is decided.

use parking_lot::Mutex;

use crate::resource::ResourceKey;

/// Most steps of one trace: a request has at most as many fields as `limits.header_fields`.
const STEPS_COUNT_MAX: usize = 512;

/// What a step is about, with its section of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// How much the request is (`limits`).
    Limits,
    /// The readings of its path.
    Path,
    /// The route that covers it.
    Route,
    /// Its path on the API (`upstream_path`).
    UpstreamPath,
    /// Whether its client proves an identity (`authenticate`).
    Authentication,
    /// The parameters of its query.
    Query,
    /// What one of its header fields means.
    Header,
    /// With which clients it shares.
    Share,
    /// The form that it asks for.
    Transport,
    /// Whether a plain request is answered here.
    Plain,
    /// The parts of the key of its resource.
    Resource,
    /// What is known of the resource.
    State,
}

impl Subject {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Subject::Limits => "limits",
            Subject::Path => "path",
            Subject::Route => "route",
            Subject::UpstreamPath => "upstream_path",
            Subject::Authentication => "authenticate",
            Subject::Query => "query",
            Subject::Header => "header",
            Subject::Share => "share",
            Subject::Transport => "transport",
            Subject::Plain => "plain",
            Subject::Resource => "resource",
            Subject::State => "state",
        }
    }

    /// The section of the protocol that has its rule.
    #[must_use]
    pub fn section(self) -> u8 {
        match self {
            Subject::Transport => 1,
            Subject::Plain | Subject::State => 3,
            Subject::UpstreamPath => 10,
            Subject::Path
            | Subject::Route
            | Subject::Authentication
            | Subject::Query
            | Subject::Header
            | Subject::Share
            | Subject::Resource => 11,
            Subject::Limits => 12,
        }
    }
}

/// One step of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is about.
    pub subject: Subject,
    /// What was found, and by what. It names header fields and never says their values.
    pub text: String,
}

/// The steps of one decision, in their order.
#[derive(Debug, Default)]
pub struct Trace {
    steps: Mutex<Vec<Step>>,
    /// The resource that the request is about, as far as that is known.
    key: Mutex<Option<ResourceKey>>,
}

impl Trace {
    /// Returns the steps so far.
    pub(super) fn steps(&self) -> Vec<Step> {
        self.steps.lock().clone()
    }

    /// Returns the resource that was found last.
    pub(super) fn key(&self) -> Option<ResourceKey> {
        self.key.lock().clone()
    }

    /// Adds a step.
    pub(super) fn add(&self, step: Step) {
        let mut steps = self.steps.lock();
        if steps.len() < STEPS_COUNT_MAX {
            steps.push(step);
        }
    }

    /// Notes the resource that a request is about.
    pub(super) fn is_about(&self, key: &ResourceKey) {
        *self.key.lock() = Some(key.clone());
    }
}
