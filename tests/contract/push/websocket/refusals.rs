//! Contract §6: origins, versions and upstreams for which there is no WebSocket.

use std::time::Duration;

use super::{A, stand};
use crate::contract::{FAST, FAST_FAILING, ONCE, Stand};
use crate::support::client::Ws;
use crate::support::legacy::Reply;
use crate::support::wire::within;

#[tokio::test]
async fn an_origin_is_let_in_if_it_is_absent_or_the_same_host() {
    let stand = stand(ONCE);
    let host = stand.address().to_string();
    let same = format!("http://{host}");
    Ws::open(stand.address(), "/prices/A", &[]).await;
    Ws::open(stand.address(), "/prices/A", &[("origin", &same)]).await;
    for origin in ["http://evil.example", "null", "http://127.0.0.1", ""] {
        let refused = Ws::try_open(stand.address(), "/prices/A", &[("origin", origin)]).await;
        assert_eq!(refused.err().map(|head| head.status), Some(403), "{origin:?}");
    }
}

#[tokio::test]
async fn configured_origins_are_the_only_ones() {
    let stand = stand("poll: {interval: 1h}, websocket: {origins: ['https://shop.example']}");
    Ws::open(stand.address(), "/prices/A", &[("origin", "https://shop.example")]).await;
    let same = format!("http://{}", stand.address());
    let refused = Ws::try_open(stand.address(), "/prices/A", &[("origin", &same)]).await;
    assert_eq!(refused.err().map(|head| head.status), Some(403));
}

#[tokio::test]
async fn another_version_of_the_protocol_is_426() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "8"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let answer = http.get("/prices/A", &headers).await.expect(426);
    assert_eq!(answer.header("sec-websocket-version"), Some("13"));
    assert_eq!(answer.header("upgrade"), Some("websocket"), "{answer:?}");
    let mut http = stand.http().await;
    let keyless = [headers[0], headers[1], ("sec-websocket-version", "13")];
    http.get("/prices/A", &keyless).await.expect(400);
}

#[tokio::test]
async fn what_the_upstream_refuses_is_a_close_code() {
    let stand = stand(FAST);
    for (status, code) in [(401, 4401), (403, 4403), (404, 4404), (410, 4404)] {
        let path = format!("/prices/{status}");
        stand.legacy.set(&path, Reply::text("no").status(status));
        let mut ws = Ws::open(stand.address(), &path, &[]).await;
        assert_eq!(ws.next_close().await.0, code, "{status}");
        ws.expect_closed().await;
    }
    stand.clients("websocket", 0).await;
}

#[tokio::test]
async fn what_cannot_be_a_snapshot_is_1011() {
    let stand = stand("poll: {interval: 100ms, max_body: 1KiB}");
    stand.legacy.set("/prices/A", Reply::text("x".repeat(5000)));
    for _ in 0..2 {
        let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
        assert_eq!(ws.next_close().await.0, 1011);
    }
}

#[tokio::test]
async fn a_close_code_needs_no_second_seat() {
    let stand = Stand::with("poll: {interval: 100ms, max_body: 1KiB}", "limits: {clients: 1}");
    stand.legacy.set("/prices/A", Reply::text("x".repeat(5000)));
    for path in ["/prices/A", "/prices/A", "/prices/404"] {
        // The seat of the one before is free once its connection is gone, which nothing tells.
        let open = async {
            loop {
                match Ws::try_open(stand.address(), path, &[]).await {
                    Err(full) if full.status == 503 => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(refused) => panic!("{refused:?}"),
                    Ok(ws) => return ws,
                }
            }
        };
        let mut ws = within("the one seat", open).await;
        ws.next_close().await;
        ws.expect_closed().await;
    }
}

#[tokio::test]
async fn cold_with_the_upstream_down_the_state_comes_when_it_comes() {
    let stand = stand(&format!("{FAST_FAILING}, first_answer: 200ms"));
    stand.legacy.stop().await;
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    stand.legacy.start_again();
    assert_eq!(ws.next_text().await, A);
}

#[tokio::test]
async fn a_route_without_websockets_passes_them_through() {
    let stand = stand("poll: {interval: 1h}, transports: [sse, poll]");
    stand.legacy.set("/prices/A", Reply::websocket_echo());
    let mut ws = Ws::open(stand.address(), "/prices/A?_push=ws", &[("x-mine", "1")]).await;
    ws.send_text("hello").await;
    assert_eq!(ws.next_text().await, "hello");
    let seen = &stand.legacy.seen("/prices/A")[0];
    assert_eq!((seen.header("x-mine"), seen.target.as_str()), (Some("1"), "/prices/A"));
}
