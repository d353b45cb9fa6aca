//! The demo of several nodes: one command starts them, its page shows which one polls, and one may be killed.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::client::{Http, Response, Sse, connect};
use crate::support::ports::unused_address;
use crate::support::process::{Folder, Process};
use crate::support::wire::{GUARD, within};

struct Demo {
    process: Process,
    listen: SocketAddr,
}

impl Demo {
    async fn start() -> Demo {
        let listen = unused_address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
        command.args(["demo", "--nodes", "3", "--listen", &listen.to_string(), "--admin", "127.0.0.1:0"]);
        let process = Process::run(command, Folder::new());
        let until = Instant::now() + 3 * GUARD;
        while tokio::net::TcpStream::connect(listen).await.is_err() {
            assert!(process.exited().is_none() && Instant::now() < until, "{}", process.stderr());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Demo { process, listen }
    }

    /// A request on a connection of its own, as the load balancer makes of each.
    async fn request(&self, method: &str, path: &str) -> Response {
        let mut http = Http::over(connect(self.listen).await, &self.listen.to_string());
        http.request(method, path, &[("Connection", "close")], b"").await
    }

    /// The page's counters. Returns `None` if the node that carried the question was killed meanwhile.
    async fn stats(&self) -> Option<Value> {
        let mut stream = connect(self.listen).await;
        let question = format!("GET /stats HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.listen);
        stream.write_all(question.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        if head.starts_with("HTTP/1.1 200 ") { serde_json::from_str(body).ok() } else { None }
    }

    /// Asks until the page's counters are as wanted.
    async fn until(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        within(what.to_owned(), async {
            loop {
                if let Some(stats) = self.stats().await
                    && is_it(&stats["cluster"])
                {
                    return stats["cluster"].clone();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await
    }
}

fn node<'a>(cluster: &'a Value, name: &str) -> &'a Value {
    let nodes = cluster["nodes"].as_array().expect("nodes");
    nodes.iter().find(|node| node["name"] == name).unwrap_or_else(|| panic!("{name}: {cluster:#}"))
}

const PATH: &str = "/auction/1";

#[tokio::test]
async fn the_demo_of_three_nodes_shows_who_polls_and_goes_on_without_one() {
    let demo = Demo::start().await;
    let page = demo.request("GET", "/").await.expect(200).text();
    assert!(page.contains("id=\"nodes\""), "{page}");
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut sse = Sse::open(demo.listen, PATH, &[]).await;
        sse.next_event().await;
        streams.push(sse);
    }
    let cluster = demo
        .until("three nodes, one of which polls", |cluster| {
            let nodes = cluster["nodes"].as_array().expect("nodes");
            nodes.len() == 3
                && nodes.iter().all(|node| node["has_engine"] == true)
                && cluster["holders"][PATH].is_string()
        })
        .await;
    let served = cluster["streams"].as_array().expect("streams");
    assert!(
        served.iter().any(|stream| stream["technique"] == "sse"
            && stream["path"] == PATH
            && stream["node"].is_string()),
        "{cluster:#}"
    );
    assert!(cluster["polled"][PATH].is_u64() && cluster["interval_ms"] == 500, "{cluster:#}");
    // Each request went to the next node, so that each has a stream of its own.
    assert!(
        cluster["nodes"].as_array().expect("nodes").iter().all(|node| node["connections"] != 0),
        "{cluster:#}"
    );
    let holder = cluster["holders"][PATH].as_str().expect("a name").to_owned();
    demo.request("POST", &format!("/nodes?kill={holder}")).await.expect(202);
    demo.until("another node that polls", |cluster| {
        let polls = &cluster["holders"][PATH];
        node(cluster, &holder)["is_running"] == false && polls.is_string() && *polls != holder.as_str()
    })
    .await;
    let mut sse = Sse::open(demo.listen, PATH, &[]).await;
    sse.next_event().await;
    demo.request("POST", &format!("/nodes?start={holder}")).await.expect(202);
    demo.until("its return", |cluster| node(cluster, &holder)["has_engine"] == true).await;
    demo.process.signal("INT");
    assert_eq!(demo.process.wait_exit().await.code(), Some(0), "{}", demo.process.stderr());
}

#[tokio::test]
async fn nothing_of_the_demo_outlives_it_even_if_it_is_killed() {
    let demo = Demo::start().await;
    let cluster = demo.until("its nodes", |cluster| cluster["nodes"].is_array()).await;
    let admins: Vec<SocketAddr> = cluster["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .map(|node| node["admin"].as_str().and_then(|text| text.parse().ok()).expect("an address"))
        .collect();
    // A connection to each ends when it does.
    let mut connections = Vec::new();
    for admin in &admins {
        connections.push(connect(*admin).await);
    }
    demo.process.signal("KILL");
    demo.process.wait_exit().await;
    for mut connection in connections {
        let ended = async {
            let mut bytes = [0; 64];
            while connection.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
        };
        within("the end of a node", ended).await;
    }
}

#[tokio::test]
async fn without_an_engine_on_the_machine_the_demo_says_what_is_missing() {
    let folder = Folder::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
    command.args(["demo", "--nodes", "2", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.env("PATH", &folder.path);
    let process = Process::run(command, folder);
    assert_eq!(process.wait_exit().await.code(), Some(1));
    let said = process.stderr();
    assert!(said.contains("redis-server") && said.contains("apt-get install redis-server"), "{said}");
}
