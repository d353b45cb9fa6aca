//! The legacy API: a real HTTP/1.1 server that answers as it was told and records what it was asked.
//!
//! HTTP is parsed by hand so that it can misbehave. It runs on threads of its own: a test that blocks
//! its thread does not stop it. Must not know: pollcast.

use std::collections::{HashMap, VecDeque};
use std::io::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::frames::{CLOSE, Frame, PING, PONG};
use super::reply::{End, Framing, Kind, Piece};
pub use super::reply::{Feed, Gate, Reply, Takings};
use super::tls::Identity;
use super::wire::{Fields, GUARD, Wire, field, names_token, parse_request};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// The minor version: 1 is HTTP/1.1.
    pub version: u8,
    /// In the order and case of the wire.
    pub headers: Fields,
    /// The head byte for byte, its empty line included.
    pub head: Bytes,
    /// Decoded; empty for connections that the test takes over.
    pub body: Bytes,
    /// When the head was complete.
    pub at: Instant,
    /// Counts the connections of this legacy API from 1.
    pub connection: u64,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        field(&self.headers, name)
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        same.map(|(_, v)| v.as_str()).collect()
    }

    pub fn path(&self) -> &str {
        path_of(&self.target)
    }
}

/// A connection that the test drives from here on; counts as in flight until dropped.
pub struct Taken {
    pub seen: Seen,
    pub wire: Wire,
    _flight: Flight,
}

/// What to do with `Expect: 100-continue`.
#[derive(Clone)]
pub enum Expectation {
    /// 100 Continue, then the body is read (the default).
    Continue,
    /// Neither answered nor refused: the body is awaited in silence.
    Ignore,
    /// The final answer comes at once and the connection ends.
    Refuse(Reply),
}

pub struct Legacy {
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    listening: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    /// Keeps the port while stopped: bound, not listening.
    reserved: Mutex<Option<Socket>>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    scripts: HashMap<String, Script>,
    expectations: HashMap<String, Expectation>,
    seen: Vec<Seen>,
    /// Now and at most, per path.
    in_flight: HashMap<String, (usize, usize)>,
    connections: u64,
    malformed: usize,
}

#[derive(Default)]
struct Script {
    once: VecDeque<Reply>,
    current: Option<Answer>,
}

#[derive(Clone)]
enum Answer {
    Fixed(Reply),
    Computed(Arc<dyn Fn(&Seen) -> Reply + Send + Sync>),
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(2)
            .thread_name("legacy")
            .enable_all()
            .build()
            .expect("a runtime")
    })
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// A name with a query means that very target; without, the path with any query.
fn is_named(name: &str, target: &str) -> bool {
    name == target || (!name.contains('?') && name == path_of(target))
}

impl Legacy {
    /// Listens on a free port of 127.0.0.1; every path is 404 until it is set.
    pub fn start() -> Legacy {
        Legacy::start_with(None)
    }

    /// The same with TLS.
    pub fn start_tls(identity: &Identity) -> Legacy {
        Legacy::start_with(Some(identity.acceptor()))
    }

    fn start_with(tls: Option<TlsAcceptor>) -> Legacy {
        let shared = Shared {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        };
        let socket = bound((Ipv4Addr::LOCALHOST, 0).into());
        let address = socket
            .local_addr()
            .ok()
            .and_then(|a| a.as_socket())
            .expect("a bound socket's address");
        let legacy = Legacy {
            shared: Arc::new(shared),
            address,
            tls,
            listening: Mutex::new(None),
            reserved: Mutex::new(Some(socket)),
        };
        legacy.start_again();
        legacy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on `path` is answered like this; a path with a query means that very query.
    pub fn set(&self, path: &str, reply: Reply) {
        self.script(path, |script| script.current = Some(Answer::Fixed(reply)));
    }

    /// The next request of `path` that has no earlier one-shot reply is answered like this, once.
    pub fn once(&self, path: &str, reply: Reply) {
        self.script(path, |script| script.once.push_back(reply));
    }

    /// From now on `answer` decides what `path` gets.
    pub fn answer_with(&self, path: &str, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
        self.script(path, |script| {
            script.current = Some(Answer::Computed(Arc::new(answer)))
        });
    }

    pub fn on_expect(&self, path: &str, expectation: Expectation) {
        self.shared
            .state
            .lock()
            .expectations
            .insert(path.to_owned(), expectation);
    }

    fn script(&self, path: &str, edit: impl FnOnce(&mut Script)) {
        edit(
            self.shared
                .state
                .lock()
                .scripts
                .entry(path.to_owned())
                .or_default(),
        );
    }

    /// Complete requests of `path` so far.
    pub fn count(&self, path: &str) -> usize {
        self.shared.state.lock().count(path)
    }

    pub fn seen(&self, path: &str) -> Vec<Seen> {
        let state = self.shared.state.lock();
        state
            .seen
            .iter()
            .filter(|s| is_named(path, &s.target))
            .cloned()
            .collect()
    }

    pub fn all_seen(&self) -> Vec<Seen> {
        self.shared.state.lock().seen.clone()
    }

    /// Forgets the requests so far; counts start at zero again.
    pub fn forget(&self) {
        self.shared.state.lock().seen.clear();
    }

    /// Waits until `path` was asked at least `n` times.
    pub async fn wait_count(&self, path: &str, n: usize) {
        self.wait(&format!("{n} requests of {path}"), |state| state.count(path) >= n)
            .await;
    }

    /// Waits until `n` requests of `path` (without query) are being answered at once.
    pub async fn wait_in_flight(&self, path: &str, n: usize) {
        self.wait(&format!("{n} requests of {path} in flight"), |state| {
            state.in_flight(path).0 == n
        })
        .await;
    }

    /// Waits until a request fulfils `wanted`, and returns the first that does.
    pub async fn wait_seen(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        self.wait(what, |state| state.seen.iter().any(&wanted)).await;
        let state = self.shared.state.lock();
        state
            .seen
            .iter()
            .find(|s| wanted(s))
            .cloned()
            .expect("it was just there")
    }

    async fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let mut changes = self.shared.changed.subscribe();
        let waiting = async {
            while !done(&self.shared.state.lock()) {
                changes.changed().await.expect("the sender lives in self");
            }
        };
        if tokio::time::timeout(GUARD, waiting).await.is_err() {
            let seen: Vec<String> = self
                .all_seen()
                .iter()
                .map(|s| format!("{} {}", s.method, s.target))
                .collect();
            panic!("waited {GUARD:?} in vain for {what}; the legacy API has seen {seen:?}");
        }
    }

    /// Requests of `path` (without query) that are being answered now.
    pub fn in_flight(&self, path: &str) -> usize {
        self.shared.state.lock().in_flight(path).0
    }

    /// The most requests of `path` (without query) that were being answered at once.
    pub fn max_in_flight(&self, path: &str) -> usize {
        self.shared.state.lock().in_flight(path).1
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.state.lock().connections
    }

    /// Requests that were not HTTP/1 (each was answered 400).
    pub fn malformed(&self) -> usize {
        self.shared.state.lock().malformed
    }

    /// Stops listening and cuts every connection (those taken by the test excepted). New ones are
    /// refused; the port stays ours.
    pub async fn stop(&self) {
        let Some((stop, stopped)) = self.listening.lock().take() else {
            return;
        };
        drop(stop);
        stopped.await.expect("the accept loop does not panic");
        *self.reserved.lock() = Some(bound(self.address));
    }

    /// Listens again on the same port; scripts and records are kept.
    pub fn start_again(&self) {
        let Some(socket) = self.reserved.lock().take() else {
            return;
        };
        socket.listen(1024).expect("a bound socket can listen");
        let _inside = runtime().enter();
        let listener = TcpListener::from_std(socket.into()).expect("a non-blocking listener");
        let (stop, stopped) = oneshot::channel();
        let task = runtime().spawn(accept(self.shared.clone(), listener, self.tls.clone(), stopped));
        *self.listening.lock() = Some((stop, task));
    }
}

fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.set_nonblocking(true).expect("a non-blocking socket");
    socket
        .bind(&address.into())
        .unwrap_or_else(|e| panic!("cannot bind {address}: {e}"));
    socket
}

impl State {
    fn count(&self, path: &str) -> usize {
        self.seen.iter().filter(|s| is_named(path, &s.target)).count()
    }

    fn in_flight(&self, path: &str) -> (usize, usize) {
        self.in_flight.get(path).copied().unwrap_or_default()
    }

    /// The very target first, then its path, then `*`.
    fn script(&mut self, target: &str) -> Option<&mut Script> {
        let has_answer = |name: &&str| {
            self.scripts
                .get(*name)
                .is_some_and(|s| s.current.is_some() || !s.once.is_empty())
        };
        let name = [target, path_of(target), "*"].into_iter().find(has_answer)?;
        self.scripts.get_mut(name)
    }

    fn answer(&mut self, target: &str) -> Answer {
        let missing = || Answer::Fixed(Reply::text(format!("nothing is set for {target}\n")).status(404));
        let Some(script) = self.script(target) else {
            return missing();
        };
        match script.once.pop_front() {
            Some(reply) => Answer::Fixed(reply),
            None => script.current.clone().unwrap_or_else(missing),
        }
    }

    /// Whether the next answer wants the connection with the body unread.
    fn takes_connection(&mut self, target: &str) -> bool {
        let Some(script) = self.script(target) else {
            return false;
        };
        let next = script.once.front().or(match &script.current {
            Some(Answer::Fixed(reply)) => Some(reply),
            _ => None,
        });
        next.is_some_and(|reply| matches!(reply.kind, Kind::Take { .. } | Kind::WebSocketEcho))
    }

    fn expectation(&self, target: &str) -> Expectation {
        let named = self
            .expectations
            .get(target)
            .or_else(|| self.expectations.get(path_of(target)));
        named.cloned().unwrap_or(Expectation::Continue)
    }
}

impl Shared {
    fn change<T>(&self, edit: impl FnOnce(&mut State) -> T) -> T {
        let result = edit(&mut self.state.lock());
        self.changed.send_replace(());
        result
    }
}

/// A request being answered, from its head to the end of its answer.
struct Flight {
    shared: Arc<Shared>,
    path: String,
}

impl Flight {
    fn begin(shared: &Arc<Shared>, target: &str) -> Flight {
        let path = path_of(target).to_owned();
        shared.change(|state| {
            let (now, most) = state.in_flight.entry(path.clone()).or_default();
            *now += 1;
            *most = (*most).max(*now);
        });
        Flight {
            shared: shared.clone(),
            path,
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.shared.change(|state| {
            if let Some((now, _)) = state.in_flight.get_mut(&self.path) {
                *now -= 1;
            }
        });
    }
}

async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    mut stop: oneshot::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            _ = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let number = shared.change(|state| {
                    state.connections += 1;
                    state.connections
                });
                connections.spawn(connection(shared.clone(), stream, tls.clone(), number));
            }
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, tls: Option<TlsAcceptor>, number: u64) {
    let _ = stream.set_nodelay(true);
    // A second handle of the socket: SO_LINGER must be reachable below TLS.
    let Ok(socket) = SockRef::from(&stream).try_clone() else {
        return;
    };
    let wire = match tls {
        None => Wire::over(stream),
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => Wire::over(stream),
            Err(_) => return,
        },
    };
    let serving = Serving { shared, wire, number };
    // A client that leaves or lies ends its connection; what it sent before is on record.
    if let Ok(Ending::Reset) = serving.run().await {
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

/// How a connection ends.
enum Ending {
    Close,
    Reset,
}

/// What follows an answer.
enum Next {
    Request,
    Finish,
    Reset,
    /// The client left while it was being answered.
    Gone,
}

/// One connection of the legacy API.
struct Serving {
    shared: Arc<Shared>,
    wire: Wire,
    number: u64,
}

impl Serving {
    async fn run(mut self) -> Result<Ending> {
        while let Some(head) = self.wire.head().await? {
            let at = Instant::now();
            let Ok((method, target, version, headers)) = parse_request(&head) else {
                self.shared.change(|state| state.malformed += 1);
                self.wire
                    .write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                    .await?;
                return Ok(Ending::Close);
            };
            let connection = self.number;
            let mut seen = Seen {
                method,
                target,
                version,
                headers,
                head,
                body: Bytes::new(),
                at,
                connection,
            };
            let flight = Flight::begin(&self.shared, &seen.target);
            let taken = self.shared.state.lock().takes_connection(&seen.target);
            if !taken {
                if let Some(refusal) = self.expect(&seen).await? {
                    self.record(&seen);
                    self.perform(&refusal, &seen).await?;
                    return Ok(Ending::Close);
                }
                seen.body = self.body(&seen).await?;
            }
            self.record(&seen);
            let answer = self.shared.state.lock().answer(&seen.target);
            let reply = match answer {
                Answer::Fixed(reply) => reply,
                Answer::Computed(answer) => answer(&seen),
            };
            if let Kind::Take { handshake, to } = &reply.kind {
                if *handshake {
                    self.accept_websocket(&reply, &seen).await?;
                }
                let _ = to.send(Taken {
                    seen,
                    wire: self.wire,
                    _flight: flight,
                });
                return Ok(Ending::Close);
            }
            match self.perform(&reply, &seen).await? {
                Next::Request if keeps_alive(&seen, &reply) => drop(flight),
                Next::Request | Next::Finish => {
                    self.wire.finish().await?;
                    return Ok(Ending::Close);
                }
                Next::Gone => return Ok(Ending::Close),
                Next::Reset => return Ok(Ending::Reset),
            }
        }
        Ok(Ending::Close)
    }

    fn record(&self, seen: &Seen) {
        self.shared.change(|state| state.seen.push(seen.clone()));
    }

    async fn expect(&mut self, seen: &Seen) -> Result<Option<Reply>> {
        if !names_token(&seen.headers, "expect", "100-continue") {
            return Ok(None);
        }
        let expectation = self.shared.state.lock().expectation(&seen.target);
        match expectation {
            Expectation::Continue => self.wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?,
            Expectation::Ignore => {}
            Expectation::Refuse(reply) => return Ok(Some(reply.header("connection", "close"))),
        }
        Ok(None)
    }

    async fn body(&mut self, seen: &Seen) -> Result<Bytes> {
        if names_token(&seen.headers, "transfer-encoding", "chunked") {
            let mut body = BytesMut::new();
            while let Some(chunk) = self.wire.chunk().await? {
                body.extend_from_slice(&chunk);
            }
            return Ok(body.freeze());
        }
        let length = seen.header("content-length").and_then(|v| v.trim().parse().ok());
        self.wire.exactly(length.unwrap_or(0)).await
    }

    async fn perform(&mut self, reply: &Reply, seen: &Seen) -> Result<Next> {
        let start = async {
            tokio::time::sleep(reply.delay).await;
            if let Some(gate) = &reply.gate {
                gate.opened().await;
            }
        };
        if unless_gone(&mut self.wire, start).await.is_none() {
            return Ok(Next::Gone);
        }
        match &reply.kind {
            Kind::Silence => Ok(self.hang().await),
            Kind::Reset => Ok(Next::Reset),
            Kind::Close => Ok(Next::Finish),
            Kind::Raw(bytes) => self.wire.write(bytes).await.map(|()| Next::Finish),
            Kind::WebSocketEcho => {
                self.accept_websocket(reply, seen).await?;
                self.echo().await
            }
            Kind::Stream(feed) => {
                let taken = feed.lock().take();
                let Some(feed) = taken else {
                    let busy = Reply::text("this stream has had its one reader\n").status(503);
                    return self.message(&busy, seen).await;
                };
                self.stream(reply, feed, seen).await
            }
            Kind::Take { .. } => panic!("a computed answer cannot take the connection over: use `set`"),
            Kind::Message => self.message(reply, seen).await,
        }
    }

    async fn message(&mut self, reply: &Reply, seen: &Seen) -> Result<Next> {
        if reply.answers_validators && is_not_modified(reply, seen) {
            self.wire.write(&not_modified(reply)).await?;
            return Ok(Next::Request);
        }
        self.wire
            .write(&head_of(reply, seen, Some(reply.body.len())))
            .await?;
        let bodiless = seen.method == "HEAD" || matches!(reply.status, 204 | 304);
        if !bodiless {
            let limit = match reply.end {
                End::Proper => reply.body.len(),
                End::CutAfter(n) | End::HangAfter(n) | End::ResetAfter(n) => n.min(reply.body.len()),
            };
            let framing = framing_for(reply, seen);
            let (piece_bytes, pause) = reply.drip.unwrap_or((limit.max(1), Duration::ZERO));
            for piece in reply.body[..limit].chunks(piece_bytes) {
                self.wire.write(&framed(piece, framing)).await?;
                let pause = tokio::time::sleep(pause);
                if reply.drip.is_some() && unless_gone(&mut self.wire, pause).await.is_none() {
                    return Ok(Next::Gone);
                }
            }
            match reply.end {
                End::Proper if framing == Framing::Chunked => self.wire.write(b"0\r\n\r\n").await?,
                End::Proper => {}
                End::CutAfter(_) => return Ok(Next::Finish),
                End::HangAfter(_) => return Ok(self.hang().await),
                End::ResetAfter(_) => return Ok(Next::Reset),
            }
        }
        Ok(Next::Request)
    }

    async fn stream(&mut self, reply: &Reply, mut feed: mpsc::Receiver<Piece>, seen: &Seen) -> Result<Next> {
        self.wire.write(&head_of(reply, seen, None)).await?;
        let framing = framing_for(reply, seen);
        loop {
            match unless_gone(&mut self.wire, feed.recv()).await {
                None => return Ok(Next::Gone),
                Some(Some(Piece::Data(data))) => self.wire.write(&framed(&data, framing)).await?,
                Some(Some(Piece::Cut)) => return Ok(Next::Finish),
                Some(None) if framing == Framing::Chunked => {
                    self.wire.write(b"0\r\n\r\n").await?;
                    return Ok(Next::Request);
                }
                Some(None) => return Ok(Next::Finish),
            }
        }
    }

    async fn hang(&mut self) -> Next {
        let for_ever = std::future::pending::<()>();
        let _ = unless_gone(&mut self.wire, for_ever).await;
        Next::Gone
    }

    async fn accept_websocket(&mut self, reply: &Reply, seen: &Seen) -> Result<()> {
        let key = seen.header("sec-websocket-key").unwrap_or_default();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let mut head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n"
        );
        for (name, value) in &reply.fields {
            head += &format!("{name}: {value}\r\n");
        }
        self.wire.write((head + "\r\n").as_bytes()).await
    }

    async fn echo(&mut self) -> Result<Next> {
        loop {
            while let Some((frame, len)) = Frame::parse(&self.wire.buffer).map_err(std::io::Error::other)? {
                let _ = self.wire.buffer.split_to(len);
                let opcode = if frame.opcode == PING { PONG } else { frame.opcode };
                self.wire
                    .write(
                        &Frame {
                            opcode,
                            masked: false,
                            ..frame
                        }
                        .encode(None),
                    )
                    .await?;
                if opcode == CLOSE {
                    return Ok(Next::Finish);
                }
            }
            if self.wire.fill().await? == 0 {
                return Ok(Next::Gone);
            }
        }
    }
}

/// `None` if the client leaves before `event`. Bytes that it sends meanwhile stay buffered.
async fn unless_gone<T>(wire: &mut Wire, event: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(event);
    loop {
        tokio::select! {
            biased;
            value = &mut event => return Some(value),
            read = wire.fill() => {
                if matches!(read, Ok(0) | Err(_)) {
                    return None;
                }
            }
        }
    }
}

fn keeps_alive(seen: &Seen, reply: &Reply) -> bool {
    let wanted = match seen.version {
        0 => names_token(&seen.headers, "connection", "keep-alive"),
        _ => !names_token(&seen.headers, "connection", "close"),
    };
    wanted && framing_for(reply, seen) != Framing::Close && !names_token(&reply.fields, "connection", "close")
}

/// HTTP/1.0 knows no chunks.
fn framing_for(reply: &Reply, seen: &Seen) -> Framing {
    match reply.framing {
        Framing::Chunked if seen.version == 0 => Framing::Close,
        framing => framing,
    }
}

fn framed(piece: &[u8], framing: Framing) -> Vec<u8> {
    if framing != Framing::Chunked {
        return piece.to_vec();
    }
    let mut bytes = format!("{:x}\r\n", piece.len()).into_bytes();
    bytes.extend_from_slice(piece);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn is_not_modified(reply: &Reply, seen: &Seen) -> bool {
    if reply.status != 200 || !matches!(seen.method.as_str(), "GET" | "HEAD") {
        return false;
    }
    if let Some(asked) = seen.header("if-none-match") {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = field(&reply.fields, "etag").map(opaque);
        return own.is_some_and(|own| asked.split(',').any(|t| t.trim() == "*" || opaque(t) == own));
    }
    let asked = seen.header("if-modified-since");
    asked.is_some() && asked == field(&reply.fields, "last-modified")
}

fn not_modified(reply: &Reply) -> Vec<u8> {
    let kept = reply
        .fields
        .iter()
        .filter(|(n, _)| !n.to_ascii_lowercase().starts_with("content-"));
    let lines: String = kept.map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    format!("HTTP/1.1 304 Not Modified\r\n{lines}\r\n").into_bytes()
}

fn head_of(reply: &Reply, seen: &Seen, length: Option<usize>) -> Vec<u8> {
    let mut head = String::new();
    for (status, fields) in &reply.interim {
        head += &status_line(*status);
        fields.iter().for_each(|(n, v)| head += &format!("{n}: {v}\r\n"));
        head += "\r\n";
    }
    head += &status_line(reply.status);
    reply
        .fields
        .iter()
        .for_each(|(n, v)| head += &format!("{n}: {v}\r\n"));
    match (framing_for(reply, seen), length) {
        (Framing::Length, Some(_)) if reply.status == 204 => {}
        (Framing::Length, Some(length)) => head += &format!("Content-Length: {length}\r\n"),
        (Framing::Chunked, _) => head += "Transfer-Encoding: chunked\r\n",
        _ => head += "Connection: close\r\n",
    }
    // Values are one char a byte (see `Fields`).
    (head + "\r\n")
        .chars()
        .map(|c| u8::try_from(c).unwrap_or(b'?'))
        .collect()
}

fn status_line(status: u16) -> String {
    let known = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason());
    format!("HTTP/1.1 {status} {}\r\n", known.unwrap_or("Unknown"))
}
