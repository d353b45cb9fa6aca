//! How often the API is asked, and for how long it is not, while nothing and while something fails.
//! Must not know: how anything is started.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::engine::signal;
use crate::fleet::{Fleet, Plan};
use crate::table::{Row, seconds};
use crate::upstream::Plot;

/// Resources of these runs.
const RESOURCES: usize = 300;
/// For how long a node or the engine stands still.
const STANDSTILL: Duration = Duration::from_secs(5);

/// Polls per resource and interval while nothing fails, and with a node that is replaced within a minute.
pub async fn steady(window: Duration) -> Result<Vec<Row>, String> {
    let plan = Plan::usual(RESOURCES);
    let mut fleet = Fleet::followed(plan).await?;
    fleet.board.take();
    let quiet = polls_within(&fleet, window).await;
    let since = Instant::now();
    sleep(window / 2).await;
    fleet.replace(0).await?;
    sleep(window.saturating_sub(since.elapsed())).await;
    let replaced = rate(&fleet, since);
    let counts = fleet.board.take();
    Ok(vec![
        Row::new("polls per resource and interval", "1.00", format!("{quiet:.3}")),
        Row::new("the same, one node replaced within the time", "≤ 1.05", format!("{replaced:.3}")),
        Row::new("states told / steps back / lost", "0 / 0", told(&counts)),
    ])
}

async fn polls_within(fleet: &Fleet, window: Duration) -> f64 {
    let since = Instant::now();
    sleep(window).await;
    rate(fleet, since)
}

fn rate(fleet: &Fleet, since: Instant) -> f64 {
    let polls: usize = fleet.upstream.polls_since(since).iter().map(Vec::len).sum();
    let intervals = since.elapsed().as_secs_f64() / fleet.plan.interval.as_secs_f64();
    polls as f64 / intervals / fleet.plan.resources as f64
}

fn told(counts: &crate::clients::Counts) -> String {
    format!("{} / {} / {}", counts.states, counts.steps_back, counts.lost)
}

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A node is killed.
    Node,
    /// A node stands still for [`STANDSTILL`].
    NodeStops,
    /// The engine stands still for [`STANDSTILL`].
    EngineHangs,
    /// The engine is killed, and back, empty, after four seconds.
    EngineKilled,
}

/// The longest pauses between two polls of a resource while something fails.
pub async fn failure(failure: Failure, interval: Duration, lease: Duration) -> Result<Vec<Row>, String> {
    let mut plan = Plan { interval, lease: Some(lease), ..Plan::usual(RESOURCES) };
    if failure == Failure::NodeStops {
        // Of states that come and go between the last poll before a standstill and its end, the clients of the node that
        // stands still get the newest one, as slow clients do: each state lasts longer than that.
        plan.plot = Plot::Lasting(STANDSTILL + 2 * interval);
    }
    let mut fleet = Fleet::followed(plan).await?;
    // Two intervals before, so that the last poll before the failure counts.
    sleep(2 * interval).await;
    fleet.board.take();
    let since = Instant::now();
    sleep(interval + interval / 2).await;
    let busiest = fleet.held()?.iter().enumerate().max_by_key(|(_, held)| **held).map_or(0, |(n, _)| n);
    match failure {
        Failure::Node => fleet.kill(busiest),
        Failure::NodeStops => {
            let pid = fleet.nodes[busiest].as_ref().map_or(0, crate::server::Pollcast::pid);
            signal(pid, "STOP")?;
            sleep(STANDSTILL).await;
            signal(pid, "CONT")?;
        }
        Failure::EngineHangs => {
            signal(fleet.engine.pid(), "STOP")?;
            sleep(STANDSTILL).await;
            signal(fleet.engine.pid(), "CONT")?;
        }
        Failure::EngineKilled => {
            fleet.engine.kill();
            sleep(Duration::from_secs(4)).await;
            fleet.engine.launch()?;
        }
    }
    sleep(5 * interval).await;
    let (mut pauses, polls) = (Vec::new(), rate(&fleet, since));
    for polls in fleet.upstream.polls_since(since) {
        let gaps = polls.windows(2).map(|two| two[1].at.duration_since(two[0].at));
        let last = polls.last().map_or(since.elapsed(), |poll| poll.at.elapsed());
        pauses.push(gaps.max().unwrap_or_default().max(last));
    }
    pauses.sort();
    let p99 = pauses[(pauses.len() - 1) * 99 / 100];
    let longest = pauses[pauses.len() - 1];
    let counts = fleet.board.take();
    let what = match failure {
        Failure::Node => "a node killed",
        Failure::NodeStops => "a node stopped for 5 s",
        Failure::EngineHangs => "the engine stopped for 5 s",
        Failure::EngineKilled => "the engine killed, back empty after 4 s",
    };
    let goal = match failure {
        Failure::EngineHangs => "≤ 3.5 s".to_owned(),
        Failure::EngineKilled => "≤ 3 s".to_owned(),
        Failure::Node | Failure::NodeStops => format!("≤ {}", seconds(2 * interval)),
    };
    let times = format!("interval {}, lease {}", seconds(interval), seconds(lease));
    Ok(vec![
        Row::new(
            &format!("{what} ({times}): longest pause, p99 / max"),
            &goal,
            format!("{} / {}", seconds(p99), seconds(longest)),
        ),
        Row::new("— polls per resource and interval meanwhile", "", format!("{polls:.3}")),
        Row::new("— states told / steps back / lost", "0 / 0", told(&counts)),
    ])
}
