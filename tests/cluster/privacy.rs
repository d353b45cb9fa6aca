//! With the engine alone nothing is read, and nothing is said that a node believes.

use bytes::Bytes;
use pollcast::cluster::engine::Engine;
use pollcast::cluster::seal::Name;
use pollcast::poll::backplane::{Role, Written};

use super::Node as Intruder;
use super::nodes::{CALM, Node, Pair, content, key};
use crate::support::redis::RedisServer;

/// The only resource in the engine.
fn only_resource(server: &RedisServer) -> Name {
    let keys = server.ask(&["KEYS", "{pollcast:default}:r:*"]);
    let (_, name) = keys.rsplit_once(':').expect("there is one");
    Name::parse(name.as_bytes()).expect("it is a name")
}

#[tokio::test]
async fn the_engine_sees_no_path_no_credential_and_no_body() {
    let server = RedisServer::start(&[]);
    let settings = format!("{CALM}, private: shared");
    let (a, b) = (Node::start(&server, &settings), Node::start(&server, &settings));
    let path = "/accounts-of-somebody";
    let private = key(path, Some("Bearer hunter2-hunter2"));
    let (holder, mirror) = (a.attends_by(&private).unwrap(), b.attends_by(&private).unwrap());
    let (fence, (writer, reader)) = tokio::select! {
        fence = holder.holds() => (fence, (&holder, &mirror)),
        fence = mirror.holds() => (fence, (&mirror, &holder)),
    };
    reader.is(Role::Mirror).await;
    assert_eq!(
        writer.member.write(&content(fence, 1, "a body that is nobody's business")).await,
        Written::Accepted
    );
    assert_eq!(reader.content().await.snapshot.body, "a body that is nobody's business");
    let name = only_resource(&server);
    let all =
        server.ask(&["KEYS", "*"]) + &server.ask(&["HGETALL", &format!("{{pollcast:default}}:r:{name}")]);
    assert!(all.contains("pollcast") && all.contains('o'), "{all}");
    for secret in ["accounts-of-somebody", "hunter2", "nobody's business", "Bearer"] {
        assert!(!all.contains(secret), "{secret} is in the engine");
    }
    // Another credential is another resource, which opens nothing of this one.
    let other = a.attends_by(&key(path, Some("Bearer of-another"))).unwrap();
    other.holds().await;
    assert!(other.told_all().await.content.is_none());
}

#[tokio::test]
async fn credential_classes_stay_on_their_node_unless_they_are_shared() {
    let server = RedisServer::start(&[]);
    let node = Node::start(&server, CALM);
    assert!(node.attends_by(&key("/x", Some("Bearer hunter2"))).is_none());
    node.attends("/x").holds().await;
}

#[tokio::test]
async fn what_is_forged_or_said_once_more_reaches_no_client() {
    let pair = Pair::start(CALM).await;
    let Pair { holder, mirror, fence, b, server, .. } = &pair;
    let fence = *fence;
    holder.member.write(&content(fence, 1, "one")).await;
    let intruder = Intruder::of(server).await;
    let name = only_resource(server);
    let first = intruder.redis.read(&name).await.unwrap().content;
    holder.member.write(&content(fence, 2, "two")).await;
    mirror
        .until("the second content", |inbox| inbox.take().content.filter(|told| told.order.sequence == 2))
        .await;

    // An earlier one again; one that was changed; one of another order; noise; a later version.
    let changed = |at: usize| {
        let mut bytes = first.to_vec();
        bytes[at] ^= 1;
        Bytes::from(bytes)
    };
    let last = first.len() - 1;
    let forged =
        [first.clone(), changed(last), changed(29), changed(5), changed(0), Bytes::from_static(b"\x01short")];
    for sealed in forged {
        intruder.redis.tell(&[(name, sealed.clone())]).await.unwrap();
        intruder.redis.announce(sealed).await.unwrap();
    }
    assert!(mirror.told_all().await.content.is_none());
    assert_eq!((holder.inbox.role(), mirror.inbox.role()), (Role::Holder { fence }, Role::Mirror));
    let text = String::from_utf8(b.metrics.encode().unwrap()).unwrap();
    for reason in ["seal", "version", "form"] {
        let counter = format!("pollcast_cluster_undecodable_total{{reason=\"{reason}\"}}");
        assert!(text.contains(&counter), "{counter} is missing");
    }
}

#[tokio::test]
async fn a_want_of_the_future_that_stands_in_the_engine_is_not_believed() {
    let server = RedisServer::start(&[]);
    let first = Node::start(&server, CALM);
    let holder = first.attends("/x");
    let fence = holder.holds().await;
    holder.member.write(&content(fence, 1, "one")).await;
    let record = format!("{{pollcast:default}}:r:{}", only_resource(&server));
    server.ask(&["HSET", &record, "w", "9007199254740991"]);
    let second = Node::start(&server, CALM);
    let mirror = second.attends("/x");
    mirror.is(Role::Mirror).await;
    mirror.until("no want", |inbox| (inbox.wants() == 0).then_some(())).await;
    assert_eq!(mirror.content().await.snapshot.body, "one", "the rest of the record counts");
}
