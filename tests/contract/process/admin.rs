//! Contract §1, §12: the operators' view, on its own listener only.

use std::time::Duration;

use pollcast::app::App;

use crate::contract::edge::support::{Extra, admin, http, start, start_with, yaml};
use crate::support::app;
use crate::support::client::{Sse, Ws, long_poll};
use crate::support::legacy::{Legacy, Reply};
use crate::support::wire::within;

/// Every metric that the product documents.
const METRICS: [&str; 25] = [
    "pollcast_subscribers",
    "pollcast_requests_total",
    "pollcast_passthrough_active",
    "pollcast_polls_total",
    "pollcast_poll_failures_total",
    "pollcast_poll_duration_seconds",
    "pollcast_upstream_bytes_total",
    "pollcast_saved_requests_total",
    "pollcast_saved_bytes_total",
    "pollcast_lag_seconds",
    "pollcast_events_total",
    "pollcast_bytes_out_total",
    "pollcast_ends_total",
    "pollcast_stalls_total",
    "pollcast_slow_closes_total",
    "pollcast_resumes_total",
    "pollcast_refusals_total",
    "pollcast_sharing_signals_not_obeyed_total",
    "pollcast_resources",
    "pollcast_snapshot_bytes",
    "pollcast_history_bytes",
    "pollcast_snapshot_evictions_total",
    "pollcast_build_info",
    "process_open_fds",
    "process_resident_memory_bytes",
];

async fn metrics(app: &App) -> String {
    admin(app).await.get("/metrics", &[]).await.expect(200).text()
}

/// The sum of a metric's samples whose labels contain all of these.
fn value(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let of_name = metrics.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    of_name
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Waits until a metric has a value; nothing tells when one changes.
async fn wait_value(app: &App, name: &str, labels: &[&str], wanted: f64) {
    let waiting = async {
        while value(&metrics(app).await, name, labels) != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(format!("{name}{labels:?} to be {wanted}"), waiting).await;
}

#[tokio::test]
async fn every_metric_is_there_and_sane_after_traffic() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1").header("cache-control", "private"));
    legacy.set("/x", Reply::text("x"));
    let app = start(&legacy, ", share: public, stale_after: 0s");
    let address = app.addresses()[0];
    let mut http = http(&app).await;
    http.get("/x", &[]).await.expect(200);
    let etag = http.get("/r/a", &[]).await.expect(200).etag().to_owned();
    http.get("/r/a", &[("if-none-match", &etag)]).await.expect(304);
    let twice = [("content-length", "0"), ("content-length", "0")];
    crate::contract::edge::support::http(&app).await.request("POST", "/x", &twice, b"").await.expect(400);
    let mut one = Sse::open(address, "/r/a", &[]).await;
    let mut two = Sse::open(address, "/r/a", &[("last-event-id", etag.trim_matches('"'))]).await;
    let mut ws = Ws::open(address, "/r/a", &[]).await;
    assert_eq!((one.next_event().await.data.as_str(), ws.next_text().await.as_str()), ("1", "1"));
    legacy.set("/r/a", Reply::json("22").header("cache-control", "private"));
    for event in [one.next_event().await, two.next_event().await] {
        assert_eq!(event.data, "22");
    }
    assert_eq!(ws.next_text().await, "22");
    let held = long_poll(&mut http, "/r/a", Some(&etag), Duration::from_secs(1)).await;
    assert_eq!(held.status, 200);
    let sse = ["transport=\"sse\"", "route=\"/r/{name}\""];
    wait_value(&app, "pollcast_subscribers", &sse, 2.0).await;
    wait_value(&app, "pollcast_subscribers", &["transport=\"websocket\""], 1.0).await;
    // The second of these is asked when the first has been judged.
    legacy.wait_count("/r/a", legacy.count("/r/a") + 2).await;
    legacy.set("/r/a", Reply::empty(500));
    one.next_named("stale").await;
    drop((one, two, ws));
    wait_value(&app, "pollcast_subscribers", &[], 0.0).await;

    let text = metrics(&app).await;
    for name in METRICS {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is missing:\n{text}");
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} has no type");
    }
    let at_least = |name: &str, labels: &[&str], least: f64| {
        let found = value(&text, name, labels);
        assert!(found >= least, "{name}{labels:?} is {found}:\n{text}");
    };
    at_least("pollcast_requests_total", &["answer=\"passthrough\""], 1.0);
    at_least("pollcast_requests_total", &["answer=\"not_modified\""], 1.0);
    at_least("pollcast_requests_total", &["answer=\"sse\""], 2.0);
    at_least("pollcast_polls_total", &["outcome=\"changed\"", "upstream=\"legacy\""], 2.0);
    at_least("pollcast_polls_total", &["outcome=\"unchanged\""], 1.0);
    at_least("pollcast_poll_failures_total", &["upstream=\"legacy\""], 1.0);
    at_least("pollcast_poll_duration_seconds_count", &[], 3.0);
    at_least("pollcast_upstream_bytes_total", &["part=\"body\""], 3.0);
    at_least("pollcast_upstream_bytes_total", &["part=\"head\""], 30.0);
    at_least("pollcast_saved_requests_total", &[], 1.0);
    at_least("pollcast_saved_bytes_total", &[], 1.0);
    at_least("pollcast_events_total", &sse, 3.0);
    at_least("pollcast_events_total", &["transport=\"websocket\""], 2.0);
    at_least("pollcast_bytes_out_total", &sse, 100.0);
    at_least("pollcast_lag_seconds_count", &["transport=\"sse\""], 2.0);
    at_least("pollcast_ends_total", &["transport=\"sse\""], 2.0);
    at_least("pollcast_resumes_total", &["outcome=\"current\""], 1.0);
    at_least("pollcast_resumes_total", &["outcome=\"none\""], 1.0);
    at_least("pollcast_sharing_signals_not_obeyed_total", &[], 1.0);
    at_least("pollcast_resources", &[], 1.0);
    at_least("pollcast_snapshot_bytes", &[], 2.0);
    at_least("pollcast_build_info", &[env!("CARGO_PKG_VERSION")], 1.0);
    assert_eq!(value(&text, "pollcast_passthrough_active", &[]), 0.0);
    assert!(value(&text, "pollcast_lag_seconds_sum", &[]) < 5.0);
    for secret in ["/r/a", "127.0.0.1"] {
        assert!(!text.contains(secret), "{secret} is a label:\n{text}");
    }
}

#[tokio::test]
async fn a_scraper_that_asks_for_it_gets_openmetrics() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let mut admin = admin(&app).await;
    let accept = [("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")];
    let answer = admin.get("/metrics", &accept).await.expect(200);
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(format));
    let text = answer.text();
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    assert!(text.contains("# TYPE pollcast_refusals counter\n"), "{text}");
    assert!(text.contains("pollcast_refusals_total{reason=\"clients\"} 0\n"), "{text}");
    assert!(text.contains("pollcast_lag_seconds_bucket{transport=\"sse\",le=\"1.0\"} 0\n"), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("# TYPE") && line.contains("_total ")), "{text}");
    let older = admin.get("/metrics", &[("accept", "text/plain")]).await.expect(200);
    assert_eq!(older.header("content-type"), Some("text/plain; version=0.0.4"));
    assert!(older.text().contains("# TYPE pollcast_refusals_total counter\n"));
}

#[tokio::test]
async fn passthrough_active_counts_what_passes_now() {
    let legacy = Legacy::start();
    let (reply, feed) = Reply::stream("text/plain");
    legacy.set("/x", reply);
    let app = start(&legacy, "");
    let mut client = http(&app).await;
    client.send("GET", "/x", &[], b"").await;
    client.read_head().await;
    wait_value(&app, "pollcast_passthrough_active", &[], 1.0).await;
    feed.end();
    wait_value(&app, "pollcast_passthrough_active", &[], 0.0).await;
}

#[tokio::test]
async fn the_public_listener_knows_nothing_of_it() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    for path in ["/metrics", "/live", "/ready", "/resources"] {
        legacy.set(path, Reply::text("the upstream's own"));
        assert_eq!(http.get(path, &[]).await.expect(200).text(), "the upstream's own");
    }
}

#[tokio::test]
async fn a_token_guards_all_but_the_probes() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let yaml = yaml(&legacy, Extra::default()).replace(
        "admin: {address: '127.0.0.1:0'}",
        "admin: {address: '127.0.0.1:0', token: 's3cret-token-of-admin'}",
    );
    let app = app::start(&yaml);
    let mut admin = admin(&app).await;
    for path in ["/live", "/ready"] {
        admin.get(path, &[]).await.expect(200);
    }
    for path in ["/metrics", "/resources", "/", "/nothing"] {
        for wrong in ["", "Bearer", "Bearer ", "Bearer wrong", "Basic s3cret-token-of-admin", "bearer"] {
            let answer = admin.get(path, &[("authorization", wrong)]).await.expect(401);
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    let right = [("authorization", "Bearer s3cret-token-of-admin")];
    admin.get("/metrics", &right).await.expect(200);
    admin.get("/resources", &right).await.expect(200);
    admin.get("/nothing", &right).await.expect(404);
}

#[tokio::test]
async fn resources_are_listed_without_secrets() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    legacy.set("/r/bad", Reply::empty(500));
    let app = start_with(
        &legacy,
        Extra {
            route: ", share: {by: [authorization]}, poll: {headers: {x-service: hidden-key}}",
            ..Extra::default()
        },
    );
    let fields = [("authorization", "Bearer hidden-token")];
    let mut sse = Sse::open(app.addresses()[0], "/r/a?x=1", &fields).await;
    sse.next_event().await;
    http(&app).await.get("/r/bad", &[]).await;
    let answer = admin(&app).await.get("/resources", &[]).await.expect(200);
    assert!(!answer.text().contains("hidden"), "{}", answer.text());
    let list = answer.json();
    let resources = list["resources"].as_array().expect("a list");
    assert_eq!((list["count"].as_u64(), resources.len()), (Some(2), 2), "{list}");
    let of = |path: &str| {
        resources.iter().find(|r| r["path"] == path).unwrap_or_else(|| panic!("no {path} in {list}"))
    };
    let good = of("/r/a?x=1");
    assert_eq!(
        (&good["followers"], &good["state"], &good["last_outcome"]),
        (&1.into(), &"fresh".into(), &"data".into())
    );
    assert_eq!((&good["class"][0], &good["upstream"]), (&"authorization".into(), &"legacy".into()));
    let bad = of("/r/bad");
    assert!(bad["last_reason"].as_str().is_some_and(|reason| reason.contains("500")), "{bad}");
}

#[tokio::test]
async fn only_reading_is_answered() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let mut admin = admin(&app).await;
    assert_eq!(admin.request("HEAD", "/metrics", &[], b"").await.expect(200).body.len(), 0);
    admin.request("DELETE", "/resources", &[], b"").await.expect(405);
    admin.get("/live", &[]).await.expect(200);
}
