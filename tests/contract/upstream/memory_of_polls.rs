//! Contract §10: the bodies of polls in progress have one bound, and no poll fails for want of room.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use crate::contract::Stand;
use crate::support::app;
use crate::support::legacy::{Gate, Legacy, Reply};
use crate::support::sse::Sse;

const MIB: usize = 1024 * 1024;
const EVENTS: &str = "/-/pollcast/events";

fn large(name: &str, bytes: usize) -> String {
    json!({ "name": name, "rows": "x".repeat(bytes) }).to_string()
}

fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

fn stand(poll: &str, limits: &str) -> Stand {
    let legacy = Legacy::start();
    let route = format!("poll: {{interval: 1h, timeout: 1m{poll}}}");
    let yaml = crate::contract::config(&legacy, &route, &format!("limits: {{{limits}}}"));
    let yaml = yaml.replace("servers:", "first_byte_timeout: 30s, total_timeout: 1m, servers:");
    Stand { legacy, app: app::start(&yaml) }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("/prices/{n}")).collect()
}

/// Follows all of these until each was served, and gives the most that the bodies of polls held meanwhile.
async fn serve(stand: &Stand, names: &[String], gate: &Gate) -> usize {
    let query: Vec<String> = names.iter().map(|name| format!("resource={name}")).collect();
    let mut sse = Sse::open(stand.address(), &format!("{EVENTS}?{}", query.join("&")), &[]).await;
    for name in names {
        stand.legacy.wait_count(name, 1).await;
    }
    gate.open();
    let most = AtomicU64::new(0);
    let served = async {
        let mut had = 0;
        while had < names.len() {
            let event = sse.next_event().await;
            assert!(event.event != "error" && event.event != "stale", "{}", event.data);
            had += usize::from(event.data.contains("xxx"));
        }
    };
    let watched = async {
        loop {
            let held = stand.metric("pollcast_poll_body_bytes", "").await;
            most.fetch_max(held as u64, Ordering::Relaxed);
        }
    };
    tokio::select! {
        () = served => {}
        () = watched => {}
    }
    most.load(Ordering::Relaxed) as usize
}

#[tokio::test]
async fn bodies_of_polls_in_progress_have_one_bound_and_all_resources_are_served() {
    let stand = stand("", "poll_body_bytes: 8MiB");
    let (names, gate) = (names(48), Gate::closed());
    for (n, name) in names.iter().enumerate() {
        let body = large(name, 900_000);
        let reply = match n % 3 {
            0 => Reply::json(body),
            1 => Reply::json(body).chunked(),
            _ => Reply::new("application/json", gzipped(&body)).header("content-encoding", "gzip"),
        };
        stand.legacy.set(name, reply.behind(&gate));
    }
    let most = serve(&stand, &names, &gate).await;
    assert!((1..=8 * MIB).contains(&most), "{most} bytes");
    assert!(stand.metric("pollcast_poll_body_waits_total", "").await > 0.0, "none waited");
    assert_eq!(stand.metric("pollcast_poll_failures_total", "").await, 0.0);
    stand.metric_becomes("pollcast_poll_body_bytes", "", 0.0).await;
}

#[tokio::test]
async fn bodies_longer_than_the_bound_are_read_one_after_the_other() {
    let stand = stand(", max_body: 4MiB", "poll_body_bytes: 1MiB");
    let (names, gate) = (names(6), Gate::closed());
    for name in &names {
        stand.legacy.set(name, Reply::json(large(name, 2 * MIB)).behind(&gate));
    }
    let most = serve(&stand, &names, &gate).await;
    assert!(most < 6 * MIB, "{most} bytes");
    assert_eq!(stand.metric("pollcast_poll_failures_total", "").await, 0.0);
}
