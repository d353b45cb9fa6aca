//! The settings of the whole process: its bounds, its threads, its log, its end.
//!
//! Must not know: listeners, upstreams and routes.

use std::path::PathBuf;
use std::time::Duration;

/// The bounds of the whole process (`limits`). Each has a metric that shows when it refuses something.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Most clients that follow something at a time (default: 100000).
    pub clients: usize,
    /// Whether the file says `clients`: then the operator means that number, and a shortage of descriptors is a
    /// warning.
    pub clients_said: bool,
    /// Most clients of one address. An IPv6 network of 64 bits is one address. `None` if only `clients` bounds them
    /// (default).
    pub clients_per_address: Option<usize>,
    /// Most clients of one subject, or of those with equal class values. `None` if there is no such bound (default).
    pub clients_per_subject: Option<usize>,
    /// Most new push clients a second. `None` if all are let in as they come (default).
    pub accept_rate: Option<u32>,
    /// Most streams that one HTTP/2 connection has open at a time (default: 100).
    pub http2_streams: u32,
    /// Most frames a second of one HTTP/2 connection that carry neither a request nor an answer (default: 500).
    pub http2_control_rate: u32,
    /// Longest wait for the first byte of a connection, for its PROXY header, and for its TLS handshake, each (default:
    /// 10 s).
    pub first_byte_timeout: Duration,
    /// Longest time from the first byte of a request's head to its last (default: 10 s).
    pub header_timeout: Duration,
    /// Longest wait for the next byte of a body that passes through, on HTTP/1 (default: 1 min).
    pub body_timeout: Duration,
    /// Longest time between two requests of a connection (default: 1 min).
    pub idle_timeout: Duration,
    /// A client that takes no byte of an answer for this long is disconnected; streams have `stall_timeout` (default: 1
    /// min).
    pub send_timeout: Duration,
    /// Most resources (default: 10000). At the limit the one that no client attended to for longest makes room.
    pub resources: usize,
    /// Most resources that one address keeps alive, by having asked for them first. `None` if only `resources` bounds
    /// them (default).
    pub resources_per_address: Option<usize>,
    /// Most resources of one subject, or of those with equal class values. `None` if there is no such bound (default).
    pub resources_per_subject: Option<usize>,
    /// Most new resources that one address may name in a second. `None` if there is no such bound (default).
    pub new_resources_per_address: Option<u32>,
    /// Most bytes of current answers, with their encodings; equal ones count once (default: 1 GiB).
    pub snapshot_bytes: usize,
    /// Most bytes of the answers of resources that one address has asked for first, each in full. `None` if there is no
    /// such bound (default).
    pub snapshot_bytes_per_address: Option<usize>,
    /// Most bytes of the bodies of polls in progress (default: 64 MiB).
    pub poll_body_bytes: usize,
    /// Most routes that have series of their own in the metrics (default: 250). The others share one.
    pub metric_routes: usize,
    /// Most requests in progress (default: 20000).
    pub requests: usize,
    /// Most requests in progress of one address. `None` if only `requests` bounds them (default).
    pub requests_per_address: Option<usize>,
    /// Most bytes of histories and patches (default: 256 MiB).
    pub history_bytes: usize,
    /// Longest head of a request, bytes (default: 32 KiB).
    pub header_bytes: usize,
    /// Most header fields of a request (default: 256).
    pub header_fields: usize,
    /// Longest path and query of a request, bytes (default: 8 KiB).
    pub url_bytes: usize,
    /// Most parameters in a query that names a resource (default: 1000). A request with more passes through.
    pub query_parameters: usize,
    /// Longest body of a request that passes through, bytes. `None` if the upstream bounds it (default).
    pub request_body: Option<usize>,
    /// A client that takes no byte of a stream for this long is disconnected (default: 10 s).
    pub stall_timeout: Duration,
    /// The kernel's send buffer of a stream, bytes (default: 24 KiB).
    pub send_buffer: usize,
    /// Longest request body that is read and dropped before an own answer, bytes (default: 64 KiB).
    pub drain_body: usize,
    /// Most resources that one connection may follow (default: 200).
    pub resources_per_client: usize,
}

/// How a shutdown goes (`drain`): `/ready` fails at once, listeners close after `delay`, streams end within `window`.
#[derive(Debug, Clone, PartialEq)]
pub struct Drain {
    /// Listeners accept for this long after `/ready` failed (default: 5 s).
    pub delay: Duration,
    /// The ends of the streams are spread over this time (default: 30 s).
    pub window: Duration,
    /// Clients come back after a random time between these two (default: 2 s and 8 s).
    pub retry: (Duration, Duration),
}

/// How the listening sockets go from one process to the next.
#[derive(Debug, Clone, PartialEq)]
pub struct Upgrade {
    /// The socket over which both processes talk. Its path is UTF-8, at most 100 bytes, absolute or relative to where
    /// the process started.
    pub socket: PathBuf,
    /// Longest wait for the other process (default: 30 s).
    pub timeout: Duration,
}

/// What has the running process read its file again (`reload`), besides SIGHUP and `POST /-/reload`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reload {
    /// The file is looked at, and what is new in it is taken (default: false).
    pub watch: bool,
}

/// How many threads there are of each kind (`threads`). The default of each is one a core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threads {
    /// Threads that serve requests.
    pub front: usize,
    /// Threads that serve streams.
    pub shards: usize,
}

/// How much is logged of pollcast itself: this and what matters more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// What is broken.
    Error,
    /// What may be wrong.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What helps to find a fault.
    Debug,
    /// Every step.
    Trace,
}

impl LogLevel {
    /// All levels, by their words.
    pub const ALL: [(&'static str, LogLevel); 5] = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        LogLevel::ALL.into_iter().find(|(_, level)| *level == self).map_or("info", |(word, _)| word)
    }
}

/// What is logged, and how (`log`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Log {
    /// Whether lines are JSON objects instead of text (default: false).
    pub json: bool,
    /// The least that is logged of pollcast itself (default: info).
    pub level: LogLevel,
    /// Which finished requests and streams have a line (default: all).
    pub access: AccessLines,
    /// Most lines that wait to be written; further ones are dropped and counted (default: 8192).
    pub buffer: usize,
}

/// Which finished requests and streams have a line in the log (`log.access`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AccessLines {
    /// None of them.
    None,
    /// The errors, and this share of the others, 0 to 1, chosen by chance.
    ErrorsAnd(f64),
}

impl AccessLines {
    /// All of them.
    pub const ALL: AccessLines = AccessLines::ErrorsAnd(1.0);
}
