//! Contract §10, §11: how a poll reaches its answer, end to end: redirects, credentials of its own,
//! cookies of its own, sessions of others.

use std::time::Duration;

use crate::contract::{FAST_FAILING, Stand};
use crate::support::legacy::Reply;
use crate::support::sse::Sse;

#[tokio::test]
async fn redirects_within_the_upstream_are_followed_as_far_as_allowed() {
    let stand = Stand::start("poll: {interval: 100ms, follow_redirects: 2}");
    let absolute = format!("http://{}/elsewhere/v2", stand.legacy.address());
    stand.legacy.set("/prices/A", Reply::empty(302).header("location", "/elsewhere/v1?x=1"));
    stand.legacy.set("/elsewhere/v1", Reply::empty(307).header("location", &absolute));
    stand.legacy.set("/elsewhere/v2", Reply::json("{\"n\":1}").header("etag", "\"1\""));
    let host = stand.legacy.address().to_string();
    let mut sse = Sse::open(stand.address(), "/prices/A", &[("host", &host)]).await;
    assert_eq!(sse.next_event().await.data, "{\"n\":1}");
    stand.legacy.wait_count("/elsewhere/v2", 2).await;
    let seen = stand.legacy.seen("/elsewhere/v2");
    assert_eq!(seen[0].header("if-none-match"), None);
    assert_eq!(seen[1].header("if-none-match"), Some("\"1\""));
    let first = stand.legacy.seen("/prices/A");
    assert!(first.iter().all(|seen| seen.header("if-none-match").is_none()), "a tag of another URL");
    // It leads to another place now, whose tag happens to be the same.
    stand.legacy.set("/elsewhere/v3", Reply::json("{\"n\":3}").header("etag", "\"1\""));
    stand.legacy.set("/prices/A", Reply::empty(302).header("location", "/elsewhere/v3"));
    assert_eq!(sse.next_event().await.data, "{\"n\":3}");
    assert_eq!(stand.legacy.seen("/elsewhere/v3")[0].header("if-none-match"), None);
}

#[tokio::test]
async fn redirects_out_of_the_upstream_or_without_end_are_failed_polls() {
    let failing = FAST_FAILING.replace("interval: 100ms", "interval: 100ms, follow_redirects: 1");
    for (location, told) in [("http://evil.test/a", "another host"), ("/prices/A", "more than 1 redirects")] {
        let stand = Stand::start(&failing);
        stand.legacy.set("/prices/A", Reply::empty(302).header("location", location));
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        let stale = sse.next_event().await;
        assert_eq!(stale.event, "stale");
        assert!(stale.data.contains(told), "{}", stale.data);
        let failed = stand.metric("pollcast_poll_failures_total", "redirect").await;
        assert!(failed >= 1.0, "{failed}");
        sse.expect_no_event(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn polls_say_who_they_are_and_their_clients_never_learn_it() {
    let stand =
        Stand::start("poll: {interval: 100ms, auth: {basic: {user: u, password: p}}}, hosts: ['127.0.0.1']");
    stand.legacy.set("/prices/A", Reply::json("{}"));
    let mut http = stand.http().await;
    let answer = http.get("/prices/A", &[]).await;
    answer.expect(200);
    assert_eq!(stand.legacy.seen("/prices/A")[0].headers("authorization"), ["Basic dTpw"]);
}

/// A route whose polls need a token of `/token`.
fn with_token(more: &str) -> Stand {
    let legacy = crate::support::legacy::Legacy::start();
    let route = format!(
        "poll: {{interval: 100ms, backoff: {{min: 100ms, max: 100ms}}, auth: {{oauth2: {{token_url: \
         'http://{}/token', client_id: c, client_secret: hunter2, scope: read{more}}}}}}}, stale_after: 0s, hosts: ['127.0.0.1']",
        legacy.address()
    );
    let app = crate::support::app::start(&crate::contract::config(&legacy, &route, ""));
    Stand { legacy, app }
}

fn token(name: &str, seconds: u32) -> Reply {
    Reply::json(format!("{{\"access_token\":\"{name}\",\"token_type\":\"Bearer\",\"expires_in\":{seconds}}}"))
}

#[tokio::test]
async fn one_token_serves_all_polls_and_a_refused_one_is_replaced_at_once() {
    let stand = with_token("");
    stand.legacy.set("/token", token("first", 3600));
    for path in ["/prices/A", "/prices/B"] {
        stand.legacy.set(path, Reply::json("{\"n\":1}"));
    }
    let mut a = Sse::open(stand.address(), "/prices/A", &[]).await;
    let mut b = Sse::open(stand.address(), "/prices/B", &[]).await;
    a.next_event().await;
    b.next_event().await;
    assert_eq!(stand.legacy.count("/token"), 1);
    let asked = &stand.legacy.seen("/token")[0];
    assert_eq!((asked.method.as_str(), asked.header("authorization")), ("POST", Some("Basic YzpodW50ZXIy")));
    assert_eq!(asked.body, "grant_type=client_credentials&scope=read");
    assert_eq!(stand.legacy.seen("/prices/B")[0].header("authorization"), Some("Bearer first"));
    // The server forgets the token.
    stand.legacy.set("/token", token("second", 3600));
    stand.legacy.set("/prices/B", Reply::json("{\"n\":2}"));
    b.next_event().await;
    stand.legacy.answer_with("/prices/A", |seen| match seen.header("authorization") {
        Some("Bearer second") => Reply::json("{\"n\":3}"),
        _ => Reply::empty(401),
    });
    assert_eq!(a.next_event().await.data, "{\"n\":3}");
    assert_eq!(stand.legacy.count("/token"), 2);
    let last = stand.legacy.seen("/prices/A").pop().expect("a poll");
    assert_eq!(last.header("authorization"), Some("Bearer second"));
}

#[tokio::test]
async fn without_a_token_nothing_is_asked_and_no_secret_is_told() {
    let stand = with_token("");
    stand.legacy.set("/token", Reply::json("{\"error\":\"invalid_client\"}").status(400));
    stand.legacy.set("/prices/A", Reply::json("{}"));
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    let stale = sse.next_event().await;
    assert_eq!(stale.event, "stale");
    assert!(stale.data.contains("invalid_client"), "{}", stale.data);
    assert!(!stale.data.contains("hunter2") && !stale.data.contains("127.0.0.1"), "{}", stale.data);
    assert_eq!(stand.legacy.count("/prices/A"), 0);
    assert!(stand.metric("pollcast_poll_failures_total", "token").await >= 1.0);
    // As soon as there is one, it goes on.
    stand.legacy.set("/token", token("late", 3600));
    sse.next_named("fresh").await;
    assert_eq!(sse.next_event().await.data, "{}");
}

#[tokio::test]
async fn polls_do_not_keep_the_session_of_an_absent_user_alive() {
    let stand =
        Stand::start("poll: {interval: 100ms, max_session_polls: 1s}, share: {by: ['cookie:session']}");
    stand.legacy.set("/prices/A", Reply::json("{}"));
    let cookie = [("cookie", "session=1")];
    let mut sse = Sse::open(stand.address(), "/prices/A", &cookie).await;
    sse.next_event().await;
    let mut http = stand.http().await;
    // Ordinary requests for anything else of theirs count, those of others do not.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        http.get("/prices/A", &cookie).await.expect(200);
    }
    let bye = sse.next_event().await;
    assert_eq!(bye.event, "bye");
    assert!(bye.data.contains("\"reason\":\"session-idle\""), "{}", bye.data);
    assert!(bye.data.contains("\"reconnect\":false"), "{}", bye.data);
    let polled = stand.legacy.count("/prices/A");
    // What reconnects by itself is told to stop, and nothing is polled for it.
    let stream = [("cookie", "session=1"), ("accept", "text/event-stream")];
    http.get("/prices/A", &stream).await.expect(204);
    assert_eq!(stand.legacy.count("/prices/A"), polled);
    http.get("/prices/A", &cookie).await.expect(200);
    Sse::open(stand.address(), "/prices/A", &cookie).await.next_event().await;
}

#[tokio::test]
async fn the_poller_keeps_its_own_cookies_and_no_client_sees_or_sends_them() {
    let stand = Stand::start("poll: {interval: 100ms}, share: public");
    stand.legacy.answer_with("/prices/A", |seen| {
        let kept = seen.header("cookie").unwrap_or("none");
        Reply::json(format!("{{\"cookie\":\"{kept}\"}}")).header("set-cookie", "route=7; Path=/")
    });
    let mut sse = Sse::open(stand.address(), "/prices/A", &[("cookie", "session=secret")]).await;
    assert_eq!(sse.next_event().await.data, "{\"cookie\":\"none\"}");
    assert_eq!(sse.next_event().await.data, "{\"cookie\":\"route=7\"}");
    let mut http = stand.http().await;
    let answer = http.get("/prices/A", &[]).await.expect(200);
    assert_eq!(answer.header("set-cookie"), None);
    assert!(
        stand.legacy.seen("/prices/A").iter().all(|seen| seen.header("cookie") != Some("session=secret"))
    );
}

/// Sets a cookie of the name that the query says, and tells the cookies that came.
fn telling_api(stand: &Stand, paths: &[&str]) {
    for path in paths {
        stand.legacy.answer_with(path, |seen| {
            let came = seen.header("cookie").unwrap_or("none");
            let reply = Reply::json(format!("{{\"came\":\"{came}\"}}"));
            match seen.target.split_once("?set=") {
                Some((_, cookie)) => reply.header("set-cookie", &format!("{cookie}; Path=/; HttpOnly")),
                None => reply,
            }
        });
    }
}

#[tokio::test]
async fn what_one_resources_answer_sets_is_sent_for_no_other() {
    for route in ["", "share: public", "share: authorize"] {
        let stand = Stand::start(&format!("poll: {{interval: 100ms}}, {route}"));
        telling_api(&stand, &["/prices/A", "/prices/B"]);
        let get = async |path: &str| stand.http().await.get(path, &[]).await;
        for cookie in ["session=mallory", "lang=de", "preview=1", "XSRF-TOKEN=1"] {
            get(&format!("/prices/A?set={cookie}")).await;
        }
        for path in ["/prices/A", "/prices/B", "/prices/A?q", "/prices/A?set=x=1"] {
            get(path).await.expect(200);
        }
        let came: Vec<_> = stand
            .legacy
            .all_seen()
            .iter()
            .filter_map(|seen| {
                let cookie = seen.header("cookie")?.to_owned();
                Some((seen.target.clone(), cookie))
            })
            .collect();
        let own = came.iter().all(|(target, cookie)| target.ends_with(&format!("?set={cookie}")));
        assert!(own, "{route}: {came:?}");
    }
}

#[tokio::test]
async fn cookies_that_mean_nothing_about_identity_are_the_whole_upstreams() {
    let stand = Stand::start("poll: {interval: 100ms}, share: public, ignore_cookies: [node, 'lb_*']");
    telling_api(&stand, &["/prices/A", "/prices/B"]);
    let mut http = stand.http().await;
    for cookie in ["node=7", "lb_route=3", "session=1"] {
        http.get(&format!("/prices/A?set={cookie}"), &[]).await.expect(200);
    }
    let came = http.get("/prices/B", &[]).await.expect(200).text();
    assert_eq!(came, r#"{"came":"node=7; lb_route=3"}"#);
}

#[tokio::test]
async fn where_there_is_no_jar_or_a_client_has_a_cookie_none_is_added() {
    for route in ["poll: {interval: 100ms, cookie_jar: false}, share: public", BY_COOKIE] {
        let stand = Stand::start(route);
        stand.legacy.set("/prices/A", Reply::json("{}").header("set-cookie", "route=7; Path=/"));
        let mut sse = Sse::open(stand.address(), "/prices/A", &[("cookie", "session=1")]).await;
        sse.next_event().await;
        stand.legacy.wait_count("/prices/A", 3).await;
        let cookies = |seen: &crate::support::legacy::Seen| seen.header("cookie").map(str::to_owned);
        let sent: Vec<_> = stand.legacy.seen("/prices/A").iter().map(cookies).collect();
        assert!(sent.iter().flatten().all(|cookie| cookie == "session=1"), "{sent:?}");
    }
}

const BY_COOKIE: &str = "poll: {interval: 100ms}, share: {by: ['cookie:session']}";

#[tokio::test]
async fn each_request_of_a_poll_takes_a_turn_and_none_waits_for_its_own() {
    let legacy = crate::support::legacy::Legacy::start();
    let route = "poll: {interval: 100ms, follow_redirects: 1}";
    let yaml = crate::contract::config(&legacy, route, "");
    let budget = "'], budget: {rate: 10/s, burst: 1, max_concurrent: 1}}}";
    let app = crate::support::app::start(&yaml.replacen("']}}", budget, 1));
    let stand = Stand { legacy, app };
    stand.legacy.set("/prices/A", Reply::empty(302).header("location", "/elsewhere"));
    stand.legacy.set("/elsewhere", Reply::json("{}"));
    let began = std::time::Instant::now();
    let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
    sse.next_event().await;
    stand.legacy.wait_count("/elsewhere", 3).await;
    let sent = stand.legacy.all_seen().len() as f64;
    assert!(sent <= 2.0 + began.elapsed().as_secs_f64() * 10.0, "{sent} in {:?}", began.elapsed());
}
