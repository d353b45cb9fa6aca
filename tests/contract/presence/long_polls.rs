//! Clients of held long-polls are there between two of them, and have left when no other one comes.

use std::time::Duration;

use serde_json::json;

use super::{WATCH, ask, bearer, count_becomes, follow, named, stand, subjects, until_count};
use crate::contract::TlsStand;
use crate::support::client::{Http, long_poll};
use crate::support::h2::H2;
use crate::support::legacy::Reply;

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_next_long_poll_is_no_leave_and_its_absence_is() {
    let stand = named("linger: 1s");
    let mut watching = follow(&stand, WATCH, "watcher").await;
    until_count(&mut watching, 1).await;
    let token = bearer("ann");
    let mut http = stand.http().await;
    let poll = async |http: &mut Http, tag: Option<&str>| {
        let mut headers = vec![("authorization", token.as_str()), ("prefer", "wait=30")];
        headers.extend(tag.map(|tag| ("if-none-match", tag)));
        http.get("/prices/A", &headers).await.expect(200).etag().to_owned()
    };
    let mut tag = poll(&mut http, None).await;
    assert_eq!(until_count(&mut watching, 2).await["joined"], subjects(&["ann"]));
    for n in 2..5 {
        let (next, ()) = tokio::join!(poll(&mut http, Some(&tag)), async {
            stand.clients("long_poll", 1).await;
            stand.legacy.set("/prices/A", Reply::json(n.to_string()));
        });
        tag = next;
        assert_eq!(watching.next_named("message").await.data, n.to_string(), "and nothing of presence");
    }
    assert_eq!(ask(&stand, "/prices/A", &[("authorization", &token)]).await.expect(200).json()["count"], 2);
    assert_eq!(until_count(&mut watching, 1).await["left"], subjects(&["ann"]));
}

#[tokio::test]
async fn clients_without_subjects_take_the_places_that_they_left() {
    let stand = stand("presence: {linger: 2s}");
    let (mut one, mut two) = (stand.http().await, stand.http().await);
    let mut tag = long_poll(&mut one, "/prices/A", None, LONG).await.expect(200).etag().to_owned();
    for n in 2..5 {
        for http in [&mut one, &mut two] {
            http.send("GET", "/prices/A", &[("prefer", "wait=30"), ("if-none-match", &tag)], b"").await;
        }
        stand.clients("long_poll", 2).await;
        assert_eq!(ask(&stand, "/prices/A", &[]).await.expect(200).json(), json!({ "count": 2 }));
        stand.legacy.set("/prices/A", Reply::json(n.to_string()));
        for http in [&mut one, &mut two] {
            tag = http.read_response().await.expect(200).etag().to_owned();
        }
        assert_eq!(ask(&stand, "/prices/A", &[]).await.expect(200).json(), json!({ "count": 2 }));
    }
    count_becomes(&stand, &[], 0).await;
}

#[tokio::test]
async fn a_held_client_counts_while_it_is_held() {
    let stand = stand("presence: {linger: 0s}");
    let mut http = stand.http().await;
    let tag = long_poll(&mut http, "/prices/A", None, LONG).await.expect(200).etag().to_owned();
    count_becomes(&stand, &[], 0).await;
    http.send("GET", "/prices/A", &[("prefer", "wait=30"), ("if-none-match", &tag)], b"").await;
    count_becomes(&stand, &[], 1).await;
    drop(http);
    count_becomes(&stand, &[], 0).await;
}

#[tokio::test]
async fn the_same_holds_over_http2() {
    let tls = TlsStand::start("poll: {interval: 100ms}, share: public, presence: {linger: 1s}");
    tls.stand.legacy.set("/prices/A", Reply::json("1"));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let tag = h2.get("/prices/A", &[("prefer", "wait=30")]).await.expect(200).etag().to_owned();
    let path = "/-/pollcast/presence?resource=/prices/A";
    assert_eq!(h2.get(path, &[]).await.expect(200).json(), json!({ "count": 1 }));
    let held = [("prefer", "wait=1"), ("if-none-match", tag.as_str())];
    h2.get("/prices/A", &held).await.expect(304);
    assert_eq!(h2.get(path, &[]).await.expect(200).json(), json!({ "count": 1 }));
    let gone = async {
        while h2.get(path, &[]).await.expect(200).json() != json!({ "count": 0 }) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    crate::support::wire::within("the client to be missed", gone).await;
}
