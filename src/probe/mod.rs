//! What an upstream's answers say about how to poll them: `pollcast check --probe`.
//!
//! `destination` finds the route or upstream to ask, `polls` asks as a poll loop would, `workaround` tries how a server
//! could be reached. The others are pure: `flapping`, `noise`, `listing`, `difference`, `identity`, `pollable`, `content` and `fields` read the answers, `findings` is what is suggested from them,
//! `suggestion` a route made of that, `report` the text for people, `file` the routes of all URLs in one; `engine` says
//! what is wrong with the engine of a cluster. Nothing here prints a credential or a query. Must not know: subscribers, how a running pollcast is wired.

mod content;
mod destination;
mod difference;
mod engine;
mod fields;
mod file;
mod findings;
mod flapping;
mod identity;
mod listing;
mod noise;
mod pollable;
mod polls;
mod question;
mod report;
mod suggestion;
#[cfg(test)]
mod tests;
mod workaround;

pub use engine::EngineReport;
pub use file::Item;
pub use question::{POLLS_MAX, Question, Refusal};
pub use report::Report;

use std::path::Path;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

#[cfg(any(feature = "redis", feature = "nats"))]
use crate::config::ClusterEngine;
use crate::config::{Config, load_str};

/// Most URLs of one run.
pub const URLS_MAX: usize = 32;

/// Asks about all URLs side by side, one request at a time, and reports on each.
///
/// # Errors
/// One of the questions makes no sense: nothing is asked then. What becomes of the single URLs is in the list.
pub async fn probe(config: &Config, questions: &[Question]) -> Result<Vec<Result<Report, Refusal>>, Refusal> {
    if questions.len() > URLS_MAX {
        return Err(Refusal::Question(format!(
            "--probe: {} URLs; at most {URLS_MAX} in one run",
            questions.len()
        )));
    }
    let destinations = questions
        .iter()
        .map(|question| destination::destination(config, &question.url).map_err(Refusal::Question));
    let destinations = destinations.collect::<Result<Vec<_>, _>>()?;
    let turn = Semaphore::new(1);
    let asking = destinations.iter().zip(questions).map(async |(destination, question)| {
        let observed = polls::ask(destination, question, &turn, questions.len()).await?;
        Ok(report::report(destination, question, &observed))
    });
    Ok(join_all(asking).await)
}

/// Looks at the engine of the cluster. Returns `None` if the configuration has no `cluster`.
pub async fn engine(config: &Config) -> Option<EngineReport> {
    let cluster = config.cluster.as_ref()?;
    Some(match cluster.engine {
        #[cfg(feature = "redis")]
        ClusterEngine::Redis => match crate::cluster::redis::Redis::examine(cluster).await {
            Ok(found) => engine::report(cluster, &found),
            Err(failed) => engine::unreachable(cluster, &failed.to_string()),
        },
        #[cfg(feature = "nats")]
        ClusterEngine::Nats => match crate::cluster::nats::Nats::examine(cluster).await {
            Ok(found) => engine::nats_report(cluster, &found),
            Err(failed) => engine::unreachable(cluster, &failed.to_string()),
        },
        #[allow(unreachable_patterns, reason = "with all engines built there is no other")]
        _ => engine::unreachable(cluster, "this program was built without the client of cluster.engine"),
    })
}

/// What is printed: the text on each URL, then the suggested routes as one `routes:` section.
#[must_use]
pub fn printed(reports: &[&Report]) -> String {
    let mut text = reports.iter().map(|report| report.text.as_str()).collect::<Vec<_>>().join("\n");
    let items: Vec<&Item> = reports.iter().filter_map(|report| report.item.as_ref()).collect();
    if items.is_empty() {
        return text;
    }
    text.push_str(match items.iter().all(|item| item.is_new) {
        true => "\nWhat this suggests; a route that the file has beside it can stay:\n\n",
        false => "\nWhat this suggests; what else the file says of these routes can stay:\n\n",
    });
    text + &file::section(&items)
}

/// Writes a configuration, with the suggested routes in it, to a new file.
///
/// # Errors
/// There is such a file, there are no routes, they cannot be added, or the result would not load.
pub fn write(text: &str, reports: &[&Report], to: &Path) -> Result<(), String> {
    let items: Vec<&Item> = reports.iter().filter_map(|report| report.item.as_ref()).collect();
    let name = to.display();
    if items.is_empty() {
        return Err(format!("--write {name}: no route is suggested, so there is nothing to write"));
    }
    let merged = file::merged(text, &items).map_err(|why| format!("--write {name}: {why}"))?;
    let base = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    load_str(&merged, &name.to_string(), base).map_err(|problems| format!("--write {name}: {problems}"))?;
    file::write_new(to, &merged).map_err(|error| format!("--write {name}: {error}"))
}
