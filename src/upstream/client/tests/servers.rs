//! Health, names and addresses of servers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::{Client, NewError, Whose};
use super::{PATIENCE, client_of, get, nowhere, read_request, upstream_of};
use crate::config;
use crate::upstream::servers::Resolver;

/// A server that says what it is told about its health, and "ok" to everything else.
async fn server_with_health(health: watch::Receiver<u16>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let health = health.clone();
            tokio::spawn(async move {
                while let Some(request) = read_request(&mut stream).await {
                    let status = if request.starts_with("GET /health ") { *health.borrow() } else { 200 };
                    let answer = format!("HTTP/1.1 {status} Said\r\nContent-Length: 2\r\n\r\nok");
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    address
}

fn with_health_check(servers: &[&str]) -> Arc<Client> {
    let check = config::HealthCheck { path: "/health".to_owned(), interval: PATIENCE };
    Client::new(Arc::new(config::Upstream { health_check: Some(check), ..upstream_of(servers) })).unwrap()
}

/// Where the next request passes through to.
async fn address_of(client: &Client) -> String {
    client.peer(Whose::Anybodys, false).await.unwrap().peer._address.to_string()
}

#[tokio::test]
async fn an_unhealthy_server_is_avoided_and_taken_back() {
    let (say_first, first) = watch::channel(200);
    let (say_second, second) = watch::channel(200);
    let (first, second) = (server_with_health(first).await, server_with_health(second).await);
    let client = with_health_check(&[&first, &second]);
    let chosen = async || {
        let mut chosen = Vec::new();
        for _ in 0..6 {
            chosen.push(address_of(&client).await);
        }
        (chosen.contains(&first), chosen.contains(&second))
    };
    assert_eq!(chosen().await, (true, true));
    say_first.send_replace(503);
    client.check_health().await;
    assert_eq!(chosen().await, (true, true), "one failure is not enough");
    client.check_health().await;
    assert_eq!(chosen().await, (false, true));
    say_second.send_replace(500);
    client.check_health().await;
    client.check_health().await;
    let error = client.fetch(&get("/")).await.unwrap_err();
    assert_eq!(error.class(), "no-server");
    assert_eq!(error.to_string(), "upstream \"legacy\": no server to ask: unhealthy: all 2 addresses");
    say_first.send_replace(204);
    client.check_health().await;
    assert_eq!(chosen().await, (true, false));
}

#[tokio::test]
async fn watching_checks_health_and_ends_when_told() {
    let (_say, health) = watch::channel(200);
    let server = server_with_health(health).await;
    let (_held, dead) = nowhere();
    let check = config::HealthCheck { path: "/health".to_owned(), interval: Duration::from_millis(1) };
    let upstream = config::Upstream { health_check: Some(check), ..upstream_of(&[&server, &dead]) };
    let client = Client::new(Arc::new(upstream)).unwrap();
    let (stop, stopped) = watch::channel(false);
    let watching = tokio::spawn(client.clone().watch_servers(stopped));
    let alone = async {
        loop {
            let first = address_of(&client).await;
            let second = address_of(&client).await;
            if first == server && second == server {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, alone).await.expect("the dead server was never taken out");
    stop.send_replace(true);
    timeout(PATIENCE, watching).await.expect("the watch went on").unwrap();
}

struct NoName;

#[async_trait::async_trait]
impl Resolver for NoName {
    async fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::Error::other("no such host"))
    }
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_no_server() {
    let upstream = Arc::new(upstream_of(&["nowhere.invalid:80"]));
    let client = Client::with_resolver(upstream, Arc::new(NoName)).unwrap();
    let error = client.fetch(&get("/")).await.unwrap_err();
    assert_eq!(error.class(), "no-server");
    assert_eq!(client.peer(Whose::Anybodys, false).await.err().unwrap().class(), "no-server");
}

#[tokio::test]
async fn a_pass_through_peer_limits_connecting_only() {
    let peer = client_of(&["127.0.0.1:3000"]).peer(Whose::Anybodys, false).await.unwrap().peer;
    assert_eq!(peer.options.total_connection_timeout, Some(PATIENCE));
    assert_eq!((peer.options.read_timeout, peer.options.write_timeout), (None, None));
    assert_eq!(peer._address.to_string(), "127.0.0.1:3000");
}

#[test]
fn a_client_is_made_without_a_runtime() {
    client_of(&["127.0.0.1:3000", "legacy.internal:3001"]);
    let wrong = Client::new(Arc::new(upstream_of(&["legacy.internal"])));
    assert!(matches!(wrong, Err(NewError::Server { address, .. }) if address == "legacy.internal"));
}
