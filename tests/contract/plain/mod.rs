//! Plain requests of covered URLs, and of others (contract §1, §3).
//!
//! | module | claim it holds |
//! |---|---|
//! | `answers` | §3: what an answer of the API is, and what of it a client gets |
//! | `choosing` | §3, §11: which headers choose the form, say who asks, or may do either |
//! | `forwarding` | §11, §12: what passes through is changed only where it must be |
//! | `hold_not_modified` | §3: `hold_not_modified`: what is held, what is not, what ends it |
//! | `no_document` | §1: slow and endless answers, media, and an API that is only slow |
//! | `passthrough` | §1, §12: what no route covers goes through as it is |
//! | `paths` | §1, §11: paths that servers read in several ways, and the API's own parameters |
//! | `poll` | §2, §3: ordinary polls: hits, misses, conditions, what passes through, what is relayed |
//! | `reading` | §5, §10: how answers, fields and numbers of an API are read |
//! | `repeats` | §3, §4: requests that repeat the last one of their connection |
//! | `requests` | §3: which plain requests are the API's, and what those that pass through say |
//! | `malformed_heads` | §10: heads of answers as old devices send them |

pub mod answers;
pub mod choosing;
pub mod forwarding;
pub mod hold_not_modified;
pub mod malformed_heads;
pub mod no_document;
pub mod passthrough;
pub mod paths;
pub mod poll;
pub mod reading;
pub mod repeats;
pub mod requests;
