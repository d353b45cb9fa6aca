//! Items of a feed (contract §8), and their names on the wire.
//!
//! Must not know: how items are found in a body, which client has seen which.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

/// One item of a list.
#[derive(Debug)]
pub struct Item {
    /// Place in the topic's own order; never leaves the process.
    pub seq: u64,
    /// Its name on the wire.
    pub id: String,
    /// The JSON as the upstream wrote it.
    pub text: Bytes,
}

/// Longest item id that goes out as it is, bytes.
const ID_BYTES_MAX: usize = 128;

impl Item {
    /// `name` is the upstream's name for it.
    pub fn new(seq: u64, name: &str, text: Bytes) -> Item {
        Item { seq, id: wire_id(name), text }
    }

    /// Bytes it holds, roughly.
    pub fn weight(&self) -> usize {
        size_of::<Item>() + self.id.len() + self.text.len()
    }
}

/// Returns the name of an item on the wire: the upstream's own if it is `[!-~]{1,128}`, else that in base64url. A name
/// that would be longer is replaced by its digest.
pub fn wire_id(name: &str) -> String {
    let plain =
        !name.is_empty() && name.len() <= ID_BYTES_MAX && name.bytes().all(|b| (b'!'..=b'~').contains(&b));
    if plain {
        return name.to_owned();
    }
    if name.len() <= ID_BYTES_MAX * 8 {
        return URL_SAFE_NO_PAD.encode(name);
    }
    URL_SAFE_NO_PAD.encode(&blake3::hash(name.as_bytes()).as_bytes()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_would_break_a_line_are_encoded() {
        assert_eq!(wire_id("m-1"), "m-1");
        assert_eq!(wire_id("a b"), "YSBi");
        assert_eq!(wire_id("a\nid: x"), "YQppZDogeA");
        assert_eq!(wire_id(""), "");
        assert!(wire_id(&"x".repeat(129)).len() > 129);
        assert_eq!(wire_id(&"x".repeat(5000)).len(), 22);
    }
}
