//! Contract §10: heads of answers as old devices send them: bare LF, folded lines and a space before the colon are tidied,
//! a line that is no field is dropped. Polls and what passes through read them alike.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::contract::edge::support::{Extra, start_with};
use crate::contract::{FAST, ONCE, Stand};
use crate::support::app;
use crate::support::client::Sse;
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Folder;
use crate::support::tls::Authority;

/// What old devices write, with a body that says so.
fn sloppy_heads() -> Vec<String> {
    let tail = "Content-Type: application/json\r\nContent-Length: 7\r\nX-After: here";
    [
        format!("HTTP/1.1 200 OK\r\nthis line has no colon\r\n{tail}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nX Powered By: me\r\n folded\r\n{tail}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\n: nameless\r\n(comment): x\r\n{tail}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nX-Early: 1\r\n{tail}\r\noops\r\n\r\n"),
        format!("HTTP/1.0 200 OK\r\noops\r\n{tail}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\noops\r\n{tail}\r\n\r\n").replace("\r\n", "\n"),
        format!("HTTP/1.1 103 Early Hints\r\noops\r\n\r\nHTTP/1.1 200 OK\r\noops\r\n{tail}\r\n\r\n"),
        format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\noops\r\n{tail}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nX-Spaced : c\r\n{tail}\r\n\r\n"),
    ]
    .into_iter()
    .map(|head| head + "{\"n\":1}")
    .collect()
}

#[tokio::test]
async fn polls_and_requests_that_pass_through_read_a_head_without_its_unreadable_lines() {
    for raw in sloppy_heads() {
        let stand = Stand::start(FAST);
        for path in ["/prices/A", "/x"] {
            stand.legacy.set(path, Reply::raw(raw.clone()));
        }
        let mut sse = Sse::open(stand.address(), "/prices/A", &[]).await;
        assert_eq!(sse.next_event().await.data, "{\"n\":1}", "{raw:?}");
        for path in ["/prices/A", "/x", "/x"] {
            let answer = stand.http().await.get(path, &[]).await.expect(200);
            assert_eq!(
                (answer.text().as_str(), answer.header("x-after")),
                ("{\"n\":1}", Some("here")),
                "{raw:?}"
            );
            assert!(answer.header("oops").is_none());
        }
    }
}

#[tokio::test]
async fn a_read_whose_head_is_unreadable_is_asked_once_more_and_a_write_never() {
    let stand = Stand::start(ONCE);
    let raw = &sloppy_heads()[0];
    stand.legacy.set("/x", Reply::raw(raw.clone()));
    stand.http().await.request("POST", "/x", &[], b"once").await.expect(502);
    assert_eq!(stand.legacy.count("/x"), 1, "a write may have been done");
    let mut http = stand.http().await;
    for number in 2..5 {
        http.request("POST", "/x", &[], b"again").await.expect(200);
        assert_eq!(stand.legacy.count("/x"), number, "it is known by then");
    }
    let stand = Stand::start(ONCE);
    stand.legacy.set("/x", Reply::raw(raw.clone()));
    let mut http = stand.http().await;
    for number in 2..5 {
        http.get("/x", &[]).await.expect(200);
        assert_eq!(stand.legacy.count("/x"), number, "only the first one is asked twice");
    }
}

#[tokio::test]
async fn over_tls_it_is_the_same() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let ca = folder.write("ca.pem", &authority.pem);
    for tls in [format!("ca: '{}'", ca.display()), "verify: false".to_owned()] {
        let legacy = Legacy::start_tls(&authority.certify(&["127.0.0.1"]));
        let upstream = format!(", host: '127.0.0.1', tls: {{{tls}}}");
        legacy.set("/r/a", Reply::raw(sloppy_heads()[1].clone()));
        legacy.set("/x", Reply::raw(sloppy_heads()[1].clone()));
        legacy.set("/good", Reply::text("good"));
        let app = start_with(&legacy, Extra { upstream: &upstream, ..Extra::default() });
        let stand = Stand { legacy, app };
        let mut http = stand.http().await;
        // The first path is polled, the second one passes through: its connections are not the polls'.
        for path in ["/x", "/r/a", "/x"] {
            assert_eq!(http.get(path, &[]).await.expect(200).text(), "{\"n\":1}", "{tls} {path}");
        }
        assert_eq!(http.get("/good", &[]).await.expect(200).text(), "good", "{tls}");
    }
}

#[tokio::test]
async fn what_may_frame_the_body_or_hides_in_control_characters_stays_a_failure() {
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json";
    for fields in [
        "oops\r\nContent-Length: 7\r\nContent-Length: 8",
        "Content-Length 7",
        "Content Length: 7",
        "oops\r\nX: a\0b\r\nContent-Length: 7",
        "oo\u{1}ps\r\nContent-Length: 7",
        "oops\rX: a\r\nContent-Length: 7",
    ] {
        let stand = Stand::start(ONCE);
        let raw = format!("{json}\r\n{fields}\r\n\r\n{{\"n\":1}}");
        stand.legacy.set("/prices/A", Reply::raw(raw.clone()));
        stand.legacy.set("/x", Reply::raw(raw));
        for path in ["/prices/A", "/x"] {
            let answer = stand.http().await.get(path, &[]).await;
            assert_eq!(answer.status, 502, "{fields:?} {path}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn an_unreadable_line_that_may_have_said_private_is_not_shared() {
    for line in ["Cache-Control private", "Cache Control: no-store", "Set Cookie: sid=1", "Vary Cookie"] {
        let stand = Stand::start(ONCE);
        let raw = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{line}\r\nContent-Length: 7\r\n\r\n{{\"n\":1}}"
        );
        stand.legacy.set("/prices/A", Reply::raw(raw));
        for _ in 0..3 {
            stand.http().await.get("/prices/A", &[]).await.expect(200);
        }
        assert!(stand.legacy.count("/prices/A") >= 3, "{line}: each client has its own");
    }
}

/// An API that keeps its connections and answers all requests so; how many connections there were.
async fn keeping(raw: String) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let raw = raw.clone();
            tokio::spawn(async move {
                let mut asked = Vec::new();
                while stream.read_buf(&mut asked).await.is_ok_and(|count| count > 0) {
                    if asked.ends_with(b"\r\n\r\n") {
                        asked.clear();
                        // In two pieces that cut the head: it is read as one.
                        let (first, second) = raw.split_at(20);
                        for piece in [first, second] {
                            let _ = stream.write_all(piece.as_bytes()).await;
                            tokio::task::yield_now().await;
                        }
                    }
                }
            });
        }
    });
    (address, connections)
}

#[tokio::test]
async fn polls_keep_their_connection_and_find_each_answer_whole() {
    let (address, connections) = keeping(sloppy_heads()[1].clone()).await;
    let app = app::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams: {{api: {{servers: ['{address}']}}}}\n\
         log: {{access: false}}\n\
         routes: [{{path: '/r/{{name}}', upstream: api, poll: {{interval: 100ms}}}}]\n"
    ));
    for name in 0..5 {
        let mut http = crate::support::client::Http::connect(app.addresses()[0]).await;
        assert_eq!(http.get(&format!("/r/{name}"), &[]).await.expect(200).text(), "{\"n\":1}");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}
