//! What followers of patches and of items get: chains, resets, no item twice.

use serde_json::{Value, json};

use super::*;
use crate::config::{Delta, Feed};
use crate::frame::PatchKind;

const JSON: Format = Format::SseDelta(PatchKind::Json, Coding::Plain);

impl Stage {
    /// A resource whose patches are worth sending whatever their size.
    fn of_patches() -> (Stage, Attendance, Publisher) {
        let mut stage = Stage::new(10);
        let delta = Delta { enabled: true, patch_max_ratio: 2.0 };
        stage.route = Arc::new(Route { delta, history_versions: 4, ..route::route() });
        let (attendance, publisher) = stage.attend("/a", Attend::Follow);
        (stage, attendance, publisher.expect("the first one polls"))
    }

    fn of_items(replay: usize, history: usize) -> (Stage, Attendance, Publisher) {
        let mut stage = Stage::new(10);
        let feed = Feed {
            items: String::new(),
            id: vec!["/id".into()],
            order: None,
            cursor: None,
            pages: None,
            replay,
            tells_updates: false,
            tells_returns: true,
            history,
        };
        stage.route = Arc::new(Route { feed: Some(feed), ..route::route() });
        let (attendance, publisher) = stage.attend("/a", Attend::Follow);
        (stage, attendance, publisher.expect("the first one polls"))
    }

    fn reads(&self, format: Format, resume: Resume) -> Subscription {
        let (attendance, _) = self.attend("/a", Attend::Follow);
        Subscription::new(attendance, Some(0), format, resume)
    }
}

fn document(n: u64) -> Value {
    json!({ "n": n, "padding": "a body that is much larger than what changes in it, so that patches pay" })
}

fn of_json(body: &str) -> Arc<Snapshot> {
    Arc::new(Snapshot::new(
        version(body),
        StatusCode::OK,
        Some(HeaderValue::from_static("application/json")),
        HeaderMap::new(),
        Validators::default(),
        Vec::new(),
        Bytes::copy_from_slice(body.as_bytes()),
    ))
}

fn state(publisher: &mut Publisher, n: u64) -> Version {
    let snapshot = of_json(&document(n).to_string());
    let version = snapshot.version;
    let number = publisher.start_poll();
    publisher.publish(number, snapshot, Duration::ZERO);
    version
}

fn news(publisher: &mut Publisher, page: &str, ids: &[&str], gap: bool) {
    let number = publisher.start_poll();
    let items = ids.iter().map(|id| ((*id).to_owned(), Bytes::from_static(b"{}"))).collect();
    let draft = publisher.draft(of_json(&json!(page).to_string()), Some(News { items, gap }));
    publisher.publish_draft(number, draft, Duration::ZERO);
}

/// A reader of patches that holds what it was told to hold.
#[derive(Default)]
struct Reader {
    held: Value,
    at: Option<Version>,
    patches: usize,
    wholes: usize,
    resets: usize,
}

impl Reader {
    fn read(&mut self, subscription: &mut Subscription) {
        let view = subscription.topic().view();
        while let Some(delivery) = subscription.next(&view) {
            match delivery {
                Delivery::Frame(frame) => {
                    self.held = serde_json::from_slice(&frame.snapshot.body).expect("JSON");
                    self.at = Some(frame.version());
                    self.wholes += 1;
                }
                Delivery::Patches(chain) => {
                    for patch in chain.patches() {
                        assert_eq!(self.at, Some(patch.base), "a patch applies to what the reader has");
                        let text: json_patch::Patch = serde_json::from_slice(&patch.text).expect("a patch");
                        json_patch::patch(&mut self.held, &text).expect("it applies");
                        self.at = Some(patch.target);
                        self.patches += 1;
                    }
                }
                Delivery::Reset(_) => {
                    self.resets += 1;
                    self.at = None;
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_reader_of_patches_gets_the_state_once_and_then_what_changed() {
    let (stage, _first, mut publisher) = Stage::of_patches();
    let mut subscription = stage.reads(JSON, Resume::Start);
    let mut reader = Reader::default();
    for n in 0..5 {
        state(&mut publisher, n);
        reader.read(&mut subscription);
        assert_eq!(reader.held, document(n));
    }
    assert_eq!((reader.wholes, reader.patches, reader.resets), (1, 4, 0));
}

#[tokio::test]
async fn a_reader_that_fell_behind_gets_a_chain_or_the_whole_whichever_is_smaller() {
    let (stage, _first, mut publisher) = Stage::of_patches();
    let mut subscription = stage.reads(JSON, Resume::Start);
    let mut reader = Reader::default();
    state(&mut publisher, 0);
    reader.read(&mut subscription);
    state(&mut publisher, 1);
    state(&mut publisher, 2);
    reader.read(&mut subscription);
    assert_eq!((reader.wholes, reader.patches), (1, 2), "two patches are smaller");
    (3..=7).for_each(|n| {
        state(&mut publisher, n);
    });
    reader.read(&mut subscription);
    assert_eq!((reader.wholes, reader.held.clone()), (2, document(7)), "further back than the history");
}

#[tokio::test]
async fn a_reader_comes_back_for_what_it_missed() {
    let (stage, _first, mut publisher) = Stage::of_patches();
    let mut reader = Reader::default();
    let mut subscription = stage.reads(JSON, Resume::Start);
    let had = state(&mut publisher, 0);
    reader.read(&mut subscription);
    drop(subscription);
    // No client reads patches now, but one just did.
    state(&mut publisher, 1);
    let mut subscription = stage.reads(JSON, Resume::From(had));
    reader.read(&mut subscription);
    assert_eq!((reader.wholes, reader.patches, reader.held.clone()), (1, 1, document(1)));
}

#[tokio::test]
async fn patches_that_no_reader_wanted_are_not_made() {
    let (stage, _first, mut publisher) = Stage::of_patches();
    let had = state(&mut publisher, 0);
    state(&mut publisher, 1);
    let mut reader = Reader { held: document(0), at: Some(had), ..Reader::default() };
    let mut subscription = stage.reads(JSON, Resume::From(had));
    reader.read(&mut subscription);
    assert_eq!((reader.wholes, reader.patches, reader.resets), (1, 0, 0));
}

#[tokio::test]
async fn a_reader_with_an_unknown_version_is_told_before_it_gets_the_state() {
    let (stage, _first, mut publisher) = Stage::of_patches();
    state(&mut publisher, 0);
    let mut subscription = stage.reads(JSON, Resume::From(version("elsewhere")));
    assert_eq!(take(&mut subscription), [""; 0], "first it is confirmed");
    state(&mut publisher, 0);
    let told = take(&mut subscription);
    assert_eq!(told, ["reset: unknown-version".to_owned(), document(0).to_string()]);
}

#[tokio::test]
async fn a_state_that_becomes_current_between_two_looks_is_not_told_to_its_reader() {
    let (stage, _first, mut publisher) = Stage::of_patches();
    let plain = Format::Sse(Coding::Plain);
    state(&mut publisher, 0);
    // Its version was none that is known when it was asked for, and is current when the stream begins.
    let mut subscription = stage.reads(plain, Resume::FromConfirmed(version(&document(1).to_string())));
    state(&mut publisher, 1);
    assert_eq!(take(&mut subscription), [""; 0]);
    state(&mut publisher, 0);
    assert_eq!(take(&mut subscription), [document(0).to_string()]);
    let mut unknown = stage.reads(plain, Resume::FromConfirmed(version("elsewhere")));
    assert_eq!(take(&mut unknown), [document(0).to_string()], "nothing more is waited for");
}

#[tokio::test]
async fn a_state_that_recurs_is_continued_from_its_latest_occurrence() {
    let (stage, _first, mut publisher) = Stage::of_patches();
    let _reader = stage.reads(JSON, Resume::Start);
    let versions = [0, 1, 0, 2].map(|n| state(&mut publisher, n));
    let mut reader = Reader { held: document(0), at: Some(versions[0]), ..Reader::default() };
    let mut subscription = stage.reads(JSON, Resume::From(versions[0]));
    reader.read(&mut subscription);
    assert_eq!((reader.patches, reader.held.clone()), (1, document(2)));
}

#[tokio::test]
async fn items_are_delivered_once_and_in_order() {
    let (stage, _first, mut publisher) = Stage::of_items(2, 100);
    let mut early = stage.reads(Format::Sse(Coding::Plain), Resume::Start);
    news(&mut publisher, "1", &["a", "b", "c"], false);
    assert_eq!(take(&mut early), ["b c"], "what `replay` says");
    news(&mut publisher, "2", &["d"], false);
    news(&mut publisher, "3", &["e", "f"], false);
    assert_eq!(take(&mut early), ["d e f"]);
    news(&mut publisher, "4", &[], false);
    assert_eq!(take(&mut early), [""; 0]);
    let mut back = stage.reads(Format::Sse(Coding::Plain), Resume::Item("b".into()));
    assert_eq!(take(&mut back), ["c d e f"]);
    let page = version(&json!("2").to_string()).to_string();
    let mut from_page = stage.reads(Format::Sse(Coding::Plain), Resume::Item(page.into()));
    assert_eq!(take(&mut from_page), ["e f"], "a page's version is a place among the items");
}

#[tokio::test]
async fn a_reader_that_falls_out_of_the_history_of_items_is_told() {
    let (stage, _first, mut publisher) = Stage::of_items(0, 3);
    let mut slow = stage.reads(Format::Sse(Coding::Plain), Resume::Start);
    news(&mut publisher, "1", &["a"], false);
    assert_eq!(take(&mut slow), [""; 0]);
    for (page, id) in [("2", "b"), ("3", "c"), ("4", "d"), ("5", "e")] {
        news(&mut publisher, page, &[id], false);
    }
    assert_eq!(take(&mut slow), ["reset: overflow", "c d e"]);
    news(&mut publisher, "6", &["x"], true);
    assert_eq!(take(&mut slow), ["reset: overflow", "x"], "items may be missing before these");
}

#[tokio::test]
async fn an_unknown_cursor_waits_for_a_confirming_poll_and_is_told() {
    let (stage, _first, mut publisher) = Stage::of_items(1, 100);
    news(&mut publisher, "1", &["a", "b"], false);
    let mut lost = stage.reads(Format::Sse(Coding::Plain), Resume::Item("z".into()));
    assert_eq!(take(&mut lost), [""; 0]);
    let mut found = stage.reads(Format::Sse(Coding::Plain), Resume::Item("c".into()));
    news(&mut publisher, "2", &["c", "d"], false);
    assert_eq!(take(&mut lost), ["reset: unknown-cursor", "d"]);
    assert_eq!(take(&mut found), ["d"], "the poll brought its item");
}

#[tokio::test]
async fn readers_from_ever_further_back_make_no_history_grow_without_end() {
    let (stage, _first, mut publisher) = Stage::of_items(0, 5);
    news(&mut publisher, "1", &["v", "w", "x", "y", "z"], false);
    let whole = stage.hub.history_bytes();
    let mut oldest = "v".to_owned();
    let mut joined = 0;
    for turn in 0..100 {
        let first = format!("{turn} first");
        let names = [first.as_str(), "b", "c", oldest.as_str()];
        let missed = names.map(|name| (name.to_owned(), Bytes::from_static(b"{}"))).to_vec();
        if publisher.catch_up(&format!("before {turn}"), missed, None) {
            joined += 1;
            oldest = first;
        }
    }
    assert!(joined > 0, "some are caught up with");
    let grown = stage.hub.history_bytes();
    assert!(grown < 4 * whole, "{grown} bytes, where a whole history has {whole}");
}

#[tokio::test]
async fn histories_give_their_bytes_back() {
    let (stage, first, mut publisher) = Stage::of_patches();
    let reader = stage.reads(JSON, Resume::Start);
    (0..20).for_each(|n| {
        state(&mut publisher, n);
    });
    assert!(stage.hub.history_bytes() > 0);
    drop((first, reader));
    assert!(publisher.retire().is_ok());
    assert_eq!(stage.hub.history_bytes(), 0);
    let (stage, first, mut publisher) = Stage::of_items(0, 5);
    (0..9).for_each(|n| news(&mut publisher, &n.to_string(), &[&n.to_string()], false));
    drop(first);
    assert!(publisher.retire().is_ok());
    assert_eq!(stage.hub.history_bytes(), 0);
}

/// Readers of both kinds come, look, fall behind, leave and come back with what they have, while the
/// state goes forth and back between a few; the follower that looks last holds the last state.
#[tokio::test]
async fn whatever_the_order_of_changes_and_looks_every_reader_ends_with_the_state() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (stage, _first, mut publisher) = Stage::of_patches();
        state(&mut publisher, 0);
        let mut readers: Vec<(Reader, Option<Subscription>)> =
            (0..4).map(|_| (Reader::default(), None)).collect();
        for _ in 0..60 {
            let (reader, subscription) = &mut readers[rng.usize(..4)];
            match rng.u8(..6) {
                0 | 1 => {
                    state(&mut publisher, rng.u64(..5));
                }
                2 => *subscription = None,
                _ if subscription.is_none() => {
                    let resume = reader.at.map_or(Resume::Start, Resume::From);
                    *subscription = Some(stage.reads(JSON, resume));
                }
                _ => {
                    if let Some(subscription) = subscription {
                        reader.read(subscription);
                    }
                }
            }
        }
        let last = state(&mut publisher, 9);
        for (index, (reader, subscription)) in readers.iter_mut().enumerate() {
            let resume = reader.at.map_or(Resume::Start, Resume::From);
            let mut subscription = subscription.take().unwrap_or_else(|| stage.reads(JSON, resume));
            reader.read(&mut subscription);
            if subscription.is_unconfirmed(&subscription.topic().view()) {
                // It came with a version that was forgotten: one more poll confirms the state.
                state(&mut publisher, 9);
                reader.read(&mut subscription);
            }
            assert_eq!((reader.at, &reader.held), (Some(last), &document(9)), "seed {seed}, reader {index}");
        }
    }
}

#[tokio::test]
async fn an_unknown_tag_waits_for_a_poll_that_confirms() {
    let stage = Stage::new(10);
    let (_attendance, publisher) = stage.attend("/a", Attend::Follow);
    let mut publisher = publisher.expect("the first one polls");
    publish(&mut publisher, "old");
    let follow = |tag| {
        let (attendance, _) = stage.attend("/a", Attend::Follow);
        Subscription::new(attendance, Some(0), Format::Named, Resume::Tag(tag))
    };
    let (mut current, mut lost) = (follow(version("new").tag()), follow([9; 6]));
    assert!(take(&mut current).is_empty() && take(&mut lost).is_empty(), "nothing older");
    publish(&mut publisher, "new");
    assert!(take(&mut current).is_empty(), "nothing twice");
    assert_eq!(current.seen(), Some(version("new")));
    assert_eq!(take(&mut lost).len(), 1);
    publish(&mut publisher, "newer");
    assert_eq!((take(&mut current).len(), take(&mut lost).len()), (1, 1));
}

#[tokio::test]
async fn the_tag_of_a_page_is_a_place_on_a_feed() {
    let (stage, _attendance, mut publisher) = Stage::of_items(0, 10);
    news(&mut publisher, "one", &["1"], false);
    let page = |name: &str| of_json(&json!(name).to_string()).version.tag();
    let mut here = stage.reads(Format::Named, Resume::Tag(page("two")));
    let mut lost = stage.reads(Format::Named, Resume::Tag([9; 6]));
    assert!(take(&mut here).is_empty() && take(&mut lost).is_empty());
    news(&mut publisher, "two", &["2"], false);
    assert!(take(&mut here).is_empty(), "it has that page");
    assert_eq!(take(&mut lost), ["reset: unknown-cursor"]);
    news(&mut publisher, "three", &["3"], false);
    assert_eq!((take(&mut here).len(), take(&mut lost).len()), (1, 1));
}
