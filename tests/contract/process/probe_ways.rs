//! `pollcast check --probe` of a server that is not reached as the file says: the lines of `proxy` that change it.

use std::net::SocketAddr;
use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::openssl::{OldServer, Says, Speaks, made};
use crate::support::ports::unused_address;
use crate::support::process::Folder;

/// A proxy that leads all tunnels to one server, whatever was asked for; the server is nowhere else.
async fn leading_to(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match from.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let mut to = TcpStream::connect(server).await.expect("the server");
                from.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("the client");
                // Its end is seen by both sides.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    address
}

/// What the probe of a server with these keys prints, with one variable more in its environment.
async fn probe(keys: &str, variable: (&'static str, String)) -> String {
    let folder = Folder::new();
    let file = folder.write(
        "p.yaml",
        &format!("listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{api: {{{keys}, host: api.test}}}}\npassthrough: api\n"),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
    for name in ["http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command.env(variable.0, variable.1);
    command.args(["check", "--polls", "2", "--every", "100ms", "--probe", "/a", "-c"]).arg(file);
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let output = output.expect("the binary runs");
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}

#[tokio::test]
async fn a_proxy_that_the_environment_names_is_tried_and_its_lines_are_printed_without_its_password() {
    let own = made(Says { alternative: Some("api.test"), ..Says::name("api.test") }, None);
    let (dead, server) = (unused_address(), OldServer::start(&own, Speaks::default()));
    let proxy = leading_to(server.address).await;
    let (folder, url) = (Folder::new(), format!("http://ann:hidden-word@{proxy}"));
    let ca = folder.write("ca.pem", &own.pem());
    let keys = format!("servers: ['{dead}'], tls: {{ca: '{}', sni: api.test}}", ca.display());
    for variable in ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        let text = probe(&keys, (variable, url.clone())).await;
        assert!(text.contains(&format!("proxy: ${{{variable}}}")), "{variable}: {text}");
        assert!(text.contains("it is reached") && !text.contains("hidden"), "{text}");
    }
    // One for others, and one that leads nowhere.
    let text = probe(&keys, ("http_proxy", url)).await;
    assert!(!text.contains("proxy:"), "{text}");
    let text = probe(&keys, ("https_proxy", format!("http://{}", unused_address()))).await;
    assert!(!text.contains("proxy:"), "{text}");
    assert_eq!(server.bytes(), 0, "nothing is said to it");
}

#[tokio::test]
async fn a_proxy_that_stands_in_the_way_or_wants_a_user_is_told_with_the_lines() {
    let (server, dead) = (OldServer::start_plain(), unused_address());
    let none = ("UNUSED", String::new());
    let keys = format!("servers: ['{}'], proxy: 'http://ann:hidden-word@{dead}'", server.address);
    let text = probe(&keys, none.clone()).await;
    assert!(text.contains("Without `proxy` it is reached: remove it from upstreams.api."), "{text}");
    assert!(!text.contains("hidden"), "{text}");
    let proxy = crate::support::proxy::Proxy::http().await;
    let (_, place) =
        proxy.url().rsplit_once('@').map(|(who, place)| (who.to_owned(), place.to_owned())).unwrap();
    let text = probe(&format!("servers: ['{}'], proxy: 'http://{place}'", server.address), none).await;
    let lines = format!("proxy: {{ url: http://USER@{place}, password_file: /run/secrets/proxy }}");
    assert!(text.contains(&lines), "{text}");
}
