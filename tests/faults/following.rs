//! Clients that are told: event streams of all kinds, and WebSockets.
//!
//! Must not know: what the upstream does.

use serde_json::{Value, json};

use super::client::{Client, HOST};
use crate::support::client::Response;
use crate::support::frames::{CLOSE, Frame};
use crate::support::h2::H2;
use crate::support::sse::{Event, Sse};
use crate::support::ws::Ws;

/// What a client knows how to apply changes to.
struct Held {
    version: String,
    content: Value,
}

impl Client {
    /// An event stream. `version`: of HTTP.
    pub async fn stream(&mut self, version: &str) {
        self.ground.journal.count(format!("client: {version} event streams"));
        let stream = self.connect().await;
        let position = self.position();
        let mut headers = self.coding().to_vec();
        headers.extend(position.iter().map(|version| ("last-event-id", version.as_str())));
        match Sse::over(stream, HOST, version, &self.ground.path, &headers).await {
            Ok(mut sse) => {
                self.recorder.begin(position.as_deref());
                let end = self.patience();
                while !self.has_final() {
                    let Some(event) = self.until(end, sse.next_event()).await else { return };
                    self.told(event);
                }
            }
            Err(head) => self.refused(&head),
        }
    }

    /// The same and held polls on HTTP/2, several on a connection.
    pub async fn http2(&mut self) {
        self.ground.journal.count("client: HTTP/2 event streams");
        let mut h2 = H2::over(self.connect().await, HOST).await;
        for _ in 0..self.rng.u8(1..4) {
            let position = self.position();
            if self.rng.u8(..3) == 0 && !self.is_calm() {
                self.ground.journal.count("client: HTTP/2 held polls");
                let tag = position.as_ref().map(|version| format!("\"{version}\""));
                let mut headers = vec![("prefer", "wait=1")];
                headers.extend(tag.iter().map(|tag| ("if-none-match", tag.as_str())));
                let answer = h2.get(&self.ground.path, &headers).await;
                self.answered(&answer, position.as_deref());
                continue;
            }
            let mut headers = vec![("accept", "text/event-stream")];
            headers.extend(self.coding());
            headers.extend(position.iter().map(|version| ("last-event-id", version.as_str())));
            let (head, mut body) = h2.open("GET", &self.ground.path, &headers).await;
            if head.status != 200 {
                return self.refused(&head);
            }
            self.recorder.begin(position.as_deref());
            let end = self.patience();
            while !self.has_final() {
                let Some(event) = self.until(end, body.next_event()).await else { break };
                self.told(event);
            }
            if self.has_final() {
                return;
            }
        }
        if self.rng.bool() {
            h2.cut();
        }
    }

    fn refused(&self, head: &Response) {
        // Nothing else is told by a status before there was any answer of the upstream.
        assert!(matches!(head.status, 302 | 401 | 403 | 404 | 410), "{head:?}");
        self.ground.journal.count("client: a stream of what is not there");
    }

    fn told(&mut self, event: Event) {
        let Event { id, event: name, data } = event;
        self.ground.journal.count(format!("event: {name}"));
        match (name.as_str(), id) {
            ("message", Some(id)) => {
                self.recorder.content(Some(&id), &data);
            }
            ("stale" | "fresh", None) => self.recorder.note(name),
            ("gone", None) => self.recorder.gone(),
            (name, id) => panic!("an unexpected event {name} with id {id:?}: {data}"),
        }
    }

    /// An event stream of changes.
    pub async fn patches(&mut self) {
        let merge = self.rng.bool();
        let kind = if merge { "merge-patch" } else { "json-patch" };
        self.ground.journal.count(format!("client: {kind} event streams"));
        let stream = self.connect().await;
        let accept = format!("text/event-stream;delta={kind}");
        let mut headers = vec![("accept", accept.as_str())];
        headers.extend(self.coding());
        let mut sse = match Sse::over(stream, HOST, "HTTP/1.1", &self.ground.path, &headers).await {
            Ok(sse) => sse,
            Err(head) => return self.refused(&head),
        };
        self.recorder.begin(None);
        let (mut end, mut held) = (self.patience(), None);
        while !self.has_final() {
            let Some(event) = self.until(end, sse.next_event()).await else {
                if self.rng.bool() {
                    return;
                }
                // Comes back on a connection of its own, with what it holds.
                let stream = self.connect().await;
                let position = held.as_ref().map(|held: &Held| held.version.clone());
                let mut headers = headers.clone();
                headers.extend(position.iter().map(|version| ("last-event-id", version.as_str())));
                sse = match Sse::over(stream, HOST, "HTTP/1.1", &self.ground.path, &headers).await {
                    Ok(sse) => sse,
                    Err(head) => return self.refused(&head),
                };
                self.recorder.begin(position.as_deref());
                end = self.patience();
                continue;
            };
            self.ground.journal.count(format!("event: {}", event.event));
            match (event.event.as_str(), event.id) {
                ("snapshot", Some(version)) => {
                    let content = self.recorder.content(Some(&version), &event.data);
                    held = Some(Held { version, content });
                }
                ("patch", Some(version)) => {
                    let held = held.as_mut().expect("a patch of something");
                    let patch: Value = serde_json::from_str(&event.data).expect("JSON");
                    if merge {
                        json_patch::merge(&mut held.content, &patch);
                    } else {
                        let patch: json_patch::Patch = serde_json::from_value(patch).expect("RFC 6902");
                        json_patch::patch(&mut held.content, &patch).expect("a patch that applies");
                    }
                    held.version = version;
                    self.recorder.changed(&held.version, &held.content);
                }
                ("stale" | "fresh" | "reset", None) => self.recorder.note(event.event),
                ("gone", None) => self.recorder.gone(),
                (name, id) => panic!("an unexpected event {name} with id {id:?}: {}", event.data),
            }
        }
    }

    /// A WebSocket of whole states, without names for them.
    pub async fn bare(&mut self) {
        self.ground.journal.count("client: WebSockets");
        let stream = self.connect().await;
        let deflate = [("sec-websocket-extensions", "permessage-deflate; client_max_window_bits")];
        let extensions = if self.rng.bool() { &deflate[..] } else { &[] };
        let mut ws = match Ws::over(stream, HOST, &self.ground.path, extensions).await {
            Ok(ws) => ws,
            // The API's own answer to the handshake, where the resource had nothing to send (contract §6).
            Err(head) => {
                assert_eq!(head.header("sec-websocket-accept"), None, "{head:?}");
                return self.ground.journal.count("client: a WebSocket of what is not there");
            }
        };
        self.recorder.begin(None);
        let end = self.patience();
        while !self.has_final() {
            let Some(text) = self.until(end, message(&mut ws)).await else { break };
            let Some(text) = text else { return };
            self.recorder.content(None, &text);
        }
        if self.rng.bool() {
            ws.send_close(1000, "").await;
        }
    }

    /// An event stream of many resources, of which there is one.
    pub async fn many(&mut self) {
        self.ground.journal.count("client: event streams of many");
        let path = format!("/-/pollcast/events?resource={}", self.ground.path);
        let (mut sync, mut state) = (None::<String>, None);
        for _ in 0..self.rng.u8(1..4) {
            let stream = self.connect().await;
            let headers: Vec<_> = sync.iter().map(|id| ("last-event-id", id.as_str())).collect();
            let mut sse = match Sse::over(stream, HOST, "HTTP/1.1", &path, &headers).await {
                Ok(sse) => sse,
                Err(head) => return self.refused(&head),
            };
            self.recorder.begin_with(state.clone());
            let end = self.patience();
            while !self.has_final() {
                let Some(Event { id, event, data }) = self.until(end, sse.next_event()).await else { break };
                self.ground.journal.count(format!("many: {event}"));
                match (event.as_str(), id) {
                    ("sync", Some(id)) => {
                        (sync, state) = (Some(id), self.recorder.state().map(str::to_owned));
                    }
                    ("stale" | "fresh", None) => self.recorder.note(event),
                    ("gone", None) => self.recorder.gone(),
                    ("error", None) if data.contains("404") || data.contains("302") => return,
                    (name, None) if name == self.ground.path => {
                        self.recorder.content(None, &data);
                    }
                    (name, id) => panic!("an unexpected event {name} with id {id:?}: {data}"),
                }
            }
        }
    }

    /// A WebSocket with the protocol for many resources.
    pub async fn envelope(&mut self) {
        self.ground.journal.count("client: envelopes");
        let stream = self.connect().await;
        let protocol = [("sec-websocket-protocol", "pollcast.v1")];
        let mut ws = match Ws::over(stream, HOST, "/-/pollcast/ws", &protocol).await {
            Ok(ws) => ws,
            Err(head) => panic!("no WebSocket: {head:?}"),
        };
        let position = self.position();
        let mut subscribe = json!({ "op": "subscribe", "resource": self.ground.path });
        if let Some(version) = &position {
            subscribe["since"] = json!(version);
        }
        ws.send_text(&subscribe.to_string()).await;
        self.recorder.begin(position.as_deref());
        let end = self.patience();
        while !self.has_final() {
            let Some(text) = self.until(end, message(&mut ws)).await else { return };
            let Some(text) = text else { return };
            let message: Value = serde_json::from_str(&text).expect("JSON");
            self.ground.journal.count(format!("message: {}", message["type"].as_str().unwrap_or("?")));
            match message["type"].as_str() {
                Some("snapshot") => {
                    let version = message["version"].as_str().expect("a version");
                    self.recorder.content(Some(version), &message["data"].to_string());
                }
                Some(name @ ("stale" | "fresh")) => self.recorder.note(name),
                Some("gone") => self.recorder.gone(),
                // The resource is not there: nothing will come.
                Some("error") if message["status"] == 404 || message["status"] == 302 => return,
                _ => panic!("an unexpected message: {message}"),
            }
        }
    }
}

/// The next text message. Returns `None` if the server closed, since the resource is not there.
async fn message(ws: &mut Ws) -> Option<String> {
    match ws.next_text_or_frame().await {
        Ok(text) => Some(text),
        Err(Frame { opcode: CLOSE, payload, .. }) => {
            let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
            assert!(matches!(code, Some(4401 | 4403 | 4404)), "closed with {code:?}");
            None
        }
        Err(frame) => panic!("an unexpected frame: {frame:?}"),
    }
}
