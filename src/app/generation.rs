//! One generation of the application: what follows from a configuration, beside what lives as long as the process.
//!
//! Must not know: when there is another one.

use std::collections::HashMap;
use std::hash::RandomState;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Runtime;

use super::cluster::Cluster;
use crate::config::{Auth, Config, Listener, Upstream};
use crate::fanout::{Ending, Fanout, Rules};
use crate::front::{self, Entry, Prepared, Routes, Shared};
use crate::hub::{Hub, PresenceServices};
use crate::identity::Gates;
use crate::metrics::Metrics;
use crate::otlp::Tracer;
use crate::poll::{PresenceNotifier, Relay, Services, Source};
use crate::upstream::Client;

/// What a new configuration has made, before anything of it counts.
pub(super) struct Made {
    pub(super) shared: Arc<Shared>,
    /// What changes of each listener, in their order; empty if nothing does.
    pub(super) prepared: Vec<Prepared>,
    pub(super) rules: Rules,
}

/// Makes the generation after `before`. What the configuration says as before is taken over with all that is known of it.
///
/// # Errors
/// A file cannot be used. Then nothing was changed.
pub(super) fn next(
    before: &Shared,
    config: Config,
    entries: &[Entry],
    cluster: &Cluster,
) -> io::Result<Made> {
    let prepare = |(entry, listener): (&Entry, &Listener)| {
        let listen = |error| io::Error::other(format!("listeners: {}: {error}", listener.address));
        entry.prepare(listener, &config.limits).map_err(listen)
    };
    let prepared = entries.iter().zip(&config.listeners).map(prepare).collect::<io::Result<Vec<_>>>()?;
    Ok(Made { prepared, ..of_routes(before, config, cluster)? })
}

/// The same of a configuration whose listeners are as before: what they read from files stays.
///
/// # Errors
/// A file of an upstream that is another one than before cannot be used. Then nothing was changed.
pub(super) fn of_routes(before: &Shared, config: Config, cluster: &Cluster) -> io::Result<Made> {
    let clients = clients(&config, &before.clients)?;
    let (limits, limits_before) = (&config.limits, &before.config.limits);
    let newcomers = match limits.new_resources_per_address == limits_before.new_resources_per_address {
        true => before.newcomers.clone(),
        false => newcomers(&config),
    };
    let turnstile = match limits.accept_rate == limits_before.accept_rate {
        true => before.turnstile.clone(),
        false => turnstile(&config),
    };
    let rules = rules(&config);
    let shared = Shared {
        generation: before.generation.wrapping_add(1).max(1),
        routes: Arc::new(Routes::new(&config).map_err(io::Error::other)?),
        nodes: nodes(&config, cluster),
        gates: Arc::new(Gates::new(&config, &clients, &before.gates)),
        newcomers,
        turnstile,
        clients,
        config: Arc::new(config),
        ..before.clone()
    };
    Ok(Made { shared: Arc::new(shared), prepared: Vec::new(), rules })
}

/// Makes the values that the parts of an application share: the clients of its upstreams, the poll loops, the hub and
/// the fan-out.
pub(super) fn shared(
    config: Arc<Config>,
    metrics: Metrics,
    cluster: &Cluster,
    relay_runtime: &Runtime,
    ending: Ending,
) -> io::Result<Shared> {
    let fanout = Arc::new(Fanout::start(config.threads.shards, rules(&config), metrics.clone())?);
    let hub = Hub::new(fanout.bells(), config.limits.resources, config.limits.history_bytes);
    let nodes = nodes(&config, cluster);
    if let Some(nodes) = &nodes {
        hub.find_by_digests(nodes.digesters());
    }
    let clients = clients(&config, &HashMap::new())?;
    cluster.share_budgets(&clients);
    let services = Services::new(hub.clone(), &config, metrics.clone(), sources(&clients), fastrand::u64(..));
    let tracer = tracer(&config, &metrics, relay_runtime)?;
    let services = services.with_tracer(tracer.clone());
    let relay = Relay::new(Arc::new(cluster.joined_by(services)), relay_runtime.handle().clone());
    hub.presences().serve(PresenceServices {
        runtime: relay_runtime.handle().clone(),
        bells: fanout.presence_bells(),
        metrics: metrics.clone(),
        listener: Arc::new(PresenceNotifier::new(relay.services(), relay_runtime.handle().clone())),
    });
    Ok(Shared {
        generation: 1,
        present: Arc::default(),
        routes: Arc::new(Routes::new(&config).map_err(io::Error::other)?),
        hub,
        relay,
        nodes,
        fanout,
        metrics,
        tracer,
        gates: Arc::new(Gates::new(&config, &clients, &Gates::default())),
        subjects: Arc::default(),
        checks: Arc::new(front::Checks::new(config.limits.clients)),
        clients,
        draining: Arc::default(),
        ending,
        active: Arc::default(),
        connections: Arc::default(),
        soothed: Arc::default(),
        descriptors: front::Descriptors::of_process(),
        deadlines: Default::default(),
        progress: Default::default(),
        newcomers: newcomers(&config),
        turnstile: turnstile(&config),
        vary: Arc::new(front::VaryMemory::new(config.limits.resources)),
        origins: Default::default(),
        slow_304: Arc::new(front::Holds::new()),
        new_keys: Arc::default(),
        connection_numbers: RandomState::new(),
        interned: Arc::default(),
        doubts: Arc::default(),
        trace: None,
        config,
    })
}

/// What makes spans: nothing where `tracing` is not said.
#[cfg_attr(
    not(feature = "otlp"),
    allow(unused_variables, reason = "the file was refused if it says tracing")
)]
fn tracer(config: &Config, metrics: &Metrics, runtime: &Runtime) -> io::Result<Tracer> {
    match &config.tracing {
        #[cfg(feature = "otlp")]
        Some(otlp) => super::otlp::start(otlp, metrics, runtime),
        _ => Ok(Tracer::default()),
    }
}

/// What the shards need to know.
fn rules(config: &Config) -> Rules {
    Rules { stall_timeout: config.limits.stall_timeout, pipelined_bytes: config.limits.header_bytes }
}

/// The other nodes that writes are told to.
fn nodes(config: &Config, cluster: &Cluster) -> Option<Arc<front::NodeWrites>> {
    cluster.backplane().and_then(|others| front::NodeWrites::new(others, config)).map(Arc::new)
}

fn newcomers(config: &Config) -> Option<Arc<front::Newcomers>> {
    config.limits.new_resources_per_address.map(front::Newcomers::new).map(Arc::new)
}

fn turnstile(config: &Config) -> Option<Arc<front::Turnstile>> {
    config.limits.accept_rate.map(|rate| Arc::new(front::Turnstile::new(rate, Instant::now())))
}

/// Where polls go, by upstream name.
pub(super) fn sources(clients: &HashMap<String, Arc<Client>>) -> HashMap<String, Arc<dyn Source>> {
    clients.iter().map(|(name, client)| (name.clone(), client.clone() as Arc<dyn Source>)).collect()
}

/// The clients of all upstreams. One of the same upstream as before is the same client, with its connections, its budget and
/// its breaker.
fn clients(
    config: &Config,
    before: &HashMap<String, Arc<Client>>,
) -> io::Result<HashMap<String, Arc<Client>>> {
    let client = |upstream: &Arc<Upstream>| {
        if let Some(same) = before.get(&upstream.name).filter(|client| *client.config() == **upstream) {
            return Ok((upstream.name.clone(), same.clone()));
        }
        let client = Client::new(upstream.clone())
            .map_err(|error| io::Error::other(format!("upstreams.{}: {error}", upstream.name)))?;
        Ok((upstream.name.clone(), client))
    };
    let gates = Gates::servers(config);
    config.upstreams.iter().chain(token_servers(config)).chain(&gates).map(client).collect()
}

/// The servers that give tokens for polls. They have names of their own.
fn token_servers(config: &Config) -> impl Iterator<Item = &Arc<Upstream>> {
    config.routes.iter().filter_map(|route| match &route.poll.auth {
        Some(Auth::ClientCredentials(credentials)) => Some(&credentials.server),
        _ => None,
    })
}
