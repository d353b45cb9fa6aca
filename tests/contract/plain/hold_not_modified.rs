//! Contract §3: `hold_not_modified` holds what would be a 304, and its safeguards.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::contract::{Stand, TlsStand};
use crate::support::client::Http;
use crate::support::h2::H2;
use crate::support::legacy::Reply;
use crate::support::token;

const A: &str = r#"{"price":1}"#;
const B: &str = r#"{"price":2}"#;
const HOLDING: &str = "share: public, poll: {interval: 100ms}, hold_not_modified: 8s";

fn stand(route: &str) -> Stand {
    let stand = Stand::start(route);
    for path in ["/prices/A", "/prices/B", "/prices/C"] {
        stand.legacy.set(path, Reply::json(A));
    }
    stand
}

async fn tag(http: &mut Http) -> String {
    http.get("/prices/A", &[]).await.expect(200).etag().to_owned()
}

/// Asks on a connection of its own, and waits until it is held.
async fn hold(stand: &Stand, path: &str, tag: &str) -> Http {
    let mut http = stand.http().await;
    http.get(path, &[]).await.expect(200);
    http.send("GET", path, &[("if-none-match", tag)], b"").await;
    http.expect_silence(Duration::from_millis(150)).await;
    http
}

async fn ends(stand: &Stand, end: &str, wanted: f64) {
    stand.metric_becomes("pollcast_slow_304_total", end, wanted).await;
}

/// It is answered 304 much sooner than a hold lasts.
async fn expect_at_once(http: &mut Http, path: &str, tag: &str, more: &[(&str, &str)]) {
    let headers = [&[("if-none-match", tag)], more].concat();
    let began = Instant::now();
    http.get(path, &headers).await.expect(304);
    assert!(began.elapsed() < Duration::from_secs(3), "{more:?}");
}

#[tokio::test]
async fn it_is_held_until_a_change_and_the_connection_lives_on() {
    let stand = stand(HOLDING);
    let tag = tag(&mut stand.http().await).await;
    let mut http = hold(&stand, "/prices/A", &tag).await;
    stand.legacy.set("/prices/A", Reply::json(B));
    let answer = http.read_response().await.expect(200);
    assert_eq!(answer.text(), B);
    assert_eq!(answer.header("preference-applied"), None);
    ends(&stand, "changed", 1.0).await;
    assert_eq!(http.get("/prices/A", &[]).await.expect(200).text(), B);
}

#[tokio::test]
async fn without_a_change_it_is_304_after_that_time() {
    let stand = stand("share: public, poll: {interval: 100ms}, hold_not_modified: 400ms");
    let mut http = stand.http().await;
    let tag = tag(&mut http).await;
    let began = Instant::now();
    http.get("/prices/A", &[("if-none-match", &tag)]).await.expect(304);
    assert!(began.elapsed() >= Duration::from_millis(370), "{:?}", began.elapsed());
    ends(&stand, "unchanged", 1.0).await;
}

#[tokio::test]
async fn a_newer_one_releases_the_older() {
    let stand = stand(HOLDING);
    let tag = tag(&mut stand.http().await).await;
    let mut older = hold(&stand, "/prices/A", &tag).await;
    let _newer = hold(&stand, "/prices/A", &tag).await;
    older.read_response().await.expect(304);
    ends(&stand, "released", 1.0).await;
}

#[tokio::test]
async fn a_third_one_on_http1_is_not_held() {
    let stand = stand(HOLDING);
    let tag = tag(&mut stand.http().await).await;
    let _one = hold(&stand, "/prices/A", &tag).await;
    let _two = hold(&stand, "/prices/B", &tag).await;
    let mut third = stand.http().await;
    third.get("/prices/C", &[]).await.expect(200);
    expect_at_once(&mut third, "/prices/C", &tag, &[]).await;
    // Another client has its own two.
    third.send("GET", "/prices/C", &[("if-none-match", &tag), ("user-agent", "other")], b"").await;
    third.expect_silence(Duration::from_millis(150)).await;
}

#[tokio::test]
async fn navigations_and_old_clients_are_not_held() {
    let stand = stand(HOLDING);
    let mut http = stand.http().await;
    let tag = tag(&mut http).await;
    for field in
        [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("upgrade-insecure-requests", "1")]
    {
        expect_at_once(&mut http, "/prices/A", &tag, &[field]).await;
    }
    let mut old = stand.http().await;
    let request =
        format!("GET /prices/A HTTP/1.0\r\nhost: {}\r\nif-none-match: {tag}\r\n\r\n", stand.address());
    let began = Instant::now();
    old.send_raw(request.as_bytes()).await;
    old.read_response().await.expect(304);
    assert!(began.elapsed() < Duration::from_secs(3));
    http.request("HEAD", "/prices/A", &[("if-none-match", &tag)], b"").await.expect(304);
    assert_eq!(stand.metric("pollcast_slow_304_total", "").await, 0.0);
}

#[tokio::test]
async fn an_abandoned_one_halves_the_next() {
    let stand = stand("share: public, poll: {interval: 100ms}, hold_not_modified: 2s");
    let tag = tag(&mut stand.http().await).await;
    for number in [1.0, 2.0] {
        drop(hold(&stand, "/prices/A", &tag).await);
        ends(&stand, "abandoned", number).await;
    }
    let mut http = stand.http().await;
    let began = Instant::now();
    http.get("/prices/A", &[("if-none-match", &tag)]).await.expect(304);
    let held = began.elapsed();
    assert!((450..1500).contains(&held.as_millis()), "{held:?}, not a quarter of two seconds");
}

#[tokio::test]
async fn a_stream_of_http2_is_held_too() {
    let tls = TlsStand::start(HOLDING);
    tls.stand.legacy.set("/prices/A", Reply::json(A));
    let mut h2 = H2::over(tls.connect(&["h2"]).await, "localhost").await;
    let tag = h2.get("/prices/A", &[]).await.expect(200).etag().to_owned();
    let changing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        tls.stand.legacy.set("/prices/A", Reply::json(B));
    };
    let condition = [("if-none-match", tag.as_str())];
    let (answer, ()) = tokio::join!(h2.get("/prices/A", &condition), changing);
    assert_eq!(answer.expect(200).text(), B);
}

/// A route whose clients are let in by tokens, and a token of `ann`'s that ends in so many seconds.
fn by_token(seconds: u64) -> (Stand, String) {
    const SECRET: &str = "a secret of more than thirty-two characters";
    let jwt = format!("jwt: {{algorithms: [HS256], keys: [{{secret: '{SECRET}'}}], leeway: 0s}}");
    let stand = stand(&format!("{HOLDING}, authenticate: {{{jwt}}}"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let claims = serde_json::json!({ "sub": "ann", "exp": now + seconds });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
    let token = token::encode(&jsonwebtoken::Header::default(), &claims, &key);
    (stand, format!("Bearer {token}"))
}

#[tokio::test]
async fn it_is_held_no_longer_than_the_clients_token_lasts() {
    let (stand, ann) = by_token(3);
    let mut http = stand.http().await;
    let of_ann = ("authorization", ann.as_str());
    let tag = http.get("/prices/A", &[of_ann]).await.expect(200).etag().to_owned();
    let began = Instant::now();
    http.get("/prices/A", &[of_ann, ("if-none-match", &tag)]).await.expect(401);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    ends(&stand, "expired", 1.0).await;
}

#[tokio::test]
async fn an_operator_ends_it() {
    let (stand, ann) = by_token(60);
    let mut http = stand.http().await;
    let of_ann = ("authorization", ann.as_str());
    let tag = http.get("/prices/A", &[of_ann]).await.expect(200).etag().to_owned();
    http.send("GET", "/prices/A", &[of_ann, ("if-none-match", &tag)], b"").await;
    http.expect_silence(Duration::from_millis(150)).await;
    let mut admin = Http::connect(stand.app.admin_address().expect("an admin listener")).await;
    assert_eq!(admin.request("POST", "/-/end?subject=ann", &[], b"").await.json()["ended"], 1);
    http.read_response().await.expect(401);
    ends(&stand, "revoked", 1.0).await;
}
