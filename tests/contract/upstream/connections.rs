//! Contract §10: which clients' requests an upstream connection carries.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use crate::contract::{FAST, ONCE, Stand, config};
use crate::support::app;
use crate::support::client::Http;
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply, Seen};

/// An API that knows users by their connections, as those with Windows authentication do: three legs of NTLM, one of
/// Negotiate.
fn windows(legacy: &Legacy, paths: &[&str]) {
    let users: Arc<Mutex<HashMap<u64, String>>> = Arc::default();
    for path in paths {
        let users = users.clone();
        legacy.answer_with(path, move |seen| answer(&mut users.lock().unwrap(), seen));
    }
}

fn answer(users: &mut HashMap<u64, String>, seen: &Seen) -> Reply {
    let denied = |challenge: &str| Reply::text("who?").status(401).header("WWW-Authenticate", challenge);
    let said = seen.header("authorization").unwrap_or_default().to_owned();
    let (scheme, token) = said.split_once(' ').unwrap_or_default();
    match scheme.to_ascii_lowercase().as_str() {
        "ntlm" if token == "1" => {
            users.insert(seen.connection, String::new());
            return denied("NTLM 2");
        }
        // The third leg counts on the connection of the first alone.
        "ntlm" if !users.contains_key(&seen.connection) => return denied("NTLM"),
        "ntlm" | "negotiate" | "x-winauth" => drop(users.insert(seen.connection, token.to_owned())),
        _ => {}
    }
    match users.get(&seen.connection).filter(|user| !user.is_empty()) {
        Some(user) => Reply::json(format!("{{\"user\":\"{user}\"}}")),
        None => denied("NTLM"),
    }
}

const ANN: &str = r#"{"user":"ann"}"#;

async fn status_of_a_stranger(stand: &Stand, method: &str, path: &str) -> u16 {
    stand.http().await.request(method, path, &[], b"").await.status
}

#[tokio::test]
async fn three_legs_go_on_one_connection_and_no_other_client_uses_it() {
    let stand = Stand::start(ONCE);
    windows(&stand.legacy, &["/mail"]);
    let mut ann = stand.http().await;
    assert_eq!(ann.get("/mail", &[]).await.status, 401);
    let second = ann.get("/mail", &[("authorization", "NTLM 1")]).await.expect(401);
    assert_eq!(second.header("www-authenticate"), Some("NTLM 2"));
    assert_eq!(ann.get("/mail", &[("authorization", "NTLM ann")]).await.expect(200).text(), ANN);
    for method in ["GET", "GET", "POST"] {
        assert_eq!(
            ann.request(method, "/mail", &[], b"").await.expect(200).text(),
            ANN,
            "without a further word"
        );
        assert_eq!(status_of_a_stranger(&stand, method, "/mail").await, 401);
    }
    let of_ann: HashSet<u64> = stand
        .legacy
        .seen("/mail")
        .iter()
        .filter(|seen| seen.header("authorization").is_some())
        .map(|seen| seen.connection)
        .collect();
    assert_eq!(of_ann.len(), 1, "one connection for the handshake");
    drop(ann);
    for _ in 0..3 {
        assert_eq!(status_of_a_stranger(&stand, "GET", "/mail").await, 401, "after ann has gone");
    }
}

/// What a reset says that sends a client to HTTP/1.1.
const HTTP_1_1_REQUIRED: u32 = 0xd;

#[tokio::test]
async fn a_handshake_of_connections_is_sent_from_http2_to_http1() {
    let legacy = Legacy::start();
    let yaml = config(&legacy, ONCE, "").replace("'127.0.0.1:0'}]", "'127.0.0.1:0', http2: true}]");
    let stand = Stand { legacy, app: app::start(&yaml) };
    windows(&stand.legacy, &["/mail"]);
    stand.legacy.set("/x", Reply::text("hello"));
    let socket = tokio::net::TcpStream::connect(stand.address()).await.expect("a connection");
    let mut shared = H2::over(socket, "localhost").await;
    // That it has to prove itself, a client may hear on any connection.
    shared.get("/mail", &[]).await.expect(401);
    for proof in ["NTLM 1", "ntlm 3", "NTLM ann"] {
        let reset = shared.reset_of("/mail", &[("authorization", proof)]).await;
        assert_eq!(reset, Some(HTTP_1_1_REQUIRED), "{proof}");
    }
    // One request is enough for it, and the next one on the same connection is somebody else's.
    let ann = [("authorization", "Negotiate ann")];
    assert_eq!(shared.get("/mail", &ann).await.expect(200).text(), ANN);
    shared.get("/mail", &[]).await.expect(401);
    assert_eq!(shared.get("/mail", &ann).await.expect(200).text(), ANN);
    assert_eq!(shared.get("/x", &[]).await.expect(200).text(), "hello", "the connection goes on");
    let mut own = stand.http().await;
    own.get("/mail", &[("authorization", "NTLM 1")]).await.expect(401);
    assert_eq!(own.get("/mail", &[("authorization", "NTLM ann")]).await.expect(200).text(), ANN);
    assert_eq!(stand.metric("pollcast_refusals_total", "http11-required").await, 3.0);
}

#[tokio::test]
async fn a_handshake_behind_a_proxy_is_one_clients_and_not_the_connections() {
    let legacy = Legacy::start();
    let trusting = "'127.0.0.1:0', trusted_proxies: ['127.0.0.1']}]";
    let yaml = config(&legacy, ONCE, "").replacen("'127.0.0.1:0'}]", trusting, 1);
    let stand = Stand { legacy, app: app::start(&yaml) };
    windows(&stand.legacy, &["/mail"]);
    let mut proxy = stand.http().await;
    let (ann, bob) = (("x-forwarded-for", "10.0.0.1"), ("x-forwarded-for", "10.0.0.2"));
    proxy.get("/mail", &[ann, ("authorization", "NTLM 1")]).await.expect(401);
    let proven = [ann, ("authorization", "NTLM ann")];
    assert_eq!(proxy.get("/mail", &proven).await.expect(200).text(), ANN);
    assert_eq!(proxy.get("/mail", &[ann]).await.expect(200).text(), ANN, "it is ann's still");
    proxy.get("/mail", &[bob]).await.expect(401);
    proxy.get("/mail", &[]).await.expect(401);
    proxy.get("/mail", &[ann]).await.expect(401);
}

#[tokio::test]
async fn a_handshake_stays_with_one_server_of_several() {
    let (one, other) = (Legacy::start(), Legacy::start());
    windows(&one, &["/mail"]);
    windows(&other, &["/mail"]);
    let both = format!("{}', '{}", one.address(), other.address());
    let text = config(&one, ONCE, "").replacen(&one.address().to_string(), &both, 1);
    let app = app::start(&text);
    for _ in 0..4 {
        let mut ann = Http::connect(app.addresses()[0]).await;
        ann.get("/mail", &[("authorization", "NTLM 1")]).await.expect(401);
        ann.get("/mail", &[("authorization", "NTLM ann")]).await.expect(200);
        assert_eq!(ann.get("/mail", &[]).await.expect(200).text(), ANN);
    }
}

#[tokio::test]
async fn a_connection_that_was_asked_for_its_user_serves_no_other_client() {
    let stand = Stand::start(ONCE);
    windows(&stand.legacy, &["/mail"]);
    stand.legacy.set("/x", Reply::text("hello"));
    assert_eq!(status_of_a_stranger(&stand, "GET", "/mail").await, 401);
    for method in ["POST", "GET", "PUT"] {
        let mut next = stand.http().await;
        assert_eq!(next.request(method, "/x", &[], b"").await.expect(200).text(), "hello");
    }
    let asked = stand.legacy.seen("/mail")[0].connection;
    assert!(stand.legacy.seen("/x").iter().all(|seen| seen.connection != asked));
}

#[tokio::test]
async fn a_connection_that_says_it_knows_its_user_serves_no_other_client() {
    let stand = Stand::start(ONCE);
    stand.legacy.set("/in", Reply::text("in").header("Persistent-Auth", "true"));
    stand.legacy.set("/x", Reply::text("hello"));
    let mut ann = stand.http().await;
    ann.get("/in", &[("authorization", "Custom ann")]).await.expect(200);
    stand.http().await.get("/x", &[]).await.expect(200);
    ann.get("/in", &[("authorization", "Custom ann")]).await.expect(200);
    ann.get("/in", &[]).await.expect(200);
    stand.http().await.get("/x", &[]).await.expect(200);
    let of =
        |path: &str| -> Vec<u64> { stand.legacy.seen(path).iter().map(|seen| seen.connection).collect() };
    let (known, others) = (of("/in"), of("/x"));
    assert!(known.iter().all(|one| !others.contains(one)), "{known:?} {others:?}");
    assert_eq!(known[1], known[2], "ann's own");
}

#[tokio::test]
async fn credentials_of_requests_share_connections() {
    let stand = Stand::start(ONCE);
    stand.legacy.set("/x", Reply::text("hello"));
    for user in 0..20 {
        let bearer = format!("Bearer user{user}");
        stand.http().await.get("/x", &[("authorization", &bearer)]).await.expect(200);
    }
    // A client may come before the connection of the last one rests.
    assert!(stand.legacy.connections() <= 4, "{} connections for 20 users", stand.legacy.connections());
}

#[tokio::test]
async fn polls_leave_no_connection_that_knows_its_user() {
    let schemes = ["NTLM", "negotiate", "X-WinAuth"];
    for (scheme, share) in
        schemes.iter().flat_map(|scheme| [(scheme, ""), (scheme, ", share: {by: [authorization]}")])
    {
        let legacy = Legacy::start();
        windows(&legacy, &["/prices/A", "/prices/B", "/prices/C"]);
        let text = config(&legacy, &format!("{FAST}{share}"), "").replacen(
            "]}}",
            "], connection_auth: [x-WinAuth]}}",
            1,
        );
        let stand = Stand { app: app::start(&text), legacy };
        let mut ann = stand.http().await;
        if *scheme == "NTLM" {
            ann.get("/prices/A", &[("authorization", "NTLM 1")]).await.expect(401);
        }
        let said = format!("{scheme} ann");
        assert_eq!(ann.get("/prices/A", &[("authorization", &said)]).await.expect(200).text(), ANN);
        for path in ["/prices/A", "/prices/B", "/prices/C"] {
            assert_eq!(status_of_a_stranger(&stand, "GET", path).await, 401, "{scheme} {share} {path}");
            let bob = stand.http().await.get(path, &[("authorization", "Bearer bob")]).await;
            assert_eq!(bob.status, 401, "{scheme} {share} {path}");
        }
        let own = ann.get("/prices/A", &[]).await.expect(200);
        assert_eq!(own.text(), ANN, "the connection is ann's, so its requests are in no class");
        assert!(own.header("cache-status").is_some_and(|said| said.contains("fwd=bypass")), "{own:?}");
    }
}

#[tokio::test]
async fn the_operators_negotiate_is_on_no_connection_of_others() {
    let top = "routes: [{path: '/prices/{symbol}', upstream: legacy, share: public, poll: {interval: 100ms, headers: {authorization: Negotiate operator}}}, {path: '/news/{id}', upstream: legacy, poll: {interval: 100ms}}]";
    let legacy = Legacy::start();
    windows(&legacy, &["/prices/A", "/news/1"]);
    let text = config(&legacy, ONCE, "");
    // Polls that carry a secret name their host.
    let text = text.replacen("]}}", "], host: legacy.test}}", 1);
    let (head, _) = text.split_once("routes:").expect("routes");
    let stand = Stand { app: app::start(&format!("{head}{top}\n")), legacy };
    let polled = stand.http().await.get("/prices/A", &[]).await.expect(200);
    assert_eq!(polled.text(), r#"{"user":"operator"}"#);
    for _ in 0..3 {
        assert_eq!(status_of_a_stranger(&stand, "GET", "/news/1").await, 401);
    }
}

#[tokio::test]
async fn with_connections_class_no_class_comes_by_anothers() {
    let legacy = Legacy::start();
    legacy.set("/prices/A", Reply::json("{}"));
    let text = config(&legacy, "poll: {interval: 10s}, share: {by: [authorization]}", "").replacen(
        "]}}",
        "], connections: class}}",
        1,
    );
    let stand = Stand { app: app::start(&text), legacy };
    for user in ["ann", "bob", "ann", "eve"] {
        for path in ["/prices/A?1", "/prices/A?2"] {
            let path = format!("{path}{}", fastrand::u32(..));
            let bearer = format!("Bearer {user}");
            stand.http().await.get(&path, &[("authorization", &bearer)]).await.expect(200);
        }
    }
    stand.http().await.get("/prices/A?nobody", &[]).await.expect(200);
    let mut users: HashMap<u64, HashSet<Option<String>>> = HashMap::new();
    for seen in stand.legacy.seen("/prices/A") {
        users.entry(seen.connection).or_default().insert(seen.header("authorization").map(str::to_owned));
    }
    assert!(users.values().all(|users| users.len() == 1), "{users:?}");
    assert!(users.len() <= 5, "a class's polls share: {users:?}");
}
