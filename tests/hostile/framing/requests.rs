//! Contract §12: hosts, connection fields and ends of requests.

use std::time::Duration;

use super::super::{Fate, Range, attempt_all};
use super::SMUGGLED;
use crate::support::client::Http;
use crate::support::legacy::Reply;

#[tokio::test]
async fn a_host_is_one_and_a_host() {
    let range = Range::open();
    let mut cases = Vec::new();
    for host in [
        "Host: a\r\nHost: a",
        "Host: a\r\nHost: b",
        "Host: a@b",
        "Host: user:pass@a",
        "Host: a b",
        "Host: a,b",
        "Host: a/b",
        "Host: a?b",
        "Host: a#b",
        "Host: a\\b",
        "Host: a:x",
        "Host: a:80:80",
        "Host: a:-1",
        "Host: a:65536",
        "Host: [::1",
        "Host: [::1]x",
        "Host: \"a\"",
        "Host: <a>",
        "Host: a\u{e9}",
        "Host: a%0d%0aX: y",
        "Host: http://a",
        "Host:",
        "X: y",
    ] {
        for target in ["/x", "/open/a"] {
            cases.push((format!("GET {target} HTTP/1.1\r\n{host}\r\n\r\n"), Fate::Refused(400)));
        }
    }
    attempt_all(&range, "hosts", &cases).await;
    let mut good = Vec::new();
    for host in [
        "a",
        "A.example",
        "a.example:8080",
        "127.0.0.1",
        "[::1]",
        "[::1]:80",
        "a_b",
        "xn--bcher-kva.example",
        "a.",
    ] {
        good.push((format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"), Fate::Seen("/x")));
    }
    attempt_all(&range, "hosts that are hosts", &good).await;
}

#[tokio::test]
async fn what_a_request_says_of_its_connection_stays_there() {
    let range = Range::open();
    range.legacy.set("/x", Reply::text("x"));
    for (fields, gone) in [
        ("Connection: X-Secret\r\nX-Secret: y\r\n", "x-secret"),
        ("Connection: keep-alive, x-a\r\nX-A: y\r\n", "x-a"),
        ("Keep-Alive: timeout=5\r\n", "keep-alive"),
        ("Proxy-Connection: keep-alive\r\n", "proxy-connection"),
        ("TE: trailers\r\n", "te"),
        (
            "Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
            "http2-settings",
        ),
    ] {
        let mut http = Http::connect(range.address()).await;
        range.legacy.forget();
        http.send_raw(format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).await;
        http.read_response().await.expect(200);
        let seen = range.legacy.seen("/x");
        assert_eq!(seen[0].header(gone), None, "{fields:?}");
    }
    // What frames the request, says where it goes, or whose it is, cannot be wished away.
    let cases =
        ["host", "x-forwarded-for", "close, X-Forwarded-Proto", "x-forwarded-host", "\"host\"", ":path"];
    let case = |named| format!("GET /x HTTP/1.1\r\nHost: a\r\nConnection: {named}\r\n\r\n{SMUGGLED}");
    let cases: Vec<_> = cases.iter().map(|named| (case(named), Fate::Refused(400))).collect();
    attempt_all(&range, "Connection that names what is not its own", &cases).await;
    let mut http = Http::connect(range.address()).await;
    range.legacy.forget();
    let body = "GET /";
    let fields = "Connection: content-length\r\nContent-Length: 5\r\n";
    http.send_raw(format!("POST /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}").as_bytes()).await;
    http.read_response().await.expect(200);
    http.get("/after", &[]).await.expect(200);
    assert_eq!(range.legacy.seen("/x")[0].body, body);
}

#[tokio::test]
async fn pipelined_requests_are_answered_one_by_one_in_order() {
    let range = Range::open();
    let one = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let all: String = ["/a", "/open/a", "/open//a", "/b", "/guarded//a", "/after"].map(one).concat();
    let mut http = Http::connect(range.address()).await;
    http.send_raw(all.as_bytes()).await;
    for status in [200, 200, 200, 200, 400] {
        http.read_response().await.expect(status);
    }
    http.read_response().await.expect(200);
    let seen: Vec<String> = range.legacy.all_seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(seen, ["/a", "/open/a", "/open//a", "/b", "/after"]);
}

#[tokio::test]
async fn a_request_that_never_ends_is_not_one() {
    let range = Range::with("", "limits: {first_byte_timeout: 1s}");
    for part in [
        "GET /smuggled HTTP/1.1\r\nHost: a\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r",
        "POST /smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nGET /",
        "POST /smuggled HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /",
        "POST /smuggled HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n",
    ] {
        let mut http = Http::connect(range.address()).await;
        http.send_raw(part.as_bytes()).await;
        http.wire.finish().await.expect("a FIN");
        let rest = tokio::time::timeout(Duration::from_secs(5), http.wire.rest()).await;
        let rest = rest.unwrap_or_else(|_| panic!("{part:?}: the connection is still open"));
        let text = rest.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        assert!(!text.contains(" 200 "), "{part:?}: {text}");
    }
    assert_eq!(range.legacy.count("/smuggled"), 0);
    Http::connect(range.address()).await.get("/after", &[]).await.expect(200);
}
