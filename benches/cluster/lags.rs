//! How long a state takes to the clients of the node that polled it and to those of the others, and what a client costs
//! that comes to another node. Must not know: how anything is started.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::clients::{Counts, ask};
use crate::fleet::{Fleet, Plan};
use crate::table::{Row, milliseconds};
use crate::upstream::Plot;

/// Resources of which each poll brings another state.
const RESOURCES: usize = 10;
const INTERVAL: Duration = Duration::from_millis(200);

/// The time that is added to a state's way by the cluster. `bytes`: of a state.
pub async fn added(bytes: usize, goals: [&str; 2], window: Duration) -> Result<Vec<Row>, String> {
    let plan = Plan {
        resources: RESOURCES,
        interval: INTERVAL,
        plot: Plot::EachPoll,
        bytes,
        ..Plan::usual(RESOURCES)
    };
    let alone = counted(Plan { nodes: 1, lease: None, ..plan }, window).await?.own;
    let counts = counted(plan, window).await?;
    let size = if bytes < 10_000 { "1 KB" } else { "50 KB" };
    let (p50, p99) = (alone.quantile_ms(0.5), alone.quantile_ms(0.99));
    let line = |whose: &str, goal: &str, lag: &crate::lag::Lag| {
        let [middle, tail] = [0.5, 0.99].map(|share| lag.quantile_ms(share));
        let measured = format!(
            "{} (p99 {}; in all {} after {})",
            milliseconds(middle - p50),
            milliseconds(tail - p99),
            milliseconds(middle),
            milliseconds(p50)
        );
        Row::new(&format!("added until {whose} have a state of {size}, p50"), goal, measured)
    };
    Ok(vec![
        line("clients of the node that polled", goals[0], &counts.own),
        line("clients of other nodes", goals[1], &counts.other),
    ])
}

async fn counted(plan: Plan, window: Duration) -> Result<Counts, String> {
    let fleet = Fleet::followed(plan).await?;
    fleet.board.take();
    sleep(window).await;
    Ok(fleet.board.take())
}

/// Resources of which a client comes to another node with what it has.
const RESUMED: usize = 200;

/// What a client costs that goes on at another node.
pub async fn resumed() -> Result<Vec<Row>, String> {
    let plan = Plan { resources: RESUMED, plot: Plot::Still, interval: INTERVAL, ..Plan::usual(RESUMED) };
    let mut fleet = Fleet::start(plan).await?;
    // They take nothing that they are preferred for: what they poll, they poll for the clients that come to them.
    for node in 1..plan.nodes {
        fleet.leave(node)?;
    }
    fleet.follow(0);
    fleet.all_have_states_on(0).await?;
    let failed = |e: std::io::Error| format!("a client: {e}");
    let ports: Vec<u16> = fleet.nodes.iter().flatten().map(|node| node.port).collect();
    let (mut home, mut away) = (Vec::new(), Vec::new());
    // The version that they have is the newest, and the other node has no client for the resource yet.
    let (mut bytes, mut streamed) = (0, 0);
    let mut at_home = TcpStream::connect(("127.0.0.1", ports[0])).await.map_err(failed)?;
    let mut at_other = TcpStream::connect(("127.0.0.1", ports[1])).await.map_err(failed)?;
    for resource in 0..RESUMED {
        let path = format!("/r/{resource}");
        let first = ask(&mut at_home, &path, None).await.map_err(failed)?;
        let again = ask(&mut at_home, &path, Some(&first.tag)).await.map_err(failed)?;
        let other = ask(&mut at_other, &path, Some(&first.tag)).await.map_err(failed)?;
        if again.status != 304 || other.status != 304 {
            return Err(format!("not 304: {again:?}, {other:?}"));
        }
        bytes += other.body;
        home.push(again.took);
        away.push(other.took);
        if resource % 20 == 0 {
            streamed += events_of(ports[2], &path, first.tag.trim_matches('"')).await.map_err(failed)?;
        }
    }
    let before = away_after(&mut fleet, &ports).await.map_err(failed)?;
    let polls: usize = fleet
        .upstream
        .polls_since(Instant::now() - Duration::from_secs(3600))
        .iter()
        .flatten()
        .filter(|poll| poll.node != 0)
        .count();
    let [home, away, before] = [home, away, before].map(middle);
    let more = |ms: f64| format!("{} more", milliseconds(ms - home));
    Ok(vec![
        Row::new(
            "bytes of states at a resume on another node, version known",
            "0",
            format!("{}", bytes + streamed),
        ),
        Row::new(
            "— time until it is told so: first client there (the record is read)",
            "≤ 0.3 ms more",
            more(away),
        ),
        Row::new("— the same with an older version, which the stored tags name", "", more(before)),
        Row::new("— polls of the other nodes for all of these", "0", format!("{polls}")),
    ])
}

/// After a change: a client with the version before it asks a node that knows the resource only since.
async fn away_after(fleet: &mut Fleet, ports: &[u16]) -> std::io::Result<Vec<Duration>> {
    let mut old = Vec::new();
    let mut at_home = TcpStream::connect(("127.0.0.1", ports[0])).await?;
    for resource in 0..RESUMED {
        old.push(ask(&mut at_home, &format!("/r/{resource}"), None).await?.tag);
    }
    fleet.upstream.change();
    sleep(10 * INTERVAL).await;
    let mut at_other = TcpStream::connect(("127.0.0.1", ports[2])).await?;
    let mut took = Vec::new();
    for (resource, tag) in old.iter().enumerate().filter(|(resource, _)| resource % 20 != 0) {
        took.push(ask(&mut at_other, &format!("/r/{resource}"), Some(tag)).await?.took);
    }
    Ok(took)
}

/// Bytes of the events that a stream begins with.
async fn events_of(port: u16, path: &str, version: &str) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: bench.test\r\nAccept: text/event-stream\r\nLast-Event-ID: {version}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut pending = Vec::new();
    // Nothing more comes: that it does not is what is measured.
    let _ = timeout(Duration::from_millis(300), async {
        while stream.read_buf(&mut pending).await? > 0 {}
        Ok::<_, std::io::Error>(())
    })
    .await;
    let text = String::from_utf8_lossy(&pending).into_owned();
    Ok(text.lines().filter(|line| line.starts_with("data:")).map(str::len).sum())
}

fn middle(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1000.0
}
