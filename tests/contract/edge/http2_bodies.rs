//! `limits.body_timeout` on HTTP/2 (contract §12): bodies that stop coming.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use pollcast::app::App;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::contract::edge::support::{Extra, admin, start_with};
use crate::support::app;
use crate::support::legacy::{Legacy, Reply};
use crate::support::wire::within;

const LIMITS: &str = "limits: {body_timeout: 300ms}\n";

fn start(legacy: &Legacy) -> App {
    start_with(legacy, Extra { listener: ", http2: true", top: LIMITS, ..Extra::default() })
}

async fn connect(app: &App) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(app.addresses()[0]).await.expect("a connection");
    let (send, connection) = h2::client::handshake(tcp).await.expect("HTTP/2");
    tokio::spawn(connection);
    send
}

/// Begins an upload to this path.
async fn upload(client: &SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let request = http::Request::post(format!("http://localhost{path}")).body(()).expect("a request");
    let mut ready = within("room for a stream", client.clone().ready()).await.expect("a connection");
    ready.send_request(request, false).expect("a request")
}

async fn counted(app: &App) -> u64 {
    let text = admin(app).await.get("/metrics", &[]).await.expect(200).text();
    let line = "pollcast_refusals_total{reason=\"body-timeout\"} ";
    text.lines().find_map(|found| found.strip_prefix(line)?.parse().ok()).expect("the series is there")
}

#[tokio::test]
async fn a_body_that_stops_is_408_and_its_connection_goes_on() {
    let legacy = Legacy::start();
    for path in ["/upload", "/r/a"] {
        legacy.set(path, Reply::text("done"));
    }
    let app = start(&legacy);
    let client = connect(&app).await;
    for (path, piece) in [("/upload", ""), ("/upload", "some"), ("/r/a", "some")] {
        let began = Instant::now();
        let (answer, mut body) = upload(&client, path).await;
        if !piece.is_empty() {
            body.send_data(Bytes::from_static(piece.as_bytes()), false).expect("a piece is sent");
        }
        let mut answer = within("an answer", answer).await.expect("an answer");
        assert_eq!(answer.status(), 408, "{path} {piece:?}");
        let said = within("its body", answer.body_mut().data()).await.expect("a body").expect("a body");
        assert!(String::from_utf8_lossy(&said).contains("limits.body_timeout"), "{said:?}");
        assert!((300..3000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    }
    assert_eq!(counted(&app).await, 3);
    // A body that comes on, however slowly, and an upstream that takes its time.
    legacy.set("/upload", Reply::text("done").delay(Duration::from_millis(700)));
    let (answer, mut body) = upload(&client, "/upload").await;
    for byte in b"slowly" {
        sleep(Duration::from_millis(150)).await;
        body.send_data(Bytes::copy_from_slice(&[*byte]), false).expect("a piece is sent");
    }
    body.send_data(Bytes::new(), true).expect("the end is sent");
    assert_eq!(within("an answer", answer).await.expect("an answer").status(), 200);
    assert_eq!(counted(&app).await, 3);
}

#[tokio::test]
async fn an_upstream_that_takes_nothing_is_not_the_clients_fault() {
    // More than the kernel holds for a connection of which one side takes little: it sends up to 4 MiB.
    const BODY_BYTES: usize = 12 << 20;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(64 << 10).expect("a small buffer");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(8).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let (take, taken) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        taken.await.expect("the test goes on");
        let mut read = 0;
        let mut buffer = vec![0; 1 << 20];
        // More than the body: its head and the frames of chunks.
        while read < BODY_BYTES {
            read += stream.read(&mut buffer).await.expect("a piece");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("an answer");
        // It stays open until the last chunk has been read.
        while stream.read(&mut buffer).await.is_ok_and(|bytes| bytes > 0) {}
    });
    let yaml = format!(
        "listeners: [{{address: '127.0.0.1:0', http2: true}}]\nadmin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{address}']}}}}\npassthrough: legacy\n\
         routes: [{{path: '/r', upstream: legacy}}]\n{LIMITS}"
    );
    let app = app::start(&yaml);
    let client = connect(&app).await;
    let (answer, mut body) = upload(&client, "/upload").await;
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let sending = tokio::spawn(async move {
        let mut left = BODY_BYTES;
        while left > 0 {
            body.reserve_capacity(left.min(1 << 16));
            let fits = std::future::poll_fn(|context| body.poll_capacity(context)).await;
            let fits = fits.expect("the stream goes on").expect("a window").min(left);
            body.send_data(Bytes::from(vec![b'x'; fits]), false).expect("a piece is sent");
            left -= fits;
            count.fetch_add(fits, Ordering::SeqCst);
        }
        body.send_data(Bytes::new(), true).expect("the end is sent");
    });
    let mut answer = answer;
    // Nothing more goes on for several times the limit.
    let stalled = async {
        loop {
            let before = sent.load(Ordering::SeqCst);
            sleep(Duration::from_millis(1200)).await;
            if sent.load(Ordering::SeqCst) == before {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        answer = &mut answer => panic!("it was answered meanwhile: {answer:?}"),
        () = stalled => {}
    }
    assert!(sent.load(Ordering::SeqCst) < BODY_BYTES, "the kernel took all of it");
    take.send(()).expect("the upstream is there");
    assert_eq!(within("an answer", answer).await.expect("an answer").status(), 200);
    sending.await.expect("all of it is sent");
    assert_eq!(counted(&app).await, 0);
}

#[tokio::test]
async fn where_the_upstream_is_asked_over_http2_the_stream_is_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (reset, was_reset) = oneshot::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let mut reset = Some(reset);
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            if request.method() == http::Method::GET {
                let answer = http::Response::builder().status(204).body(()).expect("an answer");
                respond.send_response(answer, true).expect("an answer");
                continue;
            }
            let tell = reset.take().expect("one upload");
            tokio::spawn(async move {
                let (mut body, _respond) = (request.into_body(), respond);
                while let Some(Ok(_)) = body.data().await {}
                let _ = tell.send(());
            });
        }
    });
    let yaml = format!(
        "listeners: [{{address: '127.0.0.1:0', http2: true}}]\nadmin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{address}'], http2: true}}}}\npassthrough: legacy\n\
         routes: [{{path: '/r', upstream: legacy}}]\n{LIMITS}"
    );
    let app = app::start(&yaml);
    let client = connect(&app).await;
    let (answer, mut body) = upload(&client, "/upload").await;
    body.send_data(Bytes::from_static(b"some"), false).expect("a piece is sent");
    let error = within("the stream to be reset", answer).await.expect_err("no answer");
    assert_eq!(error.reason(), Some(Reason::CANCEL));
    within("the upstream's stream to end", was_reset).await.expect("it ended");
    assert_eq!(counted(&app).await, 1);
    let request = http::Request::get("http://localhost/x").body(()).expect("a request");
    let mut ready =
        within("room for a stream", client.clone().ready()).await.expect("the connection goes on");
    let (answer, _) = ready.send_request(request, true).expect("a request");
    assert_eq!(within("an answer", answer).await.expect("an answer").status(), 204);
}
