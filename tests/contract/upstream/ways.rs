//! Ways to a server × ways of asking: sockets, proxies, and what is told where there is no way (contract §10).

mod diagnostics;

use std::process::Command;

use crate::support::app;
use crate::support::client::{Http, Response};
use crate::support::openssl::{Made, OldServer, Says, Speaks, made};
use crate::support::process::Folder;
use crate::support::proxy::Proxy;
use crate::support::wire::within;

const NAME: &str = "legacy.test";

const HEALTH_CHECK: &str = ", health_check: {path: /health, interval: 1s}";

/// A file for one server that is asked in all ways; `keys`: of the upstream.
fn file(listener: &str, keys: &str) -> String {
    format!(
        "listeners: [{{address: '{listener}'}}]\n\
         upstreams: {{api: {{{keys}{HEALTH_CHECK}}}}}\n\
         passthrough: api\n\
         log: {{access: false}}\n\
         defaults: {{poll: {{interval: 1h}}}}\n\
         routes:\n\
         - {{path: '/r/{{name}}', upstream: api}}\n\
         - {{path: '/b/{{name}}', upstream: api, poll: {{batch: {{path: /batch, param: ids, items: /items, key: /id, \
         window: 1s}}}}}}\n\
         - {{path: '/a/{{name}}', upstream: api, share: authorize}}\n"
    )
}

/// The handshake of a client that sends a credential.
pub(super) const WEBSOCKET: &[(&str, &str)] = &[
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Authorization", "Bearer of-a-client"),
];

/// What each way of asking gets: a poll, a request that passes through, a write, a WebSocket, a request that is
/// answered if the client's own gets the same, two of a batch.
async fn ways(address: std::net::SocketAddr) -> Vec<Response> {
    let mut answers = vec![
        Http::connect(address).await.get("/r/a", &[]).await,
        Http::connect(address).await.get("/x", &[("Cookie", "session=1")]).await,
        Http::connect(address).await.request("POST", "/x", &[("X-Hub", "1")], b"secret").await,
        Http::connect(address).await.get("/ws", WEBSOCKET).await,
        Http::connect(address).await.get("/a/a", &[("Authorization", "Bearer of-a-client")]).await,
    ];
    let (mut one, mut other) = (Http::connect(address).await, Http::connect(address).await);
    let (one, other) = tokio::join!(one.get("/b/x", &[]), other.get("/b/y", &[]));
    answers.extend([one, other]);
    answers
}

const REACHED: [u16; 7] = [200, 200, 200, 101, 200, 200, 200];

/// `check --probe` of this file, as the shell sees it: whether it is well, and all that it prints.
async fn probe(yaml: &str, path: &str) -> (bool, String) {
    let folder = Folder::new();
    let file = folder.write("p.yaml", yaml);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
    command.args(["check", "--polls", "2", "--every", "100ms", "--probe", path, "-c"]).arg(file);
    // Others of this test go on meanwhile.
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic");
    let output = output.expect("the binary runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), text.concat())
}

/// All ways of asking reach the server, and it learns nothing that is the proxy's; or not one byte of a request does.
pub(super) async fn expect(server: &OldServer, keys: &str, is_reached: bool) -> Vec<String> {
    let yaml = file("127.0.0.1:0", keys);
    let app = app::start(&yaml);
    let answers = ways(app.addresses()[0]).await;
    let found: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let (is_well, text) = probe(&yaml, "/r/p").await;
    assert_eq!(is_well, is_reached, "{keys}: {text}");
    if !is_reached {
        assert!(found.iter().all(|status| [502, 503].contains(status)), "{keys}: {found:?}");
        assert_eq!((server.heads(), server.bytes()), (Vec::<String>::new(), 0), "{keys}");
        return Vec::new();
    }
    assert_eq!(found, REACHED, "{keys}");
    let was_checked = || server.requests().iter().any(|line| line.starts_with("GET /health "));
    let health = async {
        while !was_checked() {
            tokio::task::yield_now().await;
        }
    };
    within("a check of health", health).await;
    let asked = server.requests();
    for wanted in
        ["GET /r/a ", "GET /x ", "POST /x ", "GET /ws ", "GET /a/a ", "GET /batch?ids=", "GET /r/p "]
    {
        assert!(asked.iter().any(|line| line.starts_with(wanted)), "{keys}: {wanted} in {asked:?}");
    }
    for head in server.heads() {
        let lower = head.to_lowercase();
        assert!(!lower.contains("proxy-authorization") && !lower.contains("hidden"), "{keys}: {head}");
    }
    server.heads()
}

fn plain() -> Says<'static> {
    Says { alternative: Some(NAME), ..Says::name(NAME) }
}

/// What is said of TLS to reach a server with this certificate, by OpenSSL and by rustls.
fn believing(folder: &Folder, made: &Made) -> [String; 3] {
    let ca = folder.write("ca.pem", &made.pem());
    [
        format!("tls: {{ca: '{}', sni: {NAME}}}", ca.display()),
        format!("tls: {{pin: [{}]}}", made.pins()[0]),
        "tls: {verify: false}".to_owned(),
    ]
}

#[tokio::test]
async fn a_unix_socket_is_asked_in_all_ways_and_sees_localhost_or_the_host_that_is_set() {
    let folder = Folder::new();
    let path = folder.path.join("app.sock");
    let server = OldServer::start_unix(&path, None);
    let servers = format!("servers: ['unix:{}']", path.display());
    for head in expect(&server, &servers, true).await {
        assert!(head.to_lowercase().contains("\r\nhost: localhost\r\n"), "{head}");
    }
    let path = folder.path.join("named.sock");
    let server = OldServer::start_unix(&path, None);
    for head in expect(&server, &format!("servers: ['unix:{}'], host: {NAME}", path.display()), true).await {
        assert!(head.contains("legacy.test\r\n"), "{head}");
    }
}

#[tokio::test]
async fn tls_is_spoken_over_a_unix_socket_and_verified_there() {
    let (folder, own, other) = (Folder::new(), made(plain(), None), made(plain(), None));
    for (number, tls) in believing(&folder, &own).iter().enumerate() {
        let path = folder.path.join(format!("{number}.sock"));
        let server = OldServer::start_unix(&path, Some(&own));
        expect(&server, &format!("servers: ['unix:{}'], {tls}", path.display()), true).await;
    }
    let path = folder.path.join("other.sock");
    let server = OldServer::start_unix(&path, Some(&other));
    for tls in &believing(&folder, &own)[..2] {
        expect(&server, &format!("servers: ['unix:{}'], {tls}", path.display()), false).await;
    }
}

#[tokio::test]
async fn proxies_lead_to_servers_without_tls_in_all_ways() {
    let (http, socks) = (Proxy::http().await, Proxy::socks().await);
    let (squid, dante) = (Proxy::squid().await, Proxy::dante().await);
    for proxy in [&http, &socks, &squid, &dante] {
        let server = OldServer::start_plain();
        let keys = format!("servers: ['{}'], proxy: '{}'", server.address, proxy.url());
        expect(&server, &keys, true).await;
    }
    // Another name than the address is the server's in a tunnel alone.
    let server = OldServer::start_plain();
    let keys = format!("servers: ['{}'], host: {NAME}, proxy: '{}'", server.address, http.url());
    for head in expect(&server, &keys, true).await {
        assert!(head.to_lowercase().contains("\r\nhost: legacy.test\r\n"), "{head}");
    }
    let log = http.log();
    assert!(log.contains("GET http://127.0.0.1:") && log.contains("CONNECT 127.0.0.1:"), "{log}");
}

#[tokio::test]
async fn proxies_lead_to_servers_with_tls_and_no_other_is_believed() {
    let (folder, own) = (Folder::new(), made(plain(), None));
    let believed = believing(&folder, &own);
    let authority = made(Says { authority: Some(true), ..Says::name("Internal CA") }, None);
    let ca = folder.write("authority.pem", &authority.pem());
    let impostor =
        made(Says { alternative: Some("other.test"), ..Says::name("other.test") }, Some(&authority));
    let others = [Proxy::squid().await, Proxy::dante().await];
    for proxy in [Proxy::http().await, Proxy::socks().await].into_iter().chain(others) {
        for tls in &believed {
            let server = OldServer::start(&own, Speaks::default());
            let keys = format!("servers: ['{}'], {tls}, proxy: '{}'", server.address, proxy.url());
            expect(&server, &keys, true).await;
        }
        // A man in the middle with a certificate that is good, for another name.
        let server = OldServer::start(&impostor, Speaks::default());
        for tls in [
            format!("tls: {{ca: '{}', sni: {NAME}}}", ca.display()),
            format!("tls: {{ca: '{}', sni: {NAME}, legacy: true}}", ca.display()),
            believed[1].clone(),
            format!("tls: {{sni: {NAME}}}"),
        ] {
            expect(
                &server,
                &format!("servers: ['{}'], {tls}, proxy: '{}'", server.address, proxy.url()),
                false,
            )
            .await;
        }
    }
}

#[tokio::test]
async fn a_man_in_the_middle_gets_no_byte_without_a_proxy_either() {
    let (folder, authority) =
        (Folder::new(), made(Says { authority: Some(true), ..Says::name("Internal CA") }, None));
    let ca = folder.write("authority.pem", &authority.pem());
    let impostor =
        made(Says { alternative: Some("other.test"), ..Says::name("other.test") }, Some(&authority));
    let (server, path) = (OldServer::start(&impostor, Speaks::default()), folder.path.join("a.sock"));
    let other = OldServer::start_unix(&path, Some(&impostor));
    let client = made(Says::name("pollcast"), Some(&authority));
    let (cert, key) = (folder.write("own.crt", &client.pem()), folder.write("own.key", &client.key_pem()));
    let shown = format!("cert: '{}', key: '{}'", cert.display(), key.display());
    let [pin, cert_pin] = made(plain(), None).pins();
    let by_authority = format!("ca: '{}', sni: {NAME}", ca.display());
    for tls in [
        by_authority.clone(),
        format!("{by_authority}, legacy: true"),
        format!("{by_authority}, {shown}"),
        format!("pin: [{pin}]"),
        format!("pin: [{cert_pin}], legacy: true, {shown}"),
        // The system's authorities, by rustls and by OpenSSL.
        format!("sni: {NAME}"),
        format!("sni: {NAME}, {shown}"),
        format!("sni: {NAME}, legacy: true"),
    ] {
        let keys = format!("tls: {{{tls}}}, host: {NAME}");
        let of_port = format!("servers: ['{}'], {keys}", server.address);
        let of_socket = format!("servers: ['unix:{}'], {keys}", path.display());
        let http2 = format!("{of_port}, http2: true");
        tokio::join!(
            expect(&server, &of_port, false),
            expect(&other, &of_socket, false),
            expect(&server, &http2, false)
        );
    }
    assert_eq!((server.bytes(), other.bytes()), (0, 0), "no byte of a request");
}
