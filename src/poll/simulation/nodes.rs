//! Several nodes over one upstream and one engine, and clients that go from node to node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::Shard;
use super::engine::Engine;
use crate::config::Route;
use crate::frame::{Coding, Format};
use crate::hub::tests::route;
use crate::hub::tests::route::key;
use crate::hub::{Attend, Attendance, Delivery, Hub, Resume, Subscription, Topic};
use crate::metrics::Metrics;
use crate::poll::{Relay, Services, Source};
use crate::resource::Version;
use crate::upstream::{Answer, Ask, Failure, FetchError};

/// The upstream's states are numbers that only grow.
pub(super) struct Numbers {
    number: Mutex<u64>,
    /// The start of each poll, whether it was conditional, and the number it saw.
    pub(super) polls: Mutex<Vec<(Instant, bool, u64)>>,
    /// How long each answer takes.
    pub(super) latency: Mutex<Duration>,
    pub(super) is_down: Mutex<bool>,
    /// The answer is a list of this many of the newest numbers.
    window: Option<u64>,
}

impl Numbers {
    fn new(window: Option<u64>) -> Arc<Numbers> {
        Arc::new(Numbers {
            number: Mutex::new(1),
            polls: Mutex::default(),
            latency: Mutex::new(Duration::from_millis(10)),
            is_down: Mutex::new(false),
            window,
        })
    }

    pub(super) fn change(&self) -> u64 {
        let mut number = self.number.lock();
        *number += 1;
        *number
    }

    pub(super) fn now(&self) -> u64 {
        *self.number.lock()
    }

    pub(super) fn count(&self) -> usize {
        self.polls.lock().len()
    }

    pub(super) fn count_since(&self, start: Instant) -> usize {
        self.polls.lock().iter().filter(|(at, ..)| *at >= start).count()
    }
}

#[async_trait]
impl Source for Numbers {
    async fn fetch(&self, ask: &Ask) -> Result<Answer, FetchError> {
        let number = self.now();
        let tag = format!("\"{number}\"");
        let asked = ask.headers.iter().find(|(name, _)| *name == header::IF_NONE_MATCH);
        self.polls.lock().push((Instant::now(), asked.is_some(), number));
        let latency = *self.latency.lock();
        sleep(latency).await;
        if *self.is_down.lock() {
            let failure = Failure::Reset { source: "down".into() };
            return Err(FetchError { upstream: "legacy".into(), server: None, failure });
        }
        let is_same = asked.is_some_and(|(_, value)| *value == *tag);
        let body = match self.window {
            None => number.to_string(),
            Some(window) => {
                let first = number.saturating_sub(window) + 1;
                let items: Vec<String> = (first..=number).map(|n| format!("{{\"id\":\"{n}\"}}")).collect();
                format!("{{\"items\":[{}]}}", items.join(","))
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("a number is a tag"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = if is_same { Bytes::new() } else { Bytes::from(body) };
        Ok(Answer {
            phrase: None,
            status: if is_same { StatusCode::NOT_MODIFIED } else { StatusCode::OK },
            headers,
            body_bytes: body.len(),
            body,
            close_delimited: false,
            head_bytes: 100,
            elapsed: latency,
            held: None,
        })
    }
}

/// One node.
struct Node {
    hub: Arc<Hub>,
    relay: Relay,
    route: Arc<Route>,
    shard: Arc<Shard>,
}

/// All nodes.
pub(super) struct Nodes {
    nodes: Vec<Node>,
    pub(super) engine: Engine,
    pub(super) upstream: Arc<Numbers>,
}

pub(super) const PATH: &str = "/a";

impl Nodes {
    pub(super) fn new(count: usize, window: Option<u64>, change: impl Fn(&mut Route), seed: u64) -> Nodes {
        let upstream = Numbers::new(window);
        let engine = Engine::new(count, Duration::from_millis(if seed == 0 { 0 } else { 200 }), seed);
        let nodes = (0..count).map(|number| {
            let mut route = route::route();
            change(&mut route);
            let config = route::config(route);
            let shard = Arc::new(Shard::default());
            let hub = Hub::new(vec![shard.clone()], config.limits.resources, config.limits.history_bytes);
            let source: Arc<dyn Source> = upstream.clone();
            let sources = HashMap::from([("legacy".to_owned(), source)]);
            let metrics = Metrics::new().expect("metrics register");
            let services = Services::new(hub.clone(), &config, metrics, sources, seed + number as u64);
            let services = services.with_backplane(engine.plane(number));
            let relay = Relay::new(Arc::new(services), Handle::current());
            Node { hub, relay, route: config.routes[0].clone(), shard }
        });
        Nodes { nodes: nodes.collect(), engine, upstream }
    }

    pub(super) fn attend(&self, node: usize, kind: Attend) -> Attendance {
        let node = &self.nodes[node];
        let start = |publisher| drop(node.relay.start(publisher));
        node.hub.attend(&key(PATH), &node.route, kind, start).expect("room in the hub")
    }

    /// The shards look at all that has rung.
    pub(super) fn look(&self) {
        self.nodes.iter().for_each(|node| node.shard.0.lock().clear());
    }

    pub(super) fn topic(&self, node: usize) -> Arc<Topic> {
        self.nodes[node].hub.get(&key(PATH)).expect("it is attended to")
    }

    /// What a node shows; 0: nothing.
    pub(super) fn shown(&self, node: usize) -> u64 {
        let view = self.topic(node).view();
        let body = view.frame.as_ref().map(|frame| frame.snapshot.body.clone()).unwrap_or_default();
        std::str::from_utf8(&body).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Nothing is left of any node.
    pub(super) fn assert_empty(&self) {
        for node in &self.nodes {
            assert!(node.hub.is_empty(), "topics are left");
            assert_eq!(node.hub.snapshot_bytes(), 0);
            assert_eq!(node.relay.services().metrics.resources.get(), 0);
        }
    }
}

/// A client that remembers what it has seen on all nodes.
#[derive(Default)]
pub(super) struct Client {
    pub(super) subscription: Option<Subscription>,
    version: Option<Version>,
    /// All numbers in the order in which they came.
    pub(super) seen: Vec<u64>,
    pub(super) items: Vec<String>,
    pub(super) resets: Vec<&'static str>,
}

impl Client {
    /// Goes to a node, with what it has.
    pub(super) fn join(&mut self, nodes: &Nodes, node: usize) {
        self.subscription = None;
        let attendance = nodes.attend(node, Attend::Follow);
        let resume = match (self.items.last(), self.version) {
            (Some(item), _) => Resume::Item(item.as_str().into()),
            (None, Some(version)) => Resume::From(version),
            (None, None) => Resume::Start,
        };
        self.subscription = Some(Subscription::new(attendance, Some(0), Format::Sse(Coding::Plain), resume));
    }

    /// Takes everything that is there. It never goes back.
    pub(super) fn look(&mut self) {
        let Some(subscription) = self.subscription.as_mut() else { return };
        let view = subscription.topic().view();
        while let Some(delivery) = subscription.next(&view) {
            match delivery {
                Delivery::Frame(frame) => {
                    let text = String::from_utf8_lossy(&frame.snapshot.body).into_owned();
                    let number = text.parse().expect("the upstream's states are numbers");
                    let last = self.seen.last().copied().unwrap_or(0);
                    assert!(number >= last, "it went back from {last} to {number}: {:?}", self.seen);
                    self.seen.push(number);
                    self.version = Some(frame.version());
                }
                Delivery::Items(batch) => self.items.extend(batch.items().iter().map(|item| item.id.clone())),
                Delivery::Reset(reason) => self.resets.push(reason),
                Delivery::Condition(_) | Delivery::Presence(_) => {}
                Delivery::Patches(_) => panic!("it reads no patches"),
                Delivery::Closing(closing) => panic!("the topic closed: {closing:?}"),
            }
        }
    }
}

/// Lets time pass, in which clients look all the time.
pub(super) async fn pass(nodes: &Nodes, clients: &mut [Client], time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        sleep(Duration::from_millis(20)).await;
        nodes.look();
        clients.iter_mut().for_each(Client::look);
    }
}
