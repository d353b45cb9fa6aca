//! The load balancer in front of the demo's nodes: each request goes to the next node that takes it.
//!
//! Owns what the page shows of it: which node serves which stream. It closes a connection after one request, so that
//! each request is balanced. Must not know: what is asked, how nodes are started.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::request;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::ledger::{Source, is_api};
use super::nodes::Nodes;

/// Longest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most fields of a request.
const FIELDS_MAX: usize = 100;
/// Connections carried at once; more wait in the backlog.
const CONNECTIONS_MAX: usize = 8_192;
/// Most streams that are told apart.
const STREAMS_MAX: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What is said where no node takes a request.
const NO_NODE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\n\
                         connection: close\r\ncontent-length: 19\r\n\r\nno node is running\n";

/// A running load balancer; it ends when this is dropped.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    carried: Arc<Carried>,
    server: JoinHandle<()>,
}

/// What is carried to the nodes.
#[derive(Debug)]
pub(super) struct Carried {
    nodes: Arc<Nodes>,
    next: AtomicUsize,
    open: Mutex<BTreeMap<String, usize>>,
    /// The node that a way of following a path was last served by.
    served: Mutex<BTreeMap<(&'static str, String), String>>,
}

impl Balancer {
    /// Listens, and carries requests to the nodes.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(listen: SocketAddr, nodes: Arc<Nodes>) -> io::Result<Balancer> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {listen}: {error}")))?;
        let address = listener.local_addr()?;
        let carried = Arc::new(Carried {
            nodes,
            next: AtomicUsize::new(0),
            open: Mutex::default(),
            served: Mutex::default(),
        });
        let server = tokio::spawn(accept(listener, carried.clone()));
        Ok(Balancer { address, carried, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it carries, for the page.
    pub(super) fn carried(&self) -> Arc<Carried> {
        self.carried.clone()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Carried {
    /// The nodes that it is carried to.
    pub(super) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// `{nodes, holders, streams}`: the nodes with their connections, which one polls each path, and which one serves each
    /// way of following one.
    pub(super) fn json(&self) -> Value {
        let (mut nodes, holders) = self.nodes.json();
        let open = self.open.lock();
        for node in &mut nodes {
            let name = node["name"].as_str().unwrap_or_default();
            node["connections"] = json!(open.get(name).copied().unwrap_or_default());
        }
        let served = self.served.lock();
        let streams = served
            .iter()
            .map(|((technique, path), node)| json!({ "technique": technique, "path": path, "node": node }));
        json!({ "nodes": nodes, "holders": holders, "streams": streams.collect::<Vec<_>>() })
    }

    /// A connection to the next node that takes one.
    async fn connect(&self) -> Option<(String, TcpStream)> {
        let nodes: Vec<(&str, SocketAddr)> =
            self.nodes.addresses().map(|(name, address, _)| (name, address)).collect();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for step in 0..nodes.len() {
            let (name, address) = nodes[(first + step) % nodes.len()];
            if let Ok(Ok(stream)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                return Some((name.to_owned(), stream));
            }
        }
        None
    }

    /// Notes which node serves a request, if it is one of a person at the page or in a terminal.
    fn note(&self, head: &request::Parts, node: &str) {
        let technique = match Source::of(head, is_api(head.uri.path())) {
            Source::ShortPoll => "short",
            Source::LongPoll => "long",
            Source::Sse => "sse",
            Source::WebSocket => "ws",
            _ => return,
        };
        let is_crowd =
            head.headers.get("user-agent").is_some_and(|agent| agent.as_bytes().starts_with(b"crowd/"));
        let mut served = self.served.lock();
        let key = (technique, head.uri.path().to_owned());
        if !is_crowd && (served.len() < STREAMS_MAX || served.contains_key(&key)) {
            served.insert(key, node.to_owned());
        }
    }
}

/// Counts a connection of a node for as long as it lives.
struct Open<'a> {
    carried: &'a Carried,
    node: String,
}

impl<'a> Open<'a> {
    fn count(carried: &'a Carried, node: String) -> Open<'a> {
        *carried.open.lock().entry(node.clone()).or_default() += 1;
        Open { carried, node }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.carried.open.lock().get_mut(&self.node) {
            *count = count.saturating_sub(1);
        }
    }
}

async fn accept(listener: TcpListener, carried: Arc<Carried>) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors: they come back, and a tight loop would not help.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let carried = carried.clone();
        tokio::spawn(async move {
            // A connection that broke has no client left to tell.
            let _ = carry(stream, &carried).await;
            drop(seat);
        });
    }
}

/// Carries one request to a node, and what comes back.
async fn carry(mut client: TcpStream, carried: &Carried) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut bytes = Vec::with_capacity(2048);
    let Some(end) = timeout(HEAD_TIMEOUT, read_head(&mut client, &mut bytes)).await?? else { return Ok(()) };
    let Some(head) = parsed(&bytes[..end]) else { return Ok(()) };
    let Some((name, mut node)) = carried.connect().await else {
        return client.write_all(NO_NODE).await;
    };
    node.set_nodelay(true)?;
    carried.note(&head, &name);
    let _open = Open::count(carried, name);
    let is_upgrade = head.headers.contains_key("upgrade");
    let sent = if is_upgrade { bytes[..end].to_vec() } else { closing(&bytes[..end]) };
    node.write_all(&sent).await?;
    node.write_all(&bytes[end..]).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_node, mut to_node) = node.split();
    tokio::select! {
        _ = copy(&mut from_client, &mut to_node) => Ok(()),
        carried = copy(&mut from_node, &mut to_client) => {
            carried?;
            to_client.shutdown().await
        }
    }
}

/// Reads until the head of a request is whole. Returns where it ends, or `None` if none came.
async fn read_head(client: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<Option<usize>> {
    loop {
        if let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") {
            return Ok(Some(end + 4));
        }
        if bytes.len() > HEAD_BYTES_MAX || client.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

fn parsed(head: &[u8]) -> Option<request::Parts> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(head).ok().filter(httparse::Status::is_complete)?;
    let mut built = http::Request::builder().method(request.method?).uri(request.path?);
    for field in request.headers.iter() {
        built = built.header(field.name, field.value);
    }
    Some(built.body(()).ok()?.into_parts().0)
}

/// The same head, saying that the connection ends after its answer.
fn closing(head: &[u8]) -> Vec<u8> {
    let mut changed = Vec::with_capacity(head.len() + 24);
    for (number, line) in head[..head.len() - 2].split_inclusive(|byte| *byte == b'\n').enumerate() {
        let is_connection = line.len() > 11 && line[..11].eq_ignore_ascii_case(b"connection:");
        if !is_connection {
            changed.extend_from_slice(line);
        }
        if number == 0 {
            changed.extend_from_slice(b"Connection: close\r\n");
        }
    }
    changed.extend_from_slice(b"\r\n");
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_that_its_connection_ends_and_nothing_else_of_it_changes() {
        let head = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n";
        let changed = closing(head);
        let wanted = "GET /a HTTP/1.1\r\nConnection: close\r\nHost: x\r\nAccept: */*\r\n\r\n";
        assert_eq!(String::from_utf8(changed).expect("text"), wanted);
    }

    #[test]
    fn a_head_is_taken_apart_and_nonsense_is_none() {
        let parts =
            parsed(b"GET /auction/1 HTTP/1.1\r\nAccept: text/event-stream\r\n\r\n").expect("a request");
        assert_eq!((parts.uri.path(), Source::of(&parts, true)), ("/auction/1", Source::Sse));
        assert!(parsed(b"nonsense\r\n\r\n").is_none());
    }
}
