//! Contract §10: the address that a poll says it is for.

use crate::contract::{FAST, ONCE, Stand, config};
use crate::support::app;
use crate::support::client::{Http, Sse, Ws};
use crate::support::legacy::{Legacy, Reply, Seen};

/// Lets in its own network alone, as web servers and frameworks find it out: a request without a field of proxies comes from a neighbour.
fn only_for_neighbours(seen: &Seen) -> Reply {
    match ["x-forwarded-for", "x-real-ip", "forwarded"].iter().any(|name| seen.header(name).is_some()) {
        false => Reply::json(r#"{"internal":"SECRET"}"#),
        true => Reply::json(r#"{"error":"local only"}"#).status(403),
    }
}

/// `listener`, `upstream`: more keys of them.
fn stand(listener: &str, upstream: &str, route: &str) -> Stand {
    let legacy = Legacy::start();
    let text = config(&legacy, route, "")
        .replacen("'127.0.0.1:0'", &format!("'127.0.0.1:0', {listener}"), 1)
        .replacen("]}}", &format!("], {upstream}}}}}"), 1);
    Stand { app: app::start(&text), legacy }
}

#[tokio::test]
async fn an_api_that_lets_its_neighbours_in_does_not_let_polls_in() {
    for route in [
        FAST,
        "poll: {interval: 100ms}, share: public",
        "poll: {interval: 100ms}, share: {by: [authorization]}",
    ] {
        let stand = Stand::start(route);
        for (path, tagged) in [("/prices/A", "/x"), ("/prices/B", "/x")] {
            stand.legacy.answer_with(path, only_for_neighbours);
            stand.legacy.answer_with(tagged, only_for_neighbours);
        }
        let mut http = stand.http().await;
        http.get("/x", &[]).await.expect(403);
        for headers in [&[][..], &[("authorization", "Bearer x")], &[("x-forwarded-for", "127.0.0.1")]] {
            let answer = http.get("/prices/A", headers).await;
            assert_eq!(
                (answer.status, answer.text().contains("SECRET")),
                (403, false),
                "{route}: {headers:?}"
            );
        }
        let mut sse = Sse::try_open(stand.address(), "/prices/B", &[]).await;
        if let Ok(sse) = &mut sse {
            let told = sse.next_event().await;
            assert!(!told.data.contains("SECRET"), "{route}: {told:?}");
        }
    }
}

#[tokio::test]
async fn a_poll_says_the_fields_of_pass_through_but_for_the_address() {
    let stand = Stand::start(ONCE);
    for path in ["/prices/A", "/x"] {
        stand.legacy.set(path, Reply::json("{}"));
    }
    let mut http = stand.http().await;
    let mallory =
        [("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "127.0.0.1"), ("forwarded", "for=127.0.0.1")];
    http.get("/prices/A", &mallory).await.expect(200);
    http.get("/x", &mallory).await.expect(200);
    let (polled, passed) = (&stand.legacy.seen("/prices/A")[0], &stand.legacy.seen("/x")[0]);
    for name in ["x-forwarded-proto", "x-forwarded-host", "host"] {
        assert_eq!(polled.headers(name), passed.headers(name), "{name}");
    }
    assert_eq!(polled.headers("x-forwarded-for"), ["192.0.2.1"]);
    assert_eq!(polled.headers("x-real-ip"), ["192.0.2.1"]);
    assert_eq!((polled.headers("forwarded").len(), passed.headers("forwarded").len()), (0, 0));
}

#[tokio::test]
async fn where_a_trusted_proxy_says_forwarded_polls_say_it_and_all_of_it() {
    let stand =
        stand("trusted_proxies: ['127.0.0.1/32']", "forwarded: {for: '2001:db8::1', proto: https}", ONCE);
    for path in ["/prices/A", "/prices/B"] {
        stand.legacy.set(path, Reply::json("{}"));
    }
    let mut http = stand.http().await;
    http.get("/prices/A", &[]).await.expect(200);
    assert_eq!(stand.legacy.seen("/prices/A")[0].header("forwarded"), None, "nobody says it so far");
    http.get("/prices/B", &[("forwarded", "for=127.0.0.1;proto=http"), ("host", "api.test")])
        .await
        .expect(200);
    let polled = &stand.legacy.seen("/prices/B")[0];
    let wanted = "for=\"[2001:db8::1]\";proto=https;host=api.test";
    assert_eq!(polled.headers("forwarded"), [wanted]);
    assert_eq!(polled.header("x-forwarded-for"), Some("2001:db8::1"));
}

#[tokio::test]
async fn no_clients_word_about_its_address_is_on_a_poll() {
    let stand = Stand::start("poll: {interval: 100ms}, share: public");
    let vary = "X-Forwarded-For, X-Real-IP, Forwarded";
    stand
        .legacy
        .answer_with("/prices/A", move |seen| only_for_neighbours(seen).status(200).header("Vary", vary));
    let mut http = stand.http().await;
    for address in ["10.0.0.1", "127.0.0.1", "127.0.0.1"] {
        let said = [("x-forwarded-for", address), ("x-real-ip", address)];
        let answer = http.get("/prices/A", &said).await.expect(200);
        assert!(!answer.text().contains("SECRET"), "{address}");
    }
    assert!(
        stand.legacy.seen("/prices/A").iter().all(|seen| seen.header("x-forwarded-for") != Some("10.0.0.1"))
    );
}

#[tokio::test]
async fn messages_and_checks_are_for_no_neighbour_either() {
    let send = "poll: {interval: 10s}, websocket: {send: {path: /inbox}}";
    let stand = Stand::start(send);
    stand.legacy.set("/prices/A", Reply::json("{}"));
    stand.legacy.set("/inbox", Reply::empty(204));
    let mut ws = Ws::open(stand.address(), "/prices/A", &[]).await;
    ws.next_text().await;
    ws.send_text("hello").await;
    stand.legacy.wait_count("/inbox", 1).await;
    let sent = &stand.legacy.seen("/inbox")[0];
    for name in ["x-forwarded-for", "x-real-ip"] {
        assert_eq!(sent.headers(name), ["192.0.2.1"]);
    }
    assert_eq!(sent.header("x-forwarded-proto"), Some("http"));

    let stand = Stand::start("poll: {interval: 10s}, share: authorize");
    stand.legacy.set("/prices/A", Reply::json("{}"));
    let mut ann = Http::connect(stand.address()).await;
    ann.get("/prices/A", &[("authorization", "Bearer ann")]).await.expect(200);
    let asked = stand.legacy.seen("/prices/A");
    assert!(asked.iter().any(|seen| seen.header("authorization").is_some()), "a check was made");
    assert!(
        asked.iter().all(|seen| seen.header("x-forwarded-for").is_some_and(|said| said != "127.0.0.1")
            || seen.header("authorization").is_some_and(|_| seen.header("x-pollcast-subscribers").is_none())),
        "{asked:?}"
    );
}
