//! What is told of a list: everything once, oldest first, and gaps as such.

use proptest::prelude::*;

use super::*;
use crate::config::{Cursor, Pages};

fn rules() -> Feed {
    Feed {
        items: "/items".into(),
        id: vec!["/id".into()],
        order: None,
        cursor: None,
        pages: None,
        replay: 0,
        tells_updates: false,
        tells_returns: true,
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
    *fresh = tracker.take(&[page(listed)], &Said::default());
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
fn a_tracker_that_goes_on_elsewhere_tells_what_the_first_one_would_have_told() {
    for order in [None, Some(Order::NewestFirst), Some(Order::OldestFirst), Some(Order::Unordered)] {
        let rules = Feed { order, ..rules() };
        let listed = |mut names: Vec<&'static str>| {
            if order == Some(Order::OldestFirst) {
                names.reverse();
            }
            page(&names)
        };
        let pages = [vec!["3", "2", "1"], vec!["5", "4", "3"], vec!["6", "5", "4"]].map(listed);
        let (mut first, mut told) = (Tracker::new(&rules), Vec::new());
        for page in &pages {
            told.extend(first.take(std::slice::from_ref(page), &Said::default()).entries);
        }
        let shown = Some(first.order());
        let mut other = Tracker::resumed(&rules, &told, Some(&pages[2]), shown, &Said::default());
        let next = [listed(vec!["8", "7", "6"])];
        assert_eq!(other.take(&next, &Said::default()), first.take(&next, &Said::default()), "{order:?}");
    }
}

#[test]
fn several_places_name_an_item_together_and_no_two_names_are_the_same() {
    let rules = Feed { items: String::new(), id: vec!["/vhost".into(), "/meta/name".into()], ..rules() };
    let named = |vhost: &str, name: &str| {
        let text = serde_json::json!([{ "vhost": vhost, "meta": { "name": name } }]).to_string();
        let page = Page::read(&rules, &Json::parse(text.into()).unwrap()).unwrap();
        page.entries[0].name.clone()
    };
    assert_eq!(named("/", "q1"), r#"["/","q1"]"#);
    assert_ne!(named("a", "b,c"), named("a,b", "c"));
    assert_ne!(named("a\"", "b"), named("a", "\"b"));
    assert_ne!(named("", "a"), named("a", ""));
    let text = r#"[{"vhost": "/", "meta": {"name": null}}]"#;
    let refused = Page::read(&rules, &Json::parse(text.into()).unwrap()).unwrap_err();
    assert!(refused.reason.contains("at \"/meta/name\""), "{}", refused.reason);
}

#[test]
fn the_order_is_found_from_numbers_or_from_where_new_items_stand() {
    let mut fresh = Fresh::default();
    let mut rising = Tracker::new(&rules());
    assert_eq!(take(&mut rising, &["9", "10", "11"], &mut fresh), ["9", "10", "11"]);
    assert_eq!(rising.order(), Order::OldestFirst);
    let mut falling = Tracker::new(&rules());
    assert_eq!(take(&mut falling, &["11", "10", "9"], &mut fresh), ["9", "10", "11"]);
    let mut words = Tracker::new(&rules());
    take(&mut words, &["b", "a"], &mut fresh);
    assert_eq!(words.order(), Order::Unordered);
    assert_eq!(take(&mut words, &["d", "c", "b", "a"], &mut fresh), ["c", "d"]);
    assert_eq!(words.order(), Order::NewestFirst);
    let mut appended = Tracker::new(&rules());
    take(&mut appended, &["a", "b"], &mut fresh);
    assert_eq!(take(&mut appended, &["a", "b", "c", "d"], &mut fresh), ["c", "d"]);
    let said = Feed { order: Some(Order::Unordered), ..rules() };
    let mut unordered = Tracker::new(&said);
    take(&mut unordered, &["3", "2"], &mut fresh);
    assert_eq!(take(&mut unordered, &["5", "4", "3", "2"], &mut fresh), ["5", "4"], "as they stand");
    assert_eq!(unordered.order(), Order::Unordered);
}

#[test]
fn a_list_that_is_sorted_by_name_loses_nothing() {
    let mut fresh = Fresh::default();
    let mut tracker = Tracker::new(&rules());
    take(&mut tracker, &["doc1", "doc2"], &mut fresh);
    assert_eq!(take(&mut tracker, &["doc1", "doc2", "zzz"], &mut fresh), ["zzz"]);
    assert_eq!(take(&mut tracker, &["aaa", "doc1", "doc2", "zzz"], &mut fresh), ["aaa"]);
    assert_eq!(take(&mut tracker, &["aaa", "doc1", "doc2", "mmm", "zzz"], &mut fresh), ["mmm"]);
    assert_eq!(take(&mut tracker, &["aaa", "aab", "doc1", "doc2", "mmm", "zzz"], &mut fresh), ["aab"]);
    assert_eq!(tracker.order(), Order::Unordered, "none shows");
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let mut tracker = Tracker::new(&Feed { order: Some(order), ..rules() });
        take(&mut tracker, &["m", "n"], &mut fresh);
        assert_eq!(
            take(&mut tracker, &["a", "m", "n", "z"], &mut fresh).len(),
            2,
            "the whole list was known"
        );
    }
}

#[test]
fn what_left_the_whole_list_and_came_back_is_told_again() {
    for (tells_returns, returned) in [(true, vec!["c"]), (false, vec![])] {
        let mut fresh = Fresh::default();
        let mut tracker = Tracker::new(&Feed { tells_returns, ..rules() });
        take(&mut tracker, &["c", "b", "a"], &mut fresh);
        assert_eq!(take(&mut tracker, &["b", "a"], &mut fresh), [""; 0]);
        assert_eq!(take(&mut tracker, &["a", "c", "b"], &mut fresh), returned);
        assert_eq!(take(&mut tracker, &["b", "c", "a"], &mut fresh), [""; 0], "in whatever order");
        assert_eq!(take(&mut tracker, &[], &mut fresh), [""; 0]);
        assert_eq!(
            take(&mut tracker, &["c", "c"], &mut fresh),
            returned,
            "and once, however often it stands there"
        );
        assert!(!fresh.gap);
    }
}

#[test]
fn an_answer_without_content_says_nothing_about_the_list() {
    let mut fresh = Fresh::default();
    let mut tracker = Tracker::new(&rules());
    take(&mut tracker, &["b", "a"], &mut fresh);
    assert_eq!(tracker.take(&[], &Said::default()), Fresh::default());
    assert_eq!(take(&mut tracker, &["b", "a"], &mut fresh), [""; 0]);
}

#[test]
fn what_leaves_a_page_may_still_be_on_the_list() {
    let mut fresh = Fresh::default();
    // There is more, a limit is said, or the length is one at which many lists are cut.
    let ten: Vec<String> = (1..=10).map(|n| format!("n{n}")).collect();
    let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
    let more = Said { has_more: true, ..Said::default() };
    let limited = Said::new(Some("limit=3"), false);
    for (said, listed) in [(more, &ten[..4]), (limited, &ten[..3]), (Said::default(), &ten[..])] {
        let mut tracker = Tracker::new(&rules());
        tracker.take(&[page(listed)], &said);
        let moved: Vec<&str> =
            ["new"].into_iter().chain(listed[..listed.len() - 1].iter().copied()).collect();
        assert_eq!(names(&tracker.take(&[page(&moved)], &said)), ["new"]);
        assert_eq!(names(&tracker.take(&[page(listed)], &said)), [""; 0], "{listed:?}");
    }
    // What was removed between others was not pushed out.
    let mut tracker = Tracker::new(&rules());
    take(&mut tracker, &ten, &mut fresh);
    let mut others = ten.clone();
    others[4] = "new";
    assert_eq!(take(&mut tracker, &others, &mut fresh), ["new"]);
    assert_eq!(take(&mut tracker, &ten, &mut fresh), ["n5"]);
}

#[test]
fn a_longer_list_shows_that_a_length_was_no_limit() {
    let mut fresh = Fresh::default();
    let ten: Vec<String> = (1..=10).map(|n| format!("n{n}")).collect();
    let ten: Vec<&str> = ten.iter().map(String::as_str).collect();
    let mut tracker = Tracker::new(&rules());
    take(&mut tracker, &ten, &mut fresh);
    let without_last: Vec<&str> = ["a"].into_iter().chain(ten[..9].iter().copied()).collect();
    assert_eq!(take(&mut tracker, &without_last, &mut fresh), ["a"]);
    let eleven: Vec<&str> = ["a"].into_iter().chain(ten.iter().copied()).collect();
    assert_eq!(take(&mut tracker, &eleven, &mut fresh), ["n10"], "it had left, and is back");
}

#[test]
fn only_a_proven_order_lets_older_items_be_skipped() {
    let pages = Pages { next: None, query: Some("page".into()), max: 3 };
    let more = Said { has_more: true, ..Said::default() };
    let told = |feed: Feed, listed: [&[&str]; 2]| {
        let mut tracker = Tracker::new(&feed);
        tracker.take(&[page(listed[0])], &more);
        names(&tracker.take(&[page(listed[1])], &more)).join(" ")
    };
    let deleted: [&[&str]; 2] = [&["9", "8", "7"], &["9", "7", "6"]];
    assert_eq!(told(Feed { order: Some(Order::NewestFirst), ..rules() }, deleted), "");
    assert_eq!(told(Feed { pages: Some(pages.clone()), ..rules() }, deleted), "");
    assert_eq!(told(rules(), deleted), "6", "nobody said that it is a list in time");
    let unordered = Feed { order: Some(Order::Unordered), pages: Some(pages), ..rules() };
    assert_eq!(told(unordered, deleted), "6");
    let oldest: [&[&str]; 2] = [&["7", "8", "9"], &["6", "7", "9"]];
    assert_eq!(told(Feed { order: Some(Order::OldestFirst), ..rules() }, oldest), "");
    let late: [&[&str]; 2] = [&["9", "7"], &["9", "8", "7"]];
    assert_eq!(
        told(Feed { order: Some(Order::NewestFirst), ..rules() }, late),
        "8",
        "its place was taken late"
    );
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
    tracker.take(&[page(&["3", "2", "1"])], &Said::default());
    let pages = [page(&["9", "8", "7"]), page(&["6", "5", "4"]), page(&["3", "2"])];
    assert!(!tracker.reaches(&pages[0]) && tracker.reaches(&pages[2]));
    let fresh = tracker.take(&pages, &Said::default());
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
        let said = Said::default();
        tracker.take(&[page(&["b", "a"])], &said);
        assert_eq!(names(&tracker.take(&[changed("{\"edited\":true}")], &said)), wanted);
        assert_eq!(names(&tracker.take(&[changed("{\"edited\":true}")], &said)), [""; 0]);
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
            let fresh = tracker.take(&[page(&listed)], &Said::default());
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

    /// Whole lists, in any order: what is told is what was not on the list before, once, as it stands there or
    /// the other way round.
    #[test]
    fn of_whole_lists_all_that_is_new_is_told_and_nothing_else(
        order in prop_oneof![
            Just(None),
            Just(Some(Order::Unordered)),
            Just(Some(Order::NewestFirst)),
            Just(Some(Order::OldestFirst)),
        ],
        lists in proptest::collection::vec(
            proptest::sample::subsequence((0..9).collect::<Vec<u32>>(), 0..9).prop_shuffle(),
            1..30,
        ),
        tells_returns in any::<bool>(),
    ) {
        let mut tracker = Tracker::new(&Feed { order, tells_returns, ..rules() });
        let (mut before, mut ever) = (HashSet::new(), HashSet::new());
        for list in lists {
            // Ids that are no numbers.
            let listed: Vec<String> = list.iter().map(|n| format!("i{n}")).collect();
            let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
            let fresh = tracker.take(&[page(&listed)], &Said::default());
            let known = if tells_returns { &before } else { &ever };
            let mut wanted: Vec<&str> = listed.iter().copied().filter(|n| !known.contains(*n)).collect();
            if tracker.is_newest_first() {
                wanted.reverse();
            }
            prop_assert_eq!(names(&fresh), wanted);
            before = listed.iter().map(|n| (*n).to_owned()).collect::<HashSet<String>>();
            ever.extend(before.clone());
        }
    }
}
