//! Contract §2: several nodes and lagging upstream replicas behind one address: a client that meets
//! another one each time never goes back in time, and never spins.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pollcast::app::App;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::contract::edge::support::{Extra, start_with, yaml_at};
use crate::support::app;
use crate::support::client::{Http, Sse, long_poll};
use crate::support::legacy::{Legacy, Reply};

/// Gives each connection to the next of its targets.
struct RoundRobin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl RoundRobin {
    async fn over(targets: Vec<SocketAddr>) -> RoundRobin {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let target = targets[counter.fetch_add(1, Ordering::SeqCst) % targets.len()];
                tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        // Either side may go when it likes.
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        RoundRobin { address, connections, task: accepting.abort_handle() }
    }
}

impl Drop for RoundRobin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Two nodes over their own upstream replicas (or one), polling this often.
fn nodes(upstreams: [&Legacy; 2], interval: &str) -> [App; 2] {
    let route = format!(", poll: {{interval: {interval}}}");
    upstreams.map(|legacy| {
        start_with(
            legacy,
            Extra {
                // One Host, so that a node's own followers and clients that hop follow the same resource.
                upstream: ", host: api.example",
                route: &route,
                ..Extra::default()
            },
        )
    })
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|e| panic!("not a number: {e}: {text:?}"))
}

async fn balancer(nodes: &[App; 2]) -> RoundRobin {
    RoundRobin::over(nodes.iter().map(|node| node.addresses()[0]).collect()).await
}

#[tokio::test]
async fn both_nodes_name_a_state_alike() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let nodes = nodes([&legacy, &legacy], "1m");
    let mut tags = Vec::new();
    for node in &nodes {
        let mut http = Http::connect(node.addresses()[0]).await;
        tags.push(http.get("/r/a", &[("host", "api.example")]).await.expect(200).etag().to_owned());
    }
    assert_eq!(tags[0], tags[1]);
}

#[tokio::test]
async fn a_stream_that_moves_to_a_node_that_is_behind_does_not_go_back() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let nodes = nodes([&legacy, &legacy], "1s");
    let [ahead, behind] = [0, 1].map(|n: usize| nodes[n].addresses()[0]);
    // The second node has followed from the start and polls a second later than the first one.
    let mut first = Sse::open(ahead, "/r/a", &[]).await;
    first.next_event().await;
    legacy.wait_count("/r/a", legacy.count("/r/a") + 1).await;
    let mut second = Sse::open(behind, "/r/a", &[]).await;
    assert_eq!(second.next_event().await.data, "1");
    for n in 2..6 {
        legacy.set("/r/a", Reply::json(n.to_string()));
        let seen = first.next_event().await;
        assert_eq!(number(&seen.data), n);
        // The client moves, with what it has.
        let id = seen.id.expect("a version");
        let mut moved = Sse::open(behind, "/r/a", &[("last-event-id", &id)]).await;
        moved.expect_no_event(Duration::from_millis(300)).await;
        let held = {
            let mut http = Http::connect(behind).await;
            let tag = format!("\"{id}\"");
            let began = Instant::now();
            let answer = long_poll(&mut http, "/r/a", Some(&tag), Duration::from_secs(1)).await;
            (answer.status, began.elapsed() > Duration::from_millis(800))
        };
        assert_eq!(held, (304, true), "a long-poll with the newest state was not held");
    }
}

#[tokio::test]
async fn a_client_that_hops_by_long_poll_never_goes_back_and_never_spins() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("0"));
    let nodes = nodes([&legacy, &legacy], "300ms");
    let balancer = balancer(&nodes).await;
    // Both nodes poll for followers of their own, out of step.
    let mut followers = Vec::new();
    for node in &nodes {
        let mut sse = Sse::open(node.addresses()[0], "/r/a", &[]).await;
        sse.next_event().await;
        followers.push(sse);
    }
    let began = Instant::now();
    let (mut etag, mut latest, mut changes, mut written) = (None::<String>, 0, 0, 0);
    while changes < 12 {
        if began.elapsed() > Duration::from_millis(400) * (written as u32 + 1) {
            written += 1;
            legacy.set("/r/a", Reply::json(written.to_string()));
        }
        let mut http = Http::connect(balancer.address).await;
        let answer = long_poll(&mut http, "/r/a", etag.as_deref(), Duration::from_secs(1)).await;
        if answer.status == 200 {
            let now = number(&answer.text());
            assert!(now >= latest, "from {latest} back to {now}");
            changes += usize::from(now > latest);
            latest = now;
        }
        etag = Some(answer.etag().to_owned());
    }
    let requests = balancer.connections.load(Ordering::SeqCst);
    assert!(requests <= 4 * (changes + 2), "{requests} requests for {changes} changes");
    let seconds = began.elapsed().as_secs_f64();
    // Two nodes, each one poll an interval and at most one extra per half interval.
    let most = (seconds / 0.27 * 2.0 * 3.0) as usize + 6;
    assert!(legacy.count("/r/a") <= most, "{} polls in {seconds} s", legacy.count("/r/a"));
}

#[tokio::test]
async fn a_client_that_hops_by_reconnects_sees_each_state_once() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("0"));
    let nodes = nodes([&legacy, &legacy], "200ms");
    let balancer = balancer(&nodes).await;
    let mut id = String::new();
    let mut latest = None;
    for n in 0..10_u64 {
        legacy.set("/r/a", Reply::json(n.to_string()));
        let fields: Vec<(&str, &str)> = match id.is_empty() {
            true => Vec::new(),
            false => vec![("last-event-id", &id)],
        };
        let mut sse = Sse::open(balancer.address, "/r/a", &fields).await;
        loop {
            let event = sse.next_event().await;
            let now = number(&event.data);
            assert!(latest.is_none_or(|latest| now > latest), "{now} after {latest:?}");
            latest = Some(now);
            id = event.id.expect("a version");
            if now == n {
                break;
            }
        }
    }
}

/// While replicas of the upstream disagree for longer than a poll takes, a node cannot know which of two unknown
/// states is the newer one (versions have no order); what is promised is that clients are held, not spun.
#[tokio::test]
async fn lagging_upstream_replicas_do_not_make_clients_spin() {
    let (leader, replica) = (Legacy::start(), Legacy::start());
    for legacy in [&leader, &replica] {
        legacy.set("/r/a", Reply::json("0"));
    }
    let nodes = nodes([&leader, &replica], "500ms");
    let balancer = balancer(&nodes).await;
    let writer = async {
        for n in 1..=6 {
            leader.set("/r/a", Reply::json(n.to_string()));
            tokio::time::sleep(Duration::from_millis(150)).await;
            replica.set("/r/a", Reply::json(n.to_string()));
            tokio::time::sleep(Duration::from_millis(450)).await;
        }
    };
    let client = async {
        let mut etag = None::<String>;
        let mut seen = Vec::new();
        while seen.last() != Some(&6) {
            let mut http = Http::connect(balancer.address).await;
            let answer = long_poll(&mut http, "/r/a", etag.as_deref(), Duration::from_secs(2)).await;
            if answer.status == 200 {
                seen.push(number(&answer.text()));
            }
            etag = Some(answer.etag().to_owned());
        }
        seen
    };
    let ((), seen) = tokio::join!(writer, client);
    let requests = balancer.connections.load(Ordering::SeqCst);
    assert!(requests <= 30, "{requests} requests for six changes: {seen:?}");
    let polls = leader.count("/r/a") + replica.count("/r/a");
    assert!(polls <= 60, "{polls} polls");
}

#[tokio::test]
async fn a_restarted_node_sends_nothing_to_a_client_that_is_up_to_date() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let config = yaml_at(legacy.address(), "127.0.0.1:0", "127.0.0.1:0", Extra::default());
    let before = app::start(&config);
    let mut sse = Sse::open(before.addresses()[0], "/r/a", &[]).await;
    let id = sse.next_event().await.id.expect("a version");
    before.stop();
    let after = app::start(&config);
    let mut sse = Sse::open(after.addresses()[0], "/r/a", &[("last-event-id", &id)]).await;
    sse.expect_no_event(Duration::from_millis(300)).await;
    legacy.set("/r/a", Reply::json("2"));
    assert_eq!(sse.next_event().await.data, "2");
}

const MANY: &str = "/-/pollcast/events?resource=/r/a&resource=/r/b";

/// Events up to and with the next `sync`, and its id.
async fn until_sync(sse: &mut Sse) -> (Vec<(String, String)>, String) {
    let mut events = Vec::new();
    loop {
        let event = sse.next_event().await;
        if event.event == "sync" {
            return (events, event.id.expect("an id"));
        }
        events.push((event.event, event.data));
    }
}

/// As `a_stream_that_moves_to_a_node_that_is_behind_does_not_go_back`, with many resources.
#[tokio::test]
async fn a_stream_of_many_that_moves_to_a_node_that_is_behind_does_not_go_back() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    legacy.set("/r/b", Reply::json("1"));
    let nodes = nodes([&legacy, &legacy], "1s");
    let [ahead, behind] = [0, 1].map(|n: usize| nodes[n].addresses()[0]);
    let mut first = Sse::open(ahead, MANY, &[]).await;
    let (events, _) = until_sync(&mut first).await;
    assert_eq!(events.len(), 2);
    legacy.wait_count("/r/a", legacy.count("/r/a") + 1).await;
    // The second node has followed from the start, out of step.
    let mut second = Sse::open(behind, MANY, &[]).await;
    until_sync(&mut second).await;
    for n in 2..6 {
        legacy.set("/r/a", Reply::json(n.to_string()));
        let (events, id) = until_sync(&mut first).await;
        assert_eq!(events, [("/r/a".to_owned(), n.to_string())]);
        let mut moved = Sse::open(behind, MANY, &[("last-event-id", &id)]).await;
        moved.expect_no_event(Duration::from_millis(300)).await;
        // What it says next is newer, and of this resource alone.
        legacy.set("/r/b", Reply::json(n.to_string()));
        loop {
            let event = moved.next_event().await;
            match event.event.as_str() {
                "/r/b" if event.data == n.to_string() => break,
                "sync" => {}
                _ => panic!("{n}: {event:?}"),
            }
        }
        let (events, _) = until_sync(&mut first).await;
        assert_eq!(events, [("/r/b".to_owned(), n.to_string())]);
    }
}

/// A state that no node has any more: what there is comes once it is confirmed, and once.
#[tokio::test]
async fn a_stream_of_many_with_an_unknown_state_gets_the_confirmed_one_once() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("\"lost\""));
    legacy.set("/r/b", Reply::json("1"));
    let nodes = nodes([&legacy, &legacy], "1s");
    let [one, other] = [0, 1].map(|n: usize| nodes[n].addresses()[0]);
    let mut sse = Sse::open(one, MANY, &[]).await;
    let (_, id) = until_sync(&mut sse).await;
    drop(sse);
    legacy.set("/r/a", Reply::json("2"));
    let mut follower = Sse::open(other, MANY, &[]).await;
    until_sync(&mut follower).await;
    // Changed behind the back of a node that has just polled.
    legacy.set("/r/a", Reply::json("3"));
    let mut back = Sse::open(other, MANY, &[("last-event-id", &id)]).await;
    let (events, _) = until_sync(&mut back).await;
    assert_eq!(events, [("/r/a".to_owned(), "3".to_owned())]);
    back.expect_no_event(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn a_plain_request_that_names_a_state_from_elsewhere_never_gets_an_older_one() {
    let (old, new) = (Reply::json("1").etag("\"one\""), Reply::json("2").etag("\"two\""));
    let (behind, ahead) = (Legacy::start(), Legacy::start());
    let [first, second] = nodes([&ahead, &behind], "2s");
    for (number, tag) in ["", "\"two\"", "W/\"two\"", "\"x\", \"two-gzip\""].into_iter().enumerate() {
        let path = format!("/r/{number}");
        ahead.set(&path, new.clone());
        let version = Http::connect(first.addresses()[0]).await.get(&path, &[]).await.expect(200);
        let tag = if tag.is_empty() { version.etag() } else { tag };
        behind.set(&path, old.clone());
        let mut http = Http::connect(second.addresses()[0]).await;
        assert_eq!(http.get(&path, &[]).await.expect(200).text(), "1", "what it holds now, and is young");
        behind.set(&path, new.clone());
        let answer = http.get(&path, &[("if-none-match", tag)]).await;
        assert!(answer.status == 304 || answer.text() == "2", "{tag}: {answer:?}");
    }
}

#[tokio::test]
async fn any_number_of_unknown_states_is_one_more_poll_in_half_an_interval() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1").etag("\"one\""));
    let [node, _] = nodes([&legacy, &legacy], "1s");
    let address = node.addresses()[0];
    Http::connect(address).await.get("/r/a", &[]).await.expect(200);
    let began = Instant::now();
    for round in 0..3 {
        let asks = (0..20).map(|number| async move {
            let tag = format!("\"from elsewhere {round} {number}\"");
            Http::connect(address).await.get("/r/a", &[("if-none-match", &tag)]).await.expect(200)
        });
        futures_util::future::join_all(asks).await;
    }
    let halves = began.elapsed().as_millis() / 500;
    assert!(legacy.count("/r/a") as u128 <= halves + 2, "{} polls in {halves} halves", legacy.count("/r/a"));
}
