//! `/metrics`: which of the two text formats a scraper gets.
//!
//! Must not know: which metrics there are.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::Full;

use super::Context;
use super::response::{text, typed};

const OPENMETRICS: &str = "application/openmetrics-text";

/// Returns the metrics in the format that the scraper prefers.
pub(super) fn answer(context: &Context, headers: &HeaderMap) -> Response<Full<Bytes>> {
    count_what_is_asked_for(context);
    let accept = headers.get_all(header::ACCEPT);
    let accept: Vec<&str> = accept.iter().filter_map(|value| value.to_str().ok()).collect();
    let mut response = if prefers_openmetrics(&accept.join(",")) {
        let body = context.metrics.encode_openmetrics();
        typed(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", body.into())
    } else {
        match context.metrics.encode() {
            Ok(metrics) => typed(StatusCode::OK, "text/plain; version=0.0.4", metrics.into()),
            Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
        }
    };
    response.headers_mut().insert(header::VARY, header::HeaderValue::from_static("accept"));
    response
}

/// Reads what is counted elsewhere, and only when it is asked for.
fn count_what_is_asked_for(context: &Context) {
    let (metrics, hub) = (&context.metrics, &context.hub);
    metrics.snapshot_bytes.set(hub.snapshot_bytes() as i64);
    metrics.history_bytes.set(hub.history_bytes() as i64);
    let compressions = hub.compressions();
    let count = compressions.count.load(Ordering::Relaxed);
    metrics.compressions.inc_by(count.saturating_sub(metrics.compressions.get()));
    let bytes = compressions.bytes.load(Ordering::Relaxed);
    metrics.compressed_bytes.inc_by(bytes.saturating_sub(metrics.compressed_bytes.get()));
}

/// Whether a scraper names OpenMetrics, and does not like the older format better. `*/*` means the older one, which every
/// scraper knows.
fn prefers_openmetrics(accept: &str) -> bool {
    let weight_of = |wanted: &str| {
        let ranges = accept.split(',').filter_map(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts.next().filter(|media_type| media_type.eq_ignore_ascii_case(wanted))?;
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            Some(weight.map_or(1.0, |weight| weight.parse::<f64>().unwrap_or(0.0)))
        });
        ranges.fold(0.0, f64::max)
    };
    let weight = weight_of(OPENMETRICS);
    weight > 0.0 && weight >= weight_of("text/plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_the_format_that_it_prefers() {
        for (accept, wanted) in [
            ("", false),
            ("*/*", false),
            ("text/plain", false),
            ("application/openmetrics-text", true),
            ("application/openmetrics-text; version=1.0.0; q=0.5, text/plain;q=0.6", false),
            ("application/openmetrics-text;q=0", false),
            ("Application/OpenMetrics-Text;q=x", false),
            // Of Prometheus 2 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                true,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                true,
            ),
        ] {
            assert_eq!(prefers_openmetrics(accept), wanted, "{accept}");
        }
    }
}
