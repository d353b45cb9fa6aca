//! The values of labels that are closed sets: their series are there, with 0, from the first scrape.
//!
//! Must not know: when anything is counted.

use std::collections::HashSet;

use super::{ENVELOPE, LONG_POLL, Metrics, POLL, SSE, SSE_MANY, TouchCause, WEBSOCKET};

/// The values of `kind` of `pollcast_certificate_not_after_seconds`.
pub const CERTIFICATE_KINDS: [&str; 3] = ["certificate", "client_ca", "client_crl"];

/// The values of `transport`.
pub const TRANSPORTS: [&str; 6] = [SSE, WEBSOCKET, POLL, LONG_POLL, ENVELOPE, SSE_MANY];

/// The values of `reason` of `pollcast_refusals_total`.
pub const REFUSALS: [&str; 42] = [
    "accept-rate",
    "address-new-resources",
    "address-requests",
    "address-resources",
    "address-snapshot-bytes",
    "ambiguous-path",
    "authentication",
    "authorization",
    "body-timeout",
    "clients",
    "credentials-bytes",
    "descriptors",
    "first-byte",
    "framing",
    "header-bytes",
    "header-fields",
    "header-timeout",
    "host",
    "http11-required",
    "http2-control",
    "http2-flood",
    "http2-malformed",
    "http2-protocol",
    "origin",
    "proxy-header",
    "query-parameters",
    "request-body",
    "requests",
    "resource-clients",
    "resources",
    "resources-per-client",
    "route-resources",
    "send-timeout",
    "snapshot-bytes",
    "subject-resources",
    "tls-handshake",
    "unshared",
    "upstream-first-byte",
    "upstream-path",
    "upstream-requests",
    "url-bytes",
    "websocket-send-failed",
];

/// The values of `reason` of `pollcast_ends_total`.
pub const ENDS: [&str; 27] = [
    "answered",
    "client-closed",
    "client-gone",
    "client-noise",
    "credentials",
    "drain",
    "expired",
    "forbidden",
    "fragments",
    "frame-rate",
    "gone",
    "internal",
    "max-age",
    "no-pong",
    "not-shareable",
    "protocol",
    "rate",
    "reconfigured",
    "refused",
    "revoked",
    "session-idle",
    "session-rotated",
    "snapshot-bytes",
    "stalled",
    "switched-off",
    "timeout",
    "uncoverable",
];

/// The values of `outcome` of `pollcast_presence_notices_total`.
pub const PRESENCE_NOTICES: [&str; 3] = ["told", "failed", "dropped"];

/// The values of `class` of `pollcast_poll_failures_total`.
pub const FAILURES: [&str; 29] = [
    "audio",
    "auth",
    "bad-next",
    "batch",
    "breaker",
    "budget",
    "coding",
    "connect",
    "encoding",
    "endless",
    "event-stream",
    "first-byte-timeout",
    "framing",
    "held-back",
    "multipart",
    "next",
    "no-server",
    "not-json",
    "page",
    "quota",
    "redirect",
    "reset",
    "status",
    "tls",
    "token",
    "too-large",
    "total-timeout",
    "truncated",
    "video",
];

impl Metrics {
    /// Makes the series of all metrics whose labels are closed sets.
    pub(super) fn make_closed(&self) {
        for transport in TRANSPORTS {
            self.stalls.with_label_values(&[transport]);
            self.slow_closes.with_label_values(&[transport]);
            self.message_pauses.with_label_values(&[transport]);
            self.lag_seconds.with_label_values(&[transport]);
            for reason in ENDS {
                self.ends.with_label_values(&[transport, reason]);
            }
        }
        for reason in REFUSALS {
            self.refusals.with_label_values(&[reason]);
        }
        for outcome in ["none", "current", "known", "unknown"] {
            self.resumes.with_label_values(&[outcome]);
        }
        for outcome in PRESENCE_NOTICES {
            self.presence_notices.with_label_values(&[outcome]);
        }
        for outcome in ["exported", "failed", "dropped"] {
            self.otlp_spans.with_label_values(&[outcome]);
        }
        for result in ["applied", "unchanged", "invalid", "refused"] {
            self.reloads.with_label_values(&[result]);
        }
        for outcome in ["new", "bad"] {
            self.certificate_reloads.with_label_values(&[outcome]);
        }
        for cause in TouchCause::ALL.map(TouchCause::label).into_iter().chain(["beyond"]) {
            self.touches.with_label_values(&[cause]);
        }
    }

    /// Makes the series of the configured upstreams, another closed set.
    pub fn make_upstreams<'a>(&self, upstreams: impl Iterator<Item = &'a str>) {
        for upstream in upstreams {
            self.poll_seconds.with_label_values(&[upstream]);
            for class in FAILURES {
                self.poll_failures.with_label_values(&[upstream, class]);
            }
            for part in ["head", "body"] {
                self.upstream_bytes.with_label_values(&[upstream, part]);
            }
        }
    }

    /// Forgets the series of all upstreams but these, and what stands behind their samples.
    pub fn keep_upstreams<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let names: HashSet<&str> = names.collect();
        self.upstreams.forget(|upstream| !names.contains(upstream));
        self.exemplars.lock().retain(|upstream, _| names.contains(upstream.as_str()));
    }
}
