//! Tokens and key sets: nothing that was not signed is let in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pollcast::identity::{expiry_hint, fuzzing};

fuzz_target!(|data: &[u8]| {
    fuzzing::key_set(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = expiry_hint(text);
    assert!(!fuzzing::is_let_in(text), "{text:?}");
});
