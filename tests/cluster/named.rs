//! Clients that name what they have seen: their node answers with nothing older, however little it knows (contract §13).

use super::fleet::{Fleet, Follower, HOST, number};
use crate::support::client::{Http, Response, connect};
use crate::support::legacy::Reply;

const SHARED: &str = "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, poll: { interval: 1s }, plain: share, stale_if_error: 1m, stale_after: 0s }
";

/// A version that no node has held.
const UNKNOWN: (&str, &str) = ("if-none-match", "\"AAAAAAAAAAAAAAAAAAAAAA\"");

fn detail(answer: &Response) -> &str {
    let status = answer.header("cache-status").unwrap_or_default();
    status.split("detail=").nth(1).unwrap_or(status)
}

/// Three nodes with a stream on each that was told the first state.
async fn followed() -> (Fleet, Vec<Follower>) {
    let fleet = Fleet::start_calm(SHARED).await;
    fleet.legacy.set("/state/a", Reply::json("{\"n\":1}"));
    let mut streams = Vec::new();
    for node in 0..3 {
        let mut stream = fleet.follow(node, "/state/a").await;
        assert_eq!(stream.states(1).await, [1]);
        streams.push(stream);
    }
    (fleet, streams)
}

#[tokio::test]
async fn while_polls_fail_an_unknown_name_is_the_apis_and_a_known_one_gets_the_last_state() {
    let (fleet, mut streams) = followed().await;
    let known = format!("\"{}\"", streams[0].sse.last_event_id());
    fleet.legacy.set("/state/a", Reply::json("{\"error\":\"down\"}").status(500));
    for stream in &mut streams {
        stream.sse.next_named("stale").await;
    }
    for node in 0..3 {
        let told = fleet.get(node, "/state/a", &[("if-none-match", &known)]).await;
        assert_eq!(told.status, 304, "node {node}: {told:?}");
        let own = fleet.get(node, "/state/a", &[UNKNOWN]).await;
        assert_eq!((own.status, detail(&own)), (500, "unknown-version"), "node {node}: {own:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_found_lets_no_other_one_in() {
    let (fleet, streams) = followed().await;
    let known = format!("\"{}\"", streams[0].sse.last_event_id());
    fleet.legacy.set("/state/a", Reply::json("{\"n\":2}"));
    for node in 0..3 {
        // The stranger has seen the second state, by another way; its poll is half an interval away.
        let address = fleet.nodes[node].address;
        let stranger = tokio::spawn(async move {
            let mut http = Http::over(connect(address).await, HOST);
            http.get("/state/a", &[UNKNOWN]).await
        });
        for _ in 0..20 {
            let told = fleet.get(node, "/state/a", &[("if-none-match", &known)]).await;
            assert!(matches!(told.status, 200 | 304), "{told:?}");
        }
        let told = stranger.await.expect("an answer").expect(200);
        assert_eq!(number(&told.text()), 2, "node {node}: {told:?}");
    }
}

#[tokio::test]
async fn a_repeat_on_a_connection_is_looked_up_as_its_first_request_was() {
    let fleet = Fleet::start_calm(SHARED).await;
    fleet.legacy.set("/state/a", Reply::json("{\"n\":1}"));
    let mut stream = fleet.follow(0, "/state/a").await;
    stream.states(1).await;
    let mut http = fleet.client(1).await;
    for _ in 0..3 {
        http.get("/state/a", &[]).await.expect(200);
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    fleet.legacy.set("/state/a", Reply::json("{\"n\":2}"));
    let told = http.get("/state/a", &[UNKNOWN]).await.expect(200);
    assert_eq!(number(&told.text()), 2, "{told:?}");
}

#[tokio::test]
async fn a_stream_that_names_a_tag_of_the_apis_is_told_nothing_older() {
    let (fleet, _streams) = followed().await;
    fleet.legacy.set("/state/a", Reply::json("{\"n\":2}"));
    for node in 0..3 {
        // It has the second state from an answer that passed through, under the API's own name.
        let mut stranger = fleet.resume(node, "/state/a", "#2").await;
        assert_eq!(number(&stranger.next_event().await.data), 2, "node {node}");
    }
}
