//! DEFLATE that is made once and is the same bytes for every client (RFC 1951): whole bodies, and fragments of streams.
//!
//! A fragment ends on a byte with a sync flush and is never the last block, so that any sequence of them is a valid
//! stream. An *independent* one refers to itself only; a *dependent* one also to the event before it, and is right only
//! for clients that got exactly that event last. A wrong choice would corrupt a stream without an error, so only
//! [`Coded::after`] chooses, by a [`Tail`] that is unknown until an event is written. Must not know: protocols,
//! clients.

use std::cell::RefCell;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress, Status};

/// Events from this size on have no dependent fragment: they would reach back too far.
const FAR_BYTES_MIN: usize = 32_000;

/// Bodies larger than this are compressed with less effort: it takes a third of the time for three per cent more bytes.
const LARGE_BYTES_MIN: usize = 32 * 1024;

/// Returns the level of compression for that many bytes.
fn level(bytes: usize) -> Compression {
    Compression::new(if bytes > LARGE_BYTES_MIN { 4 } else { 6 })
}

thread_local! {
    /// Compressors are large (a quarter of a megabyte), so each thread has one for each level and uses it again.
    static SMALL: RefCell<Compress> = RefCell::new(Compress::new(level(0), false));
    static BIG: RefCell<Compress> = RefCell::new(Compress::new(level(LARGE_BYTES_MIN + 1), false));
}

/// Compresses `plain` to a fragment. `dictionary`: what stands right before it in the stream. Returns `None` if the
/// compressor failed: then the plain bytes are sent.
fn fragment(plain: &[u8], dictionary: Option<&[u8]>) -> Option<Vec<u8>> {
    let compress = |compressor: &RefCell<Compress>| {
        let compressor = &mut *compressor.borrow_mut();
        compressor.reset();
        if let Some(dictionary) = dictionary {
            compressor.set_dictionary(dictionary).ok()?;
        }
        // Bytes that cannot be compressed grow by five for each block of 16 KiB, and the flush takes a few.
        let mut coded = Vec::with_capacity(plain.len() / 4 + 64);
        let before = compressor.total_in();
        loop {
            let taken = (compressor.total_in() - before) as usize;
            let status = compressor.compress_vec(&plain[taken..], &mut coded, FlushCompress::Sync).ok()?;
            let all_in = (compressor.total_in() - before) as usize == plain.len();
            // Room left over means that nothing waits to be written.
            if all_in && coded.len() < coded.capacity() && status != Status::StreamEnd {
                return Some(coded);
            }
            coded.reserve(plain.len() / 4 + 64);
        }
    };
    if plain.len() > LARGE_BYTES_MIN { BIG.with(compress) } else { SMALL.with(compress) }
}

/// A whole body as one gzip file (RFC 1952). Returns `None` if it would not be worth it.
pub(super) fn gzip(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4 + 64), level(body.len()));
    encoder.write_all(body).ok()?;
    let coded = encoder.finish().ok()?;
    (coded.len() + body.len() / 16 < body.len()).then(|| coded.into_boxed_slice().into())
}

/// The event that a client's decoder has in its window: the one it got last, if that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tail(u64);

impl Tail {
    /// Something else was written, or nothing yet.
    pub const UNKNOWN: Tail = Tail(0);
}

/// Number of the last coded event of the process: names which event a fragment depends on.
static EVENTS: AtomicU64 = AtomicU64::new(0);

/// One event as fragments.
#[derive(Debug)]
pub struct Coded<T> {
    id: u64,
    independent: T,
    /// The fragment that is right after the event of this id only.
    dependent: Option<(u64, T)>,
}

impl<T> Coded<T> {
    /// Compresses an event. `before`: the event that most clients got last, and its plain bytes. `frame`
    /// puts around a fragment what the protocol wants.
    pub(super) fn new(
        plain: &[u8],
        before: Option<(&Coded<T>, &[u8])>,
        frame: impl Fn(Vec<u8>) -> T,
    ) -> Option<Coded<T>> {
        let independent = frame(fragment(plain, None)?);
        let dependent = before
            .filter(|(_, text)| plain.len() < FAR_BYTES_MIN && text.len() < FAR_BYTES_MIN && !text.is_empty())
            .and_then(|(before, text)| Some((before.id, frame(fragment(plain, Some(text))?))));
        let id = EVENTS.fetch_add(1, Ordering::Relaxed) + 1;
        Some(Coded { id, independent, dependent })
    }

    /// Returns an event that was put together of independent fragments.
    pub(super) fn independently(independent: T) -> Coded<T> {
        Coded { id: EVENTS.fetch_add(1, Ordering::Relaxed) + 1, independent, dependent: None }
    }

    /// Returns the bytes for a client by the event it got last, and notes that it gets this one now. The caller must
    /// write them whole, and before anything else.
    pub fn after(&self, tail: &mut Tail) -> &T {
        let before = std::mem::replace(tail, Tail(self.id));
        match &self.dependent {
            Some((base, dependent)) if before == Tail(*base) => dependent,
            _ => &self.independent,
        }
    }

    /// The form that is right for every client.
    pub fn independent(&self) -> &T {
        &self.independent
    }

    /// All forms there are.
    pub fn forms(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.independent).chain(self.dependent.as_ref().map(|(_, form)| form))
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};
    use proptest::prelude::*;

    use super::*;

    /// Everything that a strict decoder makes of a stream.
    fn inflate(decoder: &mut Decompress, coded: &[u8], most: usize) -> Vec<u8> {
        let mut plain = Vec::with_capacity(most + 64);
        decoder.decompress_vec(coded, &mut plain, FlushDecompress::Sync).unwrap();
        plain
    }

    fn event(seed: u8, length: usize) -> Vec<u8> {
        let words = ["price", "symbol", "volume", "\n", "data: ", "id: "];
        let mut text = Vec::new();
        let mut state = u32::from(seed) + 7;
        while text.len() < length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            text.extend_from_slice(words[(state >> 24) as usize % words.len()].as_bytes());
            text.extend_from_slice(((state >> 8) % 1000).to_string().as_bytes());
        }
        text.truncate(length);
        text
    }

    proptest! {
        /// A decoder reads exactly the events that its client got, at once, even if it missed some.
        #[test]
        fn any_history_decodes_exactly(
            sizes in proptest::collection::vec(1usize..40_000, 1..12),
            turns in proptest::collection::vec(0u8..4, 12),
        ) {
            let texts: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(n, size)| event(n as u8, *size)).collect();
            let mut coded: Vec<Coded<Vec<u8>>> = Vec::new();
            for (n, text) in texts.iter().enumerate() {
                let before = n.checked_sub(1).map(|last| (&coded[last], &texts[last][..]));
                coded.push(Coded::new(text, before, |bytes| bytes).unwrap());
            }
            let (mut tail, mut decoder) = (Tail::UNKNOWN, Decompress::new(false));
            for ((text, coded), turn) in texts.iter().zip(&coded).zip(turns) {
                match turn {
                    // It missed this one.
                    0 => {}
                    turn => {
                        if turn == 1 {
                            // Something else of its own first, as a stored block.
                            tail = Tail::UNKNOWN;
                            prop_assert_eq!(inflate(&mut decoder, &[0, 3, 0, 0xfc, 0xff, b':', 10, 10], 3), b":\n\n");
                        }
                        let bytes = coded.after(&mut tail);
                        prop_assert_eq!(&inflate(&mut decoder, bytes, text.len()), text);
                    }
                }
            }
        }
    }

    #[test]
    fn the_event_before_makes_the_next_one_small() {
        let (one, mut two) = (event(1, 4000), event(1, 4000));
        two[2000] = b'!';
        let first = Coded::new(&one, None, |bytes| bytes).unwrap();
        let second = Coded::new(&two, Some((&first, &one)), |bytes| bytes).unwrap();
        let mut tail = Tail::UNKNOWN;
        first.after(&mut tail);
        assert!(second.after(&mut tail).len() * 10 < second.independent().len());
    }

    #[test]
    fn what_does_not_shrink_is_not_coded() {
        let noise: Vec<u8> = (0..5000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert!(gzip(&blake3::hash(&noise).as_bytes()[..]).is_none());
        assert!(gzip(&event(1, 4000)).is_some());
        let fragment = fragment(&noise, None).unwrap();
        assert_eq!(inflate(&mut Decompress::new(false), &fragment, noise.len()), noise);
    }
}
