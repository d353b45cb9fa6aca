//! The failures on the way to an upstream and back, named for operators and for metrics. Must not know: how an exchange
//! is held, what a caller does about a failure.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use humantime::format_duration;

use super::NoDocument;

/// The cause below, from whichever layer it comes.
pub type Source = Box<dyn Error + Send + Sync>;

/// An exchange that gave no answer: its upstream and server, and what failed.
#[derive(Debug)]
pub struct FetchError {
    /// Name of the upstream in the configuration.
    pub upstream: String,
    /// Address of the server that was chosen; `None` if the exchange did not come that far.
    pub server: Option<String>,
    /// What failed.
    pub failure: Failure,
}

/// The kinds of failures.
#[derive(Debug)]
pub enum Failure {
    /// No address to try: nothing resolved, or all servers fail their health check.
    NoServer {
        /// What was wrong, in words.
        reason: String,
    },
    /// There is no connection. Nothing was sent.
    Connect {
        /// The error below.
        source: Source,
    },
    /// There is no connection, for a reason that clients should not know: it names a proxy or a socket. Nothing was
    /// sent to the server.
    Unreached {
        /// What was wrong, in words.
        reason: String,
    },
    /// Neither TCP nor TLS was ready within `connect_timeout`.
    ConnectTimeout {
        /// The limit that was exceeded.
        limit: Duration,
    },
    /// The handshake or the certificate failed; nothing was sent.
    Tls {
        /// The error below.
        source: Source,
    },
    /// The request was written and no response head came within `first_byte_timeout`.
    FirstByteTimeout {
        /// The limit that was exceeded.
        limit: Duration,
    },
    /// The whole exchange took longer than it may.
    TotalTimeout {
        /// The limit that was exceeded.
        limit: Duration,
    },
    /// The connection ended inside the head or the body.
    Truncated {
        /// Bytes that were received.
        received: usize,
        /// The error below.
        source: Source,
    },
    /// The `part` of the message has more bytes than `limit`.
    TooLarge {
        /// The part of the message that was too large.
        part: &'static str,
        /// The limit that was exceeded.
        limit: usize,
    },
    /// The answer is no document, and was not read to its end.
    NoDocument {
        /// What was found.
        found: NoDocument,
    },
    /// No response head came within `first_byte_timeout`, while other requests were answered in time: the API holds this
    /// one back.
    HeldBack {
        /// The limit that was exceeded.
        limit: Duration,
    },
    /// The message cannot be delimited safely, or is not HTTP.
    Framing {
        /// What was found.
        found: String,
    },
    /// The body is not what its Content-Encoding says.
    Encoding {
        /// The name of the coding.
        coding: String,
        /// The error below.
        source: Source,
    },
    /// The body is plain text, whatever its Content-Encoding says.
    NotCoded {
        /// The name of the coding.
        coding: String,
    },
    /// The body has a coding that is not known here.
    UnknownCoding {
        /// The name of the coding.
        coding: String,
    },
    /// The connection or stream broke before the answer was complete.
    Reset {
        /// The error below.
        source: Source,
    },
    /// No turn came in time: the upstream's budget is used up. Nothing was sent.
    NoTurn {
        /// The limit that was exceeded.
        limit: Duration,
        /// How many requests waited.
        waiting: usize,
    },
    /// The upstream's own quota is used up. Nothing was sent.
    Quota {
        /// How long to wait before the next request.
        wait: Duration,
    },
    /// Too many polls of this upstream failed in a row. Nothing was sent.
    Open {
        /// How long to wait before the next request.
        wait: Duration,
    },
    /// The answer sends elsewhere, and it is not followed there.
    Redirect {
        /// What was wrong, in words.
        reason: String,
    },
    /// There is no token for the polls of this upstream, and nothing was sent without one.
    Token {
        /// What was wrong, in words.
        reason: String,
    },
    /// The upstream refuses the operator's credentials, so nothing was sent.
    Refused {
        /// What was wrong, in words.
        reason: String,
    },
    /// The one request for many resources gave nothing for any of them.
    Batch {
        /// The value of the label that counts it.
        class: &'static str,
        /// What was wrong, in words.
        reason: String,
    },
}

impl FetchError {
    /// The kind of failure as a metrics label, one of: `no-server`, `connect`, `tls`, `first-byte-timeout`,
    /// `total-timeout`, `truncated`, `too-large`, `framing`, `encoding`, `coding`, `reset`, `budget`,
    /// `quota`, `breaker`, `redirect`, `token`, `batch`, `held-back`, and the words of [`NoDocument`].
    pub fn class(&self) -> &'static str {
        self.failure.class()
    }
}

impl Failure {
    /// See [`FetchError::class`].
    pub fn class(&self) -> &'static str {
        match self {
            Self::NoServer { .. } => "no-server",
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Unreached { .. } => "connect",
            Self::Tls { .. } => "tls",
            Self::FirstByteTimeout { .. } => "first-byte-timeout",
            Self::TotalTimeout { .. } => "total-timeout",
            Self::Truncated { .. } => "truncated",
            Self::TooLarge { .. } => "too-large",
            Self::NoDocument { found } => found.word(),
            Self::HeldBack { .. } => "held-back",
            Self::Framing { .. } => "framing",
            Self::Encoding { .. } => "encoding",
            Self::NotCoded { .. } | Self::UnknownCoding { .. } => "coding",
            Self::Reset { .. } => "reset",
            Self::NoTurn { .. } => "budget",
            Self::Quota { .. } => "quota",
            Self::Open { .. } => "breaker",
            Self::Redirect { .. } => "redirect",
            Self::Token { .. } => "token",
            Self::Refused { .. } => "auth",
            Self::Batch { class, .. } => class,
        }
    }

    /// Returns the words for clients. Of TLS, proxies and sockets they say only that these failed.
    pub fn for_clients(&self) -> String {
        match self {
            Self::Tls { .. } => "TLS failed".to_owned(),
            Self::Unreached { .. } => "cannot connect".to_owned(),
            _ => self.to_string(),
        }
    }

    /// Whether the upstream answered in time, though no snapshot can be made of its answer.
    pub(super) fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::NoDocument { .. }
                | Self::TooLarge { .. }
                | Self::NotCoded { .. }
                | Self::UnknownCoding { .. }
        )
    }

    /// Whether nothing was sent, so that another server may be asked whatever the method is.
    pub(super) fn is_before_request(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::Unreached { .. } | Self::Tls { .. }
        )
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "upstream {:?}", self.upstream)?;
        if let Some(server) = &self.server {
            write!(f, " ({server})")?;
        }
        write!(f, ": {}", self.failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer { reason } => write!(f, "no server to ask: {reason}"),
            Self::Connect { source } => write!(f, "cannot connect: {source}"),
            Self::Unreached { reason } => write!(f, "cannot connect: {reason}"),
            Self::ConnectTimeout { limit } => write!(f, "no connection within {}", format_duration(*limit)),
            Self::Tls { source } => write!(f, "TLS failed: {source}"),
            Self::FirstByteTimeout { limit } => write!(f, "no first byte within {}", format_duration(*limit)),
            Self::TotalTimeout { limit } => {
                write!(f, "no complete answer within {}", format_duration(*limit))
            }
            Self::Truncated { received, source } => {
                write!(f, "the answer broke off after {received} bytes of body: {source}")
            }
            Self::TooLarge { part, limit } => write!(f, "{part} larger than {limit} bytes"),
            Self::NoDocument { found: NoDocument::Endless { waited } } => {
                let waited = format_duration(*waited);
                write!(f, "the answer says no length, and is not complete {waited} after its head")
            }
            Self::NoDocument { found } => write!(f, "the answer is no document ({})", found.word()),
            Self::HeldBack { limit } => {
                let limit = format_duration(*limit);
                write!(f, "it holds this answer back: no first byte within {limit}, and others were answered")
            }
            Self::Framing { found } => write!(f, "unsafe framing: {found}"),
            Self::Encoding { coding, source } => {
                write!(f, "the body cannot be decoded as {coding:?}: {source}")
            }
            Self::NotCoded { coding } => write!(f, "the body says that it is {coding:?} and is not"),
            Self::UnknownCoding { coding } => {
                write!(f, "the body has the coding {coding:?}; wanted gzip, deflate, br, zstd or none")
            }
            Self::Reset { source } => write!(f, "the connection broke before the answer: {source}"),
            Self::NoTurn { limit, waiting } => {
                let limit = format_duration(*limit);
                write!(f, "no turn within {limit}: its budget is used up, and {waiting} polls wait")
            }
            Self::Quota { wait } => {
                let wait = format_duration(Duration::from_secs(wait.as_secs().max(1)));
                write!(f, "its own quota is used up for another {wait}")
            }
            Self::Open { wait } => {
                let wait = format_duration(Duration::from_millis(wait.as_millis() as u64));
                write!(f, "too many polls failed in a row; it is tried again in {wait}")
            }
            Self::Redirect { reason } | Self::Refused { reason } | Self::Batch { reason, .. } => {
                f.write_str(reason)
            }
            Self::Token { reason } => write!(f, "no access token: {reason}"),
        }
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failure.source()
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect { source }
            | Self::Tls { source }
            | Self::Truncated { source, .. }
            | Self::Encoding { source, .. }
            | Self::Reset { source } => Some(source.as_ref()),
            _ => None,
        }
    }
}
