//! The legacy API: a real HTTP/1.1 server that answers as it was told and records what it was asked.
//!
//! HTTP is spoken by hand (in `serving`) so that it can misbehave. It runs on threads of its own: a
//! test that blocks its thread does not stop it. Must not know: pollcast.

use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::memory::{Answer, Flight, Script, Shared, State, is_named, path_of};
use super::ports::unused_address;
pub use super::reply::{Feed, Gate, Reply, Takings};
use super::serving::connection;
use super::tls::{Authority, Identity};
use super::wire::{Fields, GUARD, Wire, field};

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
    pub(super) _flight: Flight,
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

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("legacy").enable_all().build().expect("a runtime")
    })
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

    /// The same; clients have to show a certificate of this authority.
    pub fn start_asking(identity: &Identity, authority: &Authority) -> Legacy {
        Legacy::start_with(Some(identity.acceptor_asking(Some(authority))))
    }

    fn start_with(tls: Option<TlsAcceptor>) -> Legacy {
        let shared = Shared { state: Mutex::default(), changed: watch::Sender::new(()) };
        // It may listen again after a stop: no connection of another test takes this port meanwhile.
        let socket = bound(unused_address());
        let address = socket.local_addr().ok().and_then(|a| a.as_socket()).expect("a bound socket's address");
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
        self.script(path, |script| script.current = Some(Answer::Computed(Arc::new(answer))));
    }

    pub fn on_expect(&self, path: &str, expectation: Expectation) {
        self.shared.state.lock().expectations.insert(path.to_owned(), expectation);
    }

    fn script(&self, path: &str, edit: impl FnOnce(&mut Script)) {
        edit(self.shared.state.lock().scripts.entry(path.to_owned()).or_default());
    }

    /// Complete requests of `path` so far.
    pub fn count(&self, path: &str) -> usize {
        self.shared.state.lock().count(path)
    }

    pub fn seen(&self, path: &str) -> Vec<Seen> {
        let state = self.shared.state.lock();
        state.seen.iter().filter(|s| is_named(path, &s.target)).cloned().collect()
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
        self.wait(&format!("{n} requests of {path}"), |state| state.count(path) >= n).await;
    }

    /// Waits until `n` requests of `path` (without query) are being answered at once.
    pub async fn wait_in_flight(&self, path: &str, n: usize) {
        self.wait(&format!("{n} requests of {path} in flight"), |state| state.in_flight(path).0 == n).await;
    }

    /// Waits until a request fulfils `wanted`, and returns the first that does.
    pub async fn wait_seen(&self, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        self.wait(what, |state| state.seen.iter().any(&wanted)).await;
        let state = self.shared.state.lock();
        state.seen.iter().find(|s| wanted(s)).cloned().expect("it was just there")
    }

    async fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let mut changes = self.shared.changed.subscribe();
        let waiting = async {
            while !done(&self.shared.state.lock()) {
                changes.changed().await.expect("the sender lives in self");
            }
        };
        if tokio::time::timeout(GUARD, waiting).await.is_err() {
            let seen: Vec<String> =
                self.all_seen().iter().map(|s| format!("{} {}", s.method, s.target)).collect();
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
    socket.bind(&address.into()).unwrap_or_else(|e| panic!("cannot bind {address}: {e}"));
    socket
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
    // Nothing listens from here on, whatever copy of the socket a process has that another thread starts just now.
    SockRef::from(&listener).shutdown(Shutdown::Both).expect("a listening socket");
    drop(listener);
    connections.shutdown().await;
}
