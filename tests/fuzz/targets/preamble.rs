//! What a proxy in front says of its client before the client says anything: PROXY headers of both versions.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| pollcast::front::fuzzing::preamble(data));
