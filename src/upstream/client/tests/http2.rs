//! The same exchange over HTTP/2 without TLS.

use super::*;

/// Answers each request of each connection with its own path and authority, or as the path says.
async fn start() -> (String, mpsc::Receiver<(usize, http::Request<()>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (saw, seen) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut number = 0;
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, number, saw.clone()));
            number += 1;
        }
    });
    (address, seen)
}

async fn serve(stream: TcpStream, number: usize, saw: mpsc::Sender<(usize, http::Request<()>)>) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let path = request.uri().path().to_owned();
        let _ = saw.try_send((number, request.map(|_| ())));
        match path.as_str() {
            "/refused" => respond.send_reset(h2::Reason::INTERNAL_ERROR),
            "/hangs" => {
                let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                body.send_data(Bytes::from_static(b"half"), false).unwrap();
                tokio::spawn(async move {
                    let _held = (respond, body);
                    std::future::pending::<()>().await;
                });
            }
            _ => {
                let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                body.send_data(Bytes::from(path), true).unwrap();
            }
        }
    }
}

fn client_of(address: &str) -> Arc<Client> {
    Client::new(Arc::new(config::Upstream { http2: true, ..upstream_of(&[address]) })).unwrap()
}

#[tokio::test]
async fn prior_knowledge_is_used_and_the_connection_shared() {
    let (address, mut seen) = start().await;
    let client = client_of(&address);
    for path in ["/one", "/two"] {
        let mut ask = get(path);
        ask.headers.push((HeaderName::from_static("x-key"), HeaderValue::from_static("k")));
        assert_eq!(client.fetch(&ask).await.unwrap().body, path);
        let (number, request) = seen.recv().await.unwrap();
        assert_eq!(number, 0);
        assert_eq!(request.uri().to_string(), format!("http://api.example.com{path}"));
        assert_eq!(request.headers()["x-key"], "k");
    }
}

#[tokio::test]
async fn bounds_and_resets_hold_for_streams() {
    let (address, _seen) = start().await;
    let client = client_of(&address);
    let short = Ask { timeout: Duration::from_millis(100), ..get("/hangs") };
    assert_eq!(client.fetch(&short).await.unwrap_err().class(), "total-timeout");
    let small = Ask { max_body: 3, ..get("/path") };
    assert_eq!(client.fetch(&small).await.unwrap_err().class(), "too-large");
    assert_eq!(client.fetch(&get("/refused")).await.unwrap_err().class(), "reset");
    assert_eq!(client.fetch(&get("/after")).await.unwrap().body, "/after");
}
