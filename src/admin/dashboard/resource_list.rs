//! The list of resources that a dashboard sees: searched, sorted and cut into pages here, so that ten thousand of them
//! cost a browser no more than one page.
//!
//! Must not know: how a resource is shown.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::clock::Clock;
use super::entry;
use super::query::{Query, Sort};
use crate::hub::{Hub, Topic};

/// One page of the list.
pub(super) struct Page {
    /// All resources.
    total: usize,
    /// Those that the search finds.
    matched: usize,
    /// The page, counted from 0, and how many there are.
    page: usize,
    pages: usize,
    /// The rows of the page, in order.
    pub(super) rows: Vec<Value>,
}

impl Page {
    /// What the page says beside its rows.
    pub(super) fn head(&self) -> Value {
        let order: Vec<&Value> = self.rows.iter().map(|row| &row["id"]).collect();
        json!({
            "total": self.total,
            "matched": self.matched,
            "page": self.page,
            "pages": self.pages,
            "order": order,
        })
    }
}

/// What a list is sorted by.
#[derive(PartialEq, PartialOrd)]
enum Place {
    Text(String),
    Number(f64),
}

/// Finds one page of the list. A page behind the last one is the last one.
pub(super) fn find(hub: &Hub, query: &Query, clock: &Clock) -> Page {
    let topics = hub.topics();
    let total = topics.len();
    let now = Instant::now();
    let found = topics.into_iter().filter_map(|topic| {
        let path = topic.key().shown();
        matches(&topic, &path, &query.words).then(|| (place(&topic, &path, query.sort, now), path, topic))
    });
    let mut found: Vec<(Place, String, Arc<Topic>)> = found.collect();
    found.sort_by(|one, other| {
        let order = one.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal);
        let order = if query.descending { order.reverse() } else { order };
        // Equal ones stay where they are from one look to the next.
        order.then_with(|| one.1.cmp(&other.1)).then_with(|| one.2.id().cmp(&other.2.id()))
    });
    let matched = found.len();
    let pages = matched.div_ceil(query.rows).max(1);
    let page = query.page.min(pages - 1);
    let shown = found.iter().skip(page * query.rows).take(query.rows);
    let rows = shown.map(|(.., topic)| entry::describe(hub, topic, clock)).collect();
    Page { total, matched, page, pages, rows }
}

/// Whether all words are in what the row shows. What it does not show is not searched either.
fn matches(topic: &Topic, path: &str, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let view = topic.view();
    let route = topic.route();
    let text = format!(
        "{path} {} {} {} {}",
        route.path,
        route.upstream.name,
        entry::state(&view),
        topic.key().parts().host.as_deref().unwrap_or_default(),
    );
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word.as_str()))
}

fn place(topic: &Topic, path: &str, sort: Sort, now: Instant) -> Place {
    let view = topic.view();
    let number = match sort {
        Sort::Path => return Place::Text(path.to_owned()),
        Sort::Route => return Place::Text(topic.route().path.clone()),
        Sort::Followers => topic.followers() as f64,
        Sort::Interval => view.effective_interval.as_secs_f64(),
        Sort::Changes => entry::changes_per_minute(topic, &view),
        Sort::Age => {
            view.confirmed_at().map_or(f64::MAX, |at| now.saturating_duration_since(at).as_secs_f64())
        }
        Sort::Next => view.next_poll().map_or(f64::MAX, |at| at.saturating_duration_since(now).as_secs_f64()),
        Sort::Size => view.frame.as_ref().map_or(0.0, |frame| frame.snapshot.body.len() as f64),
        Sort::State => match entry::state(&view) {
            "failing" => 4.0,
            "gone" => 3.0,
            "stale" => 2.0,
            "cold" => 1.0,
            _ => 0.0,
        },
    };
    Place::Number(number)
}
