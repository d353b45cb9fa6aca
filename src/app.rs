//! One running pollcast: binds the listeners, starts the loops, and ends them in order.
//!
//! Everything a test needs is here; `main` adds signals and exit codes. Must not know: requests.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

use crate::admin;
use crate::config::{AdminAddress, Auth, Config};
use crate::fanout::{Drain, Fanout, Rules};
use crate::front::{self, Routes, Shared};
use crate::hub::{Attend, Hub};
use crate::identity::Gates;
use crate::memory;
use crate::metrics::Metrics;
use crate::poll::{Relay, Source, Stakes};
use crate::resource::{KeyParts, ResourceKey};
use crate::upgrade::{self, Sockets};
use crate::upstream::Client;

/// How often the drain looks whether anything is left.
const LOOK: Duration = Duration::from_millis(20);

/// How long a process that handed its sockets over stays at least: what it accepted last is on its way through TLS.
const SETTLING: Duration = Duration::from_secs(1);

/// A running application.
pub struct App {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    admin_address: Option<SocketAddr>,
    /// Proxy, relay and admin each have their own threads: none starves another.
    front: Option<Runtime>,
    relay: Option<Runtime>,
    /// Turns true when the listeners are to close.
    close: watch::Sender<bool>,
    /// Turns true when connections without a request are to close.
    close_idle: watch::Sender<bool>,
    /// Turns true when the admin listener is to close.
    close_admin: watch::Sender<bool>,
    /// Changes whenever the files of certificates are to be looked at.
    look: watch::Sender<()>,
    /// Turns true when background work is to end.
    stop: watch::Sender<bool>,
    end: watch::Sender<Drain>,
    /// The listening sockets once more, for a new process; empty if there is no `upgrade`, and from a drain on.
    sockets: Mutex<Arc<Sockets>>,
    /// Resources that are polled without subscribers.
    _always: Vec<crate::hub::Attendance>,
}

/// Starts everything; what it returns is accepting connections.
///
/// # Errors
/// An address that cannot be bound, a certificate or upstream that cannot be used, threads that
/// cannot be started. Says which.
pub fn start(config: Config) -> io::Result<App> {
    start_on(config, Sockets::default())
}

/// The same on the sockets of another process. Addresses that are not among them are bound, sockets whose address is
/// not configured any more are closed.
///
/// # Errors
/// As [`start`].
pub fn start_on(config: Config, mut inherited: Sockets) -> io::Result<App> {
    memory::keep_large_apart();
    let config = Arc::new(config);
    let metrics = Metrics::new().map_err(io::Error::other)?;
    let mut kept = Sockets::default();
    let takes_over = inherited.addresses().next().is_some();
    let mut listen = |address| listen(address, &mut inherited, config.upgrade.is_some().then_some(&mut kept));
    let sockets = config.listeners.iter().map(|listener| listen(listener.address));
    let sockets = sockets.collect::<io::Result<Vec<_>>>()?;
    let admin_socket = match config.admin.as_ref().map(|admin| &admin.address) {
        None => None,
        Some(AdminAddress::Tcp(address)) => Some(admin::Bound::Tcp(listen(*address)?)),
        Some(AdminAddress::Unix(path)) => Some(admin::Bound::Unix(listen_unix(path, takes_over)?)),
    };
    for address in inherited.addresses() {
        tracing::info!(%address, "no longer configured: closed");
    }
    drop(inherited);

    let relay_runtime = runtime("relay", 2)?;
    let front_runtime = runtime("front", config.threads.front)?;
    let rules = Rules {
        stall_timeout: config.limits.stall_timeout,
        pipelined_bytes: config.limits.header_bytes,
        access_log: config.log.access,
    };
    let runtimes = [("front", &front_runtime), ("relay", &relay_runtime)];
    let runtimes = runtimes.map(|(name, runtime)| (name, runtime.handle().clone()));
    metrics.watch_tasks(runtimes.into());
    let fanout = Arc::new(Fanout::start(config.threads.shards, rules, metrics.clone())?);
    let hub = Hub::new(fanout.bells(), config.limits.resources, config.limits.history_bytes);
    let clients = clients(&config)?;
    let sources = clients.iter().map(|(name, client)| (name.clone(), client.clone() as Arc<dyn Source>));
    let stakes = Stakes::new(hub.clone(), &config, metrics.clone(), sources.collect(), fastrand::u64(..));
    let relay = Relay::new(Arc::new(stakes), relay_runtime.handle().clone());

    let (close, closing) = watch::channel(false);
    let (close_idle, closing_idle) = watch::channel(false);
    let (close_admin, closing_admin) = watch::channel(false);
    let (look, looking) = watch::channel(());
    let (stop, stopping) = watch::channel(false);
    let (end, ending) = watch::channel(None);
    for client in clients.values() {
        relay_runtime.spawn(client.clone().watch_servers(stopping.clone()));
        let (stopping, looking) = (stopping.clone(), looking.clone());
        relay_runtime.spawn(client.clone().watch_files(stopping, looking, metrics.clone()));
    }
    let shared = Arc::new(Shared {
        routes: Routes::new(&config).map_err(io::Error::other)?,
        config: config.clone(),
        hub,
        relay,
        fanout,
        metrics,
        gates: Gates::new(&config, &clients),
        subjects: front::Subjects::default(),
        checks: front::Checks::new(config.limits.clients),
        clients,
        draining: AtomicBool::new(false),
        ending,
        active: AtomicUsize::new(0),
        connections: Arc::default(),
        soothed: AtomicUsize::new(0),
        descriptors: front::Descriptors::of_process(),
        progress: Default::default(),
        newcomers: config.limits.new_resources_per_address.map(front::Newcomers::new),
        turnstile: config.limits.accept_rate.map(|rate| front::Turnstile::new(rate, Instant::now())),
        vary: front::VaryMemory::new(config.limits.resources),
        origins: Default::default(),
        slow_304: front::Holds::new(),
        novelties: front::Novelties::new(config.routes.len()),
        repeats: front::Repeats::default(),
        alike: front::Alike::default(),
        doubts: front::Doubts::default(),
    });
    {
        let _entered = relay_runtime.enter();
        shared.gates.keep();
    }
    let fanout = shared.fanout.clone();
    relay_runtime.spawn(memory::give_back_after_storms(move || fanout.arrivals()));
    let mut addresses = Vec::new();
    for (listener, socket) in config.listeners.iter().zip(sockets) {
        addresses.push(socket.local_addr()?);
        let runtime = front_runtime.handle().clone();
        let (close, close_idle) = (closing.clone(), closing_idle.clone());
        let watches = front::Watches { close, close_idle, look: looking.clone() };
        let service = front::service(shared.clone(), listener, socket, runtime, watches);
        let service = service.map_err(io::Error::other)?;
        front_runtime.spawn(service.run());
    }
    let admin_address = match &admin_socket {
        Some(admin::Bound::Tcp(socket)) => Some(socket.local_addr()?),
        _ => None,
    };
    if let Some(socket) = admin_socket {
        let _entered = relay_runtime.enter();
        admin::serve(desk(&shared), socket, closing_admin)?;
    }
    let always = always(&shared);
    Ok(App {
        shared,
        addresses,
        admin_address,
        front: Some(front_runtime),
        relay: Some(relay_runtime),
        close,
        close_idle,
        close_admin,
        look,
        stop,
        end,
        sockets: Mutex::new(Arc::new(kept)),
        _always: always,
    })
}

impl App {
    /// The addresses of the listeners, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// None, too, if it is a Unix socket.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Looks at the files of certificates now. What is new there is used from the next handshake on; what cannot
    /// be used is told in the log, and the old ones stay.
    pub fn reload(&self) {
        self.look.send_replace(());
    }

    /// Drains (contract §12): not ready at once, listeners for `drain.delay` more, then the ends
    /// of all streams spread over `drain.window`. Returns as soon as nothing is left.
    pub async fn drain(&self) {
        self.announce();
        // In full, even if no client is connected: until load balancers notice, clients still come.
        tokio::time::sleep(self.shared.config.drain.delay).await;
        self.close_idle.send_replace(true);
        self.end_all(None, || self.is_empty()).await;
    }

    /// Hands the listening sockets to a new process; returns when that accepts connections. Then this one is to
    /// [`retire`](App::retire).
    ///
    /// # Errors
    /// No process took them and accepted in time: this one serves on as before.
    pub async fn hand_over(&self) -> Result<(), upgrade::Failure> {
        let upgrade = self.shared.config.upgrade.clone().ok_or(upgrade::Failure::Unset)?;
        let sockets = self.sockets.lock().clone();
        let (tell, told) = oneshot::channel();
        // A thread of its own: Pingora's helper sleeps, and the end of a runtime would wait for it.
        let hand_over = move || drop(tell.send(upgrade::hand_over(&upgrade, &sockets)));
        std::thread::Builder::new().name("upgrade".into()).spawn(hand_over)?;
        let broken =
            |_| Err(upgrade::Failure::Successor("was not reached: the hand-over broke off".to_owned()));
        told.await.unwrap_or_else(broken)
    }

    /// Drains after a hand-over: no new connections, as the new process has them, and no delay. Connections without a
    /// request have the whole window to bring their next one, whose answer closes them: no client meets a closed door.
    pub async fn retire(&self) {
        self.announce();
        self.close_admin.send_replace(true);
        let left = || self.shared.connections.load(Ordering::SeqCst);
        self.end_all(Some(SETTLING), || self.is_empty() && left() == 0).await;
    }

    /// From now on it is not ready, and answers close their connections.
    fn announce(&self) {
        *self.sockets.lock() = Arc::default();
        self.shared.draining.store(true, Ordering::SeqCst);
        tracing::info!(clients = self.shared.fanout.clients(), "draining");
    }

    /// Closes the listeners and spreads the ends of the streams; waits for `is_over`. `settling`: no less than this,
    /// and connections without a request come last.
    async fn end_all(&self, settling: Option<Duration>, is_over: impl Fn() -> bool) {
        let drain = &self.shared.config.drain;
        self.close.send_replace(true);
        self.end.send_replace(Some((drain.window, drain.retry)));
        self.shared.fanout.drain(drain.window, drain.retry, settling.is_some());
        let settling = settling.unwrap_or_default();
        // Closed connections have a second to close their side.
        let (began, longest) = (Instant::now(), drain.window + Duration::from_secs(2));
        while began.elapsed() < longest && (began.elapsed() < settling || !is_over()) {
            if began.elapsed() >= drain.window.max(settling) {
                self.close_idle.send_replace(true);
            }
            tokio::time::sleep(LOOK).await;
        }
        let left = self.shared.fanout.clients() + self.shared.active.load(Ordering::SeqCst);
        tracing::info!(left, "drained");
    }

    /// Nothing is served any more.
    fn is_empty(&self) -> bool {
        self.shared.fanout.clients() == 0 && self.shared.active.load(Ordering::SeqCst) == 0
    }

    /// Ends at once; streams get their proper end if their socket takes it.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        for end in [&self.close, &self.close_idle, &self.close_admin] {
            end.send_replace(true);
        }
        self.shared.fanout.stop();
        self.stop.send_replace(true);
        for runtime in [self.front.take(), self.relay.take()].into_iter().flatten() {
            // On a thread of its own: a runtime cannot be ended from inside another one, where
            // tests live. The wait is bounded, so is the join.
            let ending = std::thread::spawn(move || runtime.shutdown_timeout(Duration::from_millis(200)));
            let _ = ending.join();
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if self.front.is_some() {
            self.halt();
        }
    }
}

/// What the admin listener shows of this application.
fn desk(shared: &Arc<Shared>) -> admin::Desk {
    let (state, writes, ends) = (shared.clone(), shared.clone(), shared.clone());
    let admin = shared.config.admin.as_ref();
    // No browser connects to the other kind.
    let is_tcp = |address: &AdminAddress| matches!(address, AdminAddress::Tcp(_));
    admin::Desk {
        hub: shared.hub.clone(),
        metrics: shared.metrics.clone(),
        token: admin.and_then(|admin| admin.token.clone()),
        hosts: admin.map(|admin| admin.hosts.clone()).unwrap_or_default(),
        is_tcp: admin.is_some_and(|admin| is_tcp(&admin.address)),
        is_draining: Box::new(move || state.is_draining()),
        poll_now: Box::new(move |url| front::poll_now(&writes, url)),
        end_subject: Box::new(move |call| front::end_subject(&ends, call)),
    }
}

fn runtime(name: &'static str, threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads.max(1)).thread_name(name).enable_all().build()
}

/// The socket of an address: another process's, or a new one. Kept once more if there is to be a next process.
fn listen(
    address: SocketAddr,
    inherited: &mut Sockets,
    kept: Option<&mut Sockets>,
) -> io::Result<TcpListener> {
    let bad = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"));
    let socket = match inherited.take(address) {
        Some(socket) => socket,
        None => bound(address).map_err(bad)?,
    };
    if let Some(kept) = kept {
        kept.keep(address, &socket).map_err(bad)?;
    }
    Ok(socket)
}

fn listen_unix(path: &Path, takes_over: bool) -> io::Result<UnixListener> {
    let bad = |error: io::Error| {
        io::Error::new(error.kind(), format!("admin: cannot listen on {}: {error}", path.display()))
    };
    admin::unix(path, takes_over).map_err(bad)
}

/// Connections that may wait to be accepted: in a storm thousands come at once, and those that find no
/// room try again after a whole second. The system has a limit of its own (net.core.somaxconn).
const BACKLOG: i32 = 8192;

fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn clients(config: &Config) -> io::Result<HashMap<String, Arc<Client>>> {
    let client = |upstream: &Arc<crate::config::Upstream>| {
        let client = Client::new(upstream.clone())
            .map_err(|error| io::Error::other(format!("upstreams.{}: {error}", upstream.name)))?;
        Ok((upstream.name.clone(), client))
    };
    let gates = Gates::servers(config);
    config.upstreams.iter().chain(token_servers(config)).chain(&gates).map(client).collect()
}

/// The servers that give tokens for polls. They have names of their own.
fn token_servers(config: &Config) -> impl Iterator<Item = &Arc<crate::config::Upstream>> {
    config.routes.iter().filter_map(|route| match &route.poll.auth {
        Some(Auth::ClientCredentials(credentials)) => Some(&credentials.server),
        _ => None,
    })
}

/// Attends to the resources of `always` routes for as long as the application runs.
fn always(shared: &Arc<Shared>) -> Vec<crate::hub::Attendance> {
    let routes = shared.config.routes.iter().filter(|route| route.poll.always);
    let attend = |route: &Arc<crate::config::Route>| {
        let key = ResourceKey::new(KeyParts {
            route: route.index,
            proto: if shared.config.listeners.iter().any(|l| l.tls.is_none()) { "http" } else { "https" },
            host: None,
            path: route.path.clone(),
            query: None,
            class: Vec::new(),
            vary: Vec::new(),
        });
        let start = |publisher| drop(shared.relay.start(publisher));
        shared.hub.attend(&key, route, Attend::Visit, start).ok()
    };
    routes.filter_map(attend).collect()
}
