//! Alice, Robert and an anonymous client on one HTTP/2 connection, as behind a proxy; where certificates identify them,
//! on one each.
//!
//! Must not know: what the answers should be.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::acts::Scene;
use super::people::{EVERYBODY, Person, Place};
use super::recorder::{CONNECTIONS, Recording};
use crate::support::wire::Io;

/// Its name, its target, and more fields of its request.
type Act<'a> = (&'static str, &'a str, &'a [(&'a str, &'a str)]);

const LISTEN: Duration = Duration::from_millis(600);

/// Everybody's requests at once; each answer is its own recording, as HTTP/1 would have written it.
pub async fn everybody(scene: &Scene) -> Vec<Recording> {
    if scene.place != Place::Certificate {
        return on_one(scene, Person::Nobody, &EVERYBODY).await;
    }
    let [alice, robert, nobody] = &EVERYBODY;
    let one = |who: &'static Person| on_one(scene, *who, std::slice::from_ref(who));
    let (alice, robert, nobody) = tokio::join!(one(alice), one(robert), one(nobody));
    [alice, robert, nobody].concat()
}

/// The requests of these on one connection of this one's.
async fn on_one(scene: &Scene, whose: Person, people: &[Person]) -> Vec<Recording> {
    CONNECTIONS.fetch_add(1, Ordering::Relaxed);
    let stream: Box<dyn Io> = match &scene.world.papers {
        None => Box::new(TcpStream::connect(scene.address).await.expect("a connection")),
        Some(papers) => papers.connect(scene.address, whose, &["h2"]).await,
    };
    let (send, connection) = h2::client::handshake(stream).await.expect("an HTTP/2 connection");
    let driver = tokio::spawn(async move {
        // How it ends is seen by the streams.
        let _ = connection.await;
    });
    let tag = format!("\"{}\"", scene.heard.first().map_or("unknown", String::as_str));
    let mut tasks = tokio::task::JoinSet::new();
    let acts: [Act; 6] = [
        ("get over HTTP/2", "/r/x?a=1", &[]),
        ("get over HTTP/2", "/r/x?a=1", &[("if-none-match", &tag)]),
        ("stream over HTTP/2", "/r/x?a=1", &[("accept", "text/event-stream")]),
        ("compressed over HTTP/2", "/r/x?_push=sse&a=1", &[("accept-encoding", "gzip")]),
        ("long poll over HTTP/2", "/r/x?a=1", &[("prefer", "wait=1"), ("if-none-match", &tag)]),
        ("many over HTTP/2", "/-/pollcast/events?resource=/r/x&resource=/r/y", &[]),
    ];
    for (act, target, more) in acts {
        for &who in people {
            let mut request =
                http::Request::builder().uri(format!("http://pollcast.test{}", scene.target(who, target)));
            for (name, value) in scene.fields(who) {
                request = request.header(name, value);
            }
            for (name, value) in more {
                request = request.header(*name, *value);
            }
            let request = request.body(()).expect("a request");
            tasks.spawn(answer(send.clone(), request, who, act));
        }
    }
    let recordings = tasks.join_all().await;
    driver.abort();
    recordings.into_iter().flatten().collect()
}

async fn answer(
    send: SendRequest<Bytes>,
    request: http::Request<()>,
    who: Person,
    act: &'static str,
) -> Option<Recording> {
    let until = Instant::now() + LISTEN;
    let mut send = send.ready().await.ok()?;
    let (response, _) = send.send_request(request, true).ok()?;
    let response = timeout(Duration::from_secs(5), response).await.ok()?.ok()?;
    let (head, mut body) = response.into_parts();
    let mut bytes = format!("HTTP/1.1 {}\r\n", head.status.as_u16()).into_bytes();
    for (name, value) in head.headers.iter().filter(|(name, _)| *name != http::header::CONTENT_LENGTH) {
        bytes.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend(b"\r\n");
    while let Ok(Some(Ok(piece))) = timeout_at(until, body.data()).await {
        let _ = body.flow_control().release_capacity(piece.len());
        bytes.extend(&piece);
    }
    Some(Recording { who, act, bytes })
}
