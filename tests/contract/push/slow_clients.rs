//! Claims about clients that stop reading among many that do not: a real process, whose memory is seen.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::contract::narrow;
use crate::support::client::Http;
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Process;
use crate::support::sse::Sse;
use crate::support::wire::within;

/// Clients that read, and those that do not.
const FAST: usize = 180;
const SLOW: usize = 20;

/// A state, bytes.
const BODY: usize = 64 * 1024;

/// What the process may grow by while the slow ones hang: less than a copy of one state for each of them.
const GROWTH: usize = SLOW * BODY;

async fn start(legacy: &Legacy) -> Process {
    let yaml = format!(
        "listeners: [{{address: PUBLIC_ADDRESS, http2: true}}]\n\
         admin: {{address: ADMIN_ADDRESS}}\n\
         log: {{access: false}}\n\
         limits: {{stall_timeout: 2s}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         routes: [{{path: '/states/{{name}}', upstream: legacy, poll: {{interval: 100ms}}}}]\n",
        legacy.address()
    );
    Process::start(&yaml).await
}

/// A state of its own, and of full size.
fn state(number: usize) -> String {
    let head = format!("{{\"number\":{number},\"text\":\"");
    format!("{head}{}\"}}", "x".repeat(BODY - head.len() - 2))
}

async fn readers(process: &Process, first: &str) -> Vec<Sse> {
    let open = (0..FAST).map(|_| async {
        let mut sse = Sse::open(process.address, "/states/A", &[]).await;
        assert!(sse.next_event().await.data == first);
        sse
    });
    join_all(open).await
}

async fn metric(process: &Process, name: &str) -> f64 {
    let text = Http::connect(process.admin).await.get("/metrics", &[]).await.text();
    let of_name = text.lines().filter(|line| line.starts_with(name));
    of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Changes the state again and again until all slow ones are closed; each reader gets each state. Gives
/// how much the process has grown at most.
async fn change_until_closed(legacy: &Legacy, process: &Process, readers: &mut [Sse]) -> usize {
    let mut number = 1;
    let mut grown = 0;
    let mut before = None;
    let all_closed = async {
        loop {
            let next = state(number);
            legacy.set("/states/A", Reply::json(next.as_str()));
            for event in join_all(readers.iter_mut().map(Sse::next_event)).await {
                assert!(event.data == next, "another state than number {number}");
            }
            number += 1;
            let memory = process.memory();
            // The first states have shown what each reader costs.
            if number > 3 {
                grown = grown.max(memory.saturating_sub(*before.get_or_insert(memory)));
            }
            if number > 6 && metric(process, "pollcast_slow_closes_total").await == SLOW as f64 {
                return;
            }
        }
    };
    within("the slow ones are closed", all_closed).await;
    grown
}

#[tokio::test]
async fn clients_that_stop_reading_cost_the_others_nothing() {
    let legacy = Legacy::start();
    legacy.set("/states/A", Reply::json(state(0)));
    let process = start(&legacy).await;
    let mut readers = readers(&process, &state(0)).await;
    let mut slow: Vec<TcpStream> = Vec::new();
    for _ in 0..SLOW {
        let mut stream = narrow(process.address).await;
        let request = b"GET /states/A HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
        stream.write_all(request).await.expect("written");
        slow.push(stream);
    }
    let grown = change_until_closed(&legacy, &process, &mut readers).await;
    assert!(grown < GROWTH, "{grown} bytes");
    assert_eq!(metric(&process, "pollcast_subscribers{").await, FAST as f64);
    // They find out, at the latest when they read on.
    for mut stream in slow {
        let _ = within("the end of a slow one", stream.read_to_end(&mut Vec::new())).await;
    }
}

#[tokio::test]
async fn http2_clients_that_open_no_window_cost_the_others_nothing() {
    let legacy = Legacy::start();
    legacy.set("/states/A", Reply::json(state(0)));
    let process = start(&legacy).await;
    let mut readers = readers(&process, &state(0)).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let stream = TcpStream::connect(process.address).await.expect("a connection");
        let mut h2 = H2::over(stream, "localhost").await;
        let mut bodies = Vec::new();
        for _ in 0..SLOW / 2 {
            bodies.push(h2.open("GET", "/states/A", &[("accept", "text/event-stream")]).await.1);
        }
        slow.push((h2, bodies));
    }
    let grown = change_until_closed(&legacy, &process, &mut readers).await;
    assert!(grown < GROWTH, "{grown} bytes");
    // What they were sent and left lying takes up the window of their connection; without it all is as
    // before.
    let (mut h2, bodies) = slow.pop().expect("two");
    drop(bodies);
    let answer = tokio::time::timeout(Duration::from_secs(5), h2.get("/states/404", &[])).await;
    assert_eq!(answer.expect("an answer").status, 404);
}
