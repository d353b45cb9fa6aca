//! One running pollcast: binds the listeners, starts the loops, and ends them in order.
//!
//! Everything a test needs is here; `main` adds signals and exit codes. Must not know: requests.

mod always;
mod bind;
mod cluster;
mod config_watch;
mod explain;
mod generation;
mod operators;
#[cfg(feature = "otlp")]
mod otlp;
mod reload;
mod reload_report;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

use bind::Bound;
use cluster::Cluster;
pub use explain::explain;
use reload::Reloader;
pub use reload::{ApplyLog, ConfigFile, Source};
pub use reload_report::Report;

use crate::access_log;
use crate::admin;
use crate::config::Config;
use crate::fanout::Drain;
use crate::front::{self, Shared};
use crate::identity::Gates;
use crate::memory;
use crate::metrics::Metrics;
use crate::upgrade::{self, Sockets};

/// How often the drain looks whether anything is left.
const DRAIN_LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long a process that handed its sockets over stays at least: what it accepted last is on its way through TLS.
const SETTLING_TIME_MIN: Duration = Duration::from_secs(1);

/// A running application.
pub struct App {
    reloader: Arc<Reloader>,
    addresses: Vec<SocketAddr>,
    admin_address: Option<SocketAddr>,
    /// Proxy, relay and admin each have their own threads: none starves another.
    front: Option<Runtime>,
    relay: Option<Runtime>,
    admin: Option<Runtime>,
    cluster: Arc<Cluster>,
    controls: Controls,
    /// The listening sockets once more, for a new process; empty if there is no `upgrade`, and from a drain on.
    sockets: Mutex<Arc<Sockets>>,
}

/// The controls by which the parts of an application are told to end, or to look at their files.
struct Controls {
    /// Turns true when the listeners are to close.
    close: watch::Sender<bool>,
    /// Turns true when connections without a request are to close.
    close_idle: watch::Sender<bool>,
    /// Turns true when the admin listener is to close.
    close_admin: watch::Sender<bool>,
    /// Changes whenever the files of certificates are to be looked at.
    look: watch::Sender<()>,
    /// Turns true when an operator wants the process to drain.
    drain: watch::Sender<bool>,
    /// Holds the window and the reconnect delays of a drain, once it has begun.
    end: watch::Sender<Drain>,
}

impl Controls {
    fn new() -> Controls {
        Controls {
            close: watch::Sender::new(false),
            close_idle: watch::Sender::new(false),
            close_admin: watch::Sender::new(false),
            look: watch::Sender::new(()),
            drain: watch::Sender::new(false),
            end: watch::Sender::new(None),
        }
    }

    /// Returns what a listener watches.
    fn watches(&self) -> front::Watches {
        front::Watches {
            close: self.close.subscribe(),
            close_idle: self.close_idle.subscribe(),
            look: self.look.subscribe(),
        }
    }
}

/// Starts everything; what it returns is accepting connections.
///
/// # Errors
/// An address that cannot be bound, a certificate or upstream that cannot be used, threads that
/// cannot be started. Says which.
pub fn start(config: Config) -> io::Result<App> {
    start_on(config, Sockets::default(), None)
}

/// The same on the sockets of another process, with a configuration that can be read again from its source. Addresses
/// that are not among the sockets are bound, sockets whose address is not configured any more are closed.
///
/// # Errors
/// As [`start`].
pub fn start_on(config: Config, inherited: Sockets, source: Option<Source>) -> io::Result<App> {
    memory::keep_large_apart();
    access_log::choose(config.log.access);
    let config = Arc::new(config);
    let metrics = Metrics::new().map_err(io::Error::other)?;
    let Bound { listeners, admin: admin_socket, kept } = bind::bind(&config, inherited)?;
    let relay = runtime("relay", 2)?;
    let front = runtime("front", config.threads.front)?;
    let admin = runtime("admin", 1)?;
    let runtimes = [("front", &front), ("relay", &relay), ("admin", &admin)];
    metrics.watch_tasks(runtimes.map(|(name, runtime)| (name, runtime.handle().clone())).to_vec());
    metrics.bound_routes(config.limits.metric_routes);
    metrics.make_upstreams(config.upstreams.iter().map(|upstream| upstream.name.as_str()));
    let controls = Controls::new();
    let cluster = Arc::new(Cluster::start(&config, &metrics)?);
    let shared = Arc::new(generation::shared(config, metrics, &cluster, &relay, controls.end.subscribe())?);
    shared.present.set(&shared);
    front::hear_writes(&shared);
    {
        let _entered = relay.enter();
        shared.gates.keep(&Gates::default());
    }
    let fanout = shared.fanout.clone();
    relay.spawn(memory::give_back_after_storms(move || fanout.arrivals()));
    let (addresses, entries) = serve(&shared, listeners, &front, &controls)?;
    let look = controls.look.clone();
    let outlasting = (relay.handle().clone(), cluster.clone());
    let reloader = Arc::new(Reloader::new(&shared, entries, source, outlasting, look));
    if reloader.source().is_some() {
        relay.spawn(config_watch::watch(Arc::downgrade(&reloader)));
    }
    let admin_address = match &admin_socket {
        Some(admin::Bound::Tcp(socket)) => Some(socket.local_addr()?),
        _ => None,
    };
    if let Some(socket) = admin_socket {
        let _entered = admin.enter();
        let context = operators::context(&shared, &cluster, &reloader, controls.drain.clone());
        admin::serve(context, socket, controls.close_admin.subscribe())?;
    }
    Ok(App {
        reloader,
        addresses,
        admin_address,
        front: Some(front),
        relay: Some(relay),
        admin: Some(admin),
        cluster,
        controls,
        sockets: Mutex::new(Arc::new(kept)),
    })
}

/// Serves clients on the sockets of the listeners. Returns their addresses, and what a reload reaches them by.
fn serve(
    shared: &Arc<Shared>,
    sockets: Vec<TcpListener>,
    front_runtime: &Runtime,
    controls: &Controls,
) -> io::Result<(Vec<SocketAddr>, Vec<front::Entry>)> {
    let (mut addresses, mut entries) = (Vec::new(), Vec::new());
    for (listener, socket) in shared.config.listeners.iter().enumerate().zip(sockets) {
        addresses.push(socket.local_addr()?);
        let runtime = front_runtime.handle().clone();
        let service = front::service(shared.clone(), listener, socket, runtime, controls.watches());
        let (service, entry) = service.map_err(io::Error::other)?;
        entries.push(entry);
        front_runtime.spawn(service.run());
    }
    Ok((addresses, entries))
}

impl App {
    /// The addresses of the listeners, in the order of the configuration.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }

    /// Returns the address of the admin listener. `None` if there is none, or if it is a Unix socket.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Reads the configuration again, if it comes from a file, and looks at the files of certificates. What is new there is
    /// used from the next handshake on; what cannot be used is told in the log, and the old ones stay. Returns at once.
    pub fn reload(&self) {
        self.controls.look.send_replace(());
        let Some(relay) = self.relay.as_ref().filter(|_| self.reloader.source().is_some()) else { return };
        let reloader = self.reloader.clone();
        relay.spawn_blocking(move || drop(reloader.reload(false)));
    }

    /// Takes this configuration in the place of the one that counts. It reads the files that it names, so it blocks.
    pub fn reconfigure(&self, config: Config) -> Report {
        self.reloader.apply(config)
    }

    /// Says what becomes of a request and why. It changes nothing.
    ///
    /// # Errors
    /// What is asked is no request.
    pub async fn explain(&self, asked: &front::Asked) -> Result<front::Explanation, String> {
        front::explain(&self.shared(), asked).await
    }

    /// What counts now.
    fn shared(&self) -> Arc<Shared> {
        self.reloader.shared()
    }

    /// Waits until an operator wants the process to drain (`POST /-/drain`).
    pub async fn drain_asked(&self) {
        let mut asked = self.controls.drain.subscribe();
        // The sender lives in `self`.
        let _ = asked.wait_for(|asked| *asked).await;
    }

    /// Drains (contract §12): not ready at once, listeners for `drain.delay` more, then the ends
    /// of all streams spread over `drain.window`. Returns as soon as nothing is left.
    pub async fn drain(&self) {
        self.announce();
        self.cluster.leave().await;
        // The whole delay counts, even if no client is connected: until load balancers notice, clients still come.
        tokio::time::sleep(self.shared().config.drain.delay).await;
        self.controls.close_idle.send_replace(true);
        self.end_all(None, || self.is_empty()).await;
    }

    /// Hands the listening sockets to a new process; returns when that accepts connections. Then this one is to
    /// [`retire`](App::retire).
    ///
    /// # Errors
    /// No process took them and accepted in time: this one serves on as before.
    pub async fn hand_over(&self) -> Result<(), upgrade::Failure> {
        let upgrade = self.shared().config.upgrade.clone().ok_or(upgrade::Failure::Unset)?;
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
        self.cluster.leave().await;
        self.controls.close_admin.send_replace(true);
        let left = || self.shared().connections.load(Ordering::SeqCst);
        self.end_all(Some(SETTLING_TIME_MIN), || self.is_empty() && left() == 0).await;
    }

    /// Begins the drain: from now on the process is not ready, and answers close their connections.
    fn announce(&self) {
        *self.sockets.lock() = Arc::default();
        self.shared().draining.store(true, Ordering::SeqCst);
        tracing::info!(clients = self.shared().fanout.clients(), "draining");
    }

    /// Closes the listeners and spreads the ends of the streams; waits for `is_over`. `settling`: no less than this,
    /// and connections without a request come last.
    async fn end_all(&self, settling: Option<Duration>, is_over: impl Fn() -> bool) {
        let shared = self.shared();
        let drain = &shared.config.drain;
        self.controls.close.send_replace(true);
        self.controls.end.send_replace(Some((drain.window, drain.retry)));
        self.shared().fanout.drain(drain.window, drain.retry, settling.is_some());
        let settling = settling.unwrap_or_default();
        // Closed connections have a second to close their side.
        let (began, longest) = (Instant::now(), drain.window + Duration::from_secs(2));
        while began.elapsed() < longest && (began.elapsed() < settling || !is_over()) {
            if began.elapsed() >= drain.window.max(settling) {
                self.controls.close_idle.send_replace(true);
            }
            tokio::time::sleep(DRAIN_LOOK_INTERVAL).await;
        }
        let left = self.shared().fanout.clients() + self.shared().active.load(Ordering::SeqCst);
        tracing::info!(left, "drained");
        self.cluster.part().await;
    }

    /// Whether nothing is served any more.
    fn is_empty(&self) -> bool {
        self.shared().fanout.clients() == 0 && self.shared().active.load(Ordering::SeqCst) == 0
    }

    /// Ends at once; streams get their proper end if their socket takes it.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        for end in [&self.controls.close, &self.controls.close_idle, &self.controls.close_admin] {
            end.send_replace(true);
        }
        self.shared().fanout.stop();
        self.reloader.halt();
        for runtime in [self.front.take(), self.relay.take(), self.admin.take()].into_iter().flatten() {
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

fn runtime(name: &'static str, threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads.max(1)).thread_name(name).enable_all().build()
}
