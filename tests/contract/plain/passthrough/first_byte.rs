//! Contract §12: an upstream that begins no answer to a request that passes through (`passthrough_first_byte_timeout`).

use std::time::Duration;

use pollcast::app::App;
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::contract::edge::support::{Extra, admin, http, start_with};
use crate::support::app;
use crate::support::client::{Http, Message, Response, Ws};
use crate::support::legacy::{Legacy, Reply};
use crate::support::tls::Authority;

const SHORT: &str = ", passthrough_first_byte_timeout: 300ms";

fn stand(legacy: &Legacy) -> App {
    start_with(legacy, Extra { upstream: SHORT, ..Extra::default() })
}

fn expect_late(answer: &Response) {
    assert_eq!((answer.status, answer.header("content-type")), (504, Some("application/problem+json")));
    let said = answer.text();
    assert!(said.contains("passthrough_first_byte_timeout") && said.contains("legacy"), "{said}");
}

async fn counted(app: &App) -> u64 {
    let text = admin(app).await.get("/metrics", &[]).await.expect(200).text();
    let line = "pollcast_refusals_total{reason=\"upstream-first-byte\"} ";
    text.lines().find_map(|found| found.strip_prefix(line)?.parse().ok()).expect("the series is there")
}

#[tokio::test]
async fn a_request_that_is_never_answered_is_504_and_asked_once() {
    let legacy = Legacy::start();
    legacy.set("/warm", Reply::text("warm"));
    legacy.set("/x", Reply::silence());
    let app = stand(&legacy);
    // On a new connection, and on one that is used again, where a read is repeated if the connection had ended by itself.
    for (method, warm) in [("GET", false), ("GET", true), ("POST", true)] {
        let mut http = http(&app).await;
        if warm {
            http.get("/warm", &[]).await.expect(200);
        }
        legacy.forget();
        expect_late(&http.request(method, "/x", &[], b"").await);
        assert_eq!(legacy.count("/x"), 1, "{method}");
    }
    assert_eq!(counted(&app).await, 3);
    http(&app).await.get("/warm", &[]).await.expect(200);
}

#[tokio::test]
async fn an_upgrade_that_is_never_answered_is_504_and_one_that_is_may_be_silent() {
    let legacy = Legacy::start();
    legacy.set("/ws", Reply::silence());
    let app = stand(&legacy);
    let late = Ws::try_open(app.addresses()[0], "/ws", &[]).await.err().expect("no socket");
    assert_eq!(late.status, 504, "{late:?}");
    assert_eq!(counted(&app).await, 1);
    legacy.set("/ws", Reply::websocket_echo());
    let mut ws = Ws::open(app.addresses()[0], "/ws", &[]).await;
    ws.send_text("one").await;
    assert_eq!(ws.next_message().await, Message::Text("one".into()));
    // More than the limit, after bytes of both sides.
    ws.expect_silence(Duration::from_millis(700)).await;
    ws.send_text("two").await;
    assert_eq!(ws.next_message().await, Message::Text("two".into()));
}

#[tokio::test]
async fn a_server_behind_tls_is_bounded_alike() {
    let legacy = Legacy::start_tls(&Authority::new().certify(&["localhost"]));
    legacy.set("/x", Reply::silence());
    let upstream = format!("{SHORT}, tls: {{verify: false}}");
    let app = start_with(&legacy, Extra { upstream: &upstream, ..Extra::default() });
    expect_late(&http(&app).await.get("/x", &[]).await);
}

#[tokio::test]
async fn what_began_in_time_may_be_slow_and_so_may_what_is_sent() {
    let legacy = Legacy::start();
    let (reply, feed) = Reply::stream("text/event-stream");
    legacy.set("/stream", reply);
    legacy.set("/upload", Reply::text("done").delay(Duration::from_millis(100)));
    let app = stand(&legacy);
    let mut client = http(&app).await;
    client.send("GET", "/stream", &[], b"").await;
    let head = client.read_head().await.expect(200);
    // Longer than the limit between two pieces.
    sleep(Duration::from_millis(700)).await;
    feed.send("data: 1\n\n").await;
    feed.end();
    let body = client.read_body(&head).await.expect("all of the body");
    assert_eq!(&body[..], b"data: 1\n\n");

    // The limit counts from the last byte of a request on.
    let mut client = http(&app).await;
    client.send_raw(b"POST /upload HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\n").await;
    for byte in b"upload" {
        sleep(Duration::from_millis(150)).await;
        client.send_raw(&[*byte]).await;
    }
    assert_eq!(client.read_response().await.expect(200).text(), "done");
    assert_eq!(counted(&app).await, 0);
}

#[tokio::test]
async fn the_limit_is_long_unless_it_is_said_and_can_be_off() {
    for upstream in ["", ", passthrough_first_byte_timeout: off"] {
        let legacy = Legacy::start();
        // As the long-poll of an API, which is silent for longer than polls may be.
        legacy.set("/held", Reply::text("news").delay(Duration::from_millis(1200)));
        let upstream = format!(", first_byte_timeout: 200ms{upstream}");
        let app = start_with(&legacy, Extra { upstream: &upstream, ..Extra::default() });
        assert_eq!(http(&app).await.get("/held", &[]).await.expect(200).text(), "news");
    }
}

#[tokio::test]
async fn a_server_of_http2_is_bounded_where_the_answer_is_no_stream() {
    // A server that takes all requests and answers none.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                let mut kept = Vec::new();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    kept.push((request, respond));
                }
            });
        }
    });
    let yaml = format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\nadmin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{address}'], http2: true{SHORT}}}}}\npassthrough: legacy\n\
         routes: [{{path: '/r', upstream: legacy}}]\n"
    );
    let app = app::start(&yaml);
    expect_late(&http(&app).await.get("/x", &[]).await);
    assert_eq!(counted(&app).await, 1);
    let mut stream = Http::connect(app.addresses()[0]).await;
    stream.send("GET", "/x", &[("accept", "text/event-stream")], b"").await;
    stream.expect_silence(Duration::from_millis(700)).await;
}
