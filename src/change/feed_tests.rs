//! What is told of a list: everything once, oldest first, and gaps as such.

use proptest::prelude::*;

use super::*;
use crate::config::Cursor;

fn rules() -> Feed {
    Feed {
        items: "/items".into(),
        id: "/id".into(),
        order: None,
        cursor: None,
        pages: None,
        replay: 0,
        tells_updates: false,
        history: 100,
    }
}

fn page(names: &[&str]) -> Page {
    let entry =
        |name: &&str| Entry { name: (*name).into(), text: Bytes::from(format!("{{\"id\":\"{name}\"}}")) };
    Page { entries: names.iter().map(entry).collect(), ..Page::default() }
}

fn names(fresh: &Fresh) -> Vec<&str> {
    fresh.entries.iter().map(|entry| entry.name.as_str()).collect()
}

fn take<'a>(tracker: &mut Tracker, listed: &[&str], fresh: &'a mut Fresh) -> Vec<&'a str> {
    *fresh = tracker.take(&[page(listed)]);
    names(fresh)
}

#[test]
fn items_are_read_as_the_upstream_wrote_them() {
    let text = br#"{"items": [ {"id": 7, "n": 1.10} , {"id":"a b","x":[]} ], "last": 12, "next": "/x?p=2"}"#;
    let json = Json::parse(Bytes::from_static(text)).unwrap();
    let cursor = Some(Cursor { query: "since".into(), from: "/last".into() });
    let read = Page::read(&Feed { cursor, ..rules() }, &json).unwrap();
    assert_eq!(read.entries[0], Entry { name: "7".into(), text: r#"{"id": 7, "n": 1.10}"#.into() });
    assert_eq!((read.entries[1].name.as_str(), read.cursor.as_deref()), ("a b", Some("12")));
    for (text, wanted) in [
        (r#"{"items": {}}"#, "the body has no list at \"/items\""),
        (r#"{"items": [{"id": null}]}"#, "item 0 of \"/items\" has no text or number at \"/id\""),
    ] {
        let refused = Page::read(&rules(), &Json::parse(text.into()).unwrap()).unwrap_err();
        assert!(refused.reason.starts_with(wanted), "{}", refused.reason);
        assert_eq!(refused.class, "no-items");
    }
}

#[test]
fn the_order_is_found_from_numbers_or_from_where_new_items_stand() {
    let mut fresh = Fresh::default();
    let mut rising = Tracker::new(&rules());
    assert_eq!(take(&mut rising, &["9", "10", "11"], &mut fresh), ["9", "10", "11"]);
    assert_eq!(rising.order(), Some(Order::OldestFirst));
    let mut falling = Tracker::new(&rules());
    assert_eq!(take(&mut falling, &["11", "10", "9"], &mut fresh), ["9", "10", "11"]);
    let mut words = Tracker::new(&rules());
    take(&mut words, &["b", "a"], &mut fresh);
    assert_eq!(words.order(), None);
    assert_eq!(take(&mut words, &["d", "c", "b", "a"], &mut fresh), ["c", "d"]);
    assert_eq!(words.order(), Some(Order::NewestFirst));
    let mut appended = Tracker::new(&rules());
    take(&mut appended, &["a", "b"], &mut fresh);
    assert_eq!(take(&mut appended, &["a", "b", "c", "d"], &mut fresh), ["c", "d"]);
}

#[test]
fn what_vanishes_and_comes_back_is_not_new() {
    let mut fresh = Fresh::default();
    let mut tracker = Tracker::new(&rules());
    take(&mut tracker, &["c", "b", "a"], &mut fresh);
    assert_eq!(take(&mut tracker, &["b", "a"], &mut fresh), [""; 0]);
    assert_eq!(take(&mut tracker, &["a", "c", "b"], &mut fresh), [""; 0], "in whatever order");
    assert_eq!(take(&mut tracker, &[], &mut fresh), [""; 0]);
    assert_eq!(take(&mut tracker, &["d", "c"], &mut fresh), ["d"]);
    assert!(!fresh.gap);
}

#[test]
fn a_page_without_anything_known_is_a_gap_but_not_with_a_cursor() {
    let mut fresh = Fresh::default();
    let mut tracker = Tracker::new(&rules());
    take(&mut tracker, &["3", "2", "1"], &mut fresh);
    assert!(!fresh.gap, "the first page is where it begins");
    take(&mut tracker, &["9", "8", "7"], &mut fresh);
    assert!(fresh.gap);
    let cursor = Some(Cursor { query: "since".into(), from: "/last".into() });
    let mut tracker = Tracker::new(&Feed { cursor, ..rules() });
    take(&mut tracker, &["1", "2"], &mut fresh);
    assert_eq!(take(&mut tracker, &["3", "4"], &mut fresh), ["3", "4"]);
    assert!(!fresh.gap);
}

#[test]
fn pages_that_reach_back_close_the_gap() {
    let mut tracker = Tracker::new(&rules());
    tracker.take(&[page(&["3", "2", "1"])]);
    let pages = [page(&["9", "8", "7"]), page(&["6", "5", "4"]), page(&["3", "2"])];
    assert!(!tracker.reaches(&pages[0]) && tracker.reaches(&pages[2]));
    let fresh = tracker.take(&pages);
    assert_eq!(names(&fresh), ["4", "5", "6", "7", "8", "9"]);
    assert!(!fresh.gap);
}

#[test]
fn a_changed_item_is_told_again_where_the_file_says_so() {
    let changed = |text: &'static str| {
        let mut page = page(&["b", "a"]);
        page.entries[1].text = text.into();
        page
    };
    for (tells_updates, wanted) in [(true, vec!["a"]), (false, vec![])] {
        let mut tracker = Tracker::new(&Feed { tells_updates, ..rules() });
        tracker.take(&[page(&["b", "a"])]);
        assert_eq!(names(&tracker.take(&[changed("{\"edited\":true}")])), wanted);
        assert_eq!(names(&tracker.take(&[changed("{\"edited\":true}")])), [""; 0]);
    }
}

proptest! {
    /// A list that grows; each poll sees its newest `window` items.
    #[test]
    fn everything_is_told_once_and_in_order_or_a_gap_is(
        newest_first in any::<bool>(),
        window in 1usize..8,
        steps in proptest::collection::vec(0usize..6, 1..40),
    ) {
        let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
        let mut tracker = Tracker::new(&Feed { order: Some(order), ..rules() });
        let (mut total, mut told, mut reached) = (0u64, Vec::<u64>::new(), 0u64);
        for added in steps {
            total += added as u64;
            let from = total.saturating_sub(window as u64);
            let mut listed: Vec<String> = (from..total).map(|n| n.to_string()).collect();
            if newest_first {
                listed.reverse();
            }
            let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
            let fresh = tracker.take(&[page(&listed)]);
            let new: Vec<u64> = fresh.entries.iter().map(|entry| entry.name.parse().unwrap()).collect();
            let first_page = told.is_empty();
            if let Some(first) = new.first() {
                prop_assert!(first_page || fresh.gap || *first == reached, "{} is missing unsaid", reached);
            }
            told.extend(&new);
            reached = told.last().map_or(0, |last| last + 1);
        }
        prop_assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", told);
    }
}
