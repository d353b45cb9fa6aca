//! One node holds a resource, the others have what it wrote, and another takes over.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pollcast::cluster::Others;
use pollcast::config::{Config, load_str};
use pollcast::metrics::Metrics;
use pollcast::poll::backplane::{
    Backplane, Found, Inbox, LookUp, Membership, News, Order, Release, Report, Rhythm, Role, SharedContent,
    SharedFeed, SharedItem, Trouble, TroubleKind, Want, Written,
};
use pollcast::resource::{KeyParts, ResourceKey, Snapshot, Validators, VersionNamer};
use pollcast::upstream::schedule::{PaceParts, Why};

use crate::support::redis::RedisServer;
use crate::support::wire::within;

/// A node without clients: what its poll loops would see.
pub(super) struct Node {
    pub others: Others,
    pub metrics: Metrics,
    config: Config,
}

/// A resource on a node.
pub(super) struct Here {
    pub inbox: Arc<Inbox>,
    pub member: Arc<dyn Membership>,
}

pub(super) fn key(path: &str, credential: Option<&'static str>) -> ResourceKey {
    let field = |value| (HeaderName::from_static("authorization"), HeaderValue::from_static(value));
    ResourceKey::new(KeyParts {
        route: 0,
        proto: "http",
        host: None,
        path: path.to_owned(),
        query: None,
        class: credential.map(field).into_iter().collect(),
        vary: Vec::new(),
    })
}

impl Node {
    /// `settings`: more of `cluster`, as `lease: 2s`.
    pub(super) fn start(server: &RedisServer, settings: &str) -> Node {
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:0 }}]\n\
             upstreams: {{ api: {{ servers: [127.0.0.1:1], host: api.test }} }}\n\
             routes: [{{ path: \"/{{*rest}}\", upstream: api }}]\n\
             cluster: {{ servers: [\"{}\"], secret: a secret of thirty-two bytes or more, {settings} }}\n",
            server.address
        );
        let config =
            load_str(&text, "cluster.yaml", Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"));
        let metrics = Metrics::new().unwrap();
        let others = Others::start(&config, metrics.cluster().unwrap()).unwrap().expect("there is a cluster");
        Node { others, metrics, config }
    }

    pub(super) fn attends_by(&self, key: &ResourceKey) -> Option<Here> {
        let inbox = Arc::new(Inbox::new(100));
        let member = self.others.attend(key, &self.config.routes[0], inbox.clone())?;
        Some(Here { inbox, member })
    }

    pub(super) fn attends(&self, path: &str) -> Here {
        self.attends_by(&key(path, None)).expect("it is shared")
    }
}

impl Here {
    /// Waits until this is so.
    pub(super) async fn until<T>(&self, what: &str, is_it: impl Fn(&Inbox) -> Option<T>) -> T {
        within(what, async {
            loop {
                if let Some(found) = is_it(&self.inbox) {
                    return found;
                }
                self.inbox.told().await;
            }
        })
        .await
    }

    /// Waits until it is the holder. Returns its fence.
    pub(super) async fn holds(&self) -> u64 {
        let fence = |inbox: &Inbox| match inbox.role() {
            Role::Holder { fence } => Some(fence),
            _ => None,
        };
        self.until("the role of the holder", fence).await
    }

    pub(super) async fn is(&self, role: Role) {
        self.until(&format!("{role:?}"), |inbox| (inbox.role() == role).then_some(())).await;
    }

    pub(super) async fn content(&self) -> SharedContent {
        self.until("a content", |inbox| inbox.take().content).await
    }

    async fn report(&self) -> Report {
        self.until("a report", |inbox| inbox.take().report).await
    }

    /// Waits until all that was told before has come here: a want goes the same way. Returns what came.
    pub(super) async fn told_all(&self) -> News {
        let number = self.member.want(Want::Young).await.expect("the engine answers");
        self.until("the want", |inbox| (inbox.wants() >= number).then_some(())).await;
        self.inbox.take()
    }
}

pub(super) fn content(fence: u64, sequence: u64, body: impl Into<Bytes>) -> SharedContent {
    let body = body.into();
    let version = VersionNamer::new(None).name(200, None, &body);
    let validators = Validators { etag: Some(HeaderValue::from_static("\"one\"")), last_modified: None };
    let snapshot =
        Snapshot::new(version, StatusCode::OK, None, HeaderMap::new(), validators, Vec::new(), body);
    let second = Duration::from_secs(1);
    SharedContent {
        order: Order { fence, sequence },
        after: if sequence == 1 { Order::default() } else { Order { fence, sequence: sequence - 1 } },
        snapshot: Arc::new(snapshot),
        feed: None,
        upstream_age: Duration::ZERO,
        age: Duration::ZERO,
        settled: 0,
        rhythm: Rhythm { interval: second, next_poll: second, why: Why::Interval },
        pace: PaceParts::default(),
    }
}

/// Times that are long: nothing is lost on a slow machine.
pub(super) const CALM: &str = "lease: 60s, timeout: 10s";

/// Two nodes that attend to one resource: the first holds it, the second mirrors it.
pub(super) struct Pair {
    pub holder: Here,
    pub mirror: Here,
    /// The holder's.
    pub fence: u64,
    pub a: Node,
    pub b: Node,
    pub server: RedisServer,
}

impl Pair {
    /// `settings`: more of `cluster`.
    pub(super) async fn start(settings: &str) -> Pair {
        let server = RedisServer::start(&[]);
        let (a, b) = (Node::start(&server, settings), Node::start(&server, settings));
        let holder = a.attends("/x");
        let fence = holder.holds().await;
        let mirror = b.attends("/x");
        mirror.is(Role::Mirror).await;
        Pair { holder, mirror, fence, a, b, server }
    }
}

#[tokio::test]
async fn one_node_holds_and_the_others_have_what_it_wrote() {
    let pair = Pair::start(CALM).await;
    let Pair { holder, mirror, fence, server, .. } = &pair;
    let (fence, c) = (*fence, Node::start(server, CALM));
    assert_eq!(holder.member.write(&content(fence, 1, "one")).await, Written::Accepted);
    let told = mirror.content().await;
    assert_eq!((told.order, &told.snapshot.body[..]), (Order { fence, sequence: 1 }, &b"one"[..]));
    assert_eq!(told.snapshot.validators.etag.as_ref().unwrap(), "\"one\"", "who takes over asks with it");
    // A node that comes later has it without a poll, before it knows what it is.
    let late = c.attends("/x");
    late.is(Role::Mirror).await;
    assert_eq!(late.content().await.snapshot.body, "one");
    // The holder is told nothing of its own.
    assert!(holder.told_all().await.content.is_none());
    assert_eq!(holder.inbox.role(), Role::Holder { fence });
}

#[tokio::test]
async fn a_content_with_an_old_fence_is_refused() {
    let pair = Pair::start(CALM).await;
    let (old, new, fence) = (&pair.holder, &pair.mirror, pair.fence);
    old.member.release(fence, Release::CannotConnect);
    let later = new.holds().await;
    assert!(later > fence);
    assert_eq!(old.member.write(&content(fence, 1, "late")).await, Written::Refused);
    old.is(Role::Mirror).await;
    assert_eq!(new.member.write(&content(later, 1, "new")).await, Written::Accepted);
    assert_eq!(old.content().await.snapshot.body, "new");
}

#[tokio::test]
async fn what_a_node_leaves_another_one_takes() {
    let Pair { holder: first, mirror: second, fence, a, b, server: _server } = Pair::start(CALM).await;
    first.member.write(&content(fence, 1, "one")).await;
    drop(first);
    assert!(second.holds().await > fence);
    assert_eq!(second.content().await.order, Order { fence, sequence: 1 }, "a claim renames nothing");
    // All of a node, when it leaves.
    let third = a.attends("/x");
    third.is(Role::Mirror).await;
    b.others.leave().await.unwrap();
    third.holds().await;
}

#[tokio::test]
async fn what_a_dead_node_held_another_one_takes() {
    let pair = Pair::start("lease: 2s, timeout: 2s").await;
    // Without a word: the membership never says that it ends.
    std::mem::forget(pair.holder);
    drop(pair.a);
    pair.mirror.holds().await;
}

#[tokio::test]
async fn wants_reach_the_holder_and_its_reports_the_others() {
    let pair = Pair::start(CALM).await;
    let Pair { holder, mirror, fence, .. } = &pair;
    let fence = *fence;
    let number = mirror.member.want(Want::Poll).await.unwrap();
    holder.until("the want", |inbox| (inbox.polls() == number).then_some(())).await;
    let order = Order { fence, sequence: 4 };
    let report = |found| Report { order, settled: number, age: Duration::ZERO, found };
    holder.member.report(fence, report(Found::Unchanged));
    let told = mirror.report().await;
    assert_eq!((told.order, told.settled), (order, number));
    assert!(matches!(told.found, Found::Unchanged));
    let trouble = Trouble { kind: TroubleKind::Timeout, status: None, reason: "too slow".into() };
    let failed = Found::Failed { trouble: trouble.clone(), next_poll: Duration::from_secs(3) };
    holder.member.report(fence, report(failed));
    let Found::Failed { trouble: told, .. } = mirror.report().await.found else { panic!("it failed") };
    assert_eq!(told, trouble);
    // Of a fence that is not its own it can say nothing.
    holder.member.report(fence - 1, report(Found::Unchanged));
    assert!(mirror.told_all().await.report.is_none());
}

#[tokio::test]
async fn a_look_up_finds_what_is_stored_and_the_versions_before() {
    let pair = Pair::start(CALM).await;
    let Pair { holder, mirror, fence, .. } = &pair;
    let fence = *fence;
    assert!(matches!(mirror.member.look_up(Order::default()).await, LookUp::Nothing));
    let (one, two) = (content(fence, 1, "one"), content(fence, 2, "two"));
    holder.member.write(&one).await;
    holder.member.write(&two).await;
    let LookUp::Found(found) = mirror.member.look_up(Order::default()).await else { panic!("it is there") };
    assert_eq!((found.order, &found.content.unwrap().snapshot.body[..]), (two.order, &b"two"[..]));
    assert_eq!(found.tags, [one.snapshot.version.tag(), two.snapshot.version.tag()]);
    let LookUp::Found(found) = mirror.member.look_up(two.order).await else { panic!("it is there") };
    assert!(found.content.is_none(), "what is held already is not read again");
}

#[tokio::test]
async fn items_of_a_feed_that_were_missed_are_looked_up() {
    let pair = Pair::start(CALM).await;
    let Pair { holder, mirror, fence, .. } = &pair;
    let fence = *fence;
    let item =
        |name: u64| SharedItem { name: name.to_string(), text: Bytes::from(format!("{{\"id\":{name}}}")) };
    for sequence in 1..=4 {
        let feed = Some(SharedFeed { items: vec![item(sequence)], ..SharedFeed::default() });
        let page = SharedContent { feed, ..content(fence, sequence, format!("page {sequence}")) };
        assert_eq!(holder.member.write(&page).await, Written::Accepted);
    }
    let LookUp::Found(found) = mirror.member.look_up(Order { fence, sequence: 1 }).await else {
        panic!("it is there")
    };
    let feed = found.content.unwrap().feed.unwrap();
    assert_eq!((feed.items, feed.gap), (vec![item(2), item(3), item(4)], false));
}

#[tokio::test]
async fn without_the_engine_each_node_is_alone_and_with_it_one_holds_again() {
    let Pair { holder: first, mirror: second, fence, a, b: _b, mut server } = Pair::start(CALM).await;
    server.kill();
    first.is(Role::Alone).await;
    second.is(Role::Alone).await;
    assert!(a.others.alone_for().is_some());
    // One that comes meanwhile does not wait.
    let meanwhile = a.attends("/y");
    meanwhile.is(Role::Alone).await;
    assert_eq!(first.member.write(&content(fence, 1, "one")).await, Written::Lost);
    server.launch();
    meanwhile.holds().await;
    let role = |here: &Here| here.inbox.role();
    let settled = within("one holder and one mirror", async {
        loop {
            match (role(&first), role(&second)) {
                (Role::Holder { fence }, Role::Mirror) | (Role::Mirror, Role::Holder { fence }) => {
                    return fence;
                }
                _ => tokio::select! { () = first.inbox.told() => {}, () = second.inbox.told() => {} },
            }
        }
    });
    assert!(settled.await > fence, "the engine came back empty, and gives no fence twice");
}

#[tokio::test]
async fn with_hold_a_node_without_the_engine_waits() {
    let mut server = RedisServer::start(&[]);
    let node = Node::start(&server, &format!("{CALM}, when_lost: hold"));
    let here = node.attends("/x");
    here.holds().await;
    server.kill();
    here.is(Role::Waiting).await;
    server.launch();
    here.holds().await;
}

#[tokio::test]
async fn what_is_too_large_each_node_polls_for_itself() {
    let settings = format!("{CALM}, max_value: 4KiB");
    let pair = Pair::start(&settings).await;
    let Pair { holder, mirror, fence, server, .. } = &pair;
    let (fence, c) = (*fence, Node::start(server, &settings));
    let body: Vec<u8> = (0..10_000).map(|_| fastrand::u8(..)).collect();
    assert_eq!(holder.member.write(&content(fence, 1, body)).await, Written::TooLarge);
    holder.is(Role::Alone).await;
    mirror.is(Role::Alone).await;
    c.attends("/x").is(Role::Alone).await;
}
