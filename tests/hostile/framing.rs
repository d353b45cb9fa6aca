//! Contract §12: hostile chunks, request lines, hosts and ends of requests.

use std::time::Duration;

use super::{Fate, Range, attempt_all, latin1};
use crate::support::client::Http;
use crate::support::legacy::Reply;

/// A request that must never be served.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn chunks_that_two_servers_could_read_differently_end_the_connection() {
    let range = Range::open();
    let mut cases = Vec::new();
    for body in [
        "-1\r\nx\r\n0\r\n\r\n",
        "+1\r\nx\r\n0\r\n\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        "g\r\nx\r\n0\r\n\r\n",
        "1\nx\r\n0\r\n\r\n",
        "1\rx\r\n0\r\n\r\n",
        "1\r\nx\n0\r\n\r\n",
        "1\r\nx0\r\n\r\n",
        "1\r\nxy\r\n0\r\n\r\n",
        "2\r\nx\r\n0\r\n\r\n",
        "1 1\r\nx\r\n0\r\n\r\n",
        "1,1\r\nx\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nx\r\n0\r\n\r\n",
        "fffffffffffffffe\r\nx\r\n0\r\n\r\n",
        "7fffffffffffffff0\r\nx\r\n0\r\n\r\n",
        "10000000000000000\r\nx\r\n0\r\n\r\n",
        "10000000000000001\r\nx\r\n0\r\n\r\n",
        "1\0\r\nx\r\n0\r\n\r\n",
        "\u{31}\u{b2}\r\nx\r\n0\r\n\r\n",
        "1\r\nx\r\n0\n\r\n",
        "1\r\nx\r\n0\r\n\n",
        "1\r\nx\r\n\n0\r\n\r\n",
        // No size at all: Pingora takes that for the last chunk.
        "\r\n\r\n",
        ";a=b\r\n\r\n",
        "1\r\nx\r\n\r\nx\r\n0\r\n\r\n",
        "1\r\nx\r\n;a\r\n\r\n",
        " 1\r\nx\r\n0\r\n\r\n",
        "1 \r\nx\r\n0\r\n\r\n",
        "1\r\nx\r\n 0\r\n\r\n",
        "1;a\nb\r\nx\r\n0\r\n\r\n",
        "1;\0\r\nx\r\n0\r\n\r\n",
    ] {
        for target in ["/x", "/open/a"] {
            let case = format!(
                "POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}"
            );
            cases.push((case, Fate::Dropped));
        }
    }
    let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(64 << 10));
    cases.push((
        format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{long}{SMUGGLED}"),
        Fate::Dropped,
    ));
    attempt_all(&range, "chunks", &cases).await;
}

#[tokio::test]
async fn extensions_and_trailers_go_nowhere_and_change_no_length() {
    let range = Range::open();
    let mut cases = Vec::new();
    for body in [
        "1;a=b\r\nx\r\n0\r\n\r\n",
        "1;a=\"\\\"\"\r\nx\r\n0;z\r\n\r\n",
        "0001\r\nx\r\n000\r\n\r\n",
        "1\r\nx\r\n0\r\nX-Trailer: y\r\n\r\n",
        "1 ;a\r\nx\r\n0\r\n\r\n",
        "1\r\nx\r\n0\r\nContent-Length: 100\r\nHost: b\r\n\r\n",
        "1\r\nx\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let case = format!("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        // Where the chunks end is a matter of taste among servers: nothing follows them.
        cases.push((format!("{case}{SMUGGLED}"), Fate::SeenLast("/x")));
    }
    attempt_all(&range, "chunk extensions and trailers", &cases).await;
    // The body that arrives is the one that was said, and no field came out of it.
    for case in cases.iter().map(|(case, _)| case) {
        range.legacy.forget();
        let mut http = Http::connect(range.address()).await;
        http.send_raw(&latin1(case)).await;
        http.read_response().await.expect(200);
        let seen = range.legacy.seen("/x");
        assert_eq!(seen[0].body, "x", "{case:?}");
        assert!(seen[0].header("x-trailer").is_none() && seen[0].header("host") == Some("a"), "{case:?}");
    }
}

#[tokio::test]
async fn what_is_no_http_request_line_is_refused() {
    let range = Range::open();
    let mut cases = Vec::new();
    for line in [
        "GET /x",
        "GET /x ",
        "GET",
        "/x",
        "",
        " ",
        "GET  /x HTTP/1.1",
        "GET\t/x HTTP/1.1",
        "GET /x\tHTTP/1.1",
        "GET /x\x0bHTTP/1.1",
        " GET /x HTTP/1.1",
        "GET /x HTTP/1.1 ",
        "GET /x HTTP/0.9",
        "GET /x HTTP/1.2",
        "GET /x HTTP/2.0",
        "GET /x HTTP/3.7",
        "GET /x HTTP/11",
        "GET /x HTTP/1.10",
        "GET /x http/1.1",
        "GET /x HTTPS/1.1",
        "GET /x HTTP/1,1",
        "GET /x HTTP /1.1",
        "GET x HTTP/1.1",
        "GET ?x HTTP/1.1",
        "GET \\x HTTP/1.1",
        "GET ./x HTTP/1.1",
        "GET * HTTP/1.1",
        "GET a:80 HTTP/1.1",
        "GET #x HTTP/1.1",
        "GET /x#y HTTP/1.1",
        "GET /open/a#/../../guarded/a HTTP/1.1",
        "GET /x?y#z HTTP/1.1",
        "G\0T /x HTTP/1.1",
        "G:T /x HTTP/1.1",
        "G\u{e9}T /x HTTP/1.1",
        "GET /x HTTP/1.1 HTTP/1.1",
        "GET \"/x\" HTTP/1.1",
        "GET </x> HTTP/1.1",
        "\u{16}\u{3}\u{1}",
        "CONNECT a:443 HTTP/1.1",
        "CONNECT /x HTTP/1.1",
        "GET file:///etc/passwd HTTP/1.1",
        "GET /x?y=\u{ff} HTTP/1.1",
        "GET /open/\u{ff} HTTP/1.1",
        "GET /guarded/\u{c0}\u{af} HTTP/1.1",
        "GET javascript://a/x HTTP/1.1",
        "GET ftp://a/x HTTP/1.1",
        "GET x?y=http://a/ HTTP/1.1",
        "GET ://a/x HTTP/1.1",
        "GET http:/a/x HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http:\\\\a\\x HTTP/1.1",
        "GET http://a\\@b/x HTTP/1.1",
        "GET http://b/x HTTP/1.1",
        "GET http://a@b/x HTTP/1.1",
        "GET http://b@a/x HTTP/1.1",
        "GET http://a:b@a/x HTTP/1.1",
        "GET http://a:80/x HTTP/1.1",
        "GET http://a#b/x HTTP/1.1",
        "GET http://a%00b/x HTTP/1.1",
    ] {
        cases.push((format!("{line}\r\nHost: a\r\n\r\n{SMUGGLED}"), Fate::Dropped));
    }
    attempt_all(&range, "request lines", &cases).await;
}

#[tokio::test]
async fn a_space_or_control_character_in_a_target_is_refused_on_every_request_of_a_connection() {
    let range = Range::open();
    let mut cases = Vec::new();
    for target in [
        "/x y",
        "/x ",
        "/x\0",
        "/x\u{7f}",
        "/x\x01",
        "/open/a\x0b",
        "/open/a\t",
        "/x?q=a b",
        "/x?q=\x1f",
        " /x",
    ] {
        cases.push((format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n{SMUGGLED}"), Fate::Refused(400)));
    }
    attempt_all(&range, "targets", &cases).await;
    // More fields than any head may have.
    let many = format!("GET /x HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(256));
    attempt_all(&range, "fields", &[(many, Fate::Refused(431))]).await;
    let mut http = Http::connect(range.address()).await;
    http.request("POST", "/x", &[], b"body").await.expect(200);
    http.get("/x", &[]).await.expect(200);
    http.send_raw(b"GET /x y HTTP/1.1\r\nHost: a\r\n\r\n").await;
    http.read_response().await.expect(400);
    // Piece by piece, too.
    let mut http = Http::connect(range.address()).await;
    http.send_raw(b"GET /x").await;
    tokio::task::yield_now().await;
    http.send_raw(b" y HTTP/1.1\r\nHost: a\r\n\r\n").await;
    http.read_response().await.expect(400);
}

#[tokio::test]
async fn a_bad_request_behind_others_is_refused_once_they_are_answered() {
    let range = Range::open();
    let many = format!("GET /x HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(256));
    for (bad, status) in [
        ("GET /x y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /x\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /open/a?q=\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /x\tHTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx", 400),
        ("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        ("GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        ("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n;a\r\n\r\n", 400),
        (many.as_str(), 431),
    ] {
        let get = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
        let post = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\na b\n";
        for (before, answers) in [(get.to_owned(), 1), (format!("{post}{get}{post}"), 3)] {
            range.legacy.forget();
            let mut http = Http::connect(range.address()).await;
            http.send_raw(&latin1(&format!("{before}{bad}{SMUGGLED}"))).await;
            for _ in 0..answers {
                http.read_response().await.expect(200);
            }
            http.read_response().await.expect(status);
            http.expect_closed().await;
            assert!(range.legacy.seen("/smuggled").is_empty(), "{bad:?}");
        }
    }
}

#[tokio::test]
async fn the_size_of_a_chunk_is_refused_with_400_wherever_it_comes() {
    let range = Range::open();
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in
        ["\r\n\r\n", ";a\r\n\r\n", "-1\r\n", "+1\r\n", "0x1\r\nx\r\n0\r\n\r\n", "1 \r\nx\r\n0\r\n\r\n"]
    {
        for pieces in [vec![format!("{head}{body}")], vec![head.to_owned(), body.to_owned()]] {
            let mut http = Http::connect(range.address()).await;
            for piece in &pieces {
                http.send_raw(piece.as_bytes()).await;
            }
            http.read_response().await.expect(400);
            http.expect_closed().await;
        }
    }
}

#[tokio::test]
async fn odd_but_whole_requests_are_served_as_they_are() {
    let range = Range::open();
    let big = "M".repeat(8000);
    let cases = [
        ("GET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x")),
        // Empty lines before a request line are to be borne (RFC 9112 §2.2).
        ("\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x")),
        ("get /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x")),
        (format!("{big} /x HTTP/1.1\r\nHost: a\r\n\r\n"), Fate::Seen("/x")),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("*")),
        ("GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x")),
        ("GET HTTP://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x?y")),
        ("GET https://a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/")),
        ("GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/?x")),
        ("GET http://a/open/a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/open/a")),
        ("GET /x? HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x?")),
        ("GET /x?? HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x??")),
        ("GET /x?/../y HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x?/../y")),
        ("GET /x?http://b/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x?http://b/")),
        // Quotes that clients leave are escaped, for pollcast and for the upstream alike.
        ("GET /x?q=\"y\" HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x?q=%22y%22")),
        ("GET /x?q=<y> HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x?q=%3Cy%3E")),
        ("GET /open/a?q=\"y\" HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/open/a?q=%22y%22")),
        ("GET /open/\u{c3}\u{a9} HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/open/%C3%A9")),
        ("GET /x?y=\u{c3}\u{a9} HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Fate::Seen("/x?y=é")),
        // A body of a GET is its body, and what follows is the next request.
        ("GET /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /".to_owned(), Fate::Seen("/x")),
        (
            "GET /open/c HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /".to_owned(),
            Fate::Seen("/open/c"),
        ),
        ("GET /open/d HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(), Fate::Seen("/open/d")),
        ("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0006\r\n\r\nGET / ".to_owned(), Fate::Seen("/x")),
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nGET /"
                .to_owned(),
            Fate::Seen("/x"),
        ),
        ("GET /x HTTP/1.0\r\nHost: a\r\n\r\n".to_owned(), Fate::SeenLast("/x")),
        ("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_owned(), Fate::SeenLast("/x")),
    ];
    attempt_all(&range, "odd but whole requests", &cases).await;
}

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
