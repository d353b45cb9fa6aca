//! Whether an answer is the whole of a list, or a page of it (contract §8).
//!
//! Only a next page proves it. An answer of a length that is likely to be a limit counts as a page until a longer
//! answer shows that it was the whole list. Pure. Must not know: what is done with items.

/// What a request and its answer say about the part of the list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Whether there is a next page (`Link: rel=next`).
    pub has_more: bool,
    /// The numbers in the query that may be the length of a page.
    pub limits: Vec<usize>,
}

/// Parts of the names of query parameters that say how long a page may be.
const LIMITS: [&str; 11] =
    ["limit", "size", "per", "count", "max", "top", "rows", "take", "first", "last", "num"];

/// Lengths of pages that people choose, besides the multiples of fifty.
const USUAL: [usize; 17] = [10, 12, 15, 16, 20, 24, 25, 30, 32, 40, 48, 60, 64, 128, 256, 512, 1024];

impl Said {
    /// `query` is that of the poll.
    pub fn new(query: Option<&str>, has_more: bool) -> Said {
        let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
        let limits = pairs.filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            let is_limit = name == "n" || LIMITS.iter().any(|part| name.contains(part));
            value.parse().ok().filter(|_| is_limit)
        });
        Said { has_more, limits: limits.collect() }
    }
}

/// The knowledge of how much of a list its answers have. The caller numbers the answers.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// The longest answer so far, items.
    longest: usize,
    /// The length at which the list has scrolled: new items came in at one end, and as many left at the other.
    window: Option<usize>,
    /// Number of the newest answer with the whole list; 0 if there was none.
    whole_at: u64,
    /// The newest answer that was taken for a page because of its length alone.
    limited_at: Option<u64>,
}

/// How much of the list an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    /// Its length looks like a page's limit.
    Limited,
    /// There are further pages.
    Page,
}

impl Extent {
    /// Judges an answer of `length` items. `scrolled` says that it looks like a window that moved on.
    pub(super) fn judge(&mut self, number: u64, length: usize, said: &Said, scrolled: bool) -> Part {
        if length > self.longest {
            // The length that was taken for a limit was none: those answers had the whole list.
            if let Some(at) = self.limited_at.take() {
                self.whole_at = self.whole_at.max(at);
            }
            self.longest = length;
            self.window = None;
        }
        if scrolled && length == self.longest {
            self.window = Some(length);
        }
        if said.has_more {
            return Part::Page;
        }
        let is_usual = length.is_multiple_of(50) || USUAL.contains(&length);
        let is_likely = is_usual || said.limits.contains(&length) || self.window == Some(length);
        if length > 0 && length == self.longest && is_likely {
            self.limited_at = Some(number);
            return Part::Limited;
        }
        Part::Whole
    }

    /// Notes that the answer of this number had the whole list.
    pub(super) fn was_whole(&mut self, number: u64) {
        self.whole_at = number;
    }

    /// Whether an item that was last on the answer of this number has not been on a whole list since.
    pub(super) fn has_left(&self, last_on: u64) -> bool {
        last_on < self.whole_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_may_be_limits_are_found() {
        for (query, wanted) in [
            (Some("limit=20&offset=40"), vec![20]),
            (Some("page[size]=7&per_page=9"), vec![7, 9]),
            (Some("n=3&room=4&LIMIT=5"), vec![3, 5]),
            (Some("limit=all&limit"), vec![]),
            (None, vec![]),
        ] {
            assert_eq!(Said::new(query, false).limits, wanted, "{query:?}");
        }
    }

    #[test]
    fn a_length_that_looks_like_a_limit_is_one_until_a_longer_answer_comes() {
        let (mut extent, said) = (Extent::default(), Said::default());
        assert_eq!(extent.judge(1, 9, &said, false), Part::Whole);
        extent.was_whole(1);
        assert_eq!(extent.judge(2, 10, &said, false), Part::Limited);
        assert!(!extent.has_left(1));
        assert_eq!(extent.judge(3, 11, &said, false), Part::Whole);
        assert!(extent.has_left(1), "the answer of ten was the whole list, too");
        assert_eq!(extent.judge(4, 10, &said, false), Part::Whole, "there were eleven once");
        assert_eq!(extent.judge(5, 7, &Said { has_more: true, ..Said::default() }, false), Part::Page);
    }

    #[test]
    fn a_limit_that_the_query_says_counts() {
        let said = Said::new(Some("limit=7"), false);
        assert_eq!(Extent::default().judge(1, 7, &said, false), Part::Limited);
        assert_eq!(Extent::default().judge(1, 6, &said, false), Part::Whole);
        assert_eq!(Extent::default().judge(1, 0, &Said::new(Some("limit=0"), false), false), Part::Whole);
    }

    #[test]
    fn a_list_that_scrolls_is_a_page() {
        let (mut extent, said) = (Extent::default(), Said::default());
        assert_eq!(extent.judge(1, 5, &said, false), Part::Whole);
        assert_eq!(extent.judge(2, 5, &said, true), Part::Limited);
        assert_eq!(extent.judge(3, 5, &said, false), Part::Limited, "it is still the same window");
        assert_eq!(extent.judge(4, 6, &said, false), Part::Whole);
        assert_eq!(extent.judge(5, 5, &said, false), Part::Whole);
    }
}
