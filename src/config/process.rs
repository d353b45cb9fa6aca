//! What holds for the whole process: its bounds, its threads, its log, its end.
//!
//! Must not know: listeners, upstreams and routes.

use std::path::PathBuf;
use std::time::Duration;

/// The bounds of the whole process (`limits`). Each has a metric that shows when it refuses something.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most clients that follow something at a time (default: 100000).
    pub clients: usize,
    /// The file says `clients`: the operator means that many.
    pub clients_said: bool,
    /// Most clients of one address. An IPv6 network of 64 bits is one address. `None` if only `clients` bounds them
    /// (default).
    pub clients_per_address: Option<usize>,
    /// Of one subject, or of those with equal class values; `None` without a limit of its own.
    pub clients_per_subject: Option<usize>,
    /// New push clients a second; `None` for as they come.
    pub accept_rate: Option<u32>,
    /// Streams of one HTTP/2 connection.
    pub http2_streams: u32,
    /// Frames a second of one HTTP/2 connection that carry neither a request nor an answer.
    pub http2_control_rate: u32,
    /// Until the first byte of a connection; for a PROXY header, for a TLS handshake.
    pub first_byte_timeout: Duration,
    /// From the first byte of a request's head to its last.
    pub header_timeout: Duration,
    /// Without a byte of a body that passes through, on HTTP/1.
    pub body_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// Without taking a byte of an answer; streams have `stall_timeout`.
    pub send_timeout: Duration,
    /// Most resources (default: 10000). At the limit the one that no client attended to for longest makes room.
    pub resources: usize,
    /// Resources that one address keeps alive.
    pub resources_per_address: Option<usize>,
    /// Of one subject, or of those with equal class values; `None` without a limit of its own.
    pub resources_per_subject: Option<usize>,
    /// New resources that one address may name in a second.
    pub new_resources_per_address: Option<u32>,
    /// Most bytes of current answers, with their encodings; equal ones count once (default: 1 GiB).
    pub snapshot_bytes: usize,
    /// Of the resources that one address has asked for first, bytes.
    pub snapshot_bytes_per_address: Option<usize>,
    /// Bodies of polls in progress, in all.
    pub poll_body_bytes: usize,
    /// Requests in progress.
    pub requests: usize,
    /// Most requests in progress of one address. `None` if only `requests` bounds them (default).
    pub requests_per_address: Option<usize>,
    /// Most bytes of histories and patches (default: 256 MiB).
    pub history_bytes: usize,
    /// Longest head of a request, bytes (default: 32 KiB).
    pub header_bytes: usize,
    /// Most header fields of a request (default: 256).
    pub header_fields: usize,
    /// Path and query of a request, bytes.
    pub url_bytes: usize,
    /// Most parameters in a query that names a resource (default: 1000). A request with more passes through.
    pub query_parameters: usize,
    /// Of a request that passes through, bytes.
    pub request_body: Option<usize>,
    /// A client that takes no byte of a stream for this long is disconnected (default: 10 s).
    pub stall_timeout: Duration,
    /// Kernel send buffer of a stream, bytes.
    pub send_buffer: usize,
    /// Longest request body read and dropped before an own answer, bytes.
    pub drain_body: usize,
    /// Most resources that one connection may follow.
    pub resources_per_client: usize,
}

/// How a shutdown goes (`drain`): `/ready` fails at once, listeners close after `delay`, streams end within `window`.
#[derive(Debug, Clone)]
pub struct Drain {
    /// Listeners accept this long after `/ready` failed.
    pub delay: Duration,
    /// The ends of the streams are spread over this.
    pub window: Duration,
    /// Clients come back after a random time between these two (default: 2 s and 8 s).
    pub retry: (Duration, Duration),
}

/// How the listening sockets go from one process to the next.
#[derive(Debug, Clone)]
pub struct Upgrade {
    /// Where the two meet: UTF-8, short enough for the address of a unix socket, absolute or relative to where the
    /// process started.
    pub socket: PathBuf,
    /// Longest wait for the other process.
    pub timeout: Duration,
}

/// How many threads there are of each kind (`threads`). The default of each is one a core.
#[derive(Debug, Clone, Copy)]
pub struct Threads {
    /// Worker threads of the proxy.
    pub front: usize,
    /// Client loops.
    pub shards: usize,
}

/// What is logged, and how (`log`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Whether lines are JSON objects instead of text (default: false).
    pub json: bool,
    /// One line per finished request or stream.
    pub access: bool,
    /// Lines that may wait to be written.
    pub buffer: usize,
}
