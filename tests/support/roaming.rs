//! Clients of all transports whose connections may break at any moment, as those of nodes that are killed do: a visit to
//! a node is over then, and the client goes elsewhere with what it has.
//!
//! Must not know: what a client may be told; that is the listener's.

use std::io::Result;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::client::{Http, Response};
use super::sse::{Sse, SseItem};
use super::ws::Ws;

/// A client's memory.
pub trait Listener: Send {
    /// What it follows.
    fn path(&self) -> &str;
    /// It follows the items of a feed, and not states.
    fn is_of_items(&self) -> bool {
        false
    }
    /// What it says that it has.
    fn position(&self) -> Option<String>;
    /// It goes to a node.
    fn visits(&mut self, _node: SocketAddr, _transport: Transport) {}
    /// It asks, and says that it has this.
    fn begin(&mut self, position: Option<&str>);
    /// It was told an event; a whole state is a `message`, an item of a feed an `item`.
    fn told(&mut self, event: &str, id: Option<String>, data: &str);
    /// It was answered with a status instead.
    fn refused(&mut self, head: &Response);
    /// It has all that it waits for.
    fn is_over(&self) -> bool;
}

/// How a client follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// An event stream.
    Stream,
    /// A WebSocket with the envelope.
    Socket,
    /// Long-polls that are held.
    LongPoll,
    /// Ordinary requests with `If-None-Match`.
    Conditional,
}

impl Transport {
    /// Those by which states are followed.
    pub const OF_STATES: [Transport; 4] =
        [Transport::Stream, Transport::Socket, Transport::LongPoll, Transport::Conditional];
    /// Those by which items of a feed are followed.
    pub const OF_ITEMS: [Transport; 3] = [Transport::Stream, Transport::Socket, Transport::LongPoll];
}

/// Between two ordinary requests of a client: one that comes back sooner than after 100 ms looks as if it wanted to wait
/// (contract §3).
const SPACING: Duration = Duration::from_millis(150);

/// Follows on one connection for as long as it lasts.
///
/// # Errors
/// The connection broke, or was not made.
pub async fn visit(
    address: SocketAddr,
    host: &str,
    transport: Transport,
    listener: &mut impl Listener,
) -> Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    listener.visits(address, transport);
    match transport {
        Transport::Stream => follow_stream(stream, host, listener).await,
        Transport::Socket => follow_socket(stream, host, listener).await,
        Transport::LongPoll => ask_again(stream, host, listener, true).await,
        Transport::Conditional => ask_again(stream, host, listener, false).await,
    }
}

async fn follow_stream(stream: TcpStream, host: &str, listener: &mut impl Listener) -> Result<()> {
    let (path, position) = (listener.path().to_owned(), listener.position());
    let headers: Vec<_> = position.iter().map(|position| ("last-event-id", position.as_str())).collect();
    let mut sse = match Sse::attempt(stream, host, "HTTP/1.1", &path, &headers).await? {
        Ok(sse) => sse,
        Err(head) => {
            listener.refused(&head);
            return Ok(());
        }
    };
    listener.begin(position.as_deref());
    while !listener.is_over() {
        match sse.item().await? {
            Some(SseItem::Event { id, event, data }) => listener.told(&event, id, &data),
            Some(SseItem::Comment(_) | SseItem::Retry(_)) => {}
            None => break,
        }
    }
    Ok(())
}

async fn follow_socket(stream: TcpStream, host: &str, listener: &mut impl Listener) -> Result<()> {
    let protocol = [("sec-websocket-protocol", "pollcast.v1")];
    let mut ws = match Ws::attempt(stream, host, "/-/pollcast/ws", &protocol).await? {
        Ok(ws) => ws,
        Err(head) => {
            listener.refused(&head);
            return Ok(());
        }
    };
    let position = listener.position();
    let mut subscribe = json!({ "op": "subscribe", "resource": listener.path() });
    if let Some(position) = &position {
        subscribe["since"] = json!(position);
    }
    ws.attempt_text(&subscribe.to_string()).await?;
    listener.begin(position.as_deref());
    while !listener.is_over() {
        let Some(text) = ws.text().await? else { break };
        let message: Value = serde_json::from_str(&text).expect("a message is JSON");
        let (version, data) = (message["version"].as_str().map(str::to_owned), message["data"].to_string());
        match message["type"].as_str() {
            Some("snapshot") => listener.told("message", version, &data),
            Some("bye") => break,
            Some(kind) => listener.told(kind, version, &data),
            None => panic!("a message without a type: {message}"),
        }
    }
    Ok(())
}

async fn ask_again(stream: TcpStream, host: &str, listener: &mut impl Listener, is_held: bool) -> Result<()> {
    let mut http = Http::over(stream, host);
    while !listener.is_over() {
        let (path, position) = (listener.path().to_owned(), listener.position());
        let (field, value) = match listener.is_of_items() {
            true => ("last-event-id", position.clone()),
            false => ("if-none-match", position.as_ref().map(|version| format!("\"{version}\""))),
        };
        let mut headers = Vec::new();
        if is_held {
            headers.push(("prefer", "wait=2"));
        }
        headers.extend(value.iter().map(|value| (field, value.as_str())));
        listener.begin(position.as_deref());
        let answer = http.attempt(&path, &headers).await?;
        match listener.is_of_items() {
            true => take_items(listener, &answer),
            false => take_state(listener, &answer, position.as_deref()),
        }
        if answer.names("connection", "close") {
            break;
        }
        if !is_held || !matches!(answer.status, 200 | 304) {
            tokio::time::sleep(SPACING).await;
        }
    }
    Ok(())
}

fn take_state(listener: &mut impl Listener, answer: &Response, position: Option<&str>) {
    let version = answer.header("etag").map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
    match answer.status {
        200 if version.is_some() => listener.told("message", version, &answer.text()),
        // The API's own 304 need not say of what.
        304 if version.is_some() => {
            assert_eq!(version.as_deref(), position, "304 of something else: {answer:?}");
        }
        _ => listener.refused(answer),
    }
}

fn take_items(listener: &mut impl Listener, answer: &Response) {
    match answer.status {
        200 if answer.body.starts_with(b"[") => {
            let Value::Array(items) = answer.json() else { panic!("no list: {answer:?}") };
            for item in items {
                listener.told("item", Some(item["id"].to_string()), &item.to_string());
            }
        }
        304 => {}
        _ => listener.refused(answer),
    }
}
