//! Claims about tokens, under a paused clock and with a token server made of a script.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use http::HeaderMap;
use tokio::time::{advance, sleep};

use super::*;
use crate::config::Secret;
use crate::hub::tests::route::{SECOND, upstream};
use crate::upstream::{FetchError, Turn};

/// Gives tokens `t1`, `t2`, … for a minute; fails while `down`.
#[derive(Default)]
struct Server {
    asked: AtomicUsize,
    down: std::sync::atomic::AtomicBool,
    seen: Mutex<Vec<Ask>>,
}

#[async_trait]
impl Source for Server {
    async fn turn(&self, _priority: Priority) -> Result<Option<Turn>, FetchError> {
        Ok(None)
    }

    async fn fetch(&self, ask: &Ask) -> Result<Answer, FetchError> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen.lock().push(ask.clone());
        sleep(SECOND / 10).await;
        if self.down.load(Ordering::SeqCst) {
            return Ok(answer(400, "{\"error\":\"invalid_client\",\"error_description\":\"hunter2\"}"));
        }
        Ok(answer(200, &format!("{{\"access_token\":\"t{n}\",\"token_type\":\"bearer\",\"expires_in\":60}}")))
    }
}

fn answer(status: u16, body: &str) -> Answer {
    Answer {
        phrase: None,
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        close_delimited: false,
        head_bytes: 0,
        body_bytes: 0,
        elapsed: Duration::ZERO,
        held: None,
    }
}

fn credentials() -> ClientCredentials {
    ClientCredentials {
        server: Arc::new(upstream()),
        path: "/token".into(),
        client_id: "me:too".into(),
        says_upstream: false,
        client_secret: Secret("hunter2 &".into()),
        secret_file: None,
        scope: Some("read all".into()),
        audience: None,
        in_body: false,
        refresh_before: 10 * SECOND,
    }
}

fn grant() -> (Arc<Server>, Arc<Grant>) {
    let server = Arc::new(Server::default());
    let grant = Grant::new(Arc::new(credentials()), Some(server.clone()), None);
    (server, Arc::new(grant))
}

fn said(token: &Token) -> String {
    token.value.to_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_polls_at_once_ask_for_one_token() {
    let (server, grant) = grant();
    let polls: Vec<_> = (0..100)
        .map(|_| {
            let grant = grant.clone();
            tokio::spawn(async move { said(&grant.token().await.unwrap()) })
        })
        .collect();
    for poll in polls {
        assert_eq!(poll.await.unwrap(), "Bearer t1");
    }
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_before_it_expires_and_serves_until_then() {
    let (server, grant) = grant();
    assert_eq!(said(&grant.token().await.unwrap()), "Bearer t1");
    advance(49 * SECOND).await;
    assert_eq!(said(&grant.token().await.unwrap()), "Bearer t1");
    advance(SECOND).await;
    let renewing = tokio::spawn({
        let grant = grant.clone();
        async move { said(&grant.token().await.unwrap()) }
    });
    tokio::task::yield_now().await;
    assert_eq!(said(&grant.token().await.unwrap()), "Bearer t1", "while another poll asks");
    assert_eq!(renewing.await.unwrap(), "Bearer t2");
    server.down.store(true, Ordering::SeqCst);
    advance(55 * SECOND).await;
    assert_eq!(said(&grant.token().await.unwrap()), "Bearer t2", "it is good for five seconds yet");
    advance(10 * SECOND).await;
    assert!(grant.token().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_failing_server_is_asked_more_and_more_rarely_and_nothing_secret_is_told() {
    let (server, grant) = grant();
    server.down.store(true, Ordering::SeqCst);
    for _ in 0..600 {
        let reason = grant.token().await.unwrap_err();
        assert_eq!(reason, "the token server answered 400 Bad Request: invalid_client");
        advance(SECOND / 10).await;
    }
    let asked = server.asked.load(Ordering::SeqCst);
    assert!((3..=8).contains(&asked), "{asked}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_and_not_again_and_again() {
    let (server, grant) = grant();
    let first = grant.token().await.unwrap();
    let second = grant.token_instead_of(&first).await.unwrap().unwrap();
    assert_eq!(said(&second), "Bearer t2");
    let shared = grant.token_instead_of(&first).await.unwrap().unwrap();
    assert_eq!(said(&shared), "Bearer t2", "another poll has it already");
    assert!(grant.token_instead_of(&second).await.unwrap().is_none(), "new ones are refused as well");
    assert_eq!(server.asked.load(Ordering::SeqCst), 2);
    grant.accepted(&second);
    assert!(grant.token_instead_of(&second).await.unwrap().is_some());
    assert_eq!(server.asked.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn the_client_names_itself_as_the_standard_says() {
    let (server, grant) = grant();
    grant.token().await.unwrap();
    let ask = server.seen.lock().remove(0);
    assert_eq!((ask.method.as_str(), ask.path_and_query.as_str()), ("POST", "/token"));
    assert_eq!(ask.body, "grant_type=client_credentials&scope=read%20all");
    let pair = STANDARD.encode("me%3Atoo:hunter2%20%26");
    let authorization = ask.headers.iter().find(|(name, _)| *name == header::AUTHORIZATION);
    assert_eq!(authorization.unwrap().1, format!("Basic {pair}"));
    let in_body = request(&ClientCredentials { in_body: true, ..credentials() }, "hunter2 &");
    assert!(in_body.body.ends_with(b"&client_id=me%3Atoo&client_secret=hunter2%20%26"));
    assert!(in_body.headers.iter().all(|(name, _)| *name != header::AUTHORIZATION));
    assert!(!format!("{in_body:?}{ask:?}").contains("hunter2"));
    assert!(!format!("{ask:?}").contains(&pair));
}

#[test]
fn answers_that_are_no_token_are_told_apart() {
    let now = || Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _entered = runtime.enter();
    for (status, body, told) in [
        (500, "oops", "answered 500 Internal Server Error"),
        (401, "{\"error\":\"said <hunter2>\"}", "answered 401 Unauthorized"),
        (200, "", "gave no access_token"),
        (200, "{\"access_token\":\"a\\nb\"}", "gave no access_token"),
        (200, "{\"access_token\":\"a\",\"token_type\":\"mac\"}", "gave a token that is no bearer token"),
    ] {
        assert_eq!(read(&answer(status, body), now(), SECOND).unwrap_err(), told, "{body}");
    }
    let lasting = read(&answer(200, "{\"access_token\":\"a\"}"), now(), SECOND).unwrap();
    assert_eq!((lasting.renew_at, lasting.expires_at), (None, None));
    for seconds in ["\"60\"", "1e300", "-1", "60.5"] {
        let body = format!("{{\"access_token\":\"a\",\"expires_in\":{seconds}}}");
        assert!(read(&answer(200, &body), now(), SECOND).is_ok(), "{seconds}");
    }
    assert_eq!(format!("{lasting:?}"), "Token(***)");
}

#[test]
fn routes_with_equal_credentials_share_a_token() {
    let mut tokens = Tokens::default();
    let scopeless = ClientCredentials { scope: None, ..credentials() };
    for (route, of) in [credentials(), credentials(), scopeless].into_iter().enumerate() {
        let of = Arc::new(of);
        tokens.add(route, &of, || Arc::new(Grant::new(of.clone(), None, None)));
    }
    let grant = |route| tokens.grant(route).unwrap();
    assert!(Arc::ptr_eq(&grant(0), &grant(1)));
    assert!(!Arc::ptr_eq(&grant(0), &grant(2)));
    assert!(tokens.grant(3).is_none());
}
