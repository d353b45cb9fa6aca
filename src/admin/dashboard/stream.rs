//! The stream of events that feeds one dashboard: every second or two what has changed since it was last told.
//!
//! An event is made when the connection has room for it, so that a slow reader gets fewer and not older ones, and holds
//! no memory. Must not know: connections.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::clock::Clock;
use super::history::Hour;
use super::query::Query;
use super::{changes, entry, resource_list, route_list, summary};
use crate::admin::context::Context;
use crate::admin::response::Body;
use crate::hub::{Hub, Topic};
use crate::resource::Snapshot;

/// The time between two events of a kind.
const TICK: Duration = Duration::from_secs(2);

/// A stream ends after this time, and the page asks again.
const STREAM_TIME_MAX: Duration = Duration::from_secs(3600);

/// One dashboard that looks.
struct Viewer {
    hour: Arc<Hour>,
    context: Arc<Context>,
    query: Query,
    /// The rows that the page has, by the number of the resource.
    told: HashMap<u64, Value>,
    head: Value,
    /// The page of routes that the page has.
    routes: Value,
    /// The newest sample that the page has, in milliseconds since 1970.
    sampled: u64,
    open: Option<Arc<Snapshot>>,
    began: Instant,
    is_first: bool,
    _place: OwnedSemaphorePermit,
}

/// Returns the body of a stream. The place is free again when it is dropped.
pub(super) fn body(
    hour: Arc<Hour>,
    context: Arc<Context>,
    query: Query,
    place: OwnedSemaphorePermit,
) -> Body {
    let viewer = Viewer {
        hour,
        context,
        sampled: query.since,
        query,
        told: HashMap::new(),
        head: Value::Null,
        routes: Value::Null,
        open: None,
        began: Instant::now(),
        is_first: true,
        _place: place,
    };
    let events = stream::unfold(viewer, |mut viewer| async move {
        if !viewer.is_first {
            tokio::time::sleep(TICK).await;
        }
        viewer.is_first = false;
        if viewer.began.elapsed() > STREAM_TIME_MAX {
            return None;
        }
        let text = viewer.events();
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(text))), viewer))
    });
    StreamBody::new(events).boxed_unsync()
}

impl Viewer {
    /// What is new, as events.
    fn events(&mut self) -> String {
        let mut text = String::new();
        let clock = &self.hour.clock;
        write(&mut text, "summary", &summary::describe(&self.context, clock.now_ms()));
        let list = resource_list::find(&self.context.hub, &self.query, clock);
        let head = list.head();
        let number = |row: &Value| row["id"].as_u64().unwrap_or_default();
        let new = list.rows.iter().filter(|row| self.told.get(&number(row)) != Some(*row));
        let rows: Vec<&Value> = new.collect();
        if head != self.head || !rows.is_empty() {
            write(&mut text, "resources", &json!({ "list": head, "rows": rows }));
        }
        self.head = head;
        self.told = list.rows.into_iter().map(|row| (number(&row), row)).collect();
        let routes = route_list::find(&self.context, &self.query);
        if routes != self.routes {
            write(&mut text, "routes", &routes);
            self.routes = routes;
        }
        if let Some(samples) = self.hour.since(self.sampled) {
            let newest = samples["at"].as_array().and_then(|at| at.last()?.as_u64());
            self.sampled = newest.unwrap_or(self.sampled);
            write(&mut text, "samples", &samples);
        }
        if let Some(open) = self.query.open {
            let topic = self.context.hub.topics().into_iter().find(|topic| topic.id() == open);
            let told = match topic {
                Some(topic) => opened(&self.context.hub, &topic, &mut self.open, &self.hour.clock),
                None => Some(json!({ "id": open, "gone": true })),
            };
            if let Some(told) = told {
                write(&mut text, "change", &told);
            }
        }
        text
    }
}

/// What is new of the resource whose changes are shown. Its content is told only where every client may read it.
fn opened(hub: &Hub, topic: &Topic, held: &mut Option<Arc<Snapshot>>, clock: &Clock) -> Option<Value> {
    let view = topic.view();
    let row = entry::describe(hub, topic, clock);
    let frame = view.frame.as_ref();
    let is_new = frame.is_some_and(|frame| held.as_ref().is_none_or(|held| held.version != frame.version()));
    let (true, true, Some(frame)) = (entry::is_for_all(topic), is_new, frame) else {
        return Some(json!({ "row": row }));
    };
    let before = held.replace(frame.snapshot.clone());
    let change = before.map(|before| {
        json!({
            "at": clock.now_ms(),
            "version": frame.version().to_string(),
            "bytes": frame.snapshot.body.len(),
            "difference": changes::tell(&before, &frame.snapshot),
        })
    });
    Some(json!({ "row": row, "change": change }))
}

fn write(text: &mut String, name: &str, data: &Value) {
    // JSON has no line breaks, and writing to a String does not fail.
    let _ = write!(text, "event: {name}\ndata: {data}\n\n");
}
