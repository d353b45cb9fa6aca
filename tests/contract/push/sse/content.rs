//! Contract §1, §5: what a stream carries, and which requests get one.

use super::{A, stand};
use crate::contract::{FAST, Stand};
use crate::support::client::Sse;
use crate::support::legacy::Reply;

#[tokio::test]
async fn every_body_reaches_the_reader_whole() {
    let stand = stand(FAST).await;
    let bodies = [
        ("lf", "a\nb", "a\nb"),
        ("crlf", "a\r\nb", "a\nb"),
        ("cr", "a\rb", "a\nb"),
        ("ends", "a\r\n\n\r", "a\n\n\n"),
        ("field", "data: x\nid: 7\nevent: y\nretry: 1\n: z", "data: x\nid: 7\nevent: y\nretry: 1\n: z"),
        ("bom", "\u{feff}a", "a"),
        ("nul", "a\0b", "a\0b"),
        ("space", " a ", " a "),
        ("empty", "", ""),
    ];
    for (name, body, wanted) in bodies {
        let path = format!("/prices/{name}");
        stand.legacy.set(&path, Reply::text(body));
        let mut sse = Sse::open(stand.address(), &path, &[]).await;
        let event = sse.next_event().await;
        assert_eq!(event.data, wanted, "{name}");
        assert_eq!(event.event, "message", "{name}");
        assert_eq!(event.id.map(|id| id.len()), Some(22), "{name}");
    }
}

#[tokio::test]
async fn a_declared_charset_is_converted() {
    let stand = stand(FAST).await;
    let reply = Reply::new("text/plain; charset=iso-8859-1", &b"caf\xe9"[..]);
    stand.legacy.set("/prices/A", reply);
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(sse.next_event().await.data, "café");
}

#[tokio::test]
async fn what_is_no_text_is_406_or_base64() {
    let stand = stand(FAST).await;
    stand.legacy.set("/prices/A", Reply::new("image/png", &b"\x89PNG\xff"[..]));
    let refused = Sse::try_open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(refused.err().map(|head| head.status), Some(406));

    let coded = Stand::start("poll: {interval: 100ms}, encoding: base64");
    coded.legacy.set("/prices/A", Reply::new("image/png", &b"\x89PNG\xff"[..]));
    let mut sse = Sse::open(coded.address(), "/prices/A", &[]).await;
    assert_eq!(sse.next_event().await.data, "iVBOR/8=");
}

#[tokio::test]
async fn event_name_names_the_states() {
    let stand = stand("poll: {interval: 100ms}, event_name: price").await;
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    assert_eq!(sse.next_named("price").await.data, A);
}

#[tokio::test]
async fn push_sse_chooses_a_stream_without_the_header() {
    let stand = stand(FAST).await;
    let accept = [("accept", "*/*")];
    let mut sse = Sse::open(stand.address(), "/prices/A?_push=sse&x=1", &accept).await;
    assert_eq!(sse.next_event().await.data, A);
    assert_eq!(stand.legacy.seen("/prices/A")[0].target, "/prices/A?x=1");
}

#[tokio::test]
async fn a_wildcard_never_means_a_stream() {
    let stand = stand(FAST).await;
    for accept in ["*/*", "text/*", "application/json", "application/json, text/event-stream;q=0.9"] {
        let answer = stand.http().await.get("/prices/A", &[("accept", accept)]).await;
        assert_ne!(answer.header("content-type"), Some("text/event-stream"), "{accept}");
    }
}

#[tokio::test]
async fn the_best_type_is_judged_by_what_the_resource_is() {
    let stand = stand(FAST).await;
    stand.legacy.set("/prices/A", Reply::text("hello"));
    stand.http().await.get("/prices/A", &[]).await.expect(200);
    let accept = [("accept", "text/plain, text/event-stream;q=0.5")];
    let answer = stand.http().await.get("/prices/A", &accept).await.expect(200);
    assert_eq!(answer.text(), "hello");
}

#[tokio::test]
async fn a_route_without_streams_answers_406_or_in_another_form() {
    let stand = stand("poll: {interval: 100ms}, transports: [poll, long_poll]").await;
    let mut http = stand.http().await;
    let only = http.get("/prices/A", &[("accept", "text/event-stream")]).await;
    assert_eq!(only.status, 406);
    let only = http.get("/prices/A?_push=sse", &[("accept", "text/event-stream")]).await;
    assert_eq!(only.status, 406);
    let other = http.get("/prices/A", &[("accept", "text/event-stream, */*;q=0.1")]).await;
    assert_eq!((other.status, other.text().as_str()), (200, A));
    assert_eq!(other.header("link"), None, "a stream that is not there is offered");
}

#[tokio::test]
async fn credentials_without_a_share_get_403_that_names_the_choices() {
    let stand = stand(FAST).await;
    let mut http = stand.http().await;
    let headers = [("accept", "text/event-stream"), ("authorization", "Bearer x")];
    let answer = http.get("/prices/A", &headers).await.expect(403);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("share: public") && detail.contains("by:"), "{detail}");
}
