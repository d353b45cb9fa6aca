//! Claims about several processes that listen on one address (`listeners[].reuse_port`).

use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Process;

const PRICE: &str = r#"{"price":1}"#;

/// So many that by chance all of them reach one of two processes once in 2^63 runs.
const CONNECTIONS: usize = 64;

fn yaml(legacy: &Legacy, listener: &str) -> String {
    format!(
        "listeners: [{listener}]\n\
         admin: {{address: ADMIN_ADDRESS}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         routes: [{{path: '/prices/{{symbol}}', upstream: legacy}}]\n",
        legacy.address()
    )
}

/// Requests that a process has answered.
async fn requests(process: &Process) -> u64 {
    let text = Http::connect(process.admin).await.get("/metrics", &[]).await.text();
    let lines = text.lines().filter(|line| line.starts_with("pollcast_requests_total"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[tokio::test]
async fn processes_that_say_reuse_port_share_an_address() {
    let legacy = Legacy::start();
    legacy.set("/prices/A", Reply::json(PRICE));
    let first = Process::start(&yaml(&legacy, "{address: PUBLIC_ADDRESS, reuse_port: true}")).await;
    let shared = format!("{{address: '{}', reuse_port: true}}", first.address);
    let second = Process::start(&yaml(&legacy, &shared)).await;
    for _ in 0..CONNECTIONS {
        let answer = Http::connect(first.address).await.get("/prices/A", &[]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, PRICE));
    }
    let served = (requests(&first).await, requests(&second).await);
    assert_eq!(served.0 + served.1, CONNECTIONS as u64, "{served:?}");
    assert!(served.0 > 0 && served.1 > 0, "{served:?}");
}

#[tokio::test]
async fn a_process_that_does_not_say_it_has_its_address_alone() {
    let legacy = Legacy::start();
    let first = Process::start(&yaml(&legacy, "{address: PUBLIC_ADDRESS}")).await;
    let shared = format!("{{address: '{}', reuse_port: true}}", first.address);
    let second = Process::start_unready(&yaml(&legacy, &shared));
    second.wait_stderr(&format!("cannot listen on {}", first.address)).await;
}
