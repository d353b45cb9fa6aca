//! Contract §11: credentials, classes and Vary of ordinary polls.

use super::{cache_status, stand};
use crate::contract::ONCE;
use crate::support::legacy::Reply;

#[tokio::test]
async fn requests_with_credentials_and_no_share_pass_through() {
    let stand = stand(ONCE);
    let mut http = stand.http().await;
    for headers in [[("authorization", "Bearer x")], [("cookie", "session=1")], [("x-api-key", "k")]] {
        let answer = http.get("/prices/A", &headers).await.expect(200);
        assert_eq!(
            answer.header("cache-status"),
            Some("pollcast; fwd=bypass; detail=credentials"),
            "{headers:?}"
        );
    }
    assert_eq!(stand.legacy.count("/prices/A"), 3);
    // A cookie that says nothing about identity shares.
    let answer = http.get("/prices/A", &[("cookie", "_ga=1; AWSALB=2")]).await.expect(200);
    assert_eq!(cache_status(&answer), "pollcast; fwd=miss");
}

#[tokio::test]
async fn a_class_is_private_and_never_meets_another() {
    let stand = stand("poll: {interval: 1h}, share: {by: [authorization]}");
    stand.legacy.answer_with("/prices/A", |seen| {
        Reply::json(format!("{{\"for\":\"{}\"}}", seen.header("authorization").unwrap_or("nobody")))
    });
    let mut http = stand.http().await;
    for user in ["a", "b", "a", "b"] {
        let answer = http.get("/prices/A", &[("authorization", user)]).await.expect(200);
        assert_eq!(answer.text(), format!("{{\"for\":\"{user}\"}}"));
        assert_eq!(answer.header("cache-control"), Some("private, no-cache"));
        assert!(answer.names("vary", "authorization"), "{answer:?}");
    }
    assert_eq!(stand.legacy.count("/prices/A"), 2);
}

#[tokio::test]
async fn what_the_upstream_varies_by_is_told_and_kept_apart() {
    let stand = stand(ONCE);
    stand.legacy.answer_with("/prices/A", |seen| {
        let language = seen.header("accept-language").unwrap_or("none");
        Reply::json(format!("{{\"in\":\"{language}\"}}")).header("vary", "Accept-Language")
    });
    let mut http = stand.http().await;
    for language in ["de", "en", "de"] {
        let answer = http.get("/prices/A", &[("accept-language", language)]).await.expect(200);
        assert_eq!(answer.text(), format!("{{\"in\":\"{language}\"}}"));
        assert!(answer.names("vary", "accept-language"), "{answer:?}");
    }
    let plain = http.get("/prices/A", &[]).await.expect(200);
    assert_eq!(plain.text(), "{\"in\":\"none\"}");
    assert!(plain.names("vary", "accept-language"), "{plain:?}");
}
