//! An upstream's answer: its raw head, its codings within their bound, the items of a feed in it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use pollcast::upstream::fuzzing;

const MOST: usize = 64 * 1024;

fuzz_target!(|data: &[u8]| {
    fuzzing::head(data);
    let Some((&how, body)) = data.split_first() else { return };
    if let Some(content) = fuzzing::decoded(how, body, MOST) {
        assert!(content.len() <= MOST);
    }
    pollcast::poll::fuzzing::page(Bytes::copy_from_slice(body));
});
