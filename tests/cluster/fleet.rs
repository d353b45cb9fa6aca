//! Three nodes of one cluster as processes, the engine between them, and the API behind them.
//!
//! Must not know: what a test claims of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::client::{Http, Response, Sse, connect};
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Process;
use crate::support::redis::RedisServer;
use crate::support::wire::within;

/// The interval of the routes below.
pub const INTERVAL: Duration = Duration::from_millis(400);

/// What clients call all nodes by, as behind a load balancer: a resource's name includes it.
const HOST: &str = "api.test";

/// Three nodes, and what they need.
pub struct Fleet {
    pub redis: RedisServer,
    pub legacy: Legacy,
    pub nodes: Vec<Process>,
}

impl Fleet {
    /// Three nodes over an engine of their own; `routes` is the list of routes as YAML.
    pub async fn start(routes: &str) -> Fleet {
        let redis = RedisServer::start(&[]);
        let servers = redis.address.to_string();
        Fleet::start_over(redis, &servers, routes).await
    }

    /// The same, where the nodes reach the engine at another address.
    pub async fn start_over(redis: RedisServer, servers: &str, routes: &str) -> Fleet {
        let legacy = Legacy::start();
        let yaml = format!(
            "listeners: [{{ address: PUBLIC_ADDRESS }}]
admin: {{ address: ADMIN_ADDRESS }}
upstreams: {{ legacy: {{ servers: ['{}'] }} }}
cluster:
  engine: redis
  servers: ['{servers}']
  secret: a secret of thirty-two bytes or more
  lease: 1s
  timeout: 500ms
{routes}",
            legacy.address()
        );
        let mut fleet = Fleet { redis, legacy, nodes: Vec::new() };
        for _ in 0..3 {
            let node = Process::start(&yaml).await;
            fleet.nodes.push(node);
        }
        fleet
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
        Follower { sse: self.open(node, path, &[]).await, last: 0 }
    }

    /// The same, from what a client had.
    pub async fn resume(&self, node: usize, path: &str, id: &str) -> Sse {
        self.open(node, path, &[("Last-Event-ID", id)]).await
    }

    async fn open(&self, node: usize, path: &str, headers: &[(&str, &str)]) -> Sse {
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
    let text = Http::connect(node.admin).await.get("/metrics", &[]).await.expect(200).text();
    let seats = text.lines().find_map(|line| line.strip_prefix("pollcast_cluster_seats{role=\"holder\"} "));
    seats.is_some_and(|seats| seats != "0")
}

/// The number in an event's data.
pub fn number(data: &str) -> u64 {
    let value: Value = serde_json::from_str(data).unwrap_or_else(|e| panic!("{data:?}: {e}"));
    value["n"].as_u64().unwrap_or_else(|| panic!("no number in {data:?}"))
}

/// A client's stream, and the newest state that it was told.
pub struct Follower {
    pub sse: Sse,
    last: u64,
}

impl Follower {
    /// Takes this many states. Each is greater than all that it was told before, whatever became of the nodes meanwhile.
    pub async fn states(&mut self, count: usize) -> Vec<u64> {
        let mut seen: Vec<u64> = Vec::new();
        while seen.len() < count {
            let event = self.sse.next_event().await;
            if event.event != "message" && !event.event.is_empty() {
                continue;
            }
            let n = number(&event.data);
            assert!(n > self.last, "{n} after {}", self.last);
            self.last = n;
            seen.push(n);
        }
        seen
    }
}
