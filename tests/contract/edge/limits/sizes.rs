//! How large a request, its query, its head and its body may be.

use tokio::io::AsyncWriteExt;

use super::{A, refusals, refusals_become, rest};
use crate::contract::{FAST, Stand};
use crate::support::client::connect;
use crate::support::legacy::{Reply, Seen};

// --- Requests ---

#[tokio::test]
async fn a_request_may_be_so_large_and_no_larger() {
    let top = "limits: {header_bytes: 4KiB, header_fields: 20, url_bytes: 1KiB, query_parameters: 5}";
    let stand = Stand::with(FAST, top);
    for path in ["/prices/A", "/elsewhere"] {
        stand.legacy.answer_with(path, |_: &Seen| Reply::json(A));
        let mut http = stand.http().await;
        let long = format!("{path}?{}", "a".repeat(1024));
        assert_eq!(
            http.get(&long, &[]).await.expect(414).header("content-type"),
            Some("application/problem+json")
        );
        // It names no resource, and is the API's.
        let many = format!("{path}?a&b&c&d&e&f");
        http.get(&many, &[]).await.expect(200);
        assert_eq!(stand.legacy.seen(path).last().expect("it came").target, many);
        let many: Vec<(String, String)> = (0..20).map(|n| (format!("x-{n}"), "1".into())).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        http.get(path, &many).await.expect(431);
        // The connection is none the worse for it.
        http.get(path, &[]).await.expect(200);
        let huge = "x".repeat(3000);
        http.get(path, &[("x-1", &huge), ("x-2", &huge)]).await.expect(431);
        http.expect_closed().await;
    }
    for (reason, wanted) in [("url-bytes", 2.0), ("header-fields", 2.0), ("header-bytes", 2.0)] {
        assert_eq!(refusals(&stand, reason).await, wanted, "{reason}");
    }
}

#[tokio::test]
async fn a_query_too_long_for_a_key_lets_no_client_in() {
    let guard = "authenticate: {keys: {header: x-key, clients: {ann: hunter2hunter2hunter2}}}";
    let stand = Stand::with(&format!("{FAST}, {guard}"), "limits: {query_parameters: 5}");
    let mut http = stand.http().await;
    for path in ["/prices/A", "/prices//A", "/prices/A/"] {
        let key = [("x-key", "hunter2hunter2hunter2")];
        http.get(&format!("{path}?a&b&c&d&e&f"), &key).await.expect(400);
    }
    assert_eq!(stand.legacy.all_seen().len(), 0);
    assert_eq!(refusals(&stand, "query-parameters").await, 1.0);
}

#[tokio::test]
async fn a_head_without_an_end_is_cut_at_its_limit() {
    let stand = Stand::with(FAST, "limits: {header_bytes: 4KiB}");
    let mut stream = connect(stand.address()).await;
    let (mut read, mut write) = stream.split();
    let endless = async {
        let mut written = write.write_all(b"GET / HTTP/1.1\r\nx: ").await;
        let mut bytes = 0;
        while written.is_ok() && bytes < 64 << 20 {
            written = write.write_all(&[b'x'; 16 * 1024]).await;
            bytes += 16 * 1024;
        }
        std::future::pending::<()>().await;
    };
    let said = tokio::select! {
        said = rest(&mut read) => said,
        () = endless => unreachable!("it waits for ever"),
    };
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said:?}");
    refusals_become(&stand, "header-bytes", 1.0).await;
    // One that stops hears why.
    let mut stream = connect(stand.address()).await;
    stream.write_all(format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(8000)).as_bytes()).await.expect("written");
    let said = rest(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 431 ") && said.contains("limits.header_bytes"), "{said:?}");
}

#[tokio::test]
async fn a_body_that_passes_through_has_a_limit() {
    let stand = Stand::with(FAST, "limits: {request_body: 10KiB}");
    stand.legacy.set("/upload", Reply::text("done"));
    let mut http = stand.http().await;
    http.request("POST", "/upload", &[], &[0; 10 * 1024]).await.expect(200);
    // It says so itself, and no upstream hears of it.
    let refused = http.request("POST", "/upload", &[], &vec![0; 10 * 1024 + 1]).await.expect(413);
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    assert_eq!(stand.legacy.count("/upload"), 1);
    // It does not: it is cut where it is too long.
    let mut http = stand.http().await;
    http.send_raw(b"POST /upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..11 {
        http.send_raw(format!("400\r\n{}\r\n", "x".repeat(1024)).as_bytes()).await;
    }
    http.read_response().await.expect(413);
    http.expect_closed().await;
    refusals_become(&stand, "request-body", 2.0).await;
    let mut http = stand.http().await;
    http.send_raw(
        b"POST /upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    http.read_response().await.expect(200);
}
