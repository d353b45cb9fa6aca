//! Contract §12: the PROXY protocol: whose header is read, what an address in it is good for, what is refused.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::support::{Extra, start_with};
use crate::contract::Stand;
use crate::support::client::{Http, connect, long_poll};
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Folder;
use crate::support::sse::Sse;
use crate::support::tls::Authority;

const V4: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 8080 80\r\n";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [V2_SIGNATURE, &[command, family], &length, rest].concat()
}

/// pollcast with a listener that says this beside `proxy_protocol: true`.
fn stand(listener: &str, route: &str, top: &str) -> Stand {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("through"));
    legacy.set("/r/a", Reply::json(r#"{"n":1}"#));
    let listener = format!(", proxy_protocol: true{listener}");
    let app = start_with(&legacy, Extra { listener: &listener, route, top, ..Extra::default() });
    Stand { legacy, app }
}

/// A connection that begins with these bytes.
async fn behind(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = connect(address).await;
    stream.write_all(header).await.expect("room for a header");
    stream
}

async fn http(stand: &Stand, header: &[u8]) -> Http {
    Http::over(behind(stand.address(), header).await, "api.example")
}

/// What the upstream hears of the client.
async fn seen(stand: &Stand, http: &mut Http, headers: &[(&str, &str)]) -> String {
    http.get("/x", headers).await.expect(200);
    stand.legacy.seen("/x").pop().expect("it came").headers("x-forwarded-for").join(" | ")
}

#[tokio::test]
async fn the_client_of_a_header_is_the_client() {
    let stand = stand(", http2: true", "", "");
    let six = [[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], [0; 16]].concat();
    let six = [&six[..], &[0x1f, 0x90, 0, 80]].concat();
    let four = [203, 0, 113, 9, 10, 0, 0, 1, 0x1f, 0x90, 0, 80];
    for (header, client) in [
        (V4.to_vec(), "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::2 ::1 8080 80\r\n".to_vec(), "2001:db8::2"),
        (v2(0x21, 0x11, &four), "203.0.113.9"),
        (v2(0x21, 0x21, &six), "2001:db8::1"),
        // A proxy that speaks for no client, as in a health check, is the client itself.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(0x20, 0x00, &[]), "127.0.0.1"),
        (v2(0x20, 0x11, &four), "127.0.0.1"),
    ] {
        let mut http = http(&stand, &header).await;
        let forged = [("x-forwarded-for", "6.6.6.6")];
        assert_eq!(seen(&stand, &mut http, &forged).await, client);
        assert_eq!(seen(&stand, &mut http, &[]).await, client, "the next request");
        stand.legacy.forget();
        let stream = behind(stand.address(), &header).await;
        H2::over(stream, "api.example").await.get("/x", &[]).await.expect(200);
        assert_eq!(stand.legacy.seen("/x")[0].header("x-forwarded-for"), Some(client), "HTTP/2");
    }
}

#[tokio::test]
async fn a_header_may_come_before_tls() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let identity = authority.certify(&["localhost"]);
    let cert = folder.write("cert.pem", &identity.cert_pem);
    let key = folder.write("key.pem", &identity.key_pem);
    let tls = format!(", tls: {{certificates: [{{cert: '{}', key: '{}'}}]}}", cert.display(), key.display());
    let stand = stand(&tls, "", "");
    for alpn in ["http/1.1", "h2"] {
        let tcp = behind(stand.address(), V4).await;
        let stream = authority.secure(tcp, "localhost", &[alpn]).await;
        if alpn == "h2" {
            H2::over(stream, "localhost").await.get("/x", &[]).await.expect(200);
        } else {
            Http::over(stream, "localhost").get("/x", &[]).await.expect(200);
        }
        let seen = stand.legacy.seen("/x").pop().expect("it came");
        assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7"), "{alpn}");
        assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    }
    // Without one the handshake's first bytes are no header.
    let tcp = connect(stand.address()).await;
    let versions = tokio_rustls::rustls::DEFAULT_VERSIONS;
    assert!(authority.try_secure(tcp, "localhost", &[], versions, None).await.is_err());
    stand.metric_becomes("pollcast_refusals_total", "proxy-header", 1.0).await;
}

#[tokio::test]
async fn what_is_no_header_ends_the_connection_and_counts() {
    let stand = stand("", "", "limits: {first_byte_timeout: 200ms}");
    let hostile: [&[u8]; 9] = [
        b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 203.0.113.7\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 +8080 80\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PROXY TCP4 203.0.113.7 10.0.0.1 8080 80\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        &v2(0x21, 0x12, &[0; 12]),
        &v2(0x21, 0x11, &[0; 11]),
        &v2(0x2f, 0x11, &[0; 12]),
        // A checksum of something else.
        &v2(0x21, 0x11, &[&[0; 12][..], &[3, 0, 4, 1, 2, 3, 4]].concat()),
        &[V2_SIGNATURE, &[0x21, 0x11, 0xff, 0xff], &[0; 600]].concat(),
    ];
    for bytes in hostile {
        let mut http = http(&stand, bytes).await;
        http.expect_closed().await;
    }
    stand.metric_becomes("pollcast_refusals_total", "proxy-header", hostile.len() as f64).await;
    // Silence, and half a header.
    for bytes in [&b""[..], b"PRO", &V2_SIGNATURE[..7]] {
        http(&stand, bytes).await.expect_closed().await;
    }
    stand.metric_becomes("pollcast_refusals_total", "first-byte", 3.0).await;
    assert_eq!(stand.legacy.all_seen().len(), 0);
    // Two headers are one and nonsense.
    let mut http = http(&stand, &[V4, V4].concat()).await;
    http.get("/x", &[]).await.expect(400);
}

#[tokio::test]
async fn only_trusted_peers_may_write_one() {
    let others = stand(", trusted_proxies: [10.0.0.0/8]", "", "");
    let mut plain = http(&others, b"").await;
    assert_eq!(seen(&others, &mut plain, &[("x-forwarded-for", "6.6.6.6")]).await, "127.0.0.1");
    others.legacy.forget();
    http(&others, V4).await.get("/x", &[]).await.expect(400);
    assert_eq!(others.legacy.all_seen().len(), 0);

    let ours = stand(", trusted_proxies: [127.0.0.1, 203.0.113.0/24], client_address: forwarded", "", "");
    http(&ours, b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.expect_closed().await;
    // The header's client is a proxy, too, and trusted: it is believed. One that is not is not.
    let lines = [("x-forwarded-for", "6.6.6.6, 1.2.3.4")];
    let mut known = http(&ours, V4).await;
    assert_eq!(seen(&ours, &mut known, &lines).await, "6.6.6.6, 1.2.3.4, 203.0.113.7");
    let mut unknown = http(&ours, b"PROXY TCP4 198.51.100.1 10.0.0.1 1 2\r\n").await;
    assert_eq!(seen(&ours, &mut unknown, &lines).await, "198.51.100.1");
}

#[tokio::test]
async fn the_address_counts_for_limits() {
    let top = "limits: {clients_per_address: 1}";
    let stand = stand(", client_address: proxy_protocol", "", top);
    let header = |client: u8| format!("PROXY TCP4 203.0.113.{client} 10.0.0.1 1 2\r\n").into_bytes();
    let open = async |client: u8| {
        let stream = behind(stand.address(), &header(client)).await;
        Sse::over(stream, "api.example", "HTTP/1.1", "/r/a", &[]).await
    };
    let mut first = open(1).await.expect("a stream");
    first.next_event().await;
    assert_eq!(open(1).await.err().expect("refused").status, 503);
    open(2).await.expect("a stream").next_event().await;
}

#[tokio::test]
async fn the_address_stays_with_a_connection_that_leaves_and_comes_back() {
    let stand = stand("", "", "");
    let mut http = http(&stand, V4).await;
    let etag = http.get("/r/a", &[]).await.expect(200).etag().to_owned();
    for n in 2..4 {
        long_poll(&mut http, "/r/a", Some(&etag), Duration::from_secs(1)).await.expect(304);
        assert_eq!(seen(&stand, &mut http, &[]).await, "203.0.113.7", "after {n} held polls");
    }
    // Ordinary polls that repeat are answered elsewhere, too.
    for _ in 0..4 {
        http.get("/r/a", &[]).await.expect(200);
    }
    assert_eq!(seen(&stand, &mut http, &[]).await, "203.0.113.7", "after repeats");
}

#[tokio::test]
async fn what_comes_with_a_header_is_read_even_in_one_piece() {
    let stand = stand("", "", "");
    let request = b"GET /x HTTP/1.1\r\nHost: api.example\r\n\r\n";
    let mut http = Http::over(behind(stand.address(), &[V4, request, request].concat()).await, "api.example");
    for _ in 0..2 {
        http.read_response().await.expect(200);
    }
    let stream = b"GET /r/a HTTP/1.1\r\nHost: api.example\r\nAccept: text/event-stream\r\n\r\n";
    let stream = behind(stand.address(), &[V4, stream].concat()).await;
    let mut sse = Sse::answered(crate::support::wire::Wire::over(stream)).await.expect("a stream");
    assert_eq!(sse.next_event().await.data, r#"{"n":1}"#);
}
