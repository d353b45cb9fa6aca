//! CPU: of a poll on the node that makes it, on one that mirrors it, and on one that knows of no others; of the engine with
//! many resources; and how long it takes to attend to them. Must not know: how anything is started.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::fleet::{Fleet, Plan};
use crate::measure::Cpu;
use crate::table::{Row, seconds};
use crate::upstream::Plot;

/// Resources of which each is polled several times a second.
const BUSY: usize = 200;
const INTERVAL: Duration = Duration::from_millis(250);
/// The interval of the same while next to nothing is polled.
const REST: Duration = Duration::from_secs(60);

/// CPU of a poll on a mirror beside polling for itself. `changes`: each poll brings a new state.
pub async fn mirror(changes: bool, window: Duration) -> Result<Vec<Row>, String> {
    let plot = if changes { Plot::EachPoll } else { Plot::Still };
    let plan = Plan { nodes: 2, resources: BUSY, interval: INTERVAL, plot, ..Plan::usual(BUSY) };
    let alone = Plan { nodes: 1, lease: None, ..plan };
    let at_rest = |plan: Plan| Plan { interval: REST, ..plan };
    // What a node costs that has the same clients and no polls is taken off: beats, timers, heartbeats.
    let (busy, rest) = (cpu(alone, window).await?, cpu(at_rest(alone), window).await?);
    let own = busy.of_poll(0, &rest);
    let (busy, rest) = (cpu(plan, window).await?, cpu(at_rest(plan), window).await?);
    let (held, mirrored) = (busy.of_poll(0, &rest), busy.of_poll(1, &rest));
    let what = if changes { "a changed poll, 1 KB" } else { "an unchanged poll" };
    let measured = format!("{mirrored:.1} µs; {:.2} of polling for itself", mirrored / own);
    let goal = if changes { "≤ 0.5 of polling" } else { "≤ 1 µs" };
    let sides = if changes { " (encoding and one delivery on both sides)" } else { "" };
    Ok(vec![
        Row::new(&format!("CPU of {what} on a mirror{sides}"), goal, measured),
        Row::new("— polling for itself / polling for all", "", format!("{own:.1} / {held:.1} µs")),
    ])
}

/// What the nodes spent in a window.
struct Spent {
    /// µs of CPU a second, by node.
    rates: Vec<f64>,
    polls_per_second: f64,
}

impl Spent {
    /// What a poll costs a node, µs. `rest`: the same nodes while next to nothing is polled.
    fn of_poll(&self, node: usize, rest: &Spent) -> f64 {
        let polls = (self.polls_per_second - rest.polls_per_second).max(1.0);
        (self.rates[node] - rest.rates[node]) / polls
    }
}

/// The CPU of all nodes. All that more than one attends to is held by the first.
async fn cpu(plan: Plan, window: Duration) -> Result<Spent, String> {
    let mut fleet = Fleet::start(plan).await?;
    for node in 0..plan.nodes {
        fleet.follow(node);
    }
    fleet.all_have_states().await?;
    for node in 1..plan.nodes {
        fleet.leave(node)?;
    }
    fleet.is_held_by_first().await?;
    sleep(Duration::from_secs(2)).await;
    let cpu =
        |fleet: &Fleet| (0..plan.nodes).map(|node| fleet.cpu(node)).collect::<Result<Vec<u64>, String>>();
    let (since, before) = (Instant::now(), cpu(&fleet)?);
    sleep(window).await;
    let (after, took) = (cpu(&fleet)?, since.elapsed().as_secs_f64());
    let rates = before.iter().zip(after).map(|(before, after)| (after - before) as f64 / took).collect();
    let polls: usize = fleet.upstream.polls_since(since).iter().map(Vec::len).sum();
    Ok(Spent { rates, polls_per_second: polls as f64 / took })
}

/// Many resources: how long it takes to attend to them, and what the engine does then.
pub async fn many(resources: usize, window: Duration) -> Result<Vec<Row>, String> {
    // So many changes a second as the goals say: 500 of 10,000.
    let plan = Plan { plot: Plot::Lasting(Duration::from_secs(20)), ..Plan::usual(resources) };
    let mut fleet = Fleet::start(plan).await?;
    let began = Instant::now();
    for node in 0..plan.nodes {
        fleet.follow(node);
    }
    let attended = roles_after(&fleet, began).await?;
    fleet.all_have_states().await?;
    let told = began.elapsed();
    // Until the nodes have what they prefer.
    sleep(Duration::from_secs(15)).await;
    fleet.board.take();
    let engine = Cpu::of(fleet.engine.pid())?;
    let nodes: u64 = (0..plan.nodes).map(|node| fleet.cpu(node)).sum::<Result<u64, String>>()?;
    let (since, before) = (Instant::now(), fleet.engine.commands()?);
    sleep(window).await;
    let after = fleet.engine.commands()?;
    let took = since.elapsed().as_secs_f64();
    let (cpu, _) = Cpu::of(fleet.engine.pid())?.since(engine);
    let spent = (0..plan.nodes).map(|node| fleet.cpu(node)).sum::<Result<u64, String>>()? - nodes;
    let polls: usize = fleet.upstream.polls_since(since).iter().map(Vec::len).sum();
    let counts = fleet.board.take();
    let writes = counts.states as f64 / plan.nodes as f64 / took;
    let commands = (after.scripts - before.scripts) as f64 / took;
    let messages = (after.publishes - before.publishes) as f64 / took;
    let renewals = (after.renewals - before.renewals) as f64 / took;
    let again = claimed_again(&fleet).await?;
    let intervals = took / plan.interval.as_secs_f64();
    let part = |micros: f64| micros / 10_000.0 / took;
    Ok(vec![
        Row::new(
            &format!("start: {resources} resources on three nodes at once, until each has a role / a state"),
            "≤ 1 s",
            format!("{} / {}", seconds(attended), seconds(told)),
        ),
        Row::new("— the same again after each node lost its connection", "≤ 1 s", seconds(again)),
        Row::new(
            &format!("engine CPU, {resources} resources and {writes:.0} changes/s"),
            "≤ 5 % of a core",
            format!("{:.1} %", part(cpu)),
        ),
        Row::new(
            "— commands/s besides changes (scripts, messages of beats, renewals)",
            "≤ 80",
            format!(
                "{:.0} ({:.0} scripts, {:.0} messages, {:.0} renewals)",
                (commands - writes).max(0.0) + (messages - writes).max(0.0) + (renewals - writes).max(0.0),
                (commands - writes).max(0.0),
                (messages - writes).max(0.0),
                (renewals - writes).max(0.0)
            ),
        ),
        Row::new("— CPU of all three nodes, clients on each", "", format!("{:.0} %", part(spent as f64))),
        Row::new(
            "— polls per resource and interval; steps back / lost",
            "1.00; 0 / 0",
            format!(
                "{:.3}; {} / {}",
                polls as f64 / intervals / resources as f64,
                counts.steps_back,
                counts.lost
            ),
        ),
    ])
}

/// Until each node has a role for each resource, since `began`. Who holds it does not count: after that nodes take what
/// they are preferred for from each other, a part at each beat.
async fn roles_after(fleet: &Fleet, began: Instant) -> Result<Duration, String> {
    let wanted = fleet.plan.resources;
    loop {
        let roles = fleet.roles()?;
        if roles.iter().all(|roles| roles.holder + roles.mirror == wanted) {
            return Ok(began.elapsed());
        }
        if began.elapsed() > Duration::from_secs(60) {
            return Err(format!("roles after a minute: {roles:?}"));
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// All nodes lose their connections at once: until all have their roles again, since the connections ended.
async fn claimed_again(fleet: &Fleet) -> Result<Duration, String> {
    let losses = fleet.losses()?;
    fleet.engine.ask(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
    fleet.engine.ask(&["CLIENT", "KILL", "TYPE", "normal"])?;
    let lost = Instant::now();
    // First it has to be noticed.
    while fleet.losses()?.iter().zip(&losses).any(|(now, before)| now <= before) {
        if lost.elapsed() > Duration::from_secs(5) {
            return Err("no node noticed that its connections ended".to_owned());
        }
        sleep(Duration::from_millis(5)).await;
    }
    roles_after(fleet, lost).await
}
