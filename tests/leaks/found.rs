//! The leaks that were found, each by name.

use std::time::Duration;

use serde_json::{Value, json};

use super::people::{Person, SECRET};
use crate::contract::{FAST, Stand};
use crate::support::legacy::{Gate, Reply, Seen};
use crate::support::sse::Sse;
use crate::support::token;
use crate::support::wire::GUARD;
use crate::support::ws::Ws;

fn bearer(person: Person) -> String {
    format!("Bearer {}", person.token())
}

fn jwt() -> String {
    format!("authenticate: {{jwt: {{algorithms: [HS256], keys: [{{secret: '{SECRET}'}}]}}}}")
}

/// An upstream that believes pollcast's word for the client; the last one of several.
fn by_subject(seen: &Seen) -> Reply {
    let mut said = seen
        .headers
        .iter()
        .filter(|(name, _)| name.replace('_', "-").eq_ignore_ascii_case("x-pollcast-subject"));
    let who = said.next_back().map_or("nobody", |(_, value)| value.as_str());
    Reply::json(format!(r#"{{"for":"{who}"}}"#)).header("vary", "X-Pollcast-Subject, X_Pollcast_Subject")
}

#[tokio::test]
async fn a_client_does_not_become_another_because_the_upstream_varies_by_subject() {
    for share in ["share: {by: ['identity:subject']}", "share: public"] {
        let stand = Stand::start(&format!("{FAST}, {share}, {}", jwt()));
        stand.legacy.answer_with("/prices/A", by_subject);
        let robert = bearer(Person::Robert);
        for name in ["x-pollcast-subject", "x_pollcast_subject"] {
            let forged = [("authorization", robert.as_str()), (name, "alice")];
            let mut http = stand.http().await;
            if name.contains('_') {
                http.get("/prices/A", &forged).await.expect(400);
                continue;
            }
            for _ in 0..3 {
                let answer = http.get("/prices/A", &forged).await.expect(200);
                assert!(!answer.text().contains("alice"), "{share}, {name}: {}", answer.text());
            }
            let mut sse = Sse::open(stand.address(), "/prices/A", &forged).await;
            let event = sse.next_event().await;
            assert!(!event.data.contains("alice"), "{share}, {name}: {event:?}");
        }
        for seen in stand.legacy.all_seen() {
            assert!(!String::from_utf8_lossy(&seen.head).contains("alice"), "{seen:?}");
        }
    }
}

/// A token of this very subject.
fn token_of(subject: &str) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let claims = json!({ "sub": subject, "exp": 4_102_444_800_u64 });
    token::encode(&jsonwebtoken::Header::default(), &claims, &key)
}

#[tokio::test]
async fn a_name_with_space_around_it_is_not_the_one_without() {
    let stand = Stand::start(&format!("{FAST}, share: {{by: ['identity:subject']}}, {}", jwt()));
    stand.legacy.answer_with("/prices/A", |seen| rows(seen, 1));
    let mut http = stand.http().await;
    let ann = format!("Bearer {}", token_of("alice"));
    assert_eq!(http.get("/prices/A", &[("authorization", &ann)]).await.json()["for"], "alice");
    for subject in [" alice", "alice ", "alice\t"] {
        let other = format!("Bearer {}", token_of(subject));
        let other = [("authorization", other.as_str())];
        assert_eq!(http.get("/prices/A", &other).await.json()["for"], "nobody", "{subject:?}");
        let stream = Sse::try_open(stand.address(), "/prices/A", &other).await;
        assert_eq!(stream.err().map(|refused| refused.status), Some(403), "{subject:?}");
    }
}

#[tokio::test]
async fn a_client_cannot_have_taken_away_what_is_said_of_it() {
    let stand = Stand::start(&format!("{FAST}, share: public, {}", jwt()));
    stand.legacy.set("/prices/A", Reply::json("1"));
    let robert = bearer(Person::Robert);
    for named in
        ["X-Pollcast-Subject", "X-Forwarded-For", "Authorization", "Cookie", "close, x-pollcast-subject"]
    {
        let fields = [("authorization", robert.as_str()), ("connection", named), ("cookie", "a=1")];
        let answer = stand.http().await.request("POST", "/prices/A", &fields, b"{}").await;
        assert!(matches!(answer.status, 200 | 400), "{answer:?}");
    }
    let writes = stand.legacy.all_seen().into_iter().filter(|seen| seen.method == "POST");
    for seen in writes {
        assert_eq!(seen.headers("x-pollcast-subject"), ["robert"], "{seen:?}");
        assert_eq!(seen.headers("x-forwarded-for"), ["127.0.0.1"], "{seen:?}");
    }
}

#[tokio::test]
async fn a_client_does_not_become_another_where_no_identity_is_asked_for() {
    let stand = Stand::start(FAST);
    stand.legacy.answer_with("/prices/A", by_subject);
    let mut http = stand.http().await;
    for _ in 0..3 {
        let answer = http.get("/prices/A", &[("x-pollcast-subject", "alice")]).await.expect(200);
        assert_eq!(answer.json()["for"], "nobody");
    }
}

#[tokio::test]
async fn an_address_that_a_client_made_up_goes_nowhere() {
    let stand = Stand::start(FAST);
    stand.legacy.answer_with("/prices/A", |seen| {
        let from = seen.header("x-forwarded-for").unwrap_or("nowhere");
        Reply::json(format!(r#"{{"from":"{from}"}}"#)).header("vary", "X-Forwarded-For")
    });
    let mut http = stand.http().await;
    for _ in 0..3 {
        let answer = http.get("/prices/A", &[("x-forwarded-for", "10.9.8.7")]).await.expect(200);
        assert_eq!(answer.json()["from"], "127.0.0.1", "as everything that passes through");
    }
}

#[tokio::test]
async fn how_long_a_poll_is_held_does_not_tell_a_guess_from_the_truth() {
    let alice = "poll: {interval: 100ms, headers: {authorization: 'Bearer alice'}}";
    let stand =
        Stand::start(&format!("{alice}, share: authorize, hold_not_modified: 8s, hosts: ['127.0.0.1']"));
    stand.legacy.answer_with("/prices/A", |seen| match seen.header("authorization") {
        Some("Bearer alice") => Reply::json(r#"{"salary":41000}"#),
        _ => Reply::text("not for you").status(403),
    });
    let mut http = stand.http().await;
    let tag = http.get("/prices/A", &[("authorization", "Bearer alice")]).await.expect(200).etag().to_owned();
    // Without a key anybody can name the version of a guess.
    let guess = [("authorization", "Bearer robert"), ("if-none-match", tag.as_str())];
    let began = std::time::Instant::now();
    http.get("/prices/A", &guess).await.expect(403);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

async fn say(ws: &mut Ws, said: Value) {
    ws.send_text(&said.to_string()).await;
}

async fn hear(ws: &mut Ws) -> Value {
    serde_json::from_str(&ws.next_text().await).expect("JSON")
}

/// An envelope socket of Alice's whose route shares by subject.
async fn socket_of_alice() -> (Stand, Ws) {
    let stand = Stand::start(&format!("{FAST}, share: {{by: ['identity:subject']}}, {}", jwt()));
    let alice = bearer(Person::Alice);
    let headers = [("sec-websocket-protocol", "pollcast.v1"), ("authorization", alice.as_str())];
    let ws = Ws::open(stand.address(), "/-/pollcast/ws", &headers).await;
    (stand, ws)
}

fn rows(seen: &Seen, n: usize) -> Reply {
    let who = seen.header("x-pollcast-subject").unwrap_or("nobody");
    Reply::json(format!(r#"{{"for":"{who}","n":{n}}}"#))
}

#[tokio::test]
async fn a_new_token_counts_for_what_is_being_subscribed_to() {
    let (stand, mut ws) = socket_of_alice().await;
    let gate = Gate::closed();
    let behind = gate.clone();
    stand.legacy.answer_with("/prices/A", move |seen| rows(seen, 1).behind(&behind));
    say(&mut ws, json!({ "op": "subscribe", "resource": "/prices/A" })).await;
    // Alice's poll is on its way.
    stand.legacy.wait_count("/prices/A", 1).await;
    say(&mut ws, json!({ "op": "auth", "token": Person::Robert.token() })).await;
    assert_eq!(hear(&mut ws).await["status"], 200);
    gate.open();
    let state = hear(&mut ws).await;
    assert_eq!((&state["type"], &state["data"]["for"]), (&json!("snapshot"), &json!("robert")), "{state}");
    stand.legacy.answer_with("/prices/A", |seen| rows(seen, 2));
    let state = hear(&mut ws).await;
    assert_eq!(state["data"], json!({ "for": "robert", "n": 2 }), "{state}");
}

#[tokio::test]
async fn nothing_of_the_old_token_comes_after_the_new_one_is_taken() {
    let (stand, mut ws) = socket_of_alice().await;
    let count = std::sync::atomic::AtomicUsize::new(0);
    stand
        .legacy
        .answer_with("*", move |seen| rows(seen, count.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
    for name in 0..20 {
        say(&mut ws, json!({ "op": "subscribe", "resource": format!("/prices/{name}") })).await;
    }
    for turn in 0..6 {
        let (new, old) = if turn % 2 == 0 { (Person::Robert, "alice") } else { (Person::Alice, "robert") };
        say(&mut ws, json!({ "op": "auth", "token": new.token(), "id": turn })).await;
        let replied = async { while hear(&mut ws).await["id"] != turn {} };
        tokio::time::timeout(GUARD, replied).await.expect("a reply");
        for _ in 0..40 {
            let message = hear(&mut ws).await;
            assert_ne!(message["data"]["for"], old, "turn {turn}: {message}");
        }
    }
}
