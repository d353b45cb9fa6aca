//! What reads the log may hang or go away: neither holds up a request, and the end stays in order.

use crate::contract::edge::support::{Extra, process_yaml};
use crate::support::client::{Http, Sse};
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Process;

/// A full pipe, and much more than `log.buffer` has room for.
const REQUESTS: usize = 1500;

const TOP: &str = "log: {buffer: 100}\ndrain: {delay: 0s, window: 0s}";

async fn lost(process: &Process, reason: &str) -> u64 {
    let text = Http::connect(process.admin).await.get("/metrics", &[]).await.text();
    let name = format!("pollcast_log_lines_lost_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().expect("a number"))
}

#[tokio::test]
async fn requests_and_streams_go_on_while_the_log_is_not_read_and_what_is_lost_is_counted() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("x"));
    legacy.set("/r/a", Reply::json(r#"{"a":1}"#));
    let yaml = process_yaml(&legacy, Extra { top: TOP, ..Extra::default() });
    let (process, reader) = Process::start_unread(&yaml).await;
    let mut stream = Sse::open(process.address, "/r/a", &[]).await;
    stream.next_event().await;
    let mut client = Http::connect(process.address).await;
    for _ in 0..REQUESTS {
        client.get("/x", &[]).await.expect(200);
    }
    assert!(lost(&process, "full").await > 0);
    legacy.set("/r/a", Reply::json(r#"{"a":2}"#));
    assert!(stream.next_event().await.data.contains('2'), "polls and streams go on");
    drop(reader);
    while lost(&process, "unwritten").await == 0 {
        client.get("/x", &[]).await.expect(200);
    }
    process.signal("TERM");
    assert_eq!(process.wait_exit().await.code(), Some(0));
}

#[tokio::test]
async fn the_end_does_not_wait_for_a_reader_that_hangs() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("x"));
    let yaml = process_yaml(&legacy, Extra { top: TOP, ..Extra::default() });
    let (process, _reader) = Process::start_unread(&yaml).await;
    let mut client = Http::connect(process.address).await;
    for _ in 0..REQUESTS {
        client.get("/x", &[]).await.expect(200);
    }
    drop(client);
    process.signal("TERM");
    assert_eq!(process.wait_exit().await.code(), Some(0));
}
