//! The names of fields that frame a message or steer its connection, in lower case: requests may not say them in other
//! spellings, and polls may not be configured to say them.

/// Fields that say where a message ends, or what becomes of its connection.
pub const FRAMING_NAMES: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
