//! Many resources on one event stream: events named by resource, and now and then one id for all states.
//!
//! Must not know: the head of the response, which client may see which resource.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::{End, Framing, Output, Step};
use crate::frame::sse::{self, HEARTBEAT, HEARTBEAT_CHUNK, LAST_CHUNK};
use crate::frame::{PRESENCE, SseBytes};
use crate::hub::{Closing, Delivery};
use crate::resource::Version;

/// Least time between two `sync` events.
const SYNC_INTERVAL_MIN: Duration = Duration::from_secs(2);

/// Changes within this time get one `sync` event together.
const GATHER_TIME: Duration = Duration::from_millis(100);

/// Bytes of each state's tag in the id.
const TAG_BYTES: usize = 6;

/// The states that an id names, in the order of the request; `None` if it is no such id.
pub fn tags(id: &str, resources: usize) -> Option<Vec<[u8; TAG_BYTES]>> {
    // An id is not decoded unless its length fits, as ids come from clients.
    if id.len() != (resources * TAG_BYTES * 4).div_ceil(3) {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(id).ok()?;
    bytes.chunks_exact(TAG_BYTES).map(|tag| tag.try_into().ok()).collect()
}

/// The state machine of an event stream of several resources (contract §5).
#[derive(Debug)]
pub struct SseMany {
    framing: Framing,
    heartbeat: Duration,
    last_write: Instant,
    retry_ms: u32,
    tags: Vec<[u8; TAG_BYTES]>,
    /// When the first change since the last `sync` came.
    changed: Option<Instant>,
    synced: Option<Instant>,
}

impl SseMany {
    /// `known` has the states that the client has, in the order of its request.
    pub fn new(
        framing: Framing,
        heartbeat: Duration,
        retry: Duration,
        known: Vec<[u8; TAG_BYTES]>,
        now: Instant,
    ) -> SseMany {
        let retry_ms = retry.as_millis().min(u32::MAX.into()) as u32;
        SseMany { framing, heartbeat, last_write: now, retry_ms, tags: known, changed: None, synced: None }
    }

    /// What follows the head at once.
    pub fn opening(&self) -> Bytes {
        self.framed(&sse::opening(u64::from(self.retry_ms)))
    }

    /// Returns the event that says that a resource cannot be had.
    pub fn error(&self, name: &str, status: u16, detail: &str) -> Bytes {
        let data = json!({ "resource": name, "status": status, "detail": detail });
        self.framed(&sse::control("error", &data))
    }

    fn framed(&self, bytes: &SseBytes) -> Bytes {
        match self.framing {
            Framing::Chunked => bytes.chunk().clone(),
            Framing::Bare => bytes.payload(),
        }
    }

    /// Returns what a delivery writes: `name` is the client's name for the resource, `index` its place in the request,
    /// `seen` the state that the client has afterwards.
    pub(super) fn deliver_of(
        &mut self,
        (name, index): (&str, usize),
        seen: Option<Version>,
        delivery: &Delivery,
        now: Instant,
    ) -> Step {
        let bytes = match delivery {
            Delivery::Frame(frame) => match frame.named() {
                Ok(tail) => self.events(name, std::slice::from_ref(tail)),
                Err(crate::frame::NotText) => self.error(name, 406, "the body is not text"),
            },
            Delivery::Items(batch) => self.events(name, batch.named()),
            Delivery::Condition(condition) => {
                self.control(condition.state.word(), name, condition.state.data())
            }
            Delivery::Presence(event) => self.control(PRESENCE, name, event.data().clone()),
            Delivery::Reset(reason) => self.control("reset", name, json!({ "reason": reason })),
            Delivery::Closing(closing) => self.closed(name, *closing),
            // Streams of many resources have no patches.
            Delivery::Patches(_) => return Step::Wait,
        };
        if delivery.is_content()
            && let (Some(tag), Some(version)) = (self.tags.get_mut(index), seen)
        {
            *tag = version.tag();
            self.changed.get_or_insert(now);
        }
        self.last_write = now;
        Step::Write(Output::one(bytes))
    }

    fn events(&self, name: &str, tails: &[sse::Tail]) -> Bytes {
        self.framed(&sse::of_name(name, tails))
    }

    fn control(&self, kind: &str, name: &str, mut data: Value) -> Bytes {
        if let Some(data) = data.as_object_mut() {
            data.insert("resource".to_owned(), Value::from(name));
        }
        self.framed(&sse::control(kind, &data))
    }

    fn closed(&self, name: &str, closing: Closing) -> Bytes {
        let reconnect = End::Topic(closing).reconnect();
        self.control("bye", name, json!({ "reason": closing.reason(), "reconnect": reconnect }))
    }

    fn sync_at(&self) -> Option<Instant> {
        let changed = self.changed? + GATHER_TIME;
        Some(self.synced.map_or(changed, |synced| changed.max(synced + SYNC_INTERVAL_MIN)))
    }

    fn sync(&self) -> Bytes {
        self.framed(&sse::sync(&URL_SAFE_NO_PAD.encode(self.tags.as_flattened())))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let heartbeat = self.last_write + self.heartbeat;
        Some(self.sync_at().map_or(heartbeat, |sync| sync.min(heartbeat)))
    }

    pub(super) fn expired(&mut self, now: Instant) -> Step {
        self.last_write = now;
        if self.sync_at().is_some_and(|at| at <= now) {
            self.changed = None;
            self.synced = Some(now);
            return Step::Write(Output::one(self.sync()));
        }
        Step::Write(Output::one(match self.framing {
            Framing::Chunked => HEARTBEAT_CHUNK,
            Framing::Bare => HEARTBEAT,
        }))
    }

    pub(super) fn end(&mut self, end: End) -> Step {
        let retry_ms = match end {
            End::Drain { retry } => retry.as_millis() as u64,
            End::Topic(_) | End::MaxAge | End::Expelled(_) => u64::from(self.retry_ms),
        };
        let data = json!({ "reason": end.reason(), "retry_ms": retry_ms, "reconnect": end.reconnect() });
        let mut bytes = BytesMut::from(&self.sync()[..]);
        bytes.put_slice(&self.framed(&sse::control_with_retry("bye", &data, retry_ms)));
        if self.framing == Framing::Chunked {
            bytes.put_slice(LAST_CHUNK);
        }
        Step::Finish(Output::one(bytes.freeze()), end.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Rules};
    use crate::resource::{Snapshot, Validators, VersionNamer};
    use http::{HeaderMap, HeaderValue, StatusCode};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn frame(body: &'static [u8]) -> (Delivery, Version) {
        let version = VersionNamer::new(None).name(200, None, body);
        let snapshot = Snapshot::new(
            version,
            StatusCode::OK,
            Some(HeaderValue::from_static("application/json")),
            HeaderMap::new(),
            Validators::default(),
            Vec::new(),
            Bytes::from_static(body),
        );
        let frame = Frame::new(1, Arc::new(snapshot), Arc::new(Rules::default()));
        (Delivery::Frame(Arc::new(frame)), version)
    }

    fn text(step: Step) -> String {
        match step {
            Step::Write(output) | Step::Finish(output, _) => {
                String::from_utf8(output.first.to_vec()).expect("text")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn states_are_named_together_and_not_too_often() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut many = SseMany::new(Framing::Bare, 20 * second, second, vec![[0; TAG_BYTES]; 2], start);
        assert_eq!(many.deadline(), Some(start + 20 * second), "nothing changed yet");
        let (delivery, version) = frame(b"1");
        let event = text(many.deliver_of(("/b", 1), Some(version), &delivery, start));
        assert_eq!(event, "event: /b\ndata: 1\n\n", "no id");
        assert_eq!(many.deadline(), Some(start + GATHER_TIME));
        let sync = text(many.expired(start + GATHER_TIME));
        let id = sync.strip_prefix("id: ").and_then(|rest| rest.split('\n').next()).expect("an id");
        assert_eq!(tags(id, 2), Some(vec![[0; TAG_BYTES], version.tag()]));
        many.deliver_of(("/a", 0), Some(version), &delivery, start + 2 * GATHER_TIME);
        assert_eq!(many.deadline(), Some(start + GATHER_TIME + SYNC_INTERVAL_MIN));
        let end = text(many.end(End::Drain { retry: second }));
        assert!(end.contains("event: sync") && end.contains("event: bye"), "{end}");
    }

    proptest! {
        #[test]
        fn no_id_of_a_client_is_more_than_its_list(id in "[A-Za-z0-9_=. -]{0,80}", resources in 1usize..9) {
            if let Some(tags) = tags(&id, resources) {
                prop_assert_eq!(tags.len(), resources);
            }
        }
    }
}
