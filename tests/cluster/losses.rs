//! Every way in which an engine fails is noticed, named and got over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use pollcast::cluster::engine::{Claim, ClaimOutcome, Engine, Event, Loss};
use pollcast::cluster::redis::Redis;
use pollcast::config::{Cluster, Secret, UpstreamTls};

use super::{KEEP, Node, accepted, became, claim, name, write};
use crate::support::partition::{Cut, Partition};
use crate::support::redis::RedisServer;
use crate::support::tls::Authority;
use crate::support::wire::GUARD;

fn is_lost(event: &Event) -> bool {
    matches!(event, Event::Lost(_))
}

#[tokio::test]
async fn an_engine_that_was_killed_is_found_again_and_what_is_attended_is_heard_again() {
    let mut server = RedisServer::start(&[]);
    let mut node = Node::of(&server).await;
    node.joins("a.1").await;
    node.redis.attend(&[name("/x")]).await.unwrap();
    let first = node.holds("a.1", "/x").await;
    server.kill();
    node.loses(Loss::Connection).await;
    assert!(node.redis.beat("a.1", KEEP, false).await.is_err());
    // One that is attended to in between is not forgotten.
    assert!(node.redis.attend(&[name("/y")]).await.is_err());
    server.launch();
    node.until("the engine's return", |event| *event == Event::Back).await;
    assert!(!node.redis.beat("a.1", KEEP, false).await.unwrap().is_alive, "it came back empty");
    node.joins("a.2").await;
    let second = node.holds("a.2", "/x").await;
    assert!(second > first);
    node.redis.write(&write("/x", second, 1, b"one")).await.unwrap();
    assert_eq!(node.next().await, became("/x", b"one"));
    let other = node.holds("a.2", "/y").await;
    node.redis.write(&write("/y", other, 1, b"two")).await.unwrap();
    assert_eq!(node.next().await, became("/y", b"two"));
}

#[tokio::test]
async fn an_engine_that_hangs_is_lost_by_the_timeout_and_found_when_it_wakes() {
    let server = RedisServer::start(&[]);
    let mut node = Node::with(Cluster { timeout: Duration::from_millis(500), ..server.cluster() }).await;
    server.signal("STOP");
    let failed = node.redis.beat("a.1", KEEP, true).await.unwrap_err();
    assert_eq!(failed.loss, Loss::Timeout);
    assert!(failed.message.contains("cluster.timeout"), "{failed}");
    node.loses(Loss::Timeout).await;
    server.signal("CONT");
    node.until("the engine's return", |event| *event == Event::Back).await;
}

#[tokio::test]
async fn a_subscription_that_is_dead_while_commands_work_is_noticed() {
    let server = RedisServer::start(&[]);
    let way = Partition::before(server.address).await;
    let servers = vec![way.address.to_string()];
    let mut node = Node::with(Cluster { servers, lease: Duration::from_secs(1), ..server.cluster() }).await;
    way.cut(Cut::Subscriptions);
    node.redis.announce(Bytes::from_static(b"\x01\x04 never comes back")).await.unwrap();
    node.loses(Loss::Subscription).await;
    way.cut(Cut::Nothing);
    node.until("the engine's return", |event| *event == Event::Back).await;
}

#[tokio::test]
async fn commands_that_are_not_answered_while_the_subscription_works_are_noticed() {
    let server = RedisServer::start(&[]);
    let way = Partition::before(server.address).await;
    let servers = vec![way.address.to_string()];
    let mut node =
        Node::with(Cluster { servers, timeout: Duration::from_millis(500), ..server.cluster() }).await;
    way.cut(Cut::Commands);
    assert_eq!(node.redis.beat("a.1", KEEP, true).await.unwrap_err().loss, Loss::Timeout);
    node.loses(Loss::Timeout).await;
    way.cut(Cut::Nothing);
    node.until("the engine's return", |event| *event == Event::Back).await;
}

#[tokio::test]
async fn an_engine_without_memory_is_lost_and_named_so() {
    let server = RedisServer::start(&[]);
    let mut node = Node::of(&server).await;
    node.joins("a.1").await;
    let fence = node.holds("a.1", "/x").await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let failed = node.redis.write(&write("/x", fence, 1, b"one")).await.unwrap_err();
    assert_eq!(failed.loss, Loss::Memory, "{failed}");
    node.loses(Loss::Memory).await;
    // It is not taken for an engine again as long as it takes no writes.
    node.loses(Loss::Memory).await;
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    node.until("the engine's return", |event| *event == Event::Back).await;
    assert_eq!(node.redis.write(&write("/x", fence, 1, b"one")).await.unwrap(), accepted(0));
}

#[tokio::test]
async fn an_engine_that_evicts_is_like_one_that_came_back_empty() {
    let server = RedisServer::start(&["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru"]);
    let node = Node::of(&server).await;
    node.joins("a.1").await;
    let first = node.holds("a.1", "/x").await;
    let fill = "for i = 1, 100 do redis.call('SET', ARGV[1] .. ':' .. i, string.rep('x', 1000)) end";
    let until = Instant::now() + GUARD;
    let mut round = 0;
    while server.ask(&["EXISTS", "{pollcast:default}:m"]) == "1" {
        assert!(Instant::now() < until, "nothing is evicted");
        round += 1;
        server.ask(&["EVAL", fill, "0", &round.to_string()]);
    }
    assert!(!node.redis.beat("a.1", KEEP, false).await.unwrap().is_alive);
    assert_eq!(node.claims("a.1", claim("/x")).await.outcome, ClaimOutcome::Lapsed);
    node.joins("a.2").await;
    assert!(node.holds("a.2", "/x").await > first);
}

#[tokio::test]
async fn a_wrong_password_is_told_and_a_right_one_lets_in() {
    let server = RedisServer::start(&["--requirepass", "right"]);
    let password = |text: &str| Some(Secret(text.to_owned()));
    let mut node = Node::unconnected(Cluster { password: password("wrong"), ..server.cluster() });
    node.loses(Loss::Credentials).await;
    let mut node = Node::unconnected(server.cluster());
    node.loses(Loss::Credentials).await;
    Node::with(Cluster { password: password("right"), ..server.cluster() }).await.joins("a.1").await;
}

/// The rights that the manual tells to give.
const RIGHTS: &str = "~{pollcast:default}* &{pollcast:default}* +evalsha +script|load +subscribe +unsubscribe +publish +ping \
                      +hello +time +hmget +hget +hset +del +pexpire +xadd +xrange +xrevrange +zadd +zscore +zrange \
                      +zremrangebyscore";

fn allowed(server: &RedisServer, rights: &str) -> Cluster {
    let mut words = vec!["ACL", "SETUSER", "pollcast", "reset", "on", ">word"];
    words.extend(rights.split_whitespace());
    assert_eq!(server.ask(&words), "OK");
    let password = Some(Secret("word".to_owned()));
    Cluster { username: Some("pollcast".to_owned()), password, ..server.cluster() }
}

#[tokio::test]
async fn the_least_rights_suffice_for_every_verb() {
    let server = RedisServer::start(&[]);
    let node = Node::with(allowed(&server, RIGHTS)).await;
    let redis = &node.redis;
    redis.attend(&[name("/x")]).await.unwrap();
    node.joins("a.1").await;
    let fence = node.holds("a.1", "/x").await;
    let write = super::Write { items: b"item", ..write("/x", fence, 1, b"one") };
    assert_eq!(redis.write(&write).await.unwrap(), accepted(0));
    let want = redis.want(&name("/x"), b"\x01want", KEEP).await.unwrap();
    assert_eq!(redis.heads(&[name("/x")]).await.unwrap()[0].want, want);
    assert_eq!(redis.read(&name("/x")).await.unwrap().content, "one");
    assert_eq!(redis.items(&name("/x"), Default::default(), 9).await.unwrap().len(), 1);
    redis.keep(&[name("/x")], KEEP).await.unwrap();
    redis.take(&name("api"), 1.0, 1, 1).await.unwrap();
    redis.announce(Bytes::from_static(b"\x01\x04 a message of a node")).await.unwrap();
    redis.claim("a.1", &[Claim { from: "a.1", ..claim("/x") }]).await.unwrap();
    let fence = node.holds("a.1", "/x").await;
    assert_eq!(redis.free(&[(name("/x"), fence)], false).await.unwrap(), [true]);
    assert_eq!(redis.free(&[(name("/x"), fence)], true).await.unwrap(), [true]);
    redis.leave(&[name("/x")]).await.unwrap();
    redis.part("a.1").await.unwrap();
    // Another namespace is none of its business.
    let other = Cluster { name: "other".to_owned(), ..allowed(&server, RIGHTS) };
    Node::unconnected(other).loses(Loss::Rights).await;
}

#[tokio::test]
async fn a_right_that_is_missing_is_named() {
    let server = RedisServer::start(&[]);
    Redis::probe(&Arc::new(allowed(&server, RIGHTS))).await.unwrap();
    for missing in ["publish", "evalsha", "script|load", "time", "hset", "pexpire", "zadd"] {
        let without = RIGHTS.replace(&format!("+{missing} "), " ");
        assert_ne!(without, RIGHTS);
        let failed = Redis::probe(&Arc::new(allowed(&server, &without))).await.unwrap_err();
        assert!(failed.loss == Loss::Rights && failed.message.contains(missing), "{missing}: {failed}");
    }
    // One without which a connection is of no use is noticed by each connection.
    let mut node = Node::unconnected(allowed(&server, &RIGHTS.replace("+subscribe ", " ")));
    node.loses(Loss::Rights).await;
}

#[tokio::test]
async fn a_replica_is_no_engine() {
    let primary = RedisServer::start(&[]);
    let port = primary.address.port().to_string();
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    let mut node = Node::unconnected(replica.cluster());
    node.loses(Loss::ReadOnly).await;
    // With both, the one that takes writes is found.
    let servers = vec![replica.address.to_string(), primary.address.to_string()];
    let mut node = Node::unconnected(Cluster { servers, ..primary.cluster() });
    node.until("the primary", |event| *event == Event::Back).await;
}

#[tokio::test]
async fn a_sentinel_names_the_primary() {
    let server = RedisServer::start(&[]);
    let file = server.folder.write(
        "sentinel.conf",
        &format!("sentinel monitor pollcast 127.0.0.1 {} 1\n", server.address.port()),
    );
    let sentinel = RedisServer::start(&[file.to_str().unwrap(), "--sentinel"]);
    let with = |name: &str| Cluster { sentinel: Some(name.to_owned()), ..sentinel.cluster() };
    let node = Node::with(with("pollcast")).await;
    node.joins("a.1").await;
    assert_eq!(server.ask(&["ZCARD", "{pollcast:default}:m"]), "1");
    Node::unconnected(with("other")).loses(Loss::Connection).await;
}

#[tokio::test]
async fn tls_is_spoken_to_the_server_that_is_meant_and_no_other() {
    let authority = Authority::new();
    let (certificate, other) = (authority.certify(&["127.0.0.1"]), Authority::new());
    let folder = crate::support::process::Folder::new();
    let write = |name: &str, text: &str| folder.write(name, text).to_str().unwrap().to_owned();
    let (cert, key) = (write("cert.pem", &certificate.cert_pem), write("key.pem", &certificate.key_pem));
    let ca = write("ca.pem", &authority.pem);
    let server = RedisServer::start(&[
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "no",
    ]);
    let with = |ca: String, verify: bool| {
        let tls = Some(UpstreamTls { ca: Some(ca.into()), verify, ..UpstreamTls::unsaid() });
        Cluster { tls, ..server.cluster() }
    };
    Node::with(with(ca, true)).await.joins("a.1").await;
    let wrong = write("wrong.pem", &other.pem);
    assert!(is_lost(&Node::unconnected(with(wrong.clone(), true)).next().await));
    Node::with(with(wrong, false)).await.joins("b.1").await;
}
