//! Three nodes of one cluster as processes, the engine between them, and the API behind them.
//!
//! Must not know: what a test claims of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::client::{Http, Response, Sse, connect};
use crate::support::legacy::{Legacy, Reply};
use crate::support::partition::Partition;
use crate::support::process::Process;
use crate::support::redis::RedisServer;
use crate::support::wire::within;

/// The interval of the routes below.
pub const INTERVAL: Duration = Duration::from_millis(400);

/// What clients call all nodes by, as behind a load balancer: a resource's name includes it.
pub const HOST: &str = "api.test";

/// How many nodes there are.
pub const NODES: usize = 3;

/// Three nodes, and what they need.
pub struct Fleet {
    pub redis: RedisServer,
    pub legacy: Legacy,
    pub nodes: Vec<Process>,
    /// What each node was started with.
    yaml: Vec<String>,
}

/// What the configurations of nodes may differ in.
#[derive(Clone)]
pub struct Settings {
    /// Where the engine is.
    pub servers: String,
    /// Where the API is, if it is not reached directly.
    pub api: Option<SocketAddr>,
    /// More keys of `cluster`.
    pub cluster: &'static str,
    /// More keys of the upstream.
    pub upstream: &'static str,
    /// `cluster.secret`.
    pub secret: &'static str,
    /// `cluster.lease`.
    pub lease: &'static str,
    /// `cluster.timeout`.
    pub timeout: &'static str,
}

impl Settings {
    pub fn of(redis: &RedisServer) -> Settings {
        Settings {
            servers: redis.address.to_string(),
            api: None,
            cluster: "",
            upstream: "",
            secret: "a secret of thirty-two bytes or more",
            lease: "1s",
            timeout: "500ms",
        }
    }

    /// The configuration of a node.
    pub fn yaml(&self, legacy: &Legacy, routes: &str) -> String {
        let Settings { servers, api, cluster, upstream, secret, lease, timeout } = self;
        format!(
            "listeners: [{{ address: PUBLIC_ADDRESS }}]
admin: {{ address: ADMIN_ADDRESS }}
upstreams: {{ legacy: {{ servers: ['{}'], {upstream} }} }}
cluster: {{ engine: redis, servers: ['{servers}'], secret: {secret}, lease: {lease}, timeout: {timeout}, {cluster} }}
{routes}",
            api.unwrap_or(legacy.address())
        )
    }
}

impl Fleet {
    /// Three nodes over an engine of their own; `routes` is the list of routes as YAML.
    pub async fn start(routes: &str) -> Fleet {
        let redis = RedisServer::start(&[]);
        let servers = redis.address.to_string();
        Fleet::start_over(redis, &servers, routes).await
    }

    /// The same, where a machine that stands still for seconds does not part the nodes.
    pub async fn start_calm(routes: &str) -> Fleet {
        let redis = RedisServer::start(&[]);
        let settings = Settings { lease: "20s", timeout: "5s", ..Settings::of(&redis) };
        Fleet::start_with(redis, &settings, routes).await
    }

    /// The same, where the nodes reach the engine at another address.
    pub async fn start_over(redis: RedisServer, servers: &str, routes: &str) -> Fleet {
        let settings = Settings { servers: servers.to_owned(), ..Settings::of(&redis) };
        Fleet::start_with(redis, &settings, routes).await
    }

    /// The same, with other settings.
    pub async fn start_with(redis: RedisServer, settings: &Settings, routes: &str) -> Fleet {
        Fleet::start_each(redis, [settings; 3], routes).await
    }

    /// The same, where the settings of the nodes differ.
    pub async fn start_each(redis: RedisServer, settings: [&Settings; 3], routes: &str) -> Fleet {
        Fleet::start_changed(redis, Legacy::start(), routes, |number, node| {
            settings[number].clone_into(node);
        })
        .await
    }

    /// The same, where each node has a way of its own to the engine.
    pub async fn start_apart(routes: &str) -> (Fleet, Vec<Partition>) {
        let redis = RedisServer::start(&[]);
        let mut ways = Vec::new();
        for _ in 0..NODES {
            ways.push(Partition::before(redis.address).await);
        }
        let at = |number: usize, node: &mut Settings| node.servers = ways[number].address.to_string();
        let fleet = Fleet::start_changed(redis, Legacy::start(), routes, at).await;
        (fleet, ways)
    }

    /// The same, where `change` has the last word about each node's settings.
    pub async fn start_changed(
        redis: RedisServer,
        legacy: Legacy,
        routes: &str,
        change: impl Fn(usize, &mut Settings),
    ) -> Fleet {
        let mut fleet = Fleet { redis, legacy, nodes: Vec::new(), yaml: Vec::new() };
        for number in 0..NODES {
            let mut settings = Settings::of(&fleet.redis);
            change(number, &mut settings);
            let named = format!("cluster: {{ node: node-{number}, engine");
            let yaml = settings.yaml(&fleet.legacy, routes).replace("cluster: { engine", &named);
            let process = Process::start(&yaml).await;
            fleet.nodes.push(process);
            fleet.yaml.push(yaml);
        }
        fleet
    }

    /// Starts a node that has ended again, at the same addresses.
    pub async fn start_again(&mut self, node: usize) {
        self.nodes[node] = self.nodes[node].again(&self.yaml[node]).await;
    }

    /// What a node was started with.
    pub fn yaml_of(&self, node: usize) -> &str {
        &self.yaml[node]
    }

    /// Three nodes with a stream of one resource on each, each told so many states.
    pub async fn followed(routes: &str, states: usize) -> (Fleet, Vec<Follower>) {
        let fleet = Fleet::start(routes).await;
        fleet.count("/state/a");
        let mut streams = Vec::new();
        for node in 0..NODES {
            let mut stream = fleet.follow(node, "/state/a").await;
            stream.states(states).await;
            streams.push(stream);
        }
        (fleet, streams)
    }

    /// A path whose answer says another, greater number each time.
    pub fn count(&self, path: &str) -> Arc<AtomicU64> {
        let number = Arc::new(AtomicU64::new(0));
        let counted = number.clone();
        self.legacy.answer_with(path, move |_| {
            Reply::json(format!("{{\"n\":{}}}", counted.fetch_add(1, Ordering::SeqCst) + 1))
        });
        number
    }

    /// Follows a path on a node.
    pub async fn follow(&self, node: usize, path: &str) -> Follower {
        Follower { sse: self.open(node, path, &[]).await, last: None }
    }

    /// The same, from what a client had.
    pub async fn resume(&self, node: usize, path: &str, id: &str) -> Sse {
        self.open(node, path, &[("Last-Event-ID", id)]).await
    }

    /// The same, with these fields.
    pub async fn open(&self, node: usize, path: &str, headers: &[(&str, &str)]) -> Sse {
        let stream = connect(self.nodes[node].address).await;
        let opened = Sse::over(stream, HOST, "HTTP/1.1", path, headers).await;
        opened.unwrap_or_else(|refused| panic!("GET {path}: not a stream: {refused:?}"))
    }

    /// A connection to a node, for ordinary requests.
    pub async fn client(&self, node: usize) -> Http {
        Http::over(connect(self.nodes[node].address).await, HOST)
    }

    /// An ordinary poll of a node.
    pub async fn get(&self, node: usize, path: &str, headers: &[(&str, &str)]) -> Response {
        self.client(node).await.get(path, headers).await
    }

    /// Waits until a metric of a node is as wanted.
    pub async fn until(&self, node: usize, name: &str, is_it: impl Fn(u64) -> bool) {
        within(format!("{name} of node {node}"), async {
            while !is_it(metric(&self.nodes[node], &format!("pollcast_{name}")).await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Waits until one of the nodes that run holds the only resource. Returns its place.
    pub async fn holder(&self) -> usize {
        within("a holder", async {
            loop {
                for (place, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.exited().is_none())
                {
                    if holds(node).await {
                        return place;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }
}

/// Whether a node says that it holds a resource.
async fn holds(node: &Process) -> bool {
    metric(node, "pollcast_cluster_seats{role=\"holder\"}").await > 0
}

/// What a node says of a metric; 0 if it says nothing.
pub async fn metric(node: &Process, name: &str) -> u64 {
    let text = Http::connect(node.admin).await.get("/metrics", &[]).await.expect(200).text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_default()
}

/// The number in an event's data.
pub fn number(data: &str) -> u64 {
    let value: Value = serde_json::from_str(data).unwrap_or_else(|e| panic!("{data:?}: {e}"));
    value["n"].as_u64().unwrap_or_else(|| panic!("no number in {data:?}"))
}

/// A client's stream, and the newest state that it was told.
pub struct Follower {
    pub sse: Sse,
    last: Option<u64>,
}

impl Follower {
    /// Waits until this state is told.
    pub async fn shows(&mut self, wanted: u64) {
        while self.states(1).await[0] != wanted {}
    }

    /// Takes this many states. Each is greater than all that it was told before, whatever became of the nodes meanwhile.
    pub async fn states(&mut self, count: usize) -> Vec<u64> {
        let mut seen: Vec<u64> = Vec::new();
        while seen.len() < count {
            let event = self.sse.next_event().await;
            if event.event != "message" && !event.event.is_empty() {
                continue;
            }
            let n = number(&event.data);
            assert!(self.last.is_none_or(|last| n > last), "{n} after {:?}", self.last);
            self.last = Some(n);
            seen.push(n);
        }
        seen
    }
}
