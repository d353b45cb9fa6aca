//! Sentinel names another primary: clients are told every state once all the while. `tests/cluster/long` runs these.

use std::time::{Duration, Instant};

use super::crowd::{Crowd, ROUTES};
use super::fleet::{Fleet, NODES};
use crate::support::legacy::Legacy;
use crate::support::redis::RedisServer;

/// Sentinels find each other by messages that they send every two seconds, and a failover takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A replica of the fleet's engine, and three sentinels that watch both.
struct Watched {
    fleet: Fleet,
    replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl Watched {
    async fn start() -> Watched {
        let primary = RedisServer::start(&[]);
        let port = primary.address.port();
        let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port.to_string()]);
        let sentinel = |number: usize| {
            let text = format!(
                "sentinel monitor pollcast 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds pollcast 1000\n\
                 sentinel failover-timeout pollcast 5000\n"
            );
            let file = primary.folder.write(&format!("sentinel-{number}.conf"), &text);
            RedisServer::start(&[file.to_str().expect("a path of characters"), "--sentinel"])
        };
        let sentinels: Vec<RedisServer> = (0..3).map(sentinel).collect();
        let servers: Vec<String> = sentinels.iter().map(|sentinel| sentinel.address.to_string()).collect();
        for sentinel in &sentinels {
            until("three sentinels and a replica", || {
                sentinel.ask(&["SENTINEL", "CKQUORUM", "pollcast"]).starts_with("OK 3 usable")
                    && sentinel.ask(&["SENTINEL", "REPLICAS", "pollcast"]).contains("master-link-status\nok")
            })
            .await;
        }
        let fleet = Fleet::start_changed(primary, Legacy::start(), ROUTES, |_, node| {
            node.servers = servers.join("', '");
            node.cluster = "sentinel: pollcast";
        })
        .await;
        Watched { fleet, replica, sentinels }
    }

    /// Waits until the replica is the primary, and all nodes know it.
    async fn is_promoted(&self) {
        until("another primary", || self.replica.ask(&["ROLE"]).starts_with("master")).await;
        until("all nodes at the new primary", || {
            self.replica.ask(&["ZCARD", "{pollcast:default}:m"]) == NODES.to_string()
        })
        .await;
        let port = self.replica.address.port().to_string();
        for sentinel in &self.sentinels {
            until("a sentinel that names it", || {
                sentinel.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "pollcast"]).ends_with(&port)
            })
            .await;
        }
    }
}

async fn until(what: &str, is_it: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_it() {
        assert!(Instant::now() < limit, "waited {PATIENCE:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "takes a minute: tests/cluster/long runs it"]
async fn clients_see_each_state_once_while_a_primary_is_killed_and_another_takes_its_place() {
    let mut watched = Watched::start().await;
    let mut crowd = Crowd::gather(&watched.fleet).await;
    crowd.sees(3, "before the failover").await;
    watched.fleet.redis.kill();
    crowd.sees(3, "while there is no primary").await;
    watched.is_promoted().await;
    crowd.sees(3, "with the new primary").await;
    watched.fleet.redis.launch();
    crowd.sees(3, "when the old primary is back").await;
}

#[tokio::test]
#[ignore = "takes a minute: tests/cluster/long runs it"]
async fn clients_see_each_state_once_while_a_primary_stands_still_and_wakes_beside_another() {
    let watched = Watched::start().await;
    let mut crowd = Crowd::gather(&watched.fleet).await;
    crowd.sees(3, "before the failover").await;
    watched.fleet.redis.signal("STOP");
    crowd.sees(3, "while the primary stands still").await;
    watched.is_promoted().await;
    crowd.sees(3, "with the new primary").await;
    watched.fleet.redis.signal("CONT");
    crowd.sees(6, "with the old primary awake").await;
}
