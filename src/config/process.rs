//! What holds for the whole process: its bounds, its threads, its log, its end.
//!
//! Must not know: listeners, upstreams and routes.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Limits {
    pub clients: usize,
    /// The file says `clients`: the operator means that many.
    pub clients_said: bool,
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
    pub resources: usize,
    /// Resources that one address keeps alive.
    pub resources_per_address: Option<usize>,
    /// Of one subject, or of those with equal class values; `None` without a limit of its own.
    pub resources_per_subject: Option<usize>,
    /// New resources that one address may name in a second.
    pub new_resources_per_address: Option<u32>,
    pub snapshot_bytes: usize,
    /// Of the resources that one address has asked for first, bytes.
    pub snapshot_bytes_per_address: Option<usize>,
    /// Bodies of polls in progress, in all.
    pub poll_body_bytes: usize,
    /// Requests in progress.
    pub requests: usize,
    pub requests_per_address: Option<usize>,
    pub history_bytes: usize,
    pub header_bytes: usize,
    pub header_fields: usize,
    /// Path and query of a request, bytes.
    pub url_bytes: usize,
    pub query_parameters: usize,
    /// Of a request that passes through, bytes.
    pub request_body: Option<usize>,
    pub stall_timeout: Duration,
    /// Kernel send buffer of a stream, bytes.
    pub send_buffer: usize,
    /// Longest request body read and dropped before an own answer, bytes.
    pub drain_body: usize,
    /// Most resources that one connection may follow.
    pub resources_per_client: usize,
}

#[derive(Debug, Clone)]
pub struct Drain {
    /// Listeners accept this long after `/ready` failed.
    pub delay: Duration,
    /// The ends of the streams are spread over this.
    pub window: Duration,
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

#[derive(Debug, Clone, Copy)]
pub struct Threads {
    /// Worker threads of the proxy.
    pub front: usize,
    /// Client loops.
    pub shards: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    pub json: bool,
    /// One line per finished request or stream.
    pub access: bool,
    /// Lines that may wait to be written.
    pub buffer: usize,
}
