//! The dashboard at `/` of the admin listener: its page, its JSON, and the stream of events that feeds it.
//!
//! All of it runs on the admin listener's thread. Events are made while a dashboard is open; the samples of the last hour
//! are kept all the time, so that a dashboard that opens shows them. Must not know: sockets.

mod changes;
mod clock;
mod entry;
mod history;
mod page;
mod query;
mod resource_list;
mod route_list;
mod stream;
mod summary;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;
use tokio::sync::Semaphore;

use super::Context;
use super::response::{Body, problem, typed, whole};
use crate::metrics::{Bypass, RefusalReason};
use history::Hour;
use query::Query;

pub(super) use page::file;

/// The stream that feeds the page.
pub(super) const STREAM: &str = "/-/dashboard/stream";

/// The same once, as JSON: one page of the list of resources.
pub(super) const RESOURCES: &str = "/-/dashboard/resources";

/// What the words for reasons mean, as JSON.
pub(super) const REASONS: &str = "/-/dashboard/reasons";

/// Streams served at a time; one more gets 503.
const STREAMS_MAX: usize = 16;

/// What the dashboard keeps.
pub(super) struct Dashboard {
    hour: Arc<Hour>,
    streams: Arc<Semaphore>,
}

impl Dashboard {
    pub(super) fn new() -> Dashboard {
        Dashboard { hour: Arc::new(Hour::new()), streams: Arc::new(Semaphore::new(STREAMS_MAX)) }
    }

    /// Samples the metrics for the plots, for as long as it is polled.
    pub(super) async fn sample(&self, context: &Context) {
        self.hour.sample(&context.metrics).await;
    }

    /// Answers a GET of the stream. Returns 400 for a query that is not one, and 503 where [`STREAMS_MAX`] are served.
    pub(super) fn follow(&self, context: &Arc<Context>, query: Option<&str>) -> Response<Body> {
        let query = match Query::read(query.unwrap_or_default()) {
            Ok(query) => query,
            Err(wrong) => return whole(problem(StatusCode::BAD_REQUEST, &wrong)),
        };
        let Ok(place) = self.streams.clone().try_acquire_owned() else {
            let detail = format!("{STREAMS_MAX} dashboards are open: close one");
            let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, &detail);
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
            return whole(response);
        };
        let body = stream::body(self.hour.clone(), context.clone(), query, place);
        let mut response = typed(StatusCode::OK, "text/event-stream", Bytes::new()).map(|_| body);
        // nginx buffers what does not say this.
        response.headers_mut().insert("x-accel-buffering", header::HeaderValue::from_static("no"));
        response
    }

    /// Answers a GET of one page of the list.
    pub(super) fn list(&self, context: &Context, query: Option<&str>) -> Response<Full<Bytes>> {
        match Query::read(query.unwrap_or_default()) {
            Ok(query) => {
                let list = resource_list::find(&context.hub, &query, &self.hour.clock);
                let body = format!("{}\n", json!({ "list": list.head(), "rows": list.rows }));
                typed(StatusCode::OK, "application/json", body.into())
            }
            Err(wrong) => problem(StatusCode::BAD_REQUEST, &wrong),
        }
    }
}

/// Answers a GET of the meanings of reasons.
pub(super) fn reasons() -> Response<Full<Bytes>> {
    let passed = Bypass::ALL.iter().map(|reason| (reason.word(), reason.meaning()));
    let refused = RefusalReason::ALL.iter().map(|reason| (reason.word(), reason.meaning()));
    let (passed, refused): (BTreeMap<_, _>, BTreeMap<_, _>) = (passed.collect(), refused.collect());
    let body = format!("{}\n", json!({ "passed_through": passed, "refused": refused }));
    typed(StatusCode::OK, "application/json", body.into())
}

/// Whether a browser asks for a page to look at.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
