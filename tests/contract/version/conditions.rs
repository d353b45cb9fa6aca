//! Contract §2: clients send back the tags we gave them; the upstream knows only its own.

use crate::contract::edge::support::{http, start};
use crate::support::legacy::{Legacy, Reply};

#[tokio::test]
async fn a_known_version_becomes_the_upstreams_tag() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1").etag("\"u1\""));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    let version = http.get("/r/a", &[]).await.expect(200).etag().to_owned();
    assert_ne!(version, "\"u1\"");
    let list = format!("\"other\", {version}");
    let weak = format!("W/{version}");
    for (sent, wanted) in [
        (version.as_str(), "\"u1\""),
        (weak.as_str(), "\"u1\""),
        (list.as_str(), "\"other\", \"u1\""),
        ("\"other\"", "\"other\""),
        ("*", "*"),
    ] {
        for field in ["if-match", "if-none-match"] {
            legacy.forget();
            http.request("PUT", "/r/a", &[(field, sent)], b"2").await.expect(200);
            let seen = legacy.all_seen().into_iter().find(|s| s.method == "PUT").expect("it came");
            assert_eq!(seen.headers(field), [wanted], "{field}: {sent}");
        }
    }
    // The same for a user whose requests pass through; the version was everybody's.
    let fields = [("cookie", "user=1"), ("if-range", version.as_str()), ("range", "bytes=0-0")];
    http.get("/r/a", &fields).await.expect(200);
    let seen = legacy.seen("/r/a").into_iter().find(|s| s.header("cookie").is_some()).expect("it came");
    assert_eq!((seen.header("if-range"), seen.header("range")), (Some("\"u1\""), Some("bytes=0-0")));
    http.request("PUT", "/r/a", &[("authorization", "Bearer 1"), ("if-match", &version)], b"2")
        .await
        .expect(200);
    let seen =
        legacy.seen("/r/a").into_iter().find(|s| s.header("authorization").is_some()).expect("it came");
    assert_eq!(seen.header("if-match"), Some("\"u1\""));
}

#[tokio::test]
async fn a_state_that_the_upstream_names_anew_has_its_newest_name() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1").etag("\"u1\""));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    let version = http.get("/r/a", &[]).await.etag().to_owned();
    legacy.set("/r/a", Reply::json("1").etag("\"u2\""));
    let mut sse = crate::support::client::Sse::open(app.addresses()[0], "/r/a", &[]).await;
    sse.next_event().await;
    // The second poll from here on is asked when the first has been judged.
    legacy.wait_count("/r/a", legacy.count("/r/a") + 2).await;
    http.request("PUT", "/r/a", &[("if-match", &version)], b"2").await.expect(200);
    let seen = legacy.seen("/r/a").into_iter().find(|s| s.method == "PUT").expect("it came");
    assert_eq!(seen.header("if-match"), Some("\"u2\""));
}

#[tokio::test]
async fn an_older_version_becomes_the_older_tag() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1").etag("\"u1\""));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    let old = http.get("/r/a", &[]).await.etag().to_owned();
    legacy.set("/r/a", Reply::json("2").etag("\"u2\""));
    let mut sse = crate::support::client::Sse::open(app.addresses()[0], "/r/a", &[]).await;
    while sse.next_event().await.data != "2" {}
    http.request("PUT", "/r/a", &[("if-match", &old)], b"3").await;
    let seen = legacy.seen("/r/a").into_iter().find(|s| s.method == "PUT").expect("it came");
    assert_eq!(seen.header("if-match"), Some("\"u1\""));
}

#[tokio::test]
async fn without_tags_of_the_upstream_the_condition_is_judged_here() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    let old = http.get("/r/a", &[]).await.etag().to_owned();
    http.request("PUT", "/r/a", &[("if-match", &old)], b"2").await.expect(200);
    let seen = legacy.seen("/r/a").into_iter().find(|s| s.method == "PUT").expect("it came");
    assert_eq!(seen.header("if-match"), None);
    legacy.set("/r/a", Reply::json("2"));
    let mut sse = crate::support::client::Sse::open(app.addresses()[0], "/r/a", &[]).await;
    while sse.next_event().await.data != "2" {}
    legacy.forget();
    let answer = http.request("PUT", "/r/a", &[("if-match", &old)], b"3").await.expect(412);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert!(legacy.all_seen().iter().all(|s| s.method != "PUT"), "the write went out");
    // A list with the current one is fine.
    let current = http.get("/r/a", &[]).await.etag().to_owned();
    let both = format!("{old}, \"other\", {current}");
    http.request("PUT", "/r/a", &[("if-match", &both)], b"3").await.expect(200);
    let seen = legacy.seen("/r/a").into_iter().rfind(|s| s.method == "PUT").expect("it came");
    assert_eq!((seen.method.as_str(), seen.header("if-match")), ("PUT", None));
}

#[tokio::test]
async fn versions_under_vary_are_known_too() {
    let legacy = Legacy::start();
    legacy.answer_with("/r/a", |seen| {
        let language = seen.header("accept-language").unwrap_or("none").to_owned();
        let tag = format!("\"u-{language}\"");
        Reply::json(format!("{language:?}")).etag(&tag).header("vary", "Accept-Language")
    });
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    let de = [("accept-language", "de")];
    let version = http.get("/r/a", &de).await.etag().to_owned();
    http.request("PUT", "/r/a", &[de[0], ("if-match", &version)], b"x").await;
    let seen = legacy.seen("/r/a").into_iter().find(|s| s.method == "PUT").expect("it came");
    assert_eq!(seen.header("if-match"), Some("\"u-de\""));
}
