//! Contract §3: what a poll took, a client gets; and what it asks for itself.

use super::cache_status;
use crate::contract::{FAST_FAILING, Stand};
use crate::support::legacy::{Gate, Reply};
use crate::support::sse::Sse;

#[tokio::test]
async fn what_a_poll_took_and_may_not_be_shared_its_client_gets() {
    let stand = Stand::start("poll: {interval: 1h}");
    for (name, reply) in [
        ("no-store", Reply::json("1").header("cache-control", "no-store").etag("\"theirs\"")),
        ("private", Reply::json("1").header("cache-control", "private").header("x-total-count", "3")),
        ("credential", Reply::json("1").header("x-csrf-token", "t")),
        ("404", Reply::text("no").status(404).header("cache-control", "no-store")),
        ("302", Reply::empty(302).header("location", "/x").header("cache-control", "private")),
    ] {
        let path = format!("/prices/{name}");
        stand.legacy.set(&path, reply.clone());
        let answer = stand.http().await.get(&path, &[]).await;
        stand.legacy.set("/elsewhere", reply);
        let direct = stand.http().await.get("/elsewhere", &[]).await;
        assert_eq!((answer.status, &answer.body), (direct.status, &direct.body), "{name}");
        for (field, value) in &direct.headers {
            if !["date", "connection"].contains(&field.to_ascii_lowercase().as_str()) {
                assert_eq!(answer.header(field), Some(value.as_str()), "{name}: {field}");
            }
        }
        assert_eq!(stand.legacy.count(&path), 1, "{name}: asked once");
        assert!(!cache_status(&answer).contains("bypass"), "{name}: {answer:?}");
        let other = stand.http().await.get(&path, &[]).await;
        assert_eq!(other.status, answer.status, "{name}");
        assert_eq!(stand.legacy.count(&path), 2, "{name}: another client asks for itself");
    }
}

#[tokio::test]
async fn of_those_that_waited_one_gets_what_may_not_be_shared() {
    let stand = Stand::start("poll: {interval: 1h}");
    let gate = Gate::closed();
    let number = std::sync::atomic::AtomicUsize::new(0);
    let held = gate.clone();
    stand.legacy.answer_with("/prices/A", move |_| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::json(format!("{number}")).header("cache-control", "no-store").behind(&held)
    });
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let mut http = stand.http().await;
        clients.spawn(async move { http.get("/prices/A", &[]).await.expect(200).text() });
    }
    stand.legacy.wait_count("/prices/A", 1).await;
    gate.open();
    let mut got = clients.join_all().await;
    got.sort();
    assert_eq!(got, ["0", "1", "2", "3", "4"], "each message to one client, none lost");
}

#[tokio::test]
async fn an_own_request_is_made_where_the_poll_did_not_ask_what_the_client_asks() {
    let no_store = || Reply::json("1").header("cache-control", "no-store");
    type Fields = &'static [(&'static str, &'static str)];
    let cases: Vec<(&str, &str, Reply, Fields)> = vec![
        ("its type is not admitted", "", no_store(), &[("accept", "text/csv")]),
        ("vary", "", no_store().header("vary", "user-agent"), &[("user-agent", "x")]),
        ("a cookie", "", Reply::json("1").header("set-cookie", "id=1"), &[]),
        ("vary star", "", Reply::json("1").header("vary", "*"), &[]),
        ("401", "", Reply::text("no").status(401).header("www-authenticate", "Basic"), &[]),
        ("403", "", Reply::text("no").status(403), &[]),
        ("the operator's", ", headers: {x-site: a}", no_store(), &[]),
        ("the operator's token", ", auth: {bearer: hunter2}", no_store(), &[]),
    ];
    for (what, more, reply, headers) in cases {
        let stand = Stand::start(&format!("poll: {{interval: 1h{more}}}, hosts: ['127.0.0.1']"));
        stand.legacy.set("/prices/A", reply);
        let answer = stand.http().await.get("/prices/A", headers).await;
        assert!(cache_status(&answer).contains("bypass"), "{what}: {answer:?}");
        let seen = stand.legacy.seen("/prices/A");
        let own = seen.last().expect("a request");
        assert!(own.header("x-pollcast-subscribers").is_none(), "{what}: it is the client's own");
        assert!(own.header("authorization").is_none() && own.header("x-site").is_none(), "{what}");
    }
}

#[tokio::test]
async fn conditions_count_on_what_a_poll_took() {
    let stand = Stand::start("poll: {interval: 1h}");
    let reply = Reply::json("1").header("cache-control", "no-store").etag("\"theirs\"").header("x-a", "1");
    stand.legacy.set("/prices/A", reply.ignores_validators());
    let answer = stand.http().await.get("/prices/A", &[("if-none-match", "W/\"theirs\"")]).await.expect(304);
    assert_eq!((answer.etag(), answer.header("x-a")), ("\"theirs\"", Some("1")));
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn a_401_to_a_poll_says_nothing_about_a_client() {
    let stand = Stand::start("poll: {interval: 100ms}, credentials: [x-key]");
    stand.legacy.answer_with("/prices/A", |seen| match seen.header("x-pollcast-subscribers") {
        Some(_) => Reply::text("who are you").status(401).header("www-authenticate", "Digest nonce=1"),
        None => Reply::json("{}"),
    });
    for _ in 0..3 {
        let answer = stand.http().await.get("/prices/A", &[]).await.expect(200);
        assert_eq!(answer.text(), "{}");
    }
    let polls = |seen: &crate::support::legacy::Seen| seen.header("x-pollcast-subscribers").is_some();
    assert_eq!(stand.legacy.seen("/prices/A").iter().filter(|seen| polls(seen)).count(), 1, "for a minute");
    match Sse::try_open(stand.address(), "/prices/A", &[]).await {
        Ok(stream) => panic!("a stream: {:?}", stream.head),
        Err(head) => {
            assert_eq!(head.status, 401);
            assert_eq!(head.header("www-authenticate"), Some("Digest nonce=1"));
        }
    }
}

#[tokio::test]
async fn a_stream_of_what_redirects_gets_the_redirect() {
    let stand = Stand::start(FAST_FAILING);
    for status in [301, 302, 303, 307, 308] {
        let path = format!("/prices/{status}");
        stand.legacy.set(&path, Reply::empty(status).header("location", "/prices/x/"));
        match Sse::try_open(stand.address(), &path, &[]).await {
            Ok(stream) => panic!("{status}: a stream: {:?}", stream.head),
            Err(head) => {
                assert_eq!((head.status, head.header("location")), (status, Some("/prices/x/")));
            }
        }
    }
}

#[tokio::test]
async fn a_redirect_that_is_not_followed_is_the_clients() {
    let stand =
        Stand::start(&FAST_FAILING.replace("interval: 100ms", "interval: 100ms, follow_redirects: 1"));
    stand.legacy.set("/prices/A", Reply::empty(302).header("location", "http://elsewhere.test/a"));
    let answer = stand.http().await.get("/prices/A", &[]).await.expect(302);
    assert_eq!(answer.header("location"), Some("http://elsewhere.test/a"));
}
