//! Contract §11: which clients may share a poll, and that none ever sees what is another's.

mod leaks;

use std::time::Duration;

use crate::contract::edge::support::{Extra, http, start, start_with};
use crate::support::client::{Response, Sse, Ws};
use crate::support::legacy::{Legacy, Reply, Seen};
use crate::support::wire::within;

/// The places where a request can carry its credentials.
const PLACES: [(&str, &str); 6] = [
    ("authorization", "Bearer "),
    ("cookie", "session="),
    ("x-api-key", ""),
    ("x-auth-token", ""),
    ("proxy-authorization", "Basic "),
    ("x-tenant", ""),
];

/// The user that the request names, in any field.
fn user(seen: &Seen) -> &'static str {
    let head = String::from_utf8_lossy(&seen.head).into_owned();
    match (head.contains("alice"), head.contains("robert")) {
        (true, false) => "alice",
        (false, true) => "robert",
        (false, false) => "nobody",
        (true, true) => "alice-and-robert",
    }
}

/// A legacy API that answers each user with their own data and says nothing about caching.
fn personal() -> Legacy {
    let legacy = Legacy::start();
    legacy.answer_with("/r/a", |seen| Reply::json(format!(r#"{{"for":"{}"}}"#, user(seen))));
    legacy
}

async fn refused(address: std::net::SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    match Sse::try_open(address, path, headers).await {
        Ok(stream) => panic!("a stream instead of a refusal: {:?}", stream.head),
        Err(refused) => refused,
    }
}

#[tokio::test]
async fn requests_without_credentials_share_one_poll() {
    let legacy = personal();
    let app = start(&legacy, ", poll: {interval: 1m}");
    let address = app.addresses()[0];
    let mut http = http(&app).await;
    http.get("/r/a", &[("cookie", "_ga=1; AWSALB=2")]).await.expect(200);
    let mut sse = Sse::open(address, "/r/a", &[("accept-language", "de"), ("user-agent", "x")]).await;
    assert_eq!(sse.next_event().await.data, r#"{"for":"nobody"}"#);
    let mut ws = Ws::open(address, "/r/a", &[]).await;
    assert_eq!(ws.next_text().await, r#"{"for":"nobody"}"#);
    assert_eq!(legacy.count("/r/a"), 1);
    let seen = legacy.seen("/r/a").remove(0);
    for absent in ["cookie", "accept-language", "authorization"] {
        assert_eq!(seen.header(absent), None, "{seen:?}");
    }
    assert!(seen.header("user-agent").is_some_and(|agent| agent.starts_with("pollcast/")));
}

#[tokio::test]
async fn unset_lets_credentials_through_and_refuses_to_push_to_them() {
    for (name, prefix) in &PLACES[..5] {
        let legacy = personal();
        let app = start(&legacy, ", poll: {interval: 1m}");
        let mut http = http(&app).await;
        let value = format!("{prefix}alice");
        let alice = [(*name, value.as_str())];
        // Somebody without credentials was here before.
        http.get("/r/a", &[]).await.expect(200);
        if *name != "proxy-authorization" {
            // That one is for this proxy (RFC 9110 §11.7.2) and ends here.
            assert_eq!(http.get("/r/a", &alice).await.expect(200).json()["for"], "alice", "{name}");
        }
        for push in ["/r/a?_push=sse", "/r/a"] {
            let answer = refused(app.addresses()[0], push, &alice).await;
            assert_eq!(answer.status, 403, "{name}");
        }
        let refused = http.get("/r/a?_push=sse", &alice).await.expect(403);
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
        let detail = refused.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains("share: public") && detail.contains("by:"), "{detail}");
        let held = [alice[0], ("prefer", "wait=5"), ("if-none-match", "\"x\"")];
        http.get("/r/a", &held).await.expect(403);
        let ws = Ws::try_open(app.addresses()[0], "/r/a", &alice).await;
        assert_eq!(ws.err().map(|head| head.status), Some(403));
        // And no other client sees alice's.
        assert_eq!(http.get("/r/a", &[]).await.json()["for"], "nobody");
    }
}

#[tokio::test]
async fn every_sign_against_sharing_stops_it() {
    for (name, value) in [
        ("cache-control", "private"),
        ("cache-control", "max-age=0, no-store"),
        ("vary", "*"),
        ("set-cookie", "session=1"),
    ] {
        let legacy = Legacy::start();
        legacy.set("/r/a", Reply::json("1"));
        let app = start(&legacy, "");
        let address = app.addresses()[0];
        let mut sse = Sse::open(address, "/r/a", &[]).await;
        assert_eq!(sse.next_event().await.data, "1");
        legacy.set("/r/a", Reply::json("2").header(name, value));
        let bye = sse.next_named("bye").await;
        assert!(bye.data.contains("not-shareable"), "{name}: {bye:?}");
        sse.expect_end().await;
        // A plain request has its own answer, whole.
        let mut http = http(&app).await;
        let before = legacy.count("/r/a");
        let answer = http.get("/r/a", &[]).await.expect(200);
        assert_eq!((answer.text().as_str(), answer.header(name)), ("2", Some(value)));
        http.get("/r/a", &[]).await.expect(200);
        assert_eq!(legacy.count("/r/a"), before + 2, "{name}");
        let answer = http.get("/r/a?_push=sse", &[]).await.expect(403);
        assert!(answer.text().contains("share"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_cold_answer_that_is_not_shareable_reaches_only_the_client_that_asked() {
    let legacy = Legacy::start();
    legacy.answer_with("/r/a", |_| {
        Reply::json(format!("{}", fastrand::u64(..)))
            .header("set-cookie", "session=1")
            .delay(Duration::from_millis(50))
    });
    let app = start(&legacy, "");
    let ask = async || {
        let mut http = http(&app).await;
        http.get("/r/a", &[]).await.expect(200)
    };
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    for answer in [&one, &two, &three] {
        assert_eq!(answer.headers("set-cookie"), ["session=1"]);
    }
    assert!(one.text() != two.text() && two.text() != three.text() && one.text() != three.text());
}

#[tokio::test]
async fn a_public_route_is_polled_without_credentials() {
    let legacy = personal();
    let app = start(&legacy, ", share: public, poll: {interval: 1m, headers: {x-service: key}}");
    for (name, prefix) in PLACES {
        let value = format!("{prefix}alice");
        let alice = [(name, value.as_str())];
        let mut http = http(&app).await;
        assert_eq!(http.get("/r/a", &alice).await.json()["for"], "nobody", "{name}");
        let mut sse = Sse::open(app.addresses()[0], "/r/a", &alice).await;
        assert_eq!(sse.next_event().await.data, r#"{"for":"nobody"}"#);
    }
    assert_eq!(legacy.count("/r/a"), 1);
    assert_eq!(legacy.seen("/r/a")[0].header("x-service"), Some("key"));
}

#[tokio::test]
async fn a_public_route_shares_what_says_private() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1").header("cache-control", "private").header("set-cookie", "a=1"));
    let app = start(&legacy, ", share: public");
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &[("cookie", "session=alice")]).await;
    assert_eq!(sse.next_event().await.data, "1");
    let answer = http(&app).await.get("/r/a", &[]).await.expect(200);
    assert_eq!(answer.header("set-cookie"), None);
    sse.expect_no_event(Duration::from_millis(300)).await;
}

#[tokio::test]
async fn class_values_go_out_with_polls_and_nothing_else_does() {
    let legacy = personal();
    let app = start(&legacy, ", share: {by: [authorization, 'cookie:session', x-tenant]}");
    let fields = [
        ("authorization", "Bearer alice"),
        ("cookie", "theme=dark; session=s1; other=1"),
        ("x-tenant", "t1"),
        ("x-api-key", "not-in-the-class"),
        ("accept-language", "de"),
    ];
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &fields).await;
    assert_eq!(sse.next_event().await.data, r#"{"for":"alice"}"#);
    let seen = legacy.seen("/r/a").remove(0);
    assert_eq!(seen.headers("authorization"), ["Bearer alice"]);
    assert_eq!(seen.headers("cookie"), ["session=s1"]);
    assert_eq!(seen.headers("x-tenant"), ["t1"]);
    assert_eq!((seen.header("x-api-key"), seen.header("accept-language")), (None, None));
    // A private cache says so.
    let answer = http(&app).await.get("/r/a", &fields).await.expect(200);
    assert!(answer.names("cache-control", "private"), "{answer:?}");
    for name in ["authorization", "cookie", "x-tenant"] {
        assert!(answer.names("vary", name), "{answer:?}");
    }
}

#[tokio::test]
async fn a_class_value_that_is_there_twice_shares_nothing() {
    let legacy = personal();
    let app = start(&legacy, ", share: {by: [authorization, 'cookie:session']}");
    for twice in [
        [("authorization", "Bearer alice"), ("authorization", "Bearer robert")],
        [("cookie", "session=alice"), ("cookie", "session=robert")],
        [("cookie", "session=alice; session=robert"), ("x", "y")],
    ] {
        let mut http = http(&app).await;
        assert_eq!(http.get("/r/a", &twice).await.json()["for"], "alice-and-robert");
        assert_eq!(refused(app.addresses()[0], "/r/a", &twice).await.status, 400);
    }
}

#[tokio::test]
async fn a_401_ends_the_class_and_the_reconnect() {
    let legacy = personal();
    let app = start(&legacy, ", share: {by: [authorization]}");
    let address = app.addresses()[0];
    let (alice, robert) = ([("authorization", "Bearer alice")], [("authorization", "Bearer robert")]);
    let mut of_alice = Sse::open(address, "/r/a", &alice).await;
    let mut of_robert = Sse::open(address, "/r/a", &robert).await;
    of_alice.next_event().await;
    of_robert.next_event().await;
    legacy.answer_with("/r/a", |seen| match user(seen) {
        "alice" => Reply::text("who?").status(401).header("www-authenticate", "Bearer realm=x"),
        user => Reply::json(format!(r#"{{"for":"{user}","n":2}}"#)),
    });
    let bye = of_alice.next_named("bye").await;
    assert!(bye.data.contains("credentials"), "{bye:?}");
    of_alice.expect_end().await;
    let again = refused(address, "/r/a", &alice).await;
    assert_eq!((again.status, again.header("www-authenticate")), (401, Some("Bearer realm=x")));
    assert_eq!(of_robert.next_event().await.data, r#"{"for":"robert","n":2}"#);
}

#[tokio::test]
async fn a_revoked_credential_gets_no_stale_answer() {
    let legacy = personal();
    let app = start(&legacy, ", share: {by: [authorization]}, stale_if_error: 5m");
    let mut http = http(&app).await;
    let alice = [("authorization", "Bearer alice")];
    http.get("/r/a", &alice).await.expect(200);
    legacy.set("/r/a", Reply::empty(401));
    // As soon as a poll says so, however young the last good answer is.
    let answer = within("the 401", async {
        loop {
            let answer = http.get("/r/a", &alice).await;
            if answer.header("cache-status").is_none_or(|status| !status.contains("hit")) {
                return answer;
            }
        }
    });
    assert_eq!(answer.await.status, 401);
}

#[tokio::test]
async fn a_rotated_session_is_fetched_by_its_owner() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, ", share: {by: ['cookie:session']}");
    let cookie = [("cookie", "session=s1")];
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &cookie).await;
    sse.next_event().await;
    legacy.set("/r/a", Reply::json("2").header("set-cookie", "session=s2; Path=/"));
    let bye = sse.next_named("bye").await;
    assert!(bye.data.contains("session-rotated"), "{bye:?}");
    sse.expect_end().await;
    let answer = http(&app).await.get("/r/a", &cookie).await.expect(200);
    assert_eq!(answer.headers("set-cookie"), ["session=s2; Path=/"]);
}

#[tokio::test]
async fn vary_makes_a_key_of_its_own_for_each_value() {
    let legacy = Legacy::start();
    legacy.answer_with("/r/a", |seen| {
        let language = seen.header("accept-language").unwrap_or("none").to_owned();
        Reply::json(format!("{language:?}")).header("vary", "Accept-Language, Accept-Encoding")
    });
    let app = start(&legacy, ", poll: {interval: 1m}");
    let address = app.addresses()[0];
    let mut http = http(&app).await;
    for language in ["de", "en", "de", "fr"] {
        let fields = [("accept-language", language)];
        assert_eq!(http.get("/r/a", &fields).await.json(), language);
        let mut sse = Sse::open(address, "/r/a", &fields).await;
        assert_eq!(sse.next_event().await.data, format!("{language:?}"));
    }
    assert_eq!(http.get("/r/a", &[]).await.json(), "none");
    // The first answer taught the field; since then one poll a language.
    let polls = legacy.count("/r/a");
    assert!(polls <= 5, "{polls} polls for four keys");
}

#[tokio::test]
async fn hosts_do_not_share_unless_the_upstream_fixes_its_own() {
    let legacy = Legacy::start();
    legacy.answer_with("/r/a", |seen| Reply::json(format!("{:?}", seen.header("host").unwrap_or_default())));
    let app = start(&legacy, ", poll: {interval: 1m}");
    let mut client = http(&app).await;
    for host in ["a.example", "b.example"] {
        assert_eq!(client.get("/r/a", &[("host", host)]).await.json(), host);
    }
    let fixed = start_with(
        &legacy,
        Extra { upstream: ", host: api.internal", route: ", poll: {interval: 1m}", ..Extra::default() },
    );
    legacy.forget();
    let mut client = http(&fixed).await;
    for host in ["a.example", "b.example"] {
        assert_eq!(client.get("/r/a", &[("host", host)]).await.json(), "api.internal");
    }
    assert_eq!(legacy.count("/r/a"), 1);
}
