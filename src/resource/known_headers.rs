//! Request headers that mean nothing for the content (contract §11, "known"): whole names, each with the reason why a
//! poll may be shared by requests that differ in it.
//!
//! A name belongs here only if browsers, HTTP itself, tracing, or the proxies on the way add it to any request. An
//! operator adds others with `ignore_headers:`. Must not know: routes.

/// The only prefix: names that scripts of a page cannot set (Fetch, "forbidden request-header").
pub(super) const KNOWN_PREFIX: &str = "sec-";

const BROWSER: &str = "browsers add it to every request; an API that chooses by it says so in Vary";
const ACCEPTED: &str = "says what the client can read; the snapshot's type and coding are held against it";
const CONDITION: &str = "a condition; held against the snapshot's version";
const CONNECTION: &str = "belongs to one connection or to one message's framing (RFC 9110 §7.6.1)";
const CACHING: &str = "a directive for caches on the way";
const RESUMING: &str = "says what a client has already; pollcast answers it";
const ADDRESS: &str =
    "a proxy's word for the client's address or for the way the request came; polls say their own";
pub(super) const TRACING: &str = "names one request for tracing; it differs from request to request";
const CDN: &str = "a proxy's name for one request, or for the way it came; it tells nothing of the client";

/// Names in lower case and their reasons, in order of the names.
pub(super) const KNOWN: [(&str, &str); 104] = [
    ("a-im", RESUMING),
    ("accept", ACCEPTED),
    ("accept-charset", ACCEPTED),
    ("accept-encoding", ACCEPTED),
    ("accept-language", BROWSER),
    ("alt-used", CONNECTION),
    ("available-dictionary", ACCEPTED),
    ("b3", TRACING),
    ("baggage", TRACING),
    ("cache-control", CACHING),
    ("cdn-loop", CDN),
    ("cf-connecting-ip", ADDRESS),
    ("cf-connecting-ipv6", ADDRESS),
    ("cf-ew-via", CDN),
    ("cf-pseudo-ipv4", ADDRESS),
    ("cf-ray", CDN),
    ("cf-visitor", ADDRESS),
    ("cf-worker", CDN),
    ("client-ip", ADDRESS),
    ("connection", CONNECTION),
    ("content-length", CONNECTION),
    ("correlation-id", TRACING),
    ("dictionary-id", ACCEPTED),
    ("dnt", BROWSER),
    ("early-data", CONNECTION),
    ("elastic-apm-traceparent", TRACING),
    ("expect", CONNECTION),
    ("fastly-client-ip", ADDRESS),
    ("fastly-ff", CDN),
    ("forwarded", ADDRESS),
    ("host", "in the key where the upstream sees it"),
    ("http2-settings", CONNECTION),
    ("if-match", CONDITION),
    ("if-modified-since", CONDITION),
    ("if-none-match", CONDITION),
    ("if-range", CONDITION),
    ("if-unmodified-since", CONDITION),
    ("keep-alive", CONNECTION),
    ("last-event-id", RESUMING),
    ("max-forwards", CONNECTION),
    ("newrelic", TRACING),
    ("origin", "answered by `cors`; where the API answers it itself, it is in the key as if Vary named it"),
    ("pragma", CACHING),
    ("priority", BROWSER),
    ("proxy-connection", CONNECTION),
    ("purpose", BROWSER),
    ("range", "a plain request with it passes through; push forms send whole states"),
    ("referer", BROWSER),
    ("request-context", TRACING),
    ("request-id", TRACING),
    ("save-data", BROWSER),
    ("sentry-trace", TRACING),
    ("te", CONNECTION),
    ("traceparent", TRACING),
    ("tracestate", TRACING),
    ("trailer", CONNECTION),
    ("transfer-encoding", CONNECTION),
    ("true-client-ip", ADDRESS),
    ("uber-trace-id", TRACING),
    ("upgrade", CONNECTION),
    ("upgrade-insecure-requests", BROWSER),
    ("user-agent", "browsers add it; where Vary names it, the contract's own rule holds (§3)"),
    ("via", CONNECTION),
    ("x-amz-cf-id", CDN),
    ("x-amzn-trace-id", TRACING),
    ("x-azure-clientip", ADDRESS),
    ("x-azure-ref", CDN),
    ("x-azure-socketip", ADDRESS),
    ("x-b3-flags", TRACING),
    ("x-b3-parentspanid", TRACING),
    ("x-b3-sampled", TRACING),
    ("x-b3-spanid", TRACING),
    ("x-b3-traceid", TRACING),
    ("x-client-ip", ADDRESS),
    ("x-cloud-trace-context", TRACING),
    ("x-cluster-client-ip", ADDRESS),
    ("x-correlation-id", TRACING),
    ("x-datadog-origin", TRACING),
    ("x-datadog-parent-id", TRACING),
    ("x-datadog-sampling-priority", TRACING),
    ("x-datadog-tags", TRACING),
    ("x-datadog-trace-id", TRACING),
    ("x-envoy-attempt-count", CDN),
    ("x-envoy-expected-rq-timeout-ms", CDN),
    ("x-envoy-external-address", ADDRESS),
    ("x-forwarded-for", ADDRESS),
    ("x-forwarded-host", ADDRESS),
    ("x-forwarded-port", ADDRESS),
    ("x-forwarded-proto", ADDRESS),
    ("x-forwarded-scheme", ADDRESS),
    ("x-forwarded-server", ADDRESS),
    ("x-forwarded-ssl", ADDRESS),
    ("x-moz", BROWSER),
    ("x-newrelic-id", TRACING),
    ("x-newrelic-transaction", TRACING),
    ("x-original-forwarded-for", ADDRESS),
    ("x-purpose", BROWSER),
    ("x-queue-start", CDN),
    ("x-real-ip", ADDRESS),
    ("x-request-id", TRACING),
    ("x-request-start", CDN),
    ("x-scheme", ADDRESS),
    ("x-trace-id", TRACING),
    ("x-varnish", CDN),
];

/// Whether a name, in any case, is one by which tracing names each request. Asked for each line of a request that repeats
/// another one: most names are told apart by their first letter and their length.
pub fn is_tracing(name: &[u8]) -> bool {
    const NAME_BYTES_MAX: usize = 27;
    let may_be = match (name.first().map(u8::to_ascii_lowercase), name.len()) {
        (Some(b'b'), length) => matches!(length, 2 | 7),
        (Some(b'c'), length) => length == 14,
        (Some(b'e'), length) => length == 23,
        (Some(b'n'), length) => length == 8,
        (Some(b'r'), length) => matches!(length, 10 | 15),
        (Some(b's'), length) => length == 12,
        (Some(b't'), length) => matches!(length, 10 | 11),
        (Some(b'u'), length) => length == 13,
        (Some(b'x'), length) => (10..=NAME_BYTES_MAX).contains(&length),
        _ => false,
    };
    if !may_be {
        return false;
    }
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = &mut lower[..name.len()];
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let found = KNOWN.binary_search_by(|(known, _)| known.as_bytes().cmp(lower));
    found.is_ok_and(|at| KNOWN[at].1 == TRACING)
}
