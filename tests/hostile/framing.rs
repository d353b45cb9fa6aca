//! Contract §12: hostile chunks, request lines, hosts and ends of requests.

mod requests;

use super::{Fate, Range, attempt_all, latin1};
use crate::support::client::Http;

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
    for body in [
        "\r\n\r\n",
        ";a\r\n\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\nx\r\n0\r\n\r\n",
        "1 \r\nx\r\n0\r\n\r\n",
        // What an extension has not either.
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;\nabc\r\n0\r\n\r\n",
        "3;\0\r\nabc\r\n0\r\n\r\n",
        "3;a=\u{b}\r\nabc\r\n0\r\n\r\n",
        "0;\0\r\n\r\n",
        "0;a\nb\r\n\r\n",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
    ] {
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
