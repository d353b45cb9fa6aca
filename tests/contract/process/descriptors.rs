//! Claims about a process that has few open files: the real binary, with a small RLIMIT_NOFILE.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Process;
use crate::support::sse::Sse;
use crate::support::wire::within;

/// Open files that the process may have.
const FILES: usize = 96;

const A: &str = r#"{"price":1}"#;
const B: &str = r#"{"price":2}"#;
const C: &str = r#"{"price":3}"#;

fn yaml(legacy: &Legacy, more: &str) -> String {
    format!(
        "listeners: [{{address: PUBLIC_ADDRESS}}]\n\
         admin: {{address: ADMIN_ADDRESS}}\n\
         threads: {{front: 2, shards: 1}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         routes: [{{path: '/prices/{{symbol}}', upstream: legacy, poll: {{interval: 100ms}}}}]\n{more}",
        legacy.address()
    )
}

/// A process and some clients that are there already.
async fn crowded(legacy: &Legacy) -> (Process, Vec<Sse>) {
    legacy.set("/prices/A", Reply::json(A));
    legacy.set("/prices/B", Reply::json(A));
    let process = Process::start_limited(&yaml(legacy, ""), FILES).await;
    let mut streams = Vec::new();
    for _ in 0..5 {
        let mut sse = Sse::open(process.address, "/prices/A", &[]).await;
        assert_eq!(sse.next_event().await.data, A);
        streams.push(sse);
    }
    (process, streams)
}

/// Connections that say nothing.
async fn idle(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(within("a connection", TcpStream::connect(address)).await.expect("a connection"));
    }
    connections
}

async fn all_get(streams: &mut [Sse], data: &str) {
    for sse in streams {
        assert_eq!(sse.next_event().await.data, data);
    }
}

/// CPU time used in a second.
async fn used_in_a_second(process: &Process) -> Duration {
    let before = process.cpu();
    tokio::time::sleep(Duration::from_secs(1)).await;
    process.cpu() - before
}

/// Until there is room again: nothing tells when.
async fn served_again(process: &Process) {
    let served = async {
        while TcpStream::connect(process.address).await.is_err()
            || !matches!(tokio::time::timeout(Duration::from_secs(3), poll(process.address)).await, Ok(true))
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("a new client is served", served).await;
    let mut sse = Sse::open(process.address, "/prices/B", &[]).await;
    sse.next_event().await;
}

/// Whether a poll gets an answer at all.
async fn poll(address: SocketAddr) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    let request = b"GET /prices/A HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = Vec::new();
    stream.write_all(request).await.is_ok()
        && stream.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

#[tokio::test]
async fn a_shortage_of_open_files_is_told_at_the_start() {
    let legacy = Legacy::start();
    let process = Process::start_limited(&yaml(&legacy, "limits: {clients: 5000}\n"), FILES).await;
    process.wait_stderr("limits.clients (5000)").await;
    process.wait_stderr("the system allows 96").await;
    process.wait_stderr("LimitNOFILE=").await;
}

#[tokio::test]
async fn a_number_of_clients_that_no_file_said_is_no_shortage() {
    let legacy = Legacy::start();
    let process = Process::start_limited(&yaml(&legacy, ""), FILES).await;
    process.wait_stderr("listening").await;
    assert!(!process.stderr().contains("WARN"), "{}", process.stderr());
}

#[tokio::test]
async fn clients_never_take_the_open_files_that_polls_need() {
    let legacy = Legacy::start();
    let (process, mut streams) = crowded(&legacy).await;
    let crowd = idle(process.address, 2 * FILES).await;
    let used = used_in_a_second(&process).await;
    assert!(used < Duration::from_millis(500), "{used:?} of CPU time in a second");
    // A resource without followers would need a poll, and its client a place; a change of one
    // that is followed, on a connection of the upstream's that has to be made anew, none.
    legacy.set("/prices/A", Reply::json(B).header("connection", "close"));
    all_get(&mut streams, B).await;
    legacy.set("/prices/A", Reply::json(C));
    all_get(&mut streams, C).await;
    let metrics = Http::connect(process.admin).await.get("/metrics", &[]).await.text();
    assert!(metrics.contains("pollcast_refusals_total{reason=\"descriptors\"}"), "{metrics}");
    drop(crowd);
    served_again(&process).await;
    assert_eq!(process.exited(), None, "{}", process.stderr());
}

#[tokio::test]
async fn a_process_without_any_descriptor_left_waits_calmly_and_goes_on() {
    let legacy = Legacy::start();
    let (process, mut streams) = crowded(&legacy).await;
    // The operators' listener gives everything away.
    let operators = idle(process.admin, 60).await;
    let crowd = idle(process.address, FILES).await;
    process.wait_stderr("Too many open files").await;
    let used = used_in_a_second(&process).await;
    assert!(used < Duration::from_millis(500), "{used:?} of CPU time in a second");
    legacy.set("/prices/A", Reply::json(B));
    all_get(&mut streams, B).await;
    drop((operators, crowd));
    served_again(&process).await;
    assert_eq!(process.exited(), None, "{}", process.stderr());
}
