//! Contract §2: versions in conditions, and HEAD.

use super::{A, DATE, stand};
use crate::contract::ONCE;
use crate::support::legacy::Reply;

#[tokio::test]
async fn a_known_version_is_304_however_the_condition_is_written() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let full = http.get("/prices/A", &[]).await.expect(200);
    let tag = full.etag().to_owned();
    let bare = tag.trim_matches('"').to_owned();
    let conditions = [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"other\", {tag}"),
        format!("{tag},\"other\""),
        format!("\"{bare}-gzip\""),
        format!("W/\"{bare}-br\""),
        "*".to_owned(),
    ];
    for condition in conditions {
        // Of a connection that comes back at once one request would try the API's own pace.
        let mut http = stand.http().await;
        let answer = http.get("/prices/A", &[("if-none-match", &condition)]).await;
        assert_eq!(answer.status, 304, "{condition}");
        for name in ["etag", "vary", "cache-control", "link"] {
            assert_eq!(answer.headers(name), full.headers(name), "{name} with {condition}");
        }
        assert_eq!(answer.header("content-length"), None);
        assert_eq!(answer.header("content-type"), None);
    }
    for condition in ["\"other\"", "", "\"AAAAAAAAAAAAAAAAAAAAAA\""] {
        let answer = http.get("/prices/A", &[("if-none-match", condition)]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, A), "{condition}");
    }
}

#[tokio::test]
async fn if_modified_since_counts_on_equality_and_only_alone() {
    let stand = stand(ONCE);
    stand.legacy.set("/prices/A", Reply::json(A).last_modified(DATE));
    let mut http = stand.http().await;
    let full = http.get("/prices/A", &[]).await.expect(200);
    assert_eq!(full.header("last-modified"), Some(DATE));
    http.get("/prices/A", &[("if-modified-since", DATE)]).await.expect(304);
    let later = "Wed, 02 Jul 2025 10:00:00 GMT";
    http.get("/prices/A", &[("if-modified-since", later)]).await.expect(200);
    let both = [("if-modified-since", DATE), ("if-none-match", "\"other\"")];
    http.get("/prices/A", &both).await.expect(200);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    let get = http.get("/prices/A", &[]).await.expect(200);
    let head = http.request("HEAD", "/prices/A", &[("prefer", "wait=5")], b"").await.expect(200);
    for name in ["etag", "content-length", "content-type", "vary", "cache-control", "link"] {
        assert_eq!(head.headers(name), get.headers(name), "{name}");
    }
    // The connection is in order.
    assert_eq!(http.get("/prices/A", &[]).await.text(), A);
    let cold = http.request("HEAD", "/prices/A?cold", &[], b"").await.expect(200);
    assert_eq!(cold.header("content-length"), Some("11"));
}
