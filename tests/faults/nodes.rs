//! Three nodes of a cluster under the same faults and more: nodes that are killed, stand still or lose the engine, and an
//! engine that is killed, stands still or comes back empty, all by chance, while clients of all transports roam.
//!
//! Must not know: what is checked; that is the checker of one node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::HOST;
use super::feeds::{ROOM, Room};
use super::listeners::{OfItems, OfState};
use super::record::{Items, Journal, Recorder};
use super::script::{Plot, Script};
use super::world::config;
use super::{all_end, number, report};
use crate::support::legacy::Legacy;
use crate::support::partition::{Cut, Partition};
use crate::support::process::Process;
use crate::support::redis::RedisServer;
use crate::support::roaming::{Listener, Transport, visit};

const NODES: usize = 3;
const CLIENTS: usize = 12;
const READERS: usize = 6;
const PATH: &str = "/states/1";

/// How long anything may go wrong.
const STORMY: Duration = Duration::from_secs(8);

/// From the calm to the last client with the final state.
const SETTLED: Duration = Duration::from_secs(60);

/// One run's nodes, and what is between them.
struct Nodes {
    redis: RedisServer,
    ways: Vec<Partition>,
    nodes: Vec<Process>,
    yaml: Vec<String>,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if std::thread::panicking() && number("FAULTS_SEED").is_some() {
            self.show();
        }
    }
}

impl Nodes {
    async fn start(legacy: &Legacy) -> Nodes {
        let redis = RedisServer::start(&[]);
        let (mut ways, mut nodes, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..NODES {
            let way = Partition::before(redis.address).await;
            let server = legacy.address().to_string();
            let mut yaml = config(&server, "PUBLIC_ADDRESS", "ADMIN_ADDRESS", 64, "stale_after: 10s");
            yaml += &format!(
                "cluster: {{servers: ['{}'], secret: a secret of thirty-two bytes or more, lease: 600ms, timeout: 400ms}}\n",
                way.address
            );
            if number("FAULTS_SEED").is_some() {
                yaml = yaml.replace("access: false", "access: true");
            }
            nodes.push(Process::start(&yaml).await);
            ways.push(way);
            all.push(yaml);
        }
        Nodes { redis, ways, nodes, yaml: all }
    }

    /// Shows what the nodes said, where one run is looked at.
    fn show(&self) {
        for node in &self.nodes {
            eprintln!("--- {} ---\n{}", node.address.port(), node.stderr());
        }
    }

    /// Something goes wrong, and is well again.
    async fn fails(&mut self, rng: &mut fastrand::Rng, journal: &Journal) {
        let (node, time) = (rng.usize(..NODES), Duration::from_millis(rng.u64(100..1_500)));
        let kind = rng.u8(..6);
        let named = [
            "node killed",
            "node stopped",
            "node cut off",
            "engine killed",
            "engine stopped",
            "engine emptied",
        ];
        let at = format!("{} for {time:?}", self.nodes[node].address.port());
        journal.fault(named[usize::from(kind)], &at);
        match kind {
            0 => {
                self.nodes[node].signal("KILL");
                self.nodes[node].wait_exit().await;
                sleep(time).await;
                self.nodes[node] = self.nodes[node].again(&self.yaml[node]).await;
            }
            1 => {
                self.nodes[node].signal("STOP");
                sleep(time).await;
                self.nodes[node].signal("CONT");
            }
            2 => {
                let cuts = [
                    Cut::Both,
                    Cut::ToServer,
                    Cut::FromServer,
                    Cut::Subscriptions,
                    Cut::Commands,
                    Cut::Refused,
                ];
                self.ways[node].cut(cuts[rng.usize(..cuts.len())]);
                sleep(time).await;
                self.ways[node].cut(Cut::Nothing);
            }
            3 => {
                // With what it had some time ago, as after a failover that lost the newest writes.
                if rng.bool() {
                    self.redis.ask(&["SAVE"]);
                    sleep(Duration::from_millis(rng.u64(..600))).await;
                }
                self.redis.kill();
                sleep(time).await;
                self.redis.launch();
            }
            4 => {
                self.redis.signal("STOP");
                sleep(time).await;
                self.redis.signal("CONT");
            }
            _ => drop(self.redis.ask(&["FLUSHALL"])),
        }
    }
}

/// Roams until it has all.
async fn roam(
    mut listener: impl Listener,
    transports: &'static [Transport],
    nodes: Vec<std::net::SocketAddr>,
    mut rng: fastrand::Rng,
    journal: Arc<Journal>,
) {
    while !listener.is_over() {
        let node = nodes[rng.usize(..nodes.len())];
        let mut transport = transports[rng.usize(..transports.len())];
        if listener.is_of_items() && listener.position().is_none() {
            // The first position in a feed comes with its first item.
            transport = Transport::Stream;
        }
        journal.count(format!("client: {transport:?}"));
        let stay = Duration::from_millis(rng.u64(50..2_000));
        // A connection that breaks and one that is left are the same to it: it goes elsewhere.
        let _ = tokio::time::timeout(stay, visit(node, HOST, transport, &mut listener)).await;
        sleep(Duration::from_millis(rng.u64(..150))).await;
    }
}

/// The whole life of one run.
async fn run(seed: u64, journal: &Arc<Journal>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let legacy = Legacy::start();
    let script = Script::play(&legacy, PATH, Plot::Counting, rng.u64(..), journal);
    let room = Room::play(&legacy, ROOM, rng.u64(..), journal);
    let mut nodes = Nodes::start(&legacy).await;
    let addresses: Vec<_> = nodes.nodes.iter().map(|node| node.address).collect();
    let end = watch::Sender::new(None);
    let mut clients = JoinSet::new();
    for n in 0..CLIENTS {
        let recorder = Recorder::new(format!("client {n} of run {seed}"), journal.clone());
        let client = OfState { path: PATH.to_owned(), recorder };
        clients.spawn(roam(client, &Transport::OF_STATES, addresses.clone(), rng.fork(), journal.clone()));
    }
    for n in 0..READERS {
        let items = Items::new(format!("reader {n} of run {seed}"), journal.clone());
        let reader = OfItems { number: n, items, room: room.clone(), end: end.subscribe() };
        clients.spawn(roam(reader, &Transport::OF_ITEMS, addresses.clone(), rng.fork(), journal.clone()));
    }
    let until = Instant::now() + STORMY;
    while Instant::now() < until {
        nodes.fails(&mut rng, journal).await;
        sleep(Duration::from_millis(rng.u64(100..1_200))).await;
        // No client has the final state yet: one that has ended has failed.
        if let Some(ended) = clients.try_join_next() {
            ended.expect("a client was told what it should not be told");
        }
    }
    script.calm();
    end.send_replace(Some(room.calm()));
    all_end(&mut clients, SETTLED, &format!("run {seed}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: tests/cluster/long runs it"]
async fn no_client_of_a_cluster_loses_repeats_or_goes_back_whatever_happens_to_nodes_and_engine() {
    let (journal, began) = (Arc::new(Journal::default()), Instant::now());
    let seeds = match number("FAULTS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FAULTS_RUNS").unwrap_or(2),
    };
    let runs = seeds.clone().count();
    for seed in seeds {
        let _named = super::Seed(seed);
        // What versions mean is of one run: another one begins anew.
        let of_run = Arc::new(Journal::default());
        run(seed, &of_run).await;
        journal.add(&of_run);
    }
    report("nodes", &journal, runs, began.elapsed());
}
