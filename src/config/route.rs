//! A route, as validated: what is polled for it, which clients share that, and how they get it.
//!
//! Must not know: requests, how a path is matched.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue, Method};

use super::change::{Change, Delta, Feed};
use super::identity::Authenticate;
use super::plain::Plain;
use super::presence::Presence;
use super::query::{QueryRule, Switches};
use super::secret_file::SecretFile;
use super::upstream::Upstream;
use super::upstream::{Auth, Batch};
use super::upstream_path::UpstreamPath;

/// One entry of `routes`, completed with `defaults` and the built-in defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Place in the file, for messages and `/resources`.
    pub index: usize,
    /// The pattern as typed: `/prices/{symbol}`, `/files/{*rest}`. Also the metrics label.
    pub path: String,
    /// The route counts for these hosts only, as [`host_name`](super::host_name) makes them; empty: for all.
    pub hosts: Vec<String>,
    /// The API reads letter case, a last `/`, escapes, `;` and `//` as RFC 3986 does (contract §11).
    pub exact_spelling: bool,
    /// The upstream that is polled, and that gets what passes through.
    pub upstream: Arc<Upstream>,
    /// Where the requests go on the upstream. `None` if they go to the clients' own paths (default).
    pub upstream_path: Option<Arc<UpstreamPath>>,
    /// Whether the route is polled. With `poll: off` it is false: nothing of the route is polled or pushed, and its
    /// requests pass through.
    pub polled: bool,
    /// When an operator switched the route off. No file says it, so that a reload ends it; until then `polled` is false.
    pub switched_off: Option<SystemTime>,
    /// How the upstream is asked.
    pub poll: Poll,
    /// Whether plain requests are answered from the snapshot or are the API's (contract §3).
    pub plain: Plain,
    /// Which clients may share one poll (contract §11).
    pub share: Share,
    /// `None` if all clients are let in.
    pub authenticate: Option<Authenticate>,
    /// How long a check of a subscriber counts with [`Share::Authorize`], a fifth less or more (default: 5 min).
    pub recheck: Duration,
    /// The ways in which the route may be read (default: all).
    pub transports: Transports,
    /// Which parameters of the query name a resource (contract §1).
    pub query: QueryRule,
    /// Cookie names that say nothing about identity; a trailing `*` matches any ending.
    pub ignore_cookies: Vec<String>,
    /// Request headers that are credentials besides Cookie and those whose name says so.
    pub credentials: Vec<HeaderName>,
    /// Fields of answers that are content although their names say credential.
    pub keep_fields: Vec<HeaderName>,
    /// The meaning of the other request headers.
    pub headers: HeaderRules,
    /// The names of the query switches (contract §1).
    pub switches: Switches,
    /// SSE `event:` of snapshots; `None` for unnamed, so that `onmessage` works.
    pub event_name: Option<String>,
    /// Bodies that are not text go out as base64 instead of 406.
    pub base64: bool,
    /// A silent stream carries a comment this often, so that no proxy on the way drops it (default: 20 s).
    pub heartbeat: Duration,
    /// How long a cold stream waits for its status before it says 200 (default: 2 s).
    pub first_answer: Duration,
    /// Longest hold of a long-poll (default: 55 s).
    pub max_wait: Duration,
    /// Random SSE `retry:` between these two.
    pub retry: (Duration, Duration),
    /// Data older than this plus the poll's interval is called stale (default: 10 s).
    pub stale_after: Duration,
    /// How long the last good answer is served while the upstream fails (default: 5 min).
    pub stale_if_error: Duration,
    /// How many versions the history of a resource remembers.
    pub history_versions: usize,
    /// Which clients are refused with a stream that says when to come back, instead of with a status.
    pub soft_refusal: SoftRefusal,
    /// Replaces the own Cache-Control of ordinary polls.
    pub downstream_cache: Option<HeaderValue>,
    /// `Link: <same>; rel="alternate"` on ordinary polls.
    pub link: bool,
    /// The origins that may read. `None` if preflights and their headers are left to the API (default).
    pub cors: Option<Cors>,
    /// What clients may do on a WebSocket.
    pub websocket: Websocket,
    /// End a `gone` resource's streams after this long; `None` for never.
    pub gone_after: Option<Duration>,
    /// Streams end after this long, a fifth less or more, and their clients come back; `None` for never.
    pub max_age: Option<Duration>,
    /// Most subscribers of this route; `None` for only `limits.clients`.
    pub max_clients: Option<usize>,
    /// Most subscribers of one of its resources.
    pub max_clients_per_resource: Option<usize>,
    /// Most resources of this route; `None` for only `limits.resources`.
    pub max_resources: Option<usize>,
    /// What is compressed for clients that accept it (default: what all clients may read).
    pub compress: Compress,
    /// Bodies and messages smaller than this are not compressed, bytes.
    pub compress_min: usize,
    /// What counts as a change of a resource (contract §2).
    pub change: Change,
    /// Whether patches are sent, and which (contract §5).
    pub delta: Delta,
    /// Where the items are, if the resource is a list whose new items are events (contract §8). `None` if it is not.
    pub feed: Option<Feed>,
    /// Paths that a write on this route touches too, with this route's `{parameters}` or others that
    /// match anything (contract §9).
    pub refreshes: Vec<String>,
    /// A write on this route touches the collections that the written path is in, too.
    pub refreshes_parent: bool,
    /// Longest wait for the poll that confirms a resource after a write.
    pub write_wait: Duration,
    /// Ordinary conditional polls that would be answered 304 are held this long (contract §3).
    pub hold_not_modified: Option<Duration>,
    /// What is told of the followers of its resources. `None` if nothing is (default).
    pub presence: Option<Presence>,
    /// Its polls are shared with the other nodes, if there is a `cluster`.
    pub clustered: bool,
}

impl Route {
    /// Whether the polls of this route carry anything of the operator's, so that what they get may be another answer
    /// than a client's own request would get. Cookies of the poller's own are not known here.
    pub fn poll_carries_operators(&self) -> bool {
        let upstream = &self.upstream;
        self.poll.auth.is_some()
            || upstream.forwarded.as_ref().is_some_and(|said| said.address.is_some())
            || !self.poll.headers.is_empty()
            || upstream.tls.as_ref().is_some_and(|tls| tls.identity.is_some())
            || upstream.proxy.is_some()
            || upstream.servers.iter().any(|server| server.address.starts_with("unix:"))
    }

    /// What becomes of the route's plain requests, and which key says otherwise: one line for operators.
    #[must_use]
    pub fn plain_line(&self) -> String {
        let what = match (self.polled, self.plain) {
            (false, _) => "nothing is polled or pushed, all requests are the API's (poll: off)",
            (true, Plain::Share) => {
                "plain requests are answered from the snapshot (plain: pass leaves them to the API)"
            }
            (true, Plain::Pass) => {
                "plain requests are the API's (plain: share answers them from the snapshot)"
            }
        };
        format!("{}: {what}", self.path)
    }

    /// Where the route's requests go, if not to the clients' own paths: one line for operators.
    #[must_use]
    pub fn upstream_line(&self) -> Option<String> {
        let to = self.upstream_path.as_ref()?;
        Some(format!("{}: is {} of upstream {} (upstream_path)", self.path, to.text, self.upstream.name))
    }
}

/// How a route's upstream is polled (`poll`).
#[derive(Debug, Clone, PartialEq)]
pub struct Poll {
    /// The interval, or the shortest one of an adaptive schedule.
    pub interval: Duration,
    /// The longest interval of an adaptive schedule; `None` if it is fixed.
    pub adaptive_max: Option<Duration>,
    /// Polling goes on this long after the last client left, so that reloads are cheap (default: 30 s).
    pub linger: Duration,
    /// Keep polling without subscribers (a route without parameters only).
    pub always: bool,
    /// Headers of every poll.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers whose values stand in files that other programs may replace.
    pub header_files: Vec<(HeaderName, Arc<SecretFile>)>,
    /// The Accept header of every poll: all clients get the same type (default: `*/*`).
    pub accept: HeaderValue,
    /// Polls ask for the codings that are known here; else for none.
    pub accept_codings: bool,
    /// Whole time of one poll.
    pub timeout: Duration,
    /// Bytes.
    pub max_body: usize,
    /// Media type essences that count as data; empty: the first one seen.
    pub expect: Vec<String>,
    /// Whether a body that ends with the connection is believed, though nothing says that it is whole (default:
    /// false).
    pub allow_close_delimited: bool,
    /// Whether polls may come more often than the upstream's `Cache-Control: max-age` allows (default: false).
    pub ignore_cache_control: bool,
    /// Failures: first wait and longest wait, full jitter in between.
    pub backoff: Backoff,
    /// The poller keeps the cookies that the upstream sets, where polls carry no client's.
    pub cookie_jar: bool,
    /// Polls in a user's session end without an ordinary request of that user for this long.
    pub max_session_polls: Option<Duration>,
    /// Redirects to the same upstream that one poll may follow.
    pub follow_redirects: usize,
    /// The credentials of polls. `None` if they have none of their own (default).
    pub auth: Option<Auth>,
    /// How many resources are asked for in one request. `None` if each has a request of its own (default).
    pub batch: Option<Batch>,
}

/// The random waits after failed polls, which grow from `min` to `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Upper bound of the first wait (default: 1 s).
    pub min: Duration,
    /// Upper bound of all later waits (default: 1 min).
    pub max: Duration,
    /// Longest `Retry-After` of the upstream that is obeyed (default: 10 min).
    pub retry_after_max: Duration,
}

/// Which clients may share one poll (contract §11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Share {
    /// Requests without credentials share; the others pass through or get 403.
    Unset,
    /// The operator's word: client credentials mean nothing here.
    Public,
    /// These values are in the key and on its polls.
    By(Vec<ClassValue>),
    /// Polled without client credentials; a follower was given the same answer with its own.
    Authorize,
}

/// One value that clients must have in common to share a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClassValue {
    /// The value of this request header.
    Header(HeaderName),
    /// The value of the cookie of this name.
    Cookie(String),
    /// A part of the identity that `authenticate` found: the subject, or a claim of the token.
    Identity {
        /// `subject`, or the claim's name.
        what: String,
        /// The header that says it on polls.
        header: HeaderName,
    },
}

/// The operator's word on request headers that are no credentials (contract §11).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderRules {
    /// They choose the content: in the key and on its polls.
    pub vary: Vec<HeaderName>,
    /// Names in the upstream's Vary that mean nothing.
    pub ignore_vary: Vec<HeaderName>,
    /// They mean nothing, besides those that are known to.
    pub ignore: Vec<HeaderName>,
}

impl HeaderRules {
    /// Whether the upstream's Vary means nothing where it names this.
    pub fn ignores_vary(&self, name: &HeaderName) -> bool {
        self.ignore_vary.contains(name)
    }
}

/// The ways in which a route may be read (`transports`). All are on by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transports {
    /// Server-sent events.
    pub sse: bool,
    /// WebSockets (RFC 6455).
    pub websocket: bool,
    /// Polls that are held until there is a change (contract §4).
    pub long_poll: bool,
    /// Plain requests, answered from the snapshot.
    pub poll: bool,
}

/// What is compressed for clients that accept it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compress {
    /// Answers that all clients may read. The compressed length of one user's answer would tell of its content to an
    /// attacker who can write into it and watch the wire (BREACH).
    Shared,
    /// Everything that has a coding.
    Always,
    /// Nothing.
    Never,
}

/// Which clients are refused with an event stream that says when to come back: an EventSource never comes back after
/// an error status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoftRefusal {
    /// What looks like a browser's EventSource is.
    Browsers,
    /// All clients that ask for an event stream are.
    Always,
    /// No client is refused softly: refusals are statuses.
    Never,
}

/// Which pages of other origins may read a route (`cors`).
#[derive(Debug, Clone, PartialEq)]
pub struct Cors {
    /// Exact origins, or one `*`.
    pub origins: Vec<String>,
    /// Whether browsers may send their cookies (default: false). Not with `*`.
    pub credentials: bool,
    /// How long browsers may remember the answer to a preflight (default: 10 min).
    pub max_age: Duration,
}

/// What clients may do on a WebSocket (`websocket`).
#[derive(Debug, Clone, PartialEq)]
pub struct Websocket {
    /// Origins let in; `None` for no Origin, or one whose host is the authority.
    pub origins: Option<Vec<String>>,
    /// A silent connection is pinged this often (default: 25 s).
    pub ping: Duration,
    /// Longest wait for the answer to a ping (default: 10 s).
    pub pong: Duration,
    /// Longest message a client may send, bytes.
    pub max_message: usize,
    /// Frames a second that a client may send, whatever they are.
    pub frame_rate: u32,
    /// Pieces that a client may send one message in.
    pub max_fragments: u16,
    /// The request that each message of a client becomes. `None` if messages are ignored (default).
    pub send: Option<Send>,
}

/// Where a client's WebSocket message goes (contract §6).
#[derive(Debug, Clone, PartialEq)]
pub struct Send {
    /// POST (default), PUT, PATCH or DELETE.
    pub method: Method,
    /// Path with the route's `{parameters}`.
    pub path: String,
    /// The Content-Type of the request (default: `application/json`).
    pub content_type: HeaderValue,
    /// More headers of the request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Messages a second and connection.
    pub rate: u32,
    /// Report failures as a text message.
    pub errors: bool,
}
