//! Contract §3: what an answer of the API is, and what of it a client gets.

use crate::contract::{FAST, FAST_FAILING, ONCE, Stand};
use crate::support::client::{Http, Response};
use crate::support::legacy::{Gate, Reply};
use crate::support::sse::Sse;

const SHARED: &str = "poll: {interval: 1h}, share: public";

fn cache_status(answer: &Response) -> &str {
    answer.header("cache-status").unwrap_or_default()
}

/// Waits until a poll has seen what is set now.
async fn polled_again(stand: &Stand, path: &str) {
    stand.legacy.wait_count(path, stand.legacy.count(path) + 2).await;
}

#[tokio::test]
async fn every_complete_2xx_but_206_is_data_with_its_status() {
    let stand = Stand::start(SHARED);
    let mut http = stand.http().await;
    for status in [200, 201, 202, 203, 207, 226, 299] {
        let path = format!("/prices/{status}");
        stand.legacy.set(&path, Reply::json("{\"n\":1}").status(status).header("retry-after", "7"));
        for expected in ["fwd=miss", "hit"] {
            let answer = http.get(&path, &[]).await.expect(status);
            assert_eq!(answer.text(), "{\"n\":1}");
            assert!(cache_status(&answer).contains(expected), "{status}: {answer:?}");
            let waits = answer.header("retry-after");
            assert_eq!(waits, (status == 202).then_some("7"), "{status}");
        }
        assert_eq!(stand.legacy.count(&path), 1, "{status}");
        let mut sse = Sse::open(stand.address(), &path, &[]).await;
        assert_eq!(sse.next_event().await.data, "{\"n\":1}", "{status}");
    }
    stand.legacy.set("/prices/206", Reply::json("{\"n\":1}").status(206));
    let part = http.get("/prices/206", &[]).await.expect(206);
    assert!(!cache_status(&part).contains("hit") && part.text() == "{\"n\":1}", "{part:?}");
    for status in [204, 205] {
        let path = format!("/prices/{status}");
        stand.legacy.set(&path, Reply::empty(status));
        assert!(http.get(&path, &[]).await.expect(status).text().is_empty());
    }
}

#[tokio::test]
async fn the_status_is_part_of_the_version() {
    let stand = Stand::start(FAST);
    let mut http = stand.http().await;
    stand.legacy.set("/prices/A", Reply::json("{}").status(202));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let pending = sse.next_event().await.id;
    stand.legacy.set("/prices/A", Reply::json("{}"));
    let done = sse.next_event().await.id;
    assert_ne!(pending, done, "202 and 200 are two states");
    http.get("/prices/A", &[]).await.expect(200);
}

#[tokio::test]
async fn a_202_is_not_asked_about_before_its_retry_after() {
    let stand = Stand::start(FAST);
    stand.legacy.set("/prices/A", Reply::json("{}").status(202).header("retry-after", "1"));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.wait_count("/prices/A", 2).await;
    let seen = stand.legacy.seen("/prices/A");
    let waited = seen[1].at - seen[0].at;
    assert!(waited >= std::time::Duration::from_millis(950), "{waited:?}");
}

#[tokio::test]
async fn access_that_is_withdrawn_is_withdrawn_at_once() {
    for (status, passes) in
        [(301, false), (302, false), (400, false), (401, true), (403, true), (404, false), (410, false)]
    {
        let stand = Stand::start(FAST_FAILING);
        stand.legacy.set("/prices/A", Reply::json("{\"secret\":1}"));
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        sse.next_event().await;
        stand.http().await.get("/prices/A", &[]).await.expect(200);
        let no =
            Reply::text("no").status(status).header("location", "/login").header("x-ratelimit-limit", "9");
        stand.legacy.set("/prices/A", no);
        polled_again(&stand, "/prices/A").await;
        let answer = stand.http().await.get("/prices/A", &[]).await.expect(status);
        assert_eq!(answer.text(), "no", "{status}");
        assert_eq!(answer.header("location"), Some("/login"), "{status}");
        assert_eq!(answer.header("x-ratelimit-limit"), Some("9"), "{status}: all its fields");
        assert_eq!(cache_status(&answer).contains("fwd=bypass"), passes, "{status}: {answer:?}");
        let event = sse.next_event().await;
        assert_eq!(event.event, if matches!(status, 404 | 410) { "gone" } else { "stale" }, "{status}");
        // What was withdrawn does not come back because something else fails.
        stand.legacy.set("/prices/A", Reply::text("down").status(503));
        polled_again(&stand, "/prices/A").await;
        let answer = stand.http().await.get("/prices/A", &[]).await.expect(503);
        assert_eq!(answer.text(), "down", "{status}");
    }
}

#[tokio::test]
async fn a_cold_failure_is_relayed_whole_once_for_all_and_remembered() {
    for reply in [
        Reply::text("broken").status(500).header("cache-control", "no-store"),
        Reply::text("busy").status(503).header("retry-after", "30").header("x-request-id", "7"),
        Reply::text("slow down").status(429).header("x-ratelimit-remaining", "0").etag("\"theirs\""),
        Reply::new("application/json", ")]}'\n{}").etag("\"theirs\"").header("x-total-count", "7"),
        Reply::new("application/json", ""),
    ] {
        let stand = Stand::start("poll: {interval: 1h}");
        let gate = Gate::closed();
        stand.legacy.set("/prices/A", reply.clone().behind(&gate));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let mut http = stand.http().await;
            clients.spawn(async move { http.get("/prices/A", &[]).await });
        }
        stand.legacy.wait_count("/prices/A", 1).await;
        gate.open();
        let mut answers = clients.join_all().await;
        answers.push(stand.http().await.get("/prices/A", &[]).await);
        stand.legacy.set("/prices/B", reply);
        let direct = Http::connect(stand.legacy.address()).await.get("/prices/B", &[]).await;
        for answer in answers {
            assert_eq!((answer.status, &answer.body), (direct.status, &direct.body));
            for (name, value) in &direct.headers {
                assert_eq!(answer.header(name), Some(value.as_str()), "{name}: {answer:?}");
            }
        }
        assert_eq!(stand.legacy.count("/prices/A"), 1);
    }
}

#[tokio::test]
async fn a_failure_that_begins_a_session_is_each_clients_own() {
    let stand = Stand::start("poll: {interval: 1h}");
    stand.legacy.set("/prices/A", Reply::text("broken").status(500).header("set-cookie", "id=1"));
    for _ in 0..2 {
        let answer = stand.http().await.get("/prices/A", &[]).await.expect(500);
        assert_eq!(answer.header("set-cookie"), Some("id=1"));
        assert!(cache_status(&answer).contains("fwd=bypass"), "{answer:?}");
    }
}

#[tokio::test]
async fn what_a_poll_took_and_nobody_may_share_the_client_gets() {
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

#[tokio::test]
async fn fields_that_may_be_credentials_are_nobodys() {
    let names = ["authorization", "x-auth-token", "X_Session", "x-xsrf-token", "client-secret"];
    let mut reply = Reply::json("{}").header("x-ratelimit-tokens", "5").header("x-next-page-token", "n");
    for name in names {
        reply = reply.header(name, "fresh");
    }
    let stand = Stand::start(
        "poll: {interval: 1h, auth: {bearer: hunter2}}, share: public, keep_fields: [x-next-page-token], \
         hosts: ['127.0.0.1']",
    );
    stand.legacy.set("/prices/A", reply.clone());
    stand.legacy.set("/prices/B", reply.clone().status(500));
    let mut http = stand.http().await;
    for (path, status) in [("/prices/A", 200), ("/prices/B", 500)] {
        let answer = http.get(path, &[]).await.expect(status);
        for name in names {
            assert_eq!(answer.header(name), None, "{path}: {name}");
        }
        assert_eq!(answer.header("x-next-page-token"), Some("n"), "{path}");
    }
    let unset = Stand::start("poll: {interval: 1h, auth: {bearer: hunter2}}, hosts: ['127.0.0.1']");
    unset.legacy.set("/prices/A", reply);
    let answer = unset.http().await.get("/prices/A", &[]).await.expect(200);
    assert!(cache_status(&answer).contains("bypass"), "one user's: {answer:?}");
}

#[tokio::test]
async fn vary_is_added_to() {
    let stand = Stand::start(SHARED);
    stand
        .legacy
        .set("/prices/A", Reply::json("{}").header("vary", "Cookie").header("vary", "accept, X-Own, *"));
    let mut http = stand.http().await;
    let vary = http.get("/prices/A", &[]).await.expect(200).headers("vary").join(", ");
    assert_eq!(vary, "Cookie, accept, X-Own, *, Prefer, Accept-Encoding");
}

#[tokio::test]
async fn a_304_says_what_the_200_would() {
    let stand = Stand::start(SHARED);
    let reply =
        Reply::json("{}").header("x-total-count", "7").header("refresh", "5").header("vary", "Cookie");
    stand.legacy.set(
        "/prices/A",
        reply.header("content-language", "de").last_modified("Sun, 06 Nov 1994 08:49:37 GMT"),
    );
    let mut http = stand.http().await;
    let whole = http.get("/prices/A", &[]).await.expect(200);
    let same = http.get("/prices/A", &[("if-none-match", whole.etag())]).await.expect(304);
    for (name, value) in &whole.headers {
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("content-") {
            assert_eq!(same.header(name), None, "{name}");
        } else if !["cache-status", "age", "date"].contains(&lower.as_str()) {
            assert_eq!(same.header(name), Some(value.as_str()), "{name}");
        }
    }
    // A held one too.
    let held =
        http.get("/prices/A", &[("if-none-match", whole.etag()), ("prefer", "wait=1")]).await.expect(304);
    assert_eq!(held.header("x-total-count"), Some("7"));
    assert_eq!(held.headers("vary"), whole.headers("vary"));
}

#[tokio::test]
async fn fields_that_change_alone_reach_plain_polls_and_no_stream() {
    for asks_validators in [true, false] {
        let stand = Stand::start(FAST);
        let reply = |count: &str| {
            let reply = Reply::json("{}").etag("\"same\"").header("x-total-count", count);
            if asks_validators { reply } else { reply.ignores_validators() }
        };
        stand.legacy.set("/prices/A", reply("7"));
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        sse.next_event().await;
        let etag = stand.http().await.get("/prices/A", &[]).await.expect(200).etag().to_owned();
        stand.legacy.set("/prices/A", reply("8"));
        polled_again(&stand, "/prices/A").await;
        let whole = stand.http().await.get("/prices/A", &[]).await.expect(200);
        assert_eq!(whole.header("x-total-count"), Some("8"), "{asks_validators}");
        let same = stand.http().await.get("/prices/A", &[("if-none-match", &etag)]).await.expect(304);
        assert_eq!(same.header("x-total-count"), Some("8"), "{asks_validators}");
        sse.expect_no_event(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn no_transform_is_obeyed_and_passed_on() {
    let long = format!("\"{}\"", "x".repeat(2000));
    let stand = Stand::start(ONCE);
    stand
        .legacy
        .set("/prices/A", Reply::json(long.clone()).header("cache-control", "no-transform, max-age=5"));
    let mut http = stand.http().await;
    for _ in 0..3 {
        let answer = http.get("/prices/A", &[("accept-encoding", "gzip")]).await.expect(200);
        assert_eq!((answer.header("content-encoding"), answer.text()), (None, long.clone()));
        assert!(answer.names("cache-control", "no-transform") && answer.names("cache-control", "no-cache"));
    }
    let ruled = Stand::start("poll: {interval: 1h}, change: {ignore: [/at]}");
    let body = "{ \"at\": 1, \"b\": 2 }";
    ruled.legacy.set("/prices/A", Reply::json(body).header("cache-control", "no-transform"));
    for _ in 0..2 {
        let answer = ruled.http().await.get("/prices/A", &[]).await.expect(200);
        assert_eq!(answer.text(), body, "as it came");
    }
}

#[tokio::test]
async fn words_behind_a_status_are_kept() {
    let stand = Stand::start("poll: {interval: 1h}");
    let raw = "HTTP/1.1 404 No Such Price\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
    stand.legacy.set("/prices/A", Reply::raw(raw));
    let answer = stand.http().await.get("/prices/A", &[]).await.expect(404);
    assert_eq!((answer.reason.as_str(), answer.text().as_str()), ("No Such Price", "no"));
}

/// Answers CORS only if it is asked with Origin, and says no Vary.
fn cors_if_asked(seen: &crate::support::legacy::Seen) -> Reply {
    match seen.header("origin") {
        Some(origin) => Reply::json("{}")
            .header("access-control-allow-origin", origin)
            .header("access-control-expose-headers", "X-Total")
            .header("access-control-allow-credentials", "true"),
        None => Reply::json("{}"),
    }
}

#[tokio::test]
async fn cors_of_an_api_that_answers_it_only_when_asked_reaches_each_origin() {
    let stand = Stand::start("poll: {interval: 1h}");
    stand.legacy.answer_with("/prices/A", cors_if_asked);
    for origin in ["https://a.test", "https://b.test", "null"] {
        for _ in 0..2 {
            let answer = stand.http().await.get("/prices/A", &[("origin", origin)]).await.expect(200);
            assert!(!cache_status(&answer).contains("bypass"), "{answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            assert_eq!(answer.header("access-control-expose-headers"), Some("X-Total"));
            assert!(answer.names("vary", "origin"), "{answer:?}");
            let condition = [("origin", origin), ("if-none-match", answer.etag())];
            let same = stand.http().await.get("/prices/A", &condition).await.expect(304);
            assert_eq!(same.header("access-control-allow-origin"), Some(origin));
            let held = [&condition[..], &[("prefer", "wait=1")]].concat();
            let held = stand.http().await.get("/prices/A", &held).await.expect(304);
            assert_eq!(held.header("access-control-allow-origin"), Some(origin));
        }
        let sse = Sse::open(stand.address(), "/prices/A", &[("origin", origin)]).await;
        assert_eq!(sse.head.header("access-control-allow-origin"), Some(origin));
        assert_eq!(sse.head.header("access-control-allow-credentials"), Some("true"));
    }
    let none = stand.http().await.get("/prices/A", &[]).await.expect(200);
    assert_eq!(none.header("access-control-allow-origin"), None);
    // A page of the API's own host is as one without an origin.
    let host = stand.address().to_string();
    let own = [("host", host.as_str()), ("origin", &*format!("http://{host}"))];
    let own = stand.http().await.get("/prices/A", &own).await.expect(200);
    assert!(cache_status(&own).contains("hit"), "{own:?}");
    let polls = stand.legacy.seen("/prices/A");
    let asked: std::collections::BTreeSet<Option<&str>> =
        polls.iter().map(|seen| seen.header("origin")).collect();
    assert_eq!(asked.len(), 4, "one for each origin, and one without: {asked:?}");
    assert_eq!(polls.len(), 4);
}

#[tokio::test]
async fn what_all_origins_may_read_is_polled_for_all_of_them_together() {
    let stand = Stand::start("poll: {interval: 1h}");
    let open = || Reply::json("{}").header("access-control-allow-origin", "*");
    stand.legacy.answer_with("/prices/A", move |seen| match seen.header("origin") {
        Some(_) => open(),
        None => Reply::json("{}"),
    });
    for origin in ["https://a.test", "https://b.test", "https://c.test"] {
        let answer = stand.http().await.get("/prices/A", &[("origin", origin)]).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(stand.legacy.count("/prices/A"), 1);
    // With and without an origin alike: all together.
    stand.legacy.set("/prices/B", open());
    let mut http = stand.http().await;
    for headers in [&[][..], &[("origin", "https://a.test")], &[("origin", "https://b.test")]] {
        let answer = http.get("/prices/B", headers).await.expect(200);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    assert_eq!(stand.legacy.count("/prices/B"), 1);
}

#[tokio::test]
async fn refusals_and_relays_carry_the_cors_of_the_api() {
    let stand = Stand::start("poll: {interval: 1h}, transports: [poll, long_poll]");
    stand.legacy.answer_with("/prices/A", cors_if_asked);
    stand.legacy.answer_with("/prices/B", |seen| cors_if_asked(seen).status(404));
    let origin = ("origin", "https://a.test");
    let mut http = stand.http().await;
    http.get("/prices/A", &[origin]).await.expect(200);
    let refused = http.get("/prices/A", &[origin, ("accept", "text/event-stream")]).await.expect(406);
    assert_eq!(refused.header("access-control-allow-origin"), Some("https://a.test"));
    let gone = http.get("/prices/B", &[origin]).await.expect(404);
    assert_eq!(gone.header("access-control-allow-origin"), Some("https://a.test"));
}

#[tokio::test]
async fn with_cors_of_the_route_origins_share_a_poll() {
    let stand = Stand::start("poll: {interval: 1h}, cors: {origins: ['https://a.test', 'https://b.test']}");
    stand.legacy.answer_with("/prices/A", cors_if_asked);
    for origin in ["https://a.test", "https://b.test"] {
        let answer = stand.http().await.get("/prices/A", &[("origin", origin)]).await.expect(200);
        assert_eq!(answer.headers("access-control-allow-origin"), [origin]);
        assert_eq!(answer.header("access-control-allow-credentials"), None, "the upstream's is not ours");
    }
    assert_eq!(stand.legacy.count("/prices/A"), 1);
}

#[tokio::test]
async fn what_passes_through_has_our_version_its_own_words_and_no_trailer() {
    let stand = Stand::start(ONCE);
    let old = "HTTP/1.0 404 No Such Thing\r\nContent-Length: 2\r\n\r\nno";
    stand.legacy.set("/plain", Reply::raw(old));
    let answer = stand.http().await.get("/plain", &[]).await.expect(404);
    assert_eq!((answer.version, answer.reason.as_str(), answer.text().as_str()), (1, "No Such Thing", "no"));
    let trailed = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n";
    stand.legacy.set("/trailed", Reply::raw(trailed));
    let answer = stand.http().await.get("/trailed", &[]).await.expect(200);
    assert_eq!((answer.header("trailer"), answer.text().as_str()), (None, "ok"));
}
