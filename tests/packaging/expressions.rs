//! The expressions of the dashboard, of the alerts and of the recording rules: each metric, label and value that they and
//! the manual name exists.
//!
//! Must not know: PromQL beyond names, selectors and groupings. `promtool` reads the rest, in `tests/real`.

use std::collections::{BTreeMap, BTreeSet};

use pollcast::metrics::{Metrics, REFUSALS, RefusalReason};
use serde_json::Value;

use super::{conf, root, scalars};
use crate::manual::pages;

/// What Prometheus itself adds to each series.
const OF_TARGETS: [&str; 2] = ["instance", "job"];

/// The labels of all metrics, by name, with the parts of histograms.
fn labels() -> BTreeMap<String, BTreeSet<String>> {
    let metrics = Metrics::new().expect("registers");
    metrics.cluster().expect("registers");
    let mut known = BTreeMap::new();
    for described in metrics.described() {
        let labels: BTreeSet<String> = described.labels.into_iter().collect();
        let mut with_bound = labels.clone();
        with_bound.insert("le".to_owned());
        known.insert(format!("{}_bucket", described.name), with_bound);
        known.insert(described.name, labels);
    }
    for name in
        ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_cpu_seconds_total"]
    {
        known.insert(name.to_owned(), BTreeSet::new());
    }
    known
}

/// The metrics of an expression, each with its selector (`a="b",c=~"d"`), empty if it has none.
fn selectors(expression: &str) -> Vec<(String, String)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(is_name) {
        let name: String = rest[start..].chars().take_while(|c| is_name(*c)).collect();
        rest = &rest[start + name.len()..];
        if name.starts_with("pollcast_") || name.starts_with("process_") || name.contains(':') {
            let selector = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            found.push((name, selector.map_or_else(String::new, |(selector, _)| selector.to_owned())));
        }
        // What stands in quotes and ranges is no name.
        if let Some(after) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            rest = after.1;
        } else if let Some(after) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            rest = after.1;
        }
    }
    found
}

/// Pairs of label and value, and whether the value is one that stands for itself.
fn pairs(selector: &str) -> Vec<(String, String, bool)> {
    let pairs = selector.split("\",").filter(|pair| !pair.is_empty());
    // Pages write `{…}` where any will do.
    let read = |pair: &str| {
        let (label, value) = pair.split_once('"')?;
        let plain = label.ends_with('=') && !label.ends_with("!=");
        let label = label.trim_end_matches(['=', '~', '!']).trim().to_owned();
        Some((label, value.trim_end_matches('"').to_owned(), plain))
    };
    pairs.filter_map(read).collect()
}

/// The labels by which an expression groups.
fn groupings(expression: &str) -> Vec<String> {
    let words = ["by (", "on (", "without (", "ignoring ("];
    let after = words.into_iter().flat_map(|word| expression.split(word).skip(1));
    let names = after.filter_map(|rest| rest.split_once(')')).flat_map(|(names, _)| names.split(','));
    names.map(|name| name.trim().to_owned()).collect()
}

/// What a list of expressions names and does not exist.
fn wrong<'a>(expressions: impl Iterator<Item = &'a String>, recorded: &BTreeSet<String>) -> Vec<String> {
    let labels = labels();
    let mut wrong = Vec::new();
    for expression in expressions {
        let mut known: BTreeSet<String> = OF_TARGETS.map(str::to_owned).into();
        for (name, selector) in selectors(expression) {
            if recorded.contains(&name) {
                continue;
            }
            let Some(own) = labels.get(&name) else {
                wrong.push(format!("{name}: no such metric, in {expression}"));
                continue;
            };
            for (label, ..) in pairs(&selector) {
                if !own.contains(&label) && !OF_TARGETS.contains(&label.as_str()) {
                    wrong.push(format!("{name} has no label {label}, in {expression}"));
                }
            }
            known.extend(own.iter().cloned());
        }
        let unknown = groupings(expression).into_iter().filter(|label| !known.contains(label));
        wrong.extend(unknown.map(|label| format!("nothing has the label {label}, in {expression}")));
    }
    wrong
}

/// The scalars that follow a key of the rules.
fn rules(key: &str) -> Vec<String> {
    let scalars = scalars(&root().join("conf/prometheus-alerts.yaml"));
    scalars.windows(2).filter(|pair| pair[0] == key).map(|pair| pair[1].clone()).collect()
}

fn dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&conf("grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.filter_map(|target| target["expr"].as_str().map(str::to_owned)).collect()
}

#[test]
fn each_expression_names_only_metrics_and_labels_that_exist() {
    let (rules, recorded, dashboard) = (rules("expr"), rules("record"), dashboard());
    assert!(rules.len() > 15 && dashboard.len() > 30 && !recorded.is_empty());
    let recorded: BTreeSet<String> = recorded.into_iter().collect();
    let wrong = wrong(rules.iter().chain(&dashboard), &recorded);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_expression_with_a_label_that_does_not_exist_is_caught() {
    let none = BTreeSet::new();
    for bad in [
        "rate(pollcast_polls_total{way=\"failed\"}[5m])",
        "sum by (colour) (pollcast_subscribers)",
        "rate(pollcast_pools_total[5m])",
        "route:invented:rate5m > 1",
    ] {
        assert_eq!(wrong([bad.to_owned()].iter(), &none).len(), 1, "{bad}");
    }
    let good = "sum by (instance, le) (rate(pollcast_lag_seconds_bucket{transport=\"sse\",job!=\"x\"}[5m]))"
        .to_owned();
    assert_eq!(wrong([good].iter(), &none), Vec::<String>::new());
}

/// The series of the first scrape of metrics whose labels are closed sets.
fn first_series() -> String {
    let metrics = Metrics::new().expect("registers");
    metrics.cluster().expect("registers");
    metrics.make_upstreams(["api"].into_iter());
    String::from_utf8(metrics.encode().expect("encodes")).expect("text")
}

#[test]
fn metrics_with_closed_labels_are_there_from_the_first_scrape() {
    let text = first_series();
    let metrics = Metrics::new().expect("registers");
    metrics.cluster().expect("registers");
    let is_open = |label: &String| label == "route";
    for described in metrics.described().into_iter().filter(|one| !one.labels.iter().any(is_open)) {
        // Runtimes are known once there is one; tokens are of upstreams with `budget` in a cluster, certificates of
        // listeners with `tls`.
        let of_some =
            ["pollcast_tasks", "pollcast_cluster_tokens_total", "pollcast_certificate_not_after_seconds"];
        if of_some.contains(&described.name.as_str()) {
            continue;
        }
        let is_it = |line: &str| {
            line.strip_prefix(&*described.name).is_some_and(|rest| rest.starts_with(['{', ' ', '_']))
        };
        assert!(text.lines().any(is_it), "{} is missing", described.name);
    }
    assert!(!text.contains("route=\""), "a route is there before its first use");
}

/// The manual and the rules name values of closed labels: each is one of them.
#[test]
fn each_value_of_a_closed_label_that_is_named_exists() {
    let text = first_series();
    let pages = pages::all();
    let page_texts = pages.iter().map(|page| page.text.clone());
    let expressions = rules("expr").into_iter().chain(dashboard());
    let mut checked = 0;
    for source in page_texts.chain(expressions) {
        for (name, selector) in selectors(&source).into_iter().filter(|(_, selector)| !selector.is_empty()) {
            for (label, value, _) in pairs(&selector).into_iter().filter(|(.., plain)| *plain) {
                let series = || text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
                let found = || series().any(|line| line.contains(&format!("{label}=\"{value}\"")));
                // A metric without a series yet has a label that is no closed set.
                assert!(series().next().is_none() || found(), "{name}{{{label}=\"{value}\"}} does not exist");
                checked += usize::from(found());
            }
        }
    }
    assert!(checked > 25, "only {checked} values were checked");
}

#[test]
fn each_reason_for_a_refusal_in_the_source_is_in_the_closed_set() {
    let word = |name: &str| {
        let reason = RefusalReason::ALL.iter().find(|reason| format!("{reason:?}") == name);
        reason.map_or_else(|| name.to_owned(), |reason| reason.word().to_owned())
    };
    let mut folders = vec![root().join("src")];
    let mut found = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = super::read(&path);
                let calls = text.split("refusals.with_label_values(&[\"").skip(1);
                found.extend(calls.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
                let calls = text.split(".refused(RefusalReason::").skip(1);
                found.extend(calls.filter_map(|rest| rest.split(')').next()).map(word));
            }
        }
    }
    let unknown: Vec<_> = found.iter().filter(|reason| !REFUSALS.contains(&reason.as_str())).collect();
    assert!(found.len() > 15 && unknown.is_empty(), "not in REFUSALS of src/metrics/labels.rs: {unknown:?}");
}

#[test]
fn a_thousand_routes_are_bounded_in_series() {
    let metrics = Metrics::new().expect("registers");
    metrics.bound_routes(250);
    let before = metrics.encode().expect("encodes").len();
    for route in 0..1000 {
        let route = format!("/r{route}/{{id}}");
        for transport in pollcast::metrics::TRANSPORTS {
            drop(metrics.stream(transport, &route));
        }
        drop(metrics.polling("api", &route));
        for outcome in ["changed", "unchanged", "not_modified", "failed"] {
            metrics.polled("api", &route, outcome);
        }
        for why in ["interval", "adaptive", "budget"] {
            metrics.paced(&route, why, std::time::Duration::from_secs(1));
        }
    }
    let text = String::from_utf8(metrics.encode().expect("encodes")).expect("text");
    let of_routes = text.lines().filter(|line| line.contains("route=\"/")).count();
    assert!(of_routes < 25_000, "{of_routes} series of routes, {} bytes", text.len() - before);
    assert!(text.contains("route=\"other\"") && text.contains("route=\"/r249/{id}\""));
    assert!(!text.contains("route=\"/r250/{id}\""), "a route beyond the bound has its own series");
}
