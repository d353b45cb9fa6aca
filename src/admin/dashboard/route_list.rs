//! The list of routes that a dashboard sees: which of them are polled, for whom, and why their requests passed through or
//! were refused. Those that an operator has switched off come first.
//!
//! Must not know: one resource.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::query::Query;
use crate::admin::context::Context;
use crate::admin::routes::{self, Reasons};
use crate::config::Route;
use crate::hub::Hub;

/// Routes of one page.
const ROWS_MAX: usize = 10;

/// Finds one page of the list. A page behind the last one is the last one.
pub(super) fn find(context: &Context, query: &Query) -> Value {
    let all = (context.routes)();
    let mut found: Vec<&Arc<Route>> = all.iter().filter(|route| matches(route, &query.route_words)).collect();
    // The sort is stable: otherwise they stand as in the file.
    found.sort_by_key(|route| route.switched_off.is_none());
    let pages = found.len().div_ceil(ROWS_MAX).max(1);
    let page = query.routes_page.min(pages - 1);
    let (reasons, followed) = (Reasons::of(&context.metrics), followed(&context.hub));
    let rows = found.iter().skip(page * ROWS_MAX).take(ROWS_MAX).map(|route| {
        let (resources, followers) = followed.get(&route.index).copied().unwrap_or_default();
        let mut row = routes::describe_one(route, &reasons);
        row["id"] = json!(route.index);
        row["upstream"] = json!(route.upstream.name);
        row["interval_ms"] = json!(route.poll.interval.as_millis() as u64);
        row["resources"] = json!(resources);
        row["followers"] = json!(followers);
        row["presence"] = json!(route.presence.is_some());
        row
    });
    json!({
        "total": all.len(),
        "matched": found.len(),
        "page": page,
        "pages": pages,
        "rows": rows.collect::<Vec<_>>(),
        "no_route": reasons.uncovered(),
    })
}

/// Whether all words are in what the row shows.
fn matches(route: &Route, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let (path, hosts) = (&route.path, route.hosts.join(" "));
    let text = format!("{path} {hosts} {} {}", route.upstream.name, routes::polled(route)).to_lowercase();
    words.iter().all(|word| text.contains(word.as_str()))
}

/// Resources and followers by the place of their route in the file.
fn followed(hub: &Hub) -> HashMap<usize, (usize, usize)> {
    let mut counts: HashMap<usize, (usize, usize)> = HashMap::new();
    for topic in hub.topics() {
        let (resources, followers) = counts.entry(topic.route().index).or_default();
        *resources += 1;
        *followers += topic.followers();
    }
    counts
}
