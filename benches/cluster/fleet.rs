//! Three nodes, the engine between them, the API behind them, and clients that follow all resources on all nodes.
//! Must not know: what is measured.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::clients::{Board, follow};
use crate::engine::{Engine, signal};
use crate::measure;
use crate::server::Pollcast;
use crate::upstream::{Plot, Upstream};

/// What a run needs.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub nodes: usize,
    pub resources: usize,
    pub interval: Duration,
    /// `None` for nodes that know nothing of each other.
    pub lease: Option<Duration>,
    pub plot: Plot,
    pub bytes: usize,
}

impl Plan {
    /// Three nodes of a cluster as it is configured by default, polling every two seconds.
    pub fn usual(resources: usize) -> Self {
        Self {
            nodes: 3,
            resources,
            interval: Duration::from_secs(2),
            lease: Some(Duration::from_secs(1)),
            // Longer than any pause that is allowed for: what is not seen is lost.
            plot: Plot::Lasting(Duration::from_secs(6)),
            bytes: 1024,
        }
    }
}

/// Resources that one connection follows.
const RESOURCES_PER_CLIENT: usize = 200;

/// Longest wait for anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Fleet {
    pub plan: Plan,
    pub engine: Engine,
    pub upstream: Upstream,
    /// `None` where a node was killed.
    pub nodes: Vec<Option<Pollcast>>,
    pub board: Arc<Board>,
    clients: JoinSet<()>,
}

impl Fleet {
    /// Starts everything but the clients.
    pub async fn start(plan: Plan) -> Result<Self, String> {
        let engine = Engine::start()?;
        let upstream = Upstream::start(plan.nodes, plan.resources, plan.plot, plan.bytes).await?;
        let board = Arc::new(Board::new(plan.nodes, plan.resources, upstream.began()));
        let mut fleet = Self { plan, engine, upstream, nodes: Vec::new(), board, clients: JoinSet::new() };
        for place in 0..plan.nodes {
            let node = fleet.launched(place)?;
            fleet.nodes.push(Some(node));
        }
        Ok(fleet)
    }

    /// The same with clients on all nodes, all of which have a state, and with resources spread as they will be.
    pub async fn followed(plan: Plan) -> Result<Self, String> {
        let mut fleet = Self::start(plan).await?;
        for place in 0..plan.nodes {
            fleet.follow(place);
        }
        fleet.all_have_states().await?;
        if plan.lease.is_some() {
            fleet.is_spread().await?;
        }
        Ok(fleet)
    }

    fn launched(&self, place: usize) -> Result<Pollcast, String> {
        let program = Path::new(env!("CARGO_BIN_EXE_pollcast"));
        let (plan, upstream, engine) = (self.plan, self.upstream.ports[place], self.engine.port);
        let cluster = plan.lease.map_or(String::new(), |lease| {
            format!(
                "cluster: {{ servers: ['127.0.0.1:{engine}'], secret: the bench's own thirty-two bytes of secret, \
                 lease: {}ms, timeout: {}ms }}\n",
                lease.as_millis(),
                lease.as_millis().min(500)
            )
        });
        let name = format!("cluster-{place}");
        Pollcast::start(program, &name, |port, admin| {
            format!(
                "listeners: [{{ address: '127.0.0.1:{port}' }}]\nadmin: {{ address: '127.0.0.1:{admin}' }}\n\
                 upstreams: {{ api: {{ servers: ['127.0.0.1:{upstream}'], host: bench.test }} }}\n\
                 log: {{ access: false }}\ndrain: {{ delay: 0s, window: 500ms }}\n\
                 limits: {{ resources: 20000, resources_per_client: {RESOURCES_PER_CLIENT}, url_bytes: 32KiB, \
                 header_bytes: 64KiB }}\n{cluster}\
                 routes: [{{ path: '/r/{{n}}', upstream: api, share: public, plain: share, stale_after: 1m, \
                 poll: {{ interval: {}ms }} }}]\n",
                plan.interval.as_millis()
            )
        })
    }

    /// Clients follow all resources on a node.
    pub fn follow(&mut self, place: usize) {
        let Some(node) = &self.nodes[place] else { return };
        let all: Vec<usize> = (0..self.plan.resources).collect();
        for resources in all.chunks(RESOURCES_PER_CLIENT) {
            self.clients.spawn(follow(self.board.clone(), place, node.port, resources.to_vec()));
        }
    }

    /// Waits until each client has a state of each resource.
    pub async fn all_have_states(&self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while !self.board.is_full() {
            if Instant::now() > until {
                return Err(format!("after {PATIENCE:?} {}", self.board.missing()));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits until the clients of a node have a state of each resource.
    pub async fn all_have_states_on(&self, place: usize) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while !self.board.is_full_on(place) {
            if Instant::now() > until {
                return Err(format!("after {PATIENCE:?} {}", self.board.missing()));
            }
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Waits until every resource is held by the node that it will stay with.
    async fn is_spread(&self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let mut before = self.held()?;
        let mut since = Instant::now();
        let lease = self.plan.lease.unwrap_or_default();
        loop {
            sleep(Duration::from_millis(100)).await;
            let now = self.held()?;
            if now != before {
                (before, since) = (now, Instant::now());
            }
            let is_whole = before.iter().sum::<usize>() == self.plan.resources;
            if is_whole && since.elapsed() > 3 * lease {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("the resources do not settle: {before:?}"));
            }
        }
    }

    /// A node gives up what it holds, and mirrors all of it.
    pub fn leave(&self, place: usize) -> Result<(), String> {
        let node = self.nodes[place].as_ref().ok_or("the node is gone")?;
        match measure::ask(node.admin_port, "POST", "/-/cluster/leave")? {
            // 503: it is noted, and done when the engine is back.
            (200..=299 | 503, _) => Ok(()),
            (status, text) => Err(format!("/-/cluster/leave: {status} {text}")),
        }
    }

    /// Waits until the first node holds all resources.
    pub async fn is_held_by_first(&self) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        while self.plan.lease.is_some() && self.held()?[0] != self.plan.resources {
            if Instant::now() > until {
                return Err(format!("they do not leave: {:?}", self.roles()?));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// How many resources each node holds.
    pub fn held(&self) -> Result<Vec<usize>, String> {
        Ok(self.roles()?.iter().map(|roles| roles.holder).collect())
    }

    /// How many resources have which role, by node.
    pub fn roles(&self) -> Result<Vec<Roles>, String> {
        let roles = |text: &str| {
            let of = |role: &str| metric(text, &format!("pollcast_cluster_seats{{role=\"{role}\"}} "));
            Roles { holder: of("holder"), mirror: of("mirror") }
        };
        Ok(self.metrics()?.iter().map(|text| roles(text)).collect())
    }

    /// How often each node lost the engine.
    pub fn losses(&self) -> Result<Vec<usize>, String> {
        Ok(self.metrics()?.iter().map(|text| metric(text, "pollcast_cluster_losses_total{")).collect())
    }

    fn metrics(&self) -> Result<Vec<String>, String> {
        let text = |node: &Pollcast| {
            // A node that starts, or a machine with other work, may take longer than one question waits.
            let answer = measure::get(node.admin_port, "/metrics");
            answer.or_else(|_| measure::get(node.admin_port, "/metrics")).map(|(_, text)| text)
        };
        self.nodes.iter().flatten().map(text).collect()
    }

    /// Ends a node at once.
    pub fn kill(&mut self, place: usize) {
        self.nodes[place] = None;
        self.board.leave(place);
    }

    /// A node drains, and another one takes its place, with the same clients.
    pub async fn replace(&mut self, place: usize) -> Result<(), String> {
        let Some(node) = self.nodes[place].take() else { return Ok(()) };
        signal(node.pid(), "TERM")?;
        let until = Instant::now() + PATIENCE;
        while measure::get(node.admin_port, "/ready").is_ok() && Instant::now() < until {
            sleep(Duration::from_millis(20)).await;
        }
        drop(node);
        self.nodes[place] = Some(self.launched(place)?);
        self.follow(place);
        Ok(())
    }

    /// CPU time of a node so far, µs.
    pub fn cpu(&self, place: usize) -> Result<u64, String> {
        let node = self.nodes[place].as_ref().ok_or("the node is gone")?;
        Ok(measure::Cpu::of(node.pid())?.total_ns / 1000)
    }
}

/// How many resources of a node have which role.
#[derive(Debug, Clone, Copy)]
pub struct Roles {
    pub holder: usize,
    pub mirror: usize,
}

/// The sum of the samples whose lines begin like this.
fn metric(text: &str, begin: &str) -> usize {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(begin)?;
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    });
    values.sum::<f64>() as usize
}
