//! `check --probe` says whether nodes can work with the engine, and what is wrong if not: place, found, wanted.

use std::process::{Command, Output};

use crate::support::nats::NatsServer;
use crate::support::ports::unused_address;
use crate::support::process::Folder;
use crate::support::redis::RedisServer;

/// The rights that the manual tells to give.
const RIGHTS: &str = "~{pollcast:default}* &{pollcast:default}* +evalsha +script|load +subscribe +unsubscribe +publish +ping \
                      +hello +time +hmget +hget +hset +del +pexpire +xadd +xrange +xrevrange +zadd +zscore +zrange \
                      +zremrangebyscore";

/// Looks at the engine with these further keys of `cluster`.
fn probe(server: &str, settings: &str) -> Output {
    let folder = Folder::new();
    let text = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]\nupstreams: {{ api: {{ servers: [127.0.0.1:1] }} }}\npassthrough: api\n\
         cluster: {{ servers: ['{server}'], secret: a secret of thirty-two bytes or more, lease: 60s, timeout: 10s{settings} }}\n"
    );
    check(&folder, &text)
}

fn check(folder: &Folder, text: &str) -> Output {
    let file = folder.write("pollcast.yaml", text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
    command.arg("check").arg("--config").arg(file).arg("--probe");
    command.output().expect("the binary runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[track_caller]
fn good(output: &Output) -> String {
    let said = said(output);
    assert!(output.status.code() == Some(0) && !said.contains("FAULT"), "{said}");
    said
}

/// The report has one fault, in which all of this stands.
#[track_caller]
fn fault(output: &Output, wanted: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let faults: Vec<&str> = said.lines().filter(|line| line.contains("FAULT")).collect();
    assert!(faults.len() == 1 && wanted.iter().all(|part| faults[0].contains(part)), "{wanted:?}: {said}");
}

fn user(server: &RedisServer, rights: &str) -> &'static str {
    let mut words = vec!["ACL", "SETUSER", "pollcast", "reset", "on", ">word"];
    words.extend(rights.split_whitespace());
    assert_eq!(server.ask(&words), "OK");
    ", username: pollcast, password: word"
}

#[test]
fn an_engine_that_is_fit_is_said_to_be() {
    let server = RedisServer::start(&[]);
    let address = server.address.to_string();
    let said = good(&probe(&address, ""));
    for part in ["version", "standalone, master", "rights", "maxmemory-policy noeviction", "1.0 MiB", "clock"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    // With the least rights, too; what these do not let it ask it says.
    let least = user(&server, RIGHTS);
    let said = good(&probe(&address, least));
    assert!(said.contains("maxmemory-policy should be noeviction"), "{said}");
}

#[test]
fn each_right_that_is_missing_is_named_as_an_acl_writes_it() {
    let server = RedisServer::start(&[]);
    let address = server.address.to_string();
    let mut fewer = RIGHTS.to_owned();
    for right in ["+publish ", "+subscribe ", "+evalsha ", "+script|load ", "+zadd "] {
        fewer = fewer.replace(right, "");
    }
    let settings = user(&server, &fewer);
    let wanted = "wanted: ACL SETUSER pollcast +script|load +evalsha +zadd +publish +subscribe";
    fault(&probe(&address, settings), &["cluster.username", "lacks", wanted]);
    let settings = user(&server, &RIGHTS.replace("~{pollcast:default}*", "~other*"));
    fault(&probe(&address, settings), &["SETUSER pollcast ~{pollcast:default}*"]);
    let settings = user(&server, &RIGHTS.replace("&{pollcast:default}*", "&other*"));
    fault(&probe(&address, settings), &["SETUSER pollcast &{pollcast:default}*"]);
}

#[test]
fn an_engine_that_evicts_or_cuts_subscribers_off_is_at_fault() {
    let server = RedisServer::start(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
    let address = server.address.to_string();
    fault(&probe(&address, ""), &["maxmemory-policy of the engine: allkeys-lru", "wanted: noeviction"]);
    server.ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    server.ask(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 60"]);
    fault(&probe(&address, ""), &["client-output-buffer-limit pubsub", "4.0 MiB or more"]);
    server.ask(&["CONFIG", "SET", "client-output-buffer-limit", "pubsub 0 0 0"]);
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    fault(&probe(&address, ""), &["cluster.max_value: 1.0 MiB: OOM"]);
}

#[test]
fn a_clock_that_went_back_is_told() {
    let server = RedisServer::start(&[]);
    let address = server.address.to_string();
    // What an earlier look wrote, by a clock that was a day ahead of today's.
    let ahead = "local now = redis.call('TIME')
        return redis.call('HSET', KEYS[1], 't', string.format('%.0f', (now[1] + 86400) * 1000000))";
    server.ask(&["EVAL", ahead, "1", "{pollcast:default}:t"]);
    fault(&probe(&address, ""), &["the clock of the engine's machine", "behind what it said before"]);
    server.ask(&["DEL", "{pollcast:default}:t"]);
    good(&probe(&address, ""));
    // A node's session that ends later than any lease allows.
    let ahead = "local now = redis.call('TIME')
        return redis.call('ZADD', KEYS[1], string.format('%.0f', (now[1] + 3600) * 1000), 'a.1')";
    server.ask(&["EVAL", ahead, "1", "{pollcast:default}:m"]);
    fault(&probe(&address, ""), &["behind what it said before"]);
}

#[test]
fn an_engine_that_cannot_be_had_is_told_with_the_reason() {
    let nowhere = unused_address().to_string();
    fault(&probe(&nowhere, ""), &["cluster.servers", &nowhere]);
    let server = RedisServer::start(&["--requirepass", "right"]);
    let address = server.address.to_string();
    fault(&probe(&address, ", password: wrong"), &["cluster.servers", "Password authentication failed"]);
    let primary = RedisServer::start(&[]);
    let port = primary.address.port().to_string();
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &port]);
    let output = probe(&replica.address.to_string(), "");
    let said = said(&output);
    assert!(output.status.code() == Some(1) && said.contains("a replica; wanted: the primary"), "{said}");
}

#[test]
fn nats_is_looked_at_as_a_node_connects() {
    let server = NatsServer::start(&[]);
    let address = server.address.to_string();
    let said = good(&probe(&address, ", engine: nats, max_value: 256KiB"));
    assert!(
        said.contains("bucket      one copy") && said.contains("256.0 KiB (cluster.max_value) were stored"),
        "{said}"
    );
    fault(&probe(&address, ", engine: nats, max_value: 64MiB"), &["cluster.servers", "max_payload"]);
}

#[test]
fn without_a_url_and_without_a_cluster_there_is_nothing_to_probe() {
    let folder = Folder::new();
    let text = "listeners: [{ address: 127.0.0.1:0 }]\nupstreams: { api: { servers: [127.0.0.1:1] } }\npassthrough: api\n";
    let output = check(&folder, text);
    assert_eq!(output.status.code(), Some(64));
    assert!(said(&output).contains("cluster"), "{}", said(&output));
}
