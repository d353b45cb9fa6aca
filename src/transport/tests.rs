//! Tables of what each protocol does.

mod head;
mod long_poll;
mod plain_poll;
mod sse;
mod websocket;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::answer::{self, CacheStatus};
use super::*;
use crate::config::Route;
use crate::frame::{Condition, Frame, Rules, State};
use crate::hub::tests::route::{SECOND, key, private_key, route};
use crate::hub::{Attend, Closing, Hub};
use crate::resource::{Snapshot, Validators, Version, VersionNamer};

fn version(body: &[u8]) -> Version {
    VersionNamer::new(None).name(200, None, body)
}

fn snapshot(body: &'static [u8]) -> Snapshot {
    let mut headers = HeaderMap::new();
    headers.insert("x-total", HeaderValue::from_static("7"));
    headers.insert(header::LINK, HeaderValue::from_static("</next>; rel=next"));
    Snapshot::new(
        version(body),
        StatusCode::OK,
        Some(HeaderValue::from_static("application/json")),
        headers,
        Validators::default(),
        Vec::new(),
        Bytes::from_static(body),
    )
}

fn frame(body: &'static [u8]) -> Delivery {
    let frame = Frame::new(1, Arc::new(snapshot(body)), Arc::new(Rules::default()));
    Delivery::Frame(Arc::new(frame))
}

fn condition(state: State) -> Delivery {
    Delivery::Condition(Arc::new(Condition::new(1, state)))
}

fn stale() -> Delivery {
    condition(State::Stale {
        since: std::time::SystemTime::UNIX_EPOCH,
        status: None,
        reason: "down".into(),
        next_poll_ms: 5,
    })
}

/// A view in which nothing happened yet.
fn view() -> Arc<View> {
    let hub = Hub::new(Vec::new(), 1, 1 << 20);
    let mut publisher = None;
    let attendance = hub.attend(&key("/a"), &Arc::new(route()), Attend::Visit, |given| {
        publisher = Some(given);
    });
    attendance.expect("room").topic().view()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.first[..], &output.second[..]].concat()).into_owned()
}

/// A step in words: what happens, with what reason, what is written.
fn told(step: Step) -> (&'static str, &'static str, String) {
    match step {
        Step::Wait => ("wait", "", String::new()),
        Step::Write(output) => ("write", "", text(&output)),
        Step::Forward(bytes) => ("forward", "", String::from_utf8_lossy(&bytes).into_owned()),
        Step::Finish(output, reason) => ("finish", reason, text(&output)),
        Step::GiveBack(output, reason) => ("give-back", reason, text(&output)),
    }
}

const CLOSINGS: [Closing; 8] = [
    Closing::NotShareable,
    Closing::Credentials,
    Closing::SessionRotated,
    Closing::SessionIdle,
    Closing::Gone,
    Closing::Reconfigured,
    Closing::SwitchedOff,
    Closing::Internal,
];
