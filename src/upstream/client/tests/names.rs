//! What happens to a name over time, with real connections behind it.

use std::io;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::*;
use crate::upstream::servers::Resolver;

/// Resolves to what it is told, or not at all.
struct Told(Mutex<Option<SocketAddr>>);

impl Told {
    fn say(&self, address: Option<&str>) {
        *self.0.lock() = address.map(|address| address.parse().unwrap());
    }
}

#[async_trait::async_trait]
impl Resolver for Told {
    async fn resolve(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        let told = *self.0.lock();
        told.map(|address| vec![address]).ok_or_else(|| io::Error::other("no such host"))
    }
}

/// Fetches until the answer is this; nothing tells when names are looked up.
async fn until(client: &Client, wanted: &str) {
    let asking = async {
        loop {
            let found = match client.fetch(&get("/")).await {
                Ok(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
                Err(error) => error.class().to_owned(),
            };
            if found == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("it was never {wanted:?}"));
}

fn saying(body: &str) -> Vec<Script> {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    (0..1000).map(|_| vec![close(answer.clone())]).collect()
}

#[tokio::test]
async fn a_name_may_resolve_late_and_no_more_and_to_a_dead_server_and_to_another_one() {
    let told = Arc::new(Told(Mutex::new(None)));
    let upstream =
        config::Upstream { resolve_interval: Duration::from_millis(50), ..upstream_of(&["api.invalid:80"]) };
    let client = Client::with_resolver(Arc::new(upstream), told.clone()).unwrap();
    let (stop, stopped) = watch::channel(false);
    let watching = tokio::spawn(client.clone().watch_servers(stopped));
    until(&client, "no-server").await;
    let (first, second) = (Server::start(saying("first")).await, Server::start(saying("second")).await);
    told.say(Some(&first.address));
    until(&client, "first").await;
    // The last good address stays.
    told.say(None);
    for _ in 0..20 {
        assert_eq!(client.fetch(&get("/")).await.unwrap().body, "first");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (_held, dead) = nowhere();
    told.say(Some(&dead));
    until(&client, "connect").await;
    told.say(Some(&second.address));
    until(&client, "second").await;
    stop.send_replace(true);
    timeout(PATIENCE, watching).await.expect("the watch went on").unwrap();
}
