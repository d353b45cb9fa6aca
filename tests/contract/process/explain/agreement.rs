//! What is foreseen of a request is what it gets: the same answer for the same reason, as the metrics count it.

use std::collections::BTreeMap;

use pollcast::app::App;
use serde_json::Value;

use super::cases::{Case, cases, yaml};
use super::explained;
use crate::contract::edge::support::admin;
use crate::support::app;
use crate::support::client::{Http, Sse};
use crate::support::legacy::{Legacy, Reply};
use crate::support::wire::within;

/// How requests were counted: `answer`, `reason`, `route` and how often.
type Counted = BTreeMap<String, u64>;

async fn counted(app: &App) -> Counted {
    let metrics = admin(app).await.get("/metrics", &[]).await.expect(200).text();
    let samples = metrics.lines().filter_map(|line| line.strip_prefix("pollcast_requests_total{"));
    let sample = |line: &str| {
        let (labels, count) = line.rsplit_once("} ")?;
        Some((labels.to_owned(), count.parse().ok()?))
    };
    samples.filter_map(sample).collect()
}

fn label(labels: &str, name: &str) -> String {
    let start = format!("{name}=\"");
    let found = labels.split(',').find_map(|pair| pair.strip_prefix(start.as_str())?.strip_suffix('"'));
    found.unwrap_or_default().to_owned()
}

/// The one sample that has grown since, once it has.
async fn grown(app: &App, before: &Counted) -> String {
    within("a request that is counted", async {
        loop {
            let now = counted(app).await;
            let known = |labels: &str| before.get(labels).copied().unwrap_or_default();
            // With the first stream of a route there are samples of what was not counted yet.
            let grown = now.iter().find(|(labels, count)| known(labels) != **count);
            if let Some((labels, _)) = grown {
                return labels.clone();
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// The status of a request's answer, and how it was counted.
async fn asked(app: &App, case: &Case) -> (u16, String) {
    let before = counted(app).await;
    let mut client = Http::connect(app.addresses()[0]).await;
    let (method, path, fields) = case.request();
    client.send(method, path, fields, b"").await;
    let head = client.read_head().await;
    let is_stream = head.status == 101 || head.header("content-type") == Some("text/event-stream");
    if !is_stream {
        // What passes through is counted as failed if its client goes before the end.
        client.read_body(&head).await.expect("a whole body");
    }
    (head.status, grown(app, &before).await)
}

/// What differs between what was foreseen and what came.
fn difference(foreseen: &Value, status: u16, labels: &str) -> Option<String> {
    let outcome = &foreseen["outcome"];
    let (answer, reason) = (label(labels, "answer"), label(labels, "reason"));
    let told = |what: &str| Some(format!("{what}: {answer} {reason} {status}"));
    let is_awaited = outcome["after"].is_string();
    let route = foreseen["route"].as_str().unwrap_or_default();
    if route != label(labels, "route") {
        return told("another route");
    }
    if outcome["otherwise"].is_string() && answer != "passthrough" {
        // The API had nothing that such a request waits for.
        return (answer != "refused" && answer != "websocket").then(|| told("neither of two")).flatten();
    }
    match outcome["answer"].as_str() {
        Some(word) if word != answer && !is_awaited => return told("another answer"),
        None if !is_awaited => return told("no answer foreseen"),
        _ => {}
    }
    if !is_awaited && outcome["reason"].as_str().unwrap_or_default() != reason {
        return told("another reason");
    }
    let foreseen_status = outcome["status"].as_u64().filter(|_| !is_awaited);
    foreseen_status
        .is_some_and(|wanted| wanted != u64::from(status))
        .then(|| told("another status"))
        .flatten()
}

fn api() -> Legacy {
    let legacy = Legacy::start();
    for route in ["r", "public", "by", "checked", "keys", "off", "wide", "plain", "cors", "few", "slow", "x"]
    {
        for name in ["a", "s", "w", "new", "cold"] {
            legacy.set(&format!("/{route}/{name}"), Reply::json("{\"n\":1}").with_etag());
        }
    }
    legacy.answer_with("/checked/a", |seen| match seen.header("authorization") {
        Some("Bearer secret-of-bob") => Reply::json("{}").status(403),
        _ => Reply::json("{\"n\":1}"),
    });
    legacy.set("/x", Reply::json("1"));
    legacy.set("/r/gone", Reply::json("{}").status(404));
    legacy.set("/r/refused", Reply::json("{}").status(403));
    legacy.set("/r/private", Reply::json("1").header("cache-control", "private"));
    legacy.set("/r/page", Reply::new("text/html", "<p>"));
    legacy.set("/r/image", Reply::new("image/png", vec![0xff, 0x00, 0xfe]));
    legacy
}

#[tokio::test]
async fn what_is_foreseen_is_what_a_request_gets_cold_and_known() {
    let legacy = api();
    let (mut told, mut awaited, mut count) = (Vec::new(), 0, 0);
    let app = app::start(&yaml(&legacy.address().to_string()));
    // It has the one place of its route.
    let mut follower = Sse::open(app.addresses()[0], "/few/s", &[]).await;
    follower.next_event().await;
    for round in ["cold", "known"] {
        for case in cases() {
            let (method, path, fields) = case.request();
            let url = format!("http://{}{path}", app.addresses()[0]);
            let foreseen = explained(&app, (method, &url, fields)).await;
            let (status, labels) = asked(&app, &case).await;
            count += 1;
            awaited += usize::from(foreseen["outcome"]["after"].is_string());
            if let Some(different) = difference(&foreseen, status, &labels) {
                let path: String = path.chars().take(60).collect();
                told.push(format!(
                    "{round} {method} {path} {fields:?}\n    came {different}\n    foreseen {}",
                    foreseen["outcome"]
                ));
            }
        }
    }
    println!("{count} requests, {awaited} of them after a poll, {} disagreements", told.len());
    assert!(told.is_empty(), "{} of {count} disagree:\n{}", told.len(), told.join("\n"));
    assert!(awaited < count / 3, "{awaited} of {count} say no more than that a poll decides");
}
