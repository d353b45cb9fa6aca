//! Contract §11 at its edges: answers that are one user's, said in unusual places and ways.
//!
//! Must not know: how sharing is decided.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::contract::edge::support::{http, start};
use crate::contract::{FAST, ONCE, Stand};
use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply, Seen};
use crate::support::sse::Sse;
use crate::support::token;
use crate::support::ws::Ws;

const LIST: &str = "/prices/list";
const FEED: &str = "poll: {interval: 100ms}, feed: {items: /messages, id: /id, \
                    pages: {next: number, query: page, max: 4}}";
const CURSOR: &str = "poll: {interval: 100ms}, feed: {items: /messages, id: /id, order: oldest_first, \
                      cursor: {query: since, from: /last}}";

fn messages(ids: impl IntoIterator<Item = u64>, last: u64) -> Reply {
    let messages: Vec<Value> = ids.into_iter().map(|id| json!({ "id": id })).collect();
    Reply::json(json!({ "messages": messages, "last": last }).to_string())
}

fn query(seen: &Seen, name: &str) -> Option<u64> {
    let (_, query) = seen.target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

#[tokio::test]
async fn a_further_page_that_is_one_users_ends_the_sharing() {
    for (name, value) in [("cache-control", "private"), ("set-cookie", "session=1"), ("vary", "*")] {
        let stand = Stand::start(FEED);
        stand.legacy.set(LIST, messages([2, 1], 2));
        let mut sse = Sse::open(stand.address(), LIST, &[]).await;
        stand.legacy.wait_count(LIST, 2).await;
        stand.legacy.answer_with(LIST, move |seen| match query(seen, "page") {
            None => messages([9, 8], 9),
            Some(_) => messages([7, 1], 9).header(name, value),
        });
        let event = sse.next_event().await;
        assert!(event.event == "bye" && event.data.contains("not-shareable"), "{name}: {event:?}");
        let refused = stand.http().await.get(&format!("{LIST}?_push=sse"), &[]).await.expect(403);
        assert!(refused.text().contains("share"), "{refused:?}");
    }
}

#[tokio::test]
async fn what_a_client_missed_is_not_shared_either_if_it_is_one_users() {
    let stand = Stand::start(CURSOR);
    stand.legacy.answer_with(LIST, |seen| match query(seen, "since") {
        None => messages([8, 9], 9),
        Some(since) if since < 8 => messages(since + 1..=9, 9).header("cache-control", "private"),
        Some(_) => messages([], 9),
    });
    let mut away = Sse::open(stand.address(), LIST, &[("last-event-id", "3")]).await;
    let event = away.next_event().await;
    assert_eq!(event.event, "reset", "{event:?}");
}

/// A redirect to a login: each answer begins another user's session.
fn login(legacy: &Legacy, path: &str) {
    let sessions = AtomicU64::new(0);
    legacy.answer_with(path, move |_| {
        let number = sessions.fetch_add(1, Ordering::SeqCst);
        Reply::empty(302)
            .header("location", &format!("/login?state={number}"))
            .header("set-cookie", &format!("state={number}"))
    });
}

#[tokio::test]
async fn a_cold_answer_that_begins_a_session_is_no_other_clients() {
    let legacy = Legacy::start();
    login(&legacy, "/r/a");
    let app = start(&legacy, ", poll: {interval: 1m}");
    let mut states = std::collections::HashSet::new();
    for _ in 0..3 {
        let answer = http(&app).await.get("/r/a", &[]).await.expect(302);
        let location = answer.header("location").expect("a place").to_owned();
        let state = location.rsplit_once('=').expect("a state").1.to_owned();
        assert_eq!(answer.headers("set-cookie"), [format!("state={state}")], "its own cookie");
        assert!(states.insert(state), "{location} was somebody else's");
    }
}

#[tokio::test]
async fn a_session_that_is_rotated_by_a_redirect_is_fetched_by_its_owner() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, ", share: {by: ['cookie:session']}");
    let cookie = [("cookie", "session=s1")];
    let mut sse = Sse::open(app.addresses()[0], "/r/a", &cookie).await;
    sse.next_event().await;
    let rotated = Reply::empty(302).header("location", "/r/a").header("set-cookie", "session=s2; Path=/");
    legacy.set("/r/a", rotated);
    sse.next_named("bye").await;
    sse.expect_end().await;
    let answer = http(&app).await.get("/r/a", &cookie).await.expect(302);
    assert_eq!(answer.headers("set-cookie"), ["session=s2; Path=/"]);
}

#[tokio::test]
async fn a_word_against_sharing_counts_beside_bytes_that_are_no_text() {
    for (name, value) in [("cache-control", "private, note=\"café\""), ("vary", "*, café")] {
        let legacy = Legacy::start();
        legacy.set("/r/a", Reply::json("1").header(name, value));
        let app = start(&legacy, "");
        for asked in 1..=3 {
            http(&app).await.get("/r/a", &[]).await.expect(200);
            assert!(legacy.count("/r/a") >= asked, "{name}: an answer was shared");
        }
        http(&app).await.get("/r/a?_push=sse", &[]).await.expect(403);
    }
}

#[tokio::test]
async fn what_polls_never_take_from_a_client_is_not_taken_because_vary_names_it() {
    let stand = Stand::start(FAST);
    stand.legacy.answer_with("/prices/A", |seen| {
        let reply = match (seen.header("range"), seen.header("if-none-match"), seen.header("if-match")) {
            (None, None | Some("\"own\""), None) => Reply::json("[1,2]"),
            _ => Reply::empty(412),
        };
        reply.header(
            "vary",
            "Range, If-None-Match, If-Match, If-Range, Cache-Control, Max-Forwards, Connection",
        )
    });
    let mut http = stand.http().await;
    for fields in [
        vec![],
        vec![("if-none-match", "\"x\"")],
        vec![("max-forwards", "0")],
        vec![("cache-control", "no-cache")],
    ] {
        let answer = http.get("/prices/A", &fields).await;
        assert_eq!((answer.status, answer.text()), (200, "[1,2]".to_owned()), "{fields:?}");
    }
    // One that is bound to a state is judged by the API, and no poll has its condition.
    http.get("/prices/A", &[("if-match", "\"x\"")]).await.expect(412);
    http.get("/prices/A", &[]).await.expect(200);
}

#[tokio::test]
async fn a_cold_refusal_is_of_the_value_that_vary_names() {
    let legacy = Legacy::start();
    legacy.answer_with("/r/a", |seen| match seen.header("x-plan") {
        Some("gold") => Reply::json("\"gold\"").header("vary", "X-Plan"),
        Some(_) => Reply::json("\"other\"").status(404).header("vary", "X-Plan"),
        None => Reply::json("\"which?\"").status(400).header("vary", "X-Plan"),
    });
    let app = start(&legacy, ", poll: {interval: 1m}");
    let address = app.addresses()[0];
    let gold = [("x-plan", "gold")];
    assert_eq!(http(&app).await.get("/r/a", &gold).await.expect(200).json(), "gold");
    let refused = http(&app).await.get("/r/a", &[("x-plan", "tin")]).await.expect(404);
    assert!(refused.names("vary", "x-plan"), "{refused:?}");
    http(&app).await.get("/r/a", &[]).await.expect(400);
    let app = start(&legacy, ", poll: {interval: 1m}");
    // Until an answer has named the header, it may choose or not, and a client that sends it gets no stream.
    http(&app).await.get("/r/a", &[]).await.expect(400);
    assert_eq!(Sse::open(app.addresses()[0], "/r/a", &gold).await.next_event().await.data, "\"gold\"");
    let refused = Sse::try_open(address, "/r/a", &[("x-plan", "tin")]).await;
    assert_eq!(refused.err().map(|refused| refused.status), Some(404));
    let app = start(&legacy, ", poll: {interval: 1m}");
    http(&app).await.get("/r/a", &[]).await.expect(400);
    let many = "/-/pollcast/events?resource=/r/a";
    let mut many = Sse::open(app.addresses()[0], many, &gold).await;
    let event = many.next_event().await;
    assert!(event.data.contains("gold"), "{event:?}");
}

#[tokio::test]
async fn no_credentials_and_no_invented_query_are_polled_always() {
    let legacy = Legacy::start();
    legacy.set("/live", Reply::json("1"));
    let app = app::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams: {{legacy: {{servers: ['{}'], host: a}}}}\n\
         routes: [{{path: /live, upstream: legacy, share: {{by: [authorization]}}, \
         poll: {{interval: 100ms, linger: 0s, always: true}}}}]\n",
        legacy.address()
    ));
    http(&app).await.get("/live?n=1", &[]).await.expect(200);
    let alice = [("authorization", "Bearer alice")];
    let mut sse = Sse::open(app.addresses()[0], "/live", &alice).await;
    assert_eq!(sse.next_event().await.data, "1");
    drop(sse);
    // She is noticed to be gone, at the latest by then.
    legacy.wait_count("/live", legacy.count("/live") + 15).await;
    legacy.forget();
    legacy.wait_count("/live", 10).await;
    for seen in legacy.all_seen() {
        assert_eq!((seen.target.as_str(), seen.header("authorization")), ("/live", None));
    }
}

#[tokio::test]
async fn a_socket_that_becomes_another_user_hears_nothing_more_of_the_first() {
    let route = "share: {by: [authorization]}";
    let stand = Stand::start(&format!("{FAST}, {route}"));
    stand.legacy.answer_with("/prices/A", |seen| {
        static POLLS: AtomicU64 = AtomicU64::new(0);
        let number = POLLS.fetch_add(1, Ordering::SeqCst);
        let who = seen.header("authorization").unwrap_or("nobody").to_owned();
        Reply::json(json!({ "for": who, "n": number }).to_string())
    });
    let headers = [("sec-websocket-protocol", "pollcast.v1"), ("authorization", "Bearer ann")];
    let mut ws = Ws::open(stand.address(), "/-/pollcast/ws", &headers).await;
    for _ in 0..3 {
        ws.send_text(&json!({ "op": "subscribe", "resource": "/prices/A" }).to_string()).await;
    }
    let first: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
    assert_eq!(first["data"]["for"], "Bearer ann");
    for user in ["bob", "ann", "eve"] {
        // Before, between and behind what is still being admitted.
        ws.send_text(&json!({ "op": "subscribe", "resource": "/prices/A" }).to_string()).await;
        ws.send_text(&json!({ "op": "auth", "token": user }).to_string()).await;
        ws.send_text(&json!({ "op": "subscribe", "resource": "/prices/A" }).to_string()).await;
        let mut became = false;
        let mut heard = 0;
        while heard < 3 {
            let said: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
            if said["type"] == "reply" {
                assert_eq!(said["status"], 200);
                became = true;
            } else if became && said["type"] == "snapshot" {
                heard += 1;
                assert_eq!(said["data"]["for"], format!("Bearer {user}"), "{said}");
            }
        }
    }
}

#[tokio::test]
async fn a_client_cannot_have_what_pollcast_says_of_it_dropped() {
    let secret = "a secret of more than thirty-two characters";
    let jwt = format!(
        "authenticate: {{jwt: {{algorithms: [HS256], keys: [{{secret: '{secret}'}}], \
                       require_exp: false}}}}"
    );
    let stand = Stand::start(&format!("{ONCE}, {jwt}"));
    stand.legacy.set("/prices/A", Reply::json("1"));
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let token = |claims: Value| {
        let token = token::encode(&jsonwebtoken::Header::default(), &claims, &key);
        format!("Bearer {token}")
    };
    let ann = token(json!({ "sub": "ann" }));
    for connection in ["x-pollcast-subject", "close, X-Pollcast-Subject", "keep-alive, x_pollcast_subject"] {
        let mut http = Http::connect(stand.address()).await;
        stand.legacy.forget();
        let fields =
            [("authorization", ann.as_str()), ("connection", connection), ("x-pollcast-subject", "root")];
        http.request("POST", "/prices/A", &fields, b"{}").await;
        for seen in stand.legacy.all_seen() {
            assert_eq!(seen.headers("x-pollcast-subject"), ["ann"], "{connection}");
            assert_eq!(seen.header("connection").filter(|it| it.contains("pollcast")), None);
        }
    }
    // An end that cannot be read is no end that never comes.
    for odd in [
        json!({ "sub": "ann", "exp": "1" }),
        json!({ "sub": "ann", "exp": -1 }),
        json!({ "sub": "ann", "nbf": "x" }),
    ] {
        let odd = token(odd);
        stand.http().await.get("/prices/A", &[("authorization", odd.as_str())]).await.expect(401);
    }
}
