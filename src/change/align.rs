//! Which items of two arrays are the same, so that few items count as added, removed or changed.
//!
//! Equal items anchor the rest, then items with the same name do. Either counts only if it is unique on both sides, and
//! in the same order. The time is linear in the items, apart from sorting the anchors. Must not know: what is done
//! about a step.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

/// One step through both arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The next items of both arrays are equal.
    Same,
    /// The next items of both arrays are compared: the base's and the target's.
    Pair(usize, usize),
    /// The next item of the base is removed.
    Remove,
    /// This item of the target is new.
    Add(usize),
}

/// What items of an array are aligned by.
pub(super) struct Items<'a, C> {
    /// The content of each item: it is equal for equal items only.
    pub(super) contents: &'a [C],
    /// Returns the name of an item; `None` if it has none. It is asked for only where contents do not decide.
    pub(super) name: &'a dyn Fn(usize) -> Option<&'a [u8]>,
}

/// The steps that lead from one array to the other.
pub(super) fn steps<'a, C: Eq + Hash>(base: &Items<'a, C>, target: &Items<'a, C>) -> Vec<Step> {
    let mut steps = Vec::with_capacity(base.contents.len().max(target.contents.len()));
    let whole = (0..base.contents.len(), 0..target.contents.len());
    trimmed(base, target, whole, &mut steps, |b, t, steps| {
        let anchors =
            anchors(b.clone(), t.clone(), |at| Some(&base.contents[at]), |at| Some(&target.contents[at]));
        between(&anchors, b, t, |b, t, anchored| {
            trimmed(base, target, (b, t), steps, |b, t, steps| changed(base, target, b, t, steps));
            steps.extend(anchored.map(|_| Step::Same));
        });
    });
    steps
}

/// Steps over the equal items at both ends, and calls `middle` for the rest.
fn trimmed<'a, C: Eq>(
    base: &Items<'a, C>,
    target: &Items<'a, C>,
    (b, t): (Range<usize>, Range<usize>),
    steps: &mut Vec<Step>,
    middle: impl FnOnce(Range<usize>, Range<usize>, &mut Vec<Step>),
) {
    let (own, other) = (&base.contents[b.clone()], &target.contents[t.clone()]);
    let first = own.iter().zip(other).take_while(|(b, t)| b == t).count();
    let rest = own[first..].iter().rev().zip(other[first..].iter().rev());
    let last = rest.take_while(|(b, t)| b == t).count();
    steps.extend((0..first).map(|_| Step::Same));
    middle(b.start + first..b.end - last, t.start + first..t.end - last, steps);
    steps.extend((0..last).map(|_| Step::Same));
}

/// Aligns arrays without equal items: items of one name are compared, the rest in order.
fn changed<'a, C>(
    base: &Items<'a, C>,
    target: &Items<'a, C>,
    b: Range<usize>,
    t: Range<usize>,
    steps: &mut Vec<Step>,
) {
    let anchors = anchors(b.clone(), t.clone(), base.name, target.name);
    between(&anchors, b, t, |b, t, anchored| {
        let pairs = b.len().min(t.len());
        steps.extend(b.clone().zip(t.clone()).map(|(b, t)| Step::Pair(b, t)));
        steps.extend(b.skip(pairs).map(|_| Step::Remove));
        steps.extend(t.skip(pairs).map(Step::Add));
        steps.extend(anchored.map(|(b, t)| Step::Pair(b, t)));
    });
}

/// Visits the items before each anchor, and at last, without an anchor, those behind the last one.
fn between(
    anchors: &[(usize, usize)],
    b: Range<usize>,
    t: Range<usize>,
    mut visit: impl FnMut(Range<usize>, Range<usize>, Option<(usize, usize)>),
) {
    let (mut next_b, mut next_t) = (b.start, t.start);
    for &(at_b, at_t) in anchors {
        visit(next_b..at_b, next_t..at_t, Some((at_b, at_t)));
        (next_b, next_t) = (at_b + 1, at_t + 1);
    }
    visit(next_b..b.end, next_t..t.end, None);
}

/// Returns the longest row of pairs in the same order whose items are unique on both sides.
fn anchors<K: Eq + Hash>(
    b: Range<usize>,
    t: Range<usize>,
    kind_of_b: impl Fn(usize) -> Option<K>,
    kind_of_t: impl Fn(usize) -> Option<K>,
) -> Vec<(usize, usize)> {
    if b.is_empty() || t.is_empty() {
        return Vec::new();
    }
    /// The place of a kind; `None` if it stands at several places or nowhere.
    #[derive(Default)]
    struct Places {
        b: [Option<usize>; 2],
        t: [Option<usize>; 2],
    }
    let note = |places: &mut [Option<usize>; 2], at: usize| {
        let free = usize::from(places[0].is_some());
        places[free] = Some(at);
    };
    let mut kinds: HashMap<K, Places> = HashMap::with_capacity(b.len());
    for at in b {
        if let Some(kind) = kind_of_b(at) {
            note(&mut kinds.entry(kind).or_default().b, at);
        }
    }
    for at in t {
        if let Some(places) = kind_of_t(at).and_then(|kind| kinds.get_mut(&kind)) {
            note(&mut places.t, at);
        }
    }
    let alone = |places: Places| match (places.b, places.t) {
        ([Some(b), None], [Some(t), None]) => Some((b, t)),
        _ => None,
    };
    let mut pairs: Vec<(usize, usize)> = kinds.into_values().filter_map(alone).collect();
    pairs.sort_unstable();
    rising(&pairs)
}

/// Returns the longest run of pairs whose second numbers rise. The pairs are given in the order of their first numbers.
fn rising(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // `ends` has for each length the pair that ends such a run lowest; each pair has the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (at, &(_, t)) in pairs.iter().enumerate() {
        let length = ends.partition_point(|&end| pairs[end].1 < t);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        if length == ends.len() {
            ends.push(at);
        } else {
            ends[length] = at;
        }
    }
    let mut run = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(at) = next {
        run.push(pairs[at]);
        next = before[at];
    }
    run.reverse();
    run
}

#[cfg(test)]
mod tests {
    use super::*;
    use Step::{Add, Pair, Remove, Same};

    fn walk(base: &[u32], target: &[u32]) -> Vec<Step> {
        let none = |_| None;
        steps(&Items { contents: base, name: &none }, &Items { contents: target, name: &none })
    }

    #[test]
    fn an_item_at_the_head_moves_nothing_else() {
        assert_eq!(walk(&[1, 2, 3], &[9, 1, 2, 3]), [Add(0), Same, Same, Same]);
        assert_eq!(walk(&[1, 2, 3], &[9, 1, 2]), [Add(0), Same, Same, Remove]);
        assert_eq!(walk(&[1, 1, 1], &[1, 1, 1, 1]), [Same, Same, Same, Add(3)]);
    }

    #[test]
    fn an_item_that_changed_is_compared_with_itself() {
        assert_eq!(walk(&[1, 2, 3], &[1, 8, 3]), [Same, Pair(1, 1), Same]);
        let names: [&[u8]; 3] = [b"a", b"b", b"c"];
        let base = Items { contents: &[1, 2, 3], name: &|at| Some(names[at]) };
        let target = Items { contents: &[9, 8], name: &|at| Some(names[at + 1]) };
        assert_eq!(steps(&base, &target), [Remove, Pair(1, 0), Pair(2, 1)]);
    }

    #[test]
    fn the_most_items_in_order_stay() {
        assert_eq!(rising(&[(0, 3), (1, 0), (2, 1), (3, 2), (4, 9)]), [(1, 0), (2, 1), (3, 2), (4, 9)]);
        assert_eq!(walk(&[1, 2, 3, 4], &[4, 1, 2, 3]), [Add(0), Same, Same, Same, Remove]);
    }
}
