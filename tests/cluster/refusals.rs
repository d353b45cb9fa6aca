//! An engine that refuses a node, or that a node refuses: each node polls for itself, the log says why, and the nodes poll
//! as one again as soon as that is mended, without a restart.

use std::path::Path;

use super::fleet::{Fleet, NODES, Settings};
use crate::support::legacy::Legacy;
use crate::support::process::Folder;
use crate::support::redis::RedisServer;
use crate::support::tls::Authority;

const ROUTES: &str = "routes:
  - { path: '/state/{name}', upstream: legacy, share: public, poll: { interval: 300ms } }
";

/// Three nodes that are refused: all serve, and say why in their logs.
async fn refused(fleet: &Fleet, words: &[&str]) {
    fleet.count("/state/a");
    for node in 0..NODES {
        fleet.nodes[node].wait_stderr("the engine of the cluster is lost").await;
        for word in words {
            fleet.nodes[node].wait_stderr(word).await;
        }
        fleet.follow(node, "/state/a").await.states(2).await;
        assert!(fleet.nodes[node].exited().is_none(), "node {node} has ended");
    }
}

/// What refused them is mended: a node holds, and the others have what it wrote.
async fn mended(fleet: &Fleet) {
    let mut streams = Vec::new();
    for node in 0..NODES {
        streams.push(fleet.follow(node, "/state/a").await);
        fleet.until(node, "cluster_connected", |connected| connected == 1).await;
    }
    fleet.holder().await;
    for stream in &mut streams {
        stream.states(3).await;
    }
    for node in 0..NODES {
        fleet.until(node, "cluster_members", |members| members == NODES as u64).await;
    }
}

fn with(cluster: &str) -> impl Fn(usize, &mut Settings) + use<> {
    let cluster: &'static str = cluster.to_owned().leak();
    move |_, node| node.cluster = cluster
}

#[tokio::test]
async fn a_wrong_password_is_named_and_mended_at_the_engine() {
    let redis = RedisServer::start(&["--requirepass", "right"]);
    let fleet = Fleet::start_changed(redis, Legacy::start(), ROUTES, with("password: wrong")).await;
    refused(&fleet, &["credentials", "authentication failed"]).await;
    let changed =
        fleet.redis.ask(&["--no-auth-warning", "-a", "right", "CONFIG", "SET", "requirepass", "wrong"]);
    assert_eq!(changed, "OK");
    mended(&fleet).await;
}

#[tokio::test]
async fn a_missing_right_is_named_and_mended_at_the_engine() {
    let redis = RedisServer::start(&[]);
    let rights = "reset on >word ~{pollcast:default}* &{pollcast:default}* +@all -zadd";
    let allow = |rights: &str| {
        let words: Vec<&str> = ["ACL", "SETUSER", "pollcast"].into_iter().chain(rights.split(' ')).collect();
        redis.ask(&words)
    };
    assert_eq!(allow(rights), "OK");
    let user = with("username: pollcast, password: word");
    let fleet = Fleet::start_changed(redis, Legacy::start(), ROUTES, user).await;
    refused(&fleet, &["lacks the rights to: zadd", "rights"]).await;
    assert_eq!(fleet.redis.ask(&["ACL", "SETUSER", "pollcast", "+zadd"]), "OK");
    mended(&fleet).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_named_and_a_new_authority_is_read_without_a_restart() {
    let (authority, other, folder) = (Authority::new(), Authority::new(), Folder::new());
    let identity = authority.certify(&["127.0.0.1"]);
    let path = |file: &Path| file.to_str().expect("a path of characters").to_owned();
    let (cert, key) = (
        path(&folder.write("cert.pem", &identity.cert_pem)),
        path(&folder.write("key.pem", &identity.key_pem)),
    );
    let trusted = path(&folder.write("ca.pem", &other.pem));
    let options = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &cert];
    let redis = RedisServer::start(&[&options[..], &["--tls-auth-clients", "no"]].concat());
    let tls = format!("tls: {{ ca: '{trusted}' }}");
    let fleet = Fleet::start_changed(redis, Legacy::start(), ROUTES, with(&tls)).await;
    refused(&fleet, &["TLS", "certificate"]).await;
    folder.write("ca.pem", &authority.pem);
    mended(&fleet).await;
}

#[tokio::test]
async fn a_node_with_another_secret_polls_for_itself_and_says_that_it_understands_nothing() {
    let redis = RedisServer::start(&[]);
    let fleet = Fleet::start_changed(redis, Legacy::start(), ROUTES, |number, node| {
        if number == 0 {
            node.secret = "another secret of thirty-two bytes or more";
        }
    })
    .await;
    fleet.count("/state/a");
    let mut streams = Vec::new();
    for node in 0..NODES {
        streams.push(fleet.follow(node, "/state/a").await);
    }
    for stream in &mut streams {
        stream.states(4).await;
    }
    for node in 0..NODES {
        fleet.until(node, "cluster_undecodable_total{reason=\"seal\"}", |count| count > 0).await;
    }
    // It holds what it polls, by a name that none of the others has; of the others one holds.
    let mut holders = 0;
    for node in 0..NODES {
        holders += super::fleet::metric(&fleet.nodes[node], "pollcast_cluster_seats{role=\"holder\"}").await;
    }
    assert_eq!(holders, 2);
}
