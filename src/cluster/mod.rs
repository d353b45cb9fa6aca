//! Several nodes that poll each resource once together (contract §13): the engine between them, what it sees, which node
//! holds what.
//!
//! `simulation` holds the rules of `poll/standing` against everything that fails. Must not know: clients, rules of routes,
//! the proxy.

mod beats;
mod budgets;
mod claims;
pub mod diagnosis;
mod encoding;
pub mod engine;
mod events;
#[cfg(any(feature = "redis", feature = "nats"))]
mod failure;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod members;
mod membership;
mod message;
mod naming;
#[cfg(feature = "nats")]
pub mod nats;
mod node;
mod node_resource;
#[cfg(test)]
mod node_tests;
mod notice;
#[cfg(any(feature = "redis", feature = "nats"))]
mod password;
#[cfg(any(feature = "redis", feature = "nats"))]
mod reconnect;
mod record;
#[cfg(feature = "redis")]
pub mod redis;
mod replay;
mod resource_counts;
pub mod seal;
#[cfg(test)]
mod simulation;
#[cfg_attr(not(any(feature = "redis", feature = "nats")), allow(dead_code, reason = "no engine is built"))]
pub mod subscription;
#[cfg(any(feature = "redis", feature = "nats"))]
mod tls;
mod turns;
mod unshared;
pub mod view;
mod write_listener;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::config::{Cluster, Config, Route};
use crate::metrics::ClusterMetrics;
use crate::poll::backplane::{Backplane, Inbox, Membership, ToldWrite, WriteListener, WriteNotice};
use crate::resource::{PathDigester, ResourceKey};
use crate::upstream::Gate;
use engine::{Engine, Failed};
use membership::Member;
use node::Node;
use node_resource::{NodeResource, Settings};
use subscription::Events;
use write_listener::ListenerThread;

/// Shortest life of a record without a write.
const KEEP_MIN: Duration = Duration::from_secs(600);

/// This node's side of a cluster, on a thread of its own: a slow engine starves no poll.
pub struct Others {
    node: Arc<Node>,
    handle: Handle,
    /// Ends the thread when it is dropped.
    _ends: oneshot::Sender<()>,
}

impl Others {
    /// Begins to connect to the engine that the configuration names. Returns `None` if it names none.
    ///
    /// # Errors
    /// The thread cannot be started, or this program was built without the engine.
    pub fn start(config: &Config, metrics: ClusterMetrics) -> io::Result<Option<Others>> {
        let Some(settings) = &config.cluster else { return Ok(None) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (ends, ended) = oneshot::channel::<()>();
        let (engine, mut events) = {
            let _inside = handle.enter();
            start(settings)?
        };
        let node = Node::new(engine, settings, config, metrics);
        let working = node.clone();
        let work = move || {
            runtime.block_on(async move {
                let hearing = working.clone();
                let hear = async move {
                    while let Some(event) = events.next().await {
                        hearing.event(event);
                    }
                };
                tokio::select! {
                    () = hear => {}
                    () = beats::run(working.clone()) => {}
                    () = claims::run(working) => {}
                    _ = ended => {}
                }
            });
        };
        std::thread::Builder::new().name("cluster".to_owned()).spawn(work)?;
        Ok(Some(Others { node, handle, _ends: ends }))
    }

    /// Has the polls of these upstreams use their budgets together with those of other nodes. The
    /// gates of an earlier call do so no longer.
    pub fn share_budgets(&self, gates: Vec<(String, Arc<Gate>)>) {
        self.node.share_budgets(gates);
    }

    /// Names what is polled from now on by the routes of another configuration.
    pub fn name_routes(&self, config: &Config) {
        self.node.name_routes(config);
    }

    /// Lets the other nodes take over what this one holds: before a shutdown, or for maintenance. Its clients are served on,
    /// and what only they want is polled on.
    ///
    /// # Errors
    /// The engine did not take it: the others take over when it is back.
    pub async fn leave(&self) -> Result<(), Failed> {
        let node = self.node.clone();
        self.on_its_thread(async move { node.leave().await }).await
    }

    /// Takes this node's part again after it left.
    ///
    /// # Errors
    /// The engine did not take it: the node joins when it is back.
    pub async fn join(&self) -> Result<(), Failed> {
        let node = self.node.clone();
        self.on_its_thread(async move { node.return_after_leave().await }).await
    }

    /// Ends the node's session for good, at the end of a shutdown.
    ///
    /// # Errors
    /// The engine did not take it: the others notice when the lease ends.
    pub async fn part(&self) -> Result<(), Failed> {
        let node = self.node.clone();
        self.on_its_thread(async move { node.part().await }).await
    }

    async fn on_its_thread(
        &self,
        work: impl Future<Output = Result<(), Failed>> + Send + 'static,
    ) -> Result<(), Failed> {
        self.handle.spawn(work).await.unwrap_or_else(|_| {
            Err(Failed { loss: engine::Loss::Connection, message: "the cluster has ended".to_owned() })
        })
    }

    /// For how long the engine has been lost. Returns `None` while it can be had.
    pub fn alone_for(&self) -> Option<Duration> {
        self.node.state.lock().lost_since.map(|since| since.elapsed())
    }
}

/// Whether nodes call the resources of two routes by the same names.
pub fn names_alike(one: &Route, other: &Route) -> bool {
    naming::fingerprint(one, None) == naming::fingerprint(other, None)
}

/// Begins to connect to an engine, on the runtime that this is called on.
fn start(settings: &Arc<Cluster>) -> io::Result<(Arc<dyn Engine>, Events)> {
    match settings.engine {
        #[cfg(feature = "redis")]
        crate::config::ClusterEngine::Redis => {
            let (engine, events) = redis::Redis::start(settings);
            Ok((Arc::new(engine), events))
        }
        #[cfg(feature = "nats")]
        crate::config::ClusterEngine::Nats => {
            let (engine, events) = nats::Nats::start(settings);
            Ok((Arc::new(engine), events))
        }
        #[allow(unreachable_patterns, reason = "with all engines built there is no other")]
        _ => Err(io::Error::other("this program was built without the client of cluster.engine")),
    }
}

#[async_trait]
impl Backplane for Others {
    fn attend(
        &self,
        key: &ResourceKey,
        route: &Arc<Route>,
        inbox: Arc<Inbox>,
    ) -> Option<Arc<dyn Membership>> {
        if self.unshared(key, route).is_some() {
            return None;
        }
        let fingerprint = self.node.fingerprint(route.index)?;
        let parts = naming::parts(key, &fingerprint);
        let parts = || parts.iter().map(Vec::as_slice);
        let route_name = || self.node.secret.name([&b"batch"[..], &fingerprint]);
        let settings = Settings {
            balanced_by: route.poll.batch.is_some().then(route_name),
            upstream: self.node.upstream_name(&route.upstream.name).number(),
            is_private: key.is_private(),
            keep: KEEP_MIN.max(route.stale_if_error).max(route.poll.linger),
            history: route.feed.as_ref().map_or(0, |feed| u32::try_from(feed.history).unwrap_or(u32::MAX)),
            body_bytes_max: route.poll.max_body,
            roles: self.node.roles.clone(),
        };
        let (name, seal) = (self.node.secret.name(parts()), self.node.secret.record(parts()));
        let resource = Arc::new(NodeResource::new(name, seal, inbox, settings));
        self.node.add(&resource);
        Some(Arc::new(Member { node: self.node.clone(), resource }))
    }
    async fn tell_write(&self, notice: &WriteNotice) -> Option<ToldWrite> {
        let told = self.node.tell_write(notice).await;
        if told.is_none() {
            self.node.metrics.unconfirmed.inc();
        }
        told
    }

    fn hear_writes(&self, listener: Arc<dyn WriteListener>) {
        let _ = self.node.writes.get_or_init(|| ListenerThread::new(listener));
    }

    fn digesters(&self) -> Vec<Arc<dyn PathDigester>> {
        let secrets = [Some(&self.node.secret), self.node.previous.as_ref()].into_iter().flatten();
        secrets.map(|secret| secret.clone() as Arc<dyn PathDigester>).collect()
    }
}
