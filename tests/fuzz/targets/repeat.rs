//! A connection's next request held against its last one: what is recognized is the same request but for
//! the condition, and everything else goes back to be decided anew.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use pollcast::transport::{Differing, Next, Repeat};

fuzz_target!(|data: &[u8]| {
    // The first byte says how much of the rest is the first head.
    let Some((&cut, rest)) = data.split_first() else { return };
    let cut = usize::from(cut).min(rest.len());
    let (first, next) = rest.split_at(cut);
    let head =
        b"GET /a HTTP/1.1\r\nhost: a\r\nif-none-match: \"0123456789ab\"\r\nprefer: wait=5\r\n\r\n".as_slice();
    let both = |first| [Differing::Condition, Differing::Tracing].map(|differing| (first, differing));
    for (first, differing) in [first, head].into_iter().flat_map(both) {
        let Some(repeat) = Repeat::of(first, Instant::now(), 1, differing) else { continue };
        for bytes in [next, first] {
            match repeat.next(bytes) {
                Next::Again { length, condition } => {
                    assert!(length <= bytes.len() && condition.is_none_or(|tag| tag.len() < length));
                    assert!(bytes[..length].ends_with(b"\r\n\r\n"), "a whole head");
                }
                Next::Other | Next::Partial => {}
            }
        }
    }
});
