//! Header fields of both sides: caching, quotas, types, forms, redirects, cookies. The first byte of a line
//! chooses the field.
#![no_main]

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use pollcast::resource::MediaType;
use pollcast::upstream::schedule::{Quota, age, remaining_lifetime, retry_after};

const NAMES: [&str; 18] = [
    "cache-control",
    "age",
    "date",
    "expires",
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-limit",
    "accept",
    "prefer",
    "link",
    "location",
    "set-cookie",
    "cookie",
    "sec-websocket-extensions",
    "authorization",
];

fuzz_target!(|data: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.split_first() else { continue };
        let name = NAMES[usize::from(*name) % NAMES.len()];
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let _ = (remaining_lifetime(&headers), age(&headers), retry_after(&headers, now));
    if let Some(quota) = Quota::of(&headers, now) {
        assert!(quota.rate().is_finite() && quota.rate() >= 0.0);
    }
    for value in headers.values().filter_map(|value| value.to_str().ok()) {
        let _ = MediaType::parse(value);
    }
    pollcast::front::fuzzing::fields(&headers);
    pollcast::poll::fuzzing::fields(&headers);
    let _ = pollcast::identity::bearer(&headers);
});
