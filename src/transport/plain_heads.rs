//! Heads of answers to ordinary polls that many connections of one thread get within one second: each is made once.
//!
//! Must not know: connections, what a head says.

use bytes::Bytes;

/// Most heads that are kept. A newer one takes the place of another one when they meet.
const HEADS_MAX: usize = 512;

/// All values by which the heads of two answers differ.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) struct Said {
    pub(super) topic: u64,
    /// The generation of the configuration, whose routes have fields of their own.
    pub(super) generation: u32,
    pub(super) seq: u64,
    pub(super) confirmed: u64,
    pub(super) unchanged: bool,
    pub(super) coded: bool,
    pub(super) age: u64,
    pub(super) ttl: u64,
}

/// The heads that were made last.
pub struct Heads(Box<[Option<(Said, Bytes)>]>);

impl std::fmt::Debug for Heads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heads").finish_non_exhaustive()
    }
}

impl Default for Heads {
    fn default() -> Heads {
        Heads((0..HEADS_MAX).map(|_| None).collect())
    }
}

impl Heads {
    /// The head that says this, made by `make` if it is not there.
    pub(super) fn get(&mut self, said: Said, make: impl FnOnce() -> Bytes) -> Bytes {
        let place = &mut self.0[Heads::place(said)];
        match place {
            Some((known, head)) if *known == said => head.clone(),
            _ => {
                let head = make();
                *place = Some((said, head.clone()));
                head
            }
        }
    }

    /// Topics are numbered, so that those that are polled at a time spread over the places by themselves.
    fn place(said: Said) -> usize {
        let form = u64::from(said.unchanged) << 1 | u64::from(said.coded);
        let number = said.topic.wrapping_mul(4).wrapping_add(form);
        (number % HEADS_MAX as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(topic: u64) -> Said {
        Said { topic, generation: 1, seq: 2, confirmed: 3, unchanged: false, coded: false, age: 4, ttl: 5 }
    }

    #[test]
    fn a_head_is_made_once_and_again_when_anything_it_says_differs() {
        let (mut heads, mut made) = (Heads::default(), 0);
        let mut get = |said| {
            heads.get(said, || {
                made += 1;
                Bytes::from(vec![made])
            })
        };
        assert_eq!((get(said(7)), get(said(7))), (Bytes::from_static(&[1]), Bytes::from_static(&[1])));
        let others = [
            said(8),
            said(7 + HEADS_MAX as u64),
            Said { generation: 2, ..said(7) },
            Said { seq: 3, ..said(7) },
            Said { confirmed: 4, ..said(7) },
            Said { unchanged: true, ..said(7) },
            Said { coded: true, ..said(7) },
            Said { age: 5, ..said(7) },
            Said { ttl: 4, ..said(7) },
        ];
        for (turn, other) in others.into_iter().enumerate() {
            assert_eq!(get(other), Bytes::from(vec![turn as u8 + 2]), "{other:?}");
        }
    }
}
