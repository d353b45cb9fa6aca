//! The running process takes a new configuration: all of it or nothing, but for what needs a restart, which is named and
//! stays as it is.
//!
//! What lives longer than a configuration (topics, streams, connections, counters) goes on; what follows from it is made
//! first, and put in its place only once nothing can fail any more. Must not know: signals, requests of operators.

mod routes_off;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::always;
use super::cluster::Cluster;
use super::generation::{self, Made};
use super::reload_report::{Report, Status};
use crate::access_log;
use crate::config::{self, Config, Difference, Log};
use crate::front::{Entry, Present, Shared};
use crate::hub::{Attendance, Closing, Ended, Limits};
use crate::upstream::Client;

/// How often it is looked whether the requests of an older generation are done, and for how long at most.
const LOOK_AFTER_INTERVAL: Duration = Duration::from_secs(1);
const LOOK_AFTER_TIME_MAX: Duration = Duration::from_secs(600);

/// Most bytes of a file that are looked at: a longer one is no configuration.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// Makes the log follow another configuration.
pub type ApplyLog = Box<dyn Fn(&Log) + Send + Sync>;

/// Where the configuration comes from, and what follows it outside of the application.
pub struct Source {
    /// Read again by [`App::reload`](super::App::reload), by operators and by `reload: { watch: true }`.
    pub file: ConfigFile,
    /// Makes the log follow it.
    pub apply_log: ApplyLog,
}

/// The file of the configuration, and what it held before it was read.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub(super) path: PathBuf,
    pub(super) digest: blake3::Hash,
}

impl ConfigFile {
    /// To be called before the file is read, so that no change after it goes unnoticed.
    #[must_use]
    pub fn at(path: &Path) -> ConfigFile {
        ConfigFile { path: path.to_owned(), digest: ConfigFile::digest(path) }
    }

    /// A digest of what a file holds; of one that cannot be read, of nothing.
    pub(super) fn digest(path: &Path) -> blake3::Hash {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
        if read.is_err() {
            // One that is not there for a moment is being replaced.
            bytes.clear();
        }
        blake3::hash(&bytes)
    }
}

/// Takes new configurations, one after the other.
pub(super) struct Reloader {
    state: Mutex<State>,
    status: Mutex<Status>,
    /// `None` if the configuration comes from no file.
    source: Option<Arc<Source>>,
    relay: Handle,
    cluster: Arc<Cluster>,
    /// Changes whenever the files of certificates are to be looked at.
    look: watch::Sender<()>,
}

/// What the configuration that counts has made.
struct State {
    shared: Arc<Shared>,
    entries: Vec<Entry>,
    /// Resources that are polled without subscribers, by the number of their route.
    always: HashMap<usize, Attendance>,
    /// What ends the watchers of each upstream.
    watched: HashMap<String, watch::Sender<bool>>,
    /// The number that the next route gets which means something new.
    next_route: usize,
}

impl Reloader {
    /// Begins with the configuration that the process starts by.
    pub(super) fn new(
        shared: &Arc<Shared>,
        entries: Vec<Entry>,
        source: Option<Source>,
        (relay, cluster): (Handle, Arc<Cluster>),
        look: watch::Sender<()>,
    ) -> Reloader {
        let state = State {
            shared: shared.clone(),
            entries,
            always: HashMap::new(),
            watched: HashMap::new(),
            next_route: shared.config.routes.len(),
        };
        let reloader = Reloader {
            state: Mutex::new(state),
            status: Mutex::new(Status::of_start()),
            source: source.map(Arc::new),
            relay,
            cluster,
            look,
        };
        reloader.state.lock().follow(&reloader, &HashMap::new());
        shared.metrics.config_generation.set(1);
        shared.metrics.config_last_reload_successful.set(1);
        shared.metrics.config_last_reload_success.set(seconds(SystemTime::now()));
        reloader
    }

    /// Where the configuration comes from. Returns `None` if it comes from no file.
    pub(super) fn source(&self) -> Option<Arc<Source>> {
        self.source.clone()
    }

    /// The generation that counts.
    pub(super) fn shared(&self) -> Arc<Shared> {
        self.state.lock().shared.clone()
    }

    /// How the last attempt went, and what counts.
    pub(super) fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Reads the file again and takes what is new. Returns `None` if the configuration comes from no file. With
    /// `only_look` nothing is changed. It reads files, so it blocks.
    pub(super) fn reload(&self, only_look: bool) -> Option<Report> {
        let source = self.source()?;
        let mut state = self.state.lock();
        let report = match config::load(&source.file.path) {
            Ok(config) if only_look => {
                let difference = Difference::of(&state.shared.config, &config);
                Report::looked(difference, state.shared.generation)
            }
            Ok(config) => self.take(&mut state, config),
            Err(problems) => Report::invalid(problems, state.shared.generation),
        };
        drop(state);
        if !only_look {
            self.note(&report);
            if report.is_applied() {
                (source.apply_log)(&self.shared().config.log);
            }
        }
        Some(report)
    }

    /// Takes this configuration. It reads the files that it names, so it blocks.
    pub(super) fn apply(&self, config: Config) -> Report {
        let report = self.take(&mut self.state.lock(), config);
        self.note(&report);
        report
    }

    /// Ends what watches upstreams.
    pub(super) fn halt(&self) {
        self.state.lock().watched.clear();
    }

    fn take(&self, state: &mut State, config: Config) -> Report {
        let began = Instant::now();
        if state.shared.is_draining() {
            return Report::refused(&"the process is about to end", state.shared.generation);
        }
        let before = state.shared.config.clone();
        let warnings = config.warnings.clone();
        let restart = Difference::of(&before, &config).restart;
        let config = config.with_restart_keys_of(&before);
        let difference = Difference { restart, ..Difference::of(&before, &config) };
        if difference.changes_nothing_now() {
            return Report::unchanged(difference, state.shared.generation);
        }
        let config = state.numbered(config, &difference, &self.cluster);
        let made = match generation::next(&state.shared, config, &state.entries, &self.cluster) {
            Ok(made) => made,
            Err(error) => return Report::refused(&error, state.shared.generation),
        };
        let removed = before.routes.iter().enumerate().filter(|(place, _)| difference.is_removed(*place));
        let removed: HashSet<usize> = removed.map(|(_, route)| route.index).collect();
        let ended = state.put_in_place(made, self, |number| match removed.contains(&number) {
            true => Closing::Gone,
            false => Closing::Reconfigured,
        });
        for route in before.routes.iter().filter(|route| route.switched_off.is_some()) {
            tracing::info!(
                route = route.path,
                "the reload ends that an operator had switched this route off"
            );
        }
        Report::applied(difference, warnings, state.shared.generation, ended, began.elapsed())
    }

    /// Counts an attempt, says how it went, and remembers it.
    fn note(&self, report: &Report) {
        let metrics = self.shared().metrics.clone();
        metrics.reloads.with_label_values(&[report.result()]).inc();
        metrics.config_last_reload_successful.set(i64::from(report.is_good()));
        if report.is_good() {
            metrics.config_last_reload_success.set(seconds(SystemTime::now()));
        }
        report.log();
        self.status.lock().note(report);
    }
}

impl State {
    /// Gives each route the number of the route before it that means the same, or one that none has had.
    fn numbered(&mut self, mut config: Config, difference: &Difference, cluster: &Cluster) -> Config {
        let before = self.shared.config.clone();
        for (place, route) in config.routes.iter_mut().enumerate() {
            let same = difference.same_route(place).and_then(|at| before.routes.get(at));
            // Other nodes know what a route means by its name.
            let same = same.filter(|old| cluster.names_alike(old, route));
            let number = same.map_or(self.next_route, |old| old.index);
            self.next_route += usize::from(same.is_none());
            Arc::make_mut(route).index = number;
        }
        config
    }

    /// Puts everything in its place that follows from the new configuration. Nothing of it can fail.
    /// `closing` says with which reason the resources of a route end whose number is there no more.
    fn put_in_place(&mut self, made: Made, reloader: &Reloader, closing: impl Fn(usize) -> Closing) -> Ended {
        let Made { shared, prepared, rules } = made;
        let _entered = reloader.relay.enter();
        let old = std::mem::replace(&mut self.shared, shared);
        let (shared, config) = (&self.shared, self.shared.config.clone());
        // What connections remember is void before anything new counts.
        shared.fanout.renew(shared.generation, &rules);
        shared.relay.services().renew(&config, generation::sources(&shared.clients));
        reloader.cluster.follow(&config, &shared.clients);
        let limits = Limits { topics: config.limits.resources, history_bytes: config.limits.history_bytes };
        shared.hub.renew(&config.routes, limits);
        shared.present.set(shared);
        let mut prepared = prepared.into_iter();
        for entry in &self.entries {
            entry.renew(shared, prepared.next());
        }
        let ended = shared.hub.end_others(closing);
        shared.follow();
        shared.gates.keep(&old.gates);
        access_log::choose(config.log.access);
        shared.metrics.bound_routes(config.limits.metric_routes);
        keep_series(shared);
        shared.metrics.make_upstreams(config.upstreams.iter().map(|upstream| upstream.name.as_str()));
        shared.metrics.config_generation.set(i64::from(shared.generation));
        let off = config.routes.iter().filter(|route| route.switched_off.is_some()).count();
        shared.metrics.routes_off.set(i64::try_from(off).unwrap_or(i64::MAX));
        tokio::spawn(look_after(Arc::downgrade(&old), shared.present.clone()));
        self.follow(reloader, &old.clients);
        ended
    }

    /// Has the watchers of upstreams and the resources without subscribers follow the configuration.
    fn follow(&mut self, reloader: &Reloader, before: &HashMap<String, Arc<Client>>) {
        let shared = self.shared.clone();
        let is_same = |name: &String| {
            let (old, new) = (before.get(name), shared.clients.get(name));
            old.zip(new).is_some_and(|(old, new)| Arc::ptr_eq(old, new))
        };
        self.watched.retain(|name, _| is_same(name));
        for (name, client) in &shared.clients {
            self.watched.entry(name.clone()).or_insert_with(|| {
                let stop = watch::Sender::new(false);
                reloader.relay.spawn(client.clone().watch_servers(stop.subscribe()));
                let (stopping, looking) = (stop.subscribe(), reloader.look.subscribe());
                let metrics = shared.metrics.clone();
                reloader.relay.spawn(client.clone().watch_files(stopping, looking, metrics));
                stop
            });
        }
        always::follow(&shared, &mut self.always);
    }
}

/// Forgets the series of routes and upstreams that are there no more.
fn keep_series(shared: &Shared) {
    let (metrics, config) = (&shared.metrics, &shared.config);
    metrics.keep_routes(config.routes.iter().map(|route| route.path.as_str()));
    metrics.keep_upstreams(config.upstreams.iter().map(|upstream| upstream.name.as_str()));
}

fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Ends, once more, the streams that the new configuration does not allow, when the last request of the old generation is
/// done: such a request may have become a stream after the first time.
async fn look_after(old: Weak<Shared>, present: Arc<Present>) {
    let began = Instant::now();
    while old.strong_count() > 0 && began.elapsed() < LOOK_AFTER_TIME_MAX {
        tokio::time::sleep(LOOK_AFTER_INTERVAL).await;
    }
    if let Some(shared) = present.get() {
        shared.follow();
        // Such a request counted under its old route.
        keep_series(&shared);
    }
}
