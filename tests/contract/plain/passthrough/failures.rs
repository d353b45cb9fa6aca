//! Contract §3: an upstream that is dead, unreadable or forgets a connection.

use crate::contract::edge::support::{http, start};
use crate::support::legacy::{Legacy, Reply};

#[tokio::test]
async fn a_dead_upstream_is_a_502_that_names_it() {
    let legacy = Legacy::start();
    legacy.stop().await;
    let app = start(&legacy, "");
    let answer = http(&app).await.get("/x", &[]).await.expect(502);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem = answer.json();
    assert_eq!(problem["status"], 502);
    assert!(problem["detail"].as_str().is_some_and(|d| d.contains("legacy")), "{problem}");
}

#[tokio::test]
async fn garbage_of_an_upstream_is_a_502() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    for reply in [Reply::garbage(), Reply::reset(), Reply::close()] {
        legacy.set("/x", reply);
        let answer = http(&app).await.request("POST", "/x", &[], b"once").await.expect(502);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert_eq!(legacy.count("/x"), 3, "a POST must not be sent twice");
}

#[tokio::test]
async fn a_write_is_never_sent_twice_and_a_read_survives_a_dead_connection() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let mut http = http(&app).await;
    for method in ["POST", "PATCH"] {
        legacy.set("/warm", Reply::text("warm"));
        legacy.set("/x", Reply::close());
        legacy.forget();
        // The next request goes out on a connection that is used again.
        http.get("/warm", &[]).await.expect(200);
        let mut http = self::http(&app).await;
        http.request(method, "/x", &[], b"once").await.expect(502);
        assert_eq!(legacy.count("/x"), 1, "{method}");
    }
    // As if the upstream's keep-alive had run out at that moment.
    for method in ["GET", "PUT", "DELETE"] {
        http = self::http(&app).await;
        http.get("/warm", &[]).await.expect(200);
        legacy.once("/y", Reply::close());
        legacy.set("/y", Reply::text("again"));
        assert_eq!(http.request(method, "/y", &[], b"").await.expect(200).text(), "again", "{method}");
    }
}

#[tokio::test]
async fn a_failure_shows_no_address_of_the_inside() {
    let legacy = Legacy::start();
    legacy.stop().await;
    let app = start(&legacy, "");
    let port = legacy.address().port().to_string();
    let mut http = http(&app).await;
    for path in ["/x", "/r/a"] {
        let answer = http.get(path, &[]).await.expect(502);
        assert!(!answer.text().contains(&port), "{path}: {}", answer.text());
        http = self::http(&app).await;
    }
}
