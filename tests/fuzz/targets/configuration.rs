//! A configuration file: loads or is refused with words, and never panics.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Err(problems) = pollcast::config::load_str(text, "fuzz.yaml", Path::new("/nonexistent")) {
        assert!(!problems.to_string().is_empty());
    }
});
