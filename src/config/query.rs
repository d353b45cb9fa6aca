//! The meaning of a query's parameters on a route (contract §1, §11).
//!
//! Must not know: how a query is read.

/// Which parameters name a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryRule {
    /// The parameters that name the resource. `None` if all but those in `ignore` do (default).
    pub names: Option<Vec<String>>,
    /// What becomes of a parameter that `names` does not have (default: it is dropped).
    pub unknown: UnknownQuery,
    /// Whether the pairs are sorted, so that their order does not matter (default: false).
    pub any_order: bool,
    /// Parameters that leave key and poll; a trailing `*` matches any ending, a trailing `=#` only values that are
    /// a long number or a fraction.
    pub ignore: Vec<String>,
}

impl QueryRule {
    /// The mark behind a name in `ignore` that counts only for values that are a long number or a fraction.
    pub const NUMBER_MARK: &'static str = "=#";
}

/// What becomes of a parameter that a route's `query` does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownQuery {
    /// It leaves key and poll.
    Drop,
    /// The request gets 400.
    Reject,
}

/// Names of the query switches (contract §1); `None` if switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switches {
    /// Chooses the transport, as `?_push=sse` (default: `_push`).
    pub push: Option<String>,
    /// Holds a long-poll, as `?_wait=30s` (default: `_wait`).
    pub wait: Option<String>,
    /// Asks for patches, as `?_delta=json-patch` (default: `_delta`).
    pub delta: Option<String>,
    /// Asks for `presence` events, as `?_presence=on` (default: `_presence` where the route has `presence`, else none).
    pub presence: Option<String>,
    /// Where a stream resumes, for clients that cannot set `Last-Event-ID`; empty: switched off. The API's own on
    /// everything but event streams and held polls.
    pub resume: Vec<String>,
    /// The `Wait: N` request header as an alias of `Prefer: wait=N`.
    pub wait_header: bool,
}
