//! Ways to a server × ways of asking: sockets, proxies, and what is told where there is no way (contract §10).

use std::path::Path;
use std::process::Command;

use futures_util::StreamExt;

use crate::support::app;
use crate::support::client::{Http, Response};
use crate::support::legacy::{Legacy, Reply};
use crate::support::openssl::{Made, OldServer, Says, Speaks, made};
use crate::support::ports::unused_address;
use crate::support::process::{Folder, Process};
use crate::support::proxy::{PASSWORD, Proxy};
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
async fn proxies_lead_to_servers_with_tls_and_nobody_else_is_believed() {
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

/// What the log, a client and the probe are told where there is no way.
async fn told(keys: &str, wanted: &str) {
    let yaml = file("PUBLIC_ADDRESS", keys).replace("log:", "admin: {address: ADMIN_ADDRESS}\nlog:");
    let checked = Process::start(&yaml).await;
    checked.wait_stderr("becomes unhealthy").await;
    // A server that is unhealthy is not asked any more.
    let process = Process::start(&yaml.replace(HEALTH_CHECK, "")).await;
    for answer in ways(process.address).await {
        let text = format!("{answer:?} {}", answer.text());
        for hidden in ["the proxy", "hidden", ".sock", "407"] {
            assert!(!text.contains(hidden), "{keys}: a client is told {hidden}: {text}");
        }
        assert!([502, 503, 504].contains(&answer.status), "{keys}: {text}");
    }
    // A poll, what passes through and checks of health have one and the same reason.
    process.wait_stderr("did not pass through").await;
    let log = process.stderr() + &checked.stderr();
    let lines =
        |about: &str| log.lines().filter(|line| line.contains(about)).any(|line| line.contains(wanted));
    for about in ["did not pass through", "becomes unhealthy", "/r/"] {
        assert!(lines(about), "{keys}: {about} does not say {wanted:?}:\n{log}");
    }
    let (is_well, text) = probe(&file("127.0.0.1:0", keys), "/r/a").await;
    assert!(!is_well && text.contains(wanted), "{keys}: {text}");
    assert!(!format!("{log}{text}").contains("hidden"), "{log}{text}");
}

#[tokio::test]
async fn a_socket_that_cannot_be_used_is_told_to_operators_with_its_path() {
    let folder = Folder::new();
    let missing = folder.path.join("missing.sock");
    told(
        &format!("servers: ['unix:{}']", missing.display()),
        &format!("{}: there is no such socket", missing.display()),
    )
    .await;
    let file = folder.write("file.sock", "");
    told(&format!("servers: ['unix:{}']", file.display()), "nothing listens on it").await;
}

#[tokio::test]
async fn a_proxy_that_does_not_lead_on_is_told_to_operators_alone() {
    let (http, socks, server) = (Proxy::http().await, Proxy::socks().await, OldServer::start_plain());
    let (squid, place) = (Proxy::squid().await, server.address);
    let of = |proxy: &str| format!("servers: ['{place}'], proxy: '{proxy}', connect_timeout: 500ms");
    let tls = |keys: String| format!("{keys}, tls: {{}}");
    let (unknown, wrong) = (http.url().replace("ann:hidden-word@", ""), http.url_of("hidden-other"));
    // What listens, and never says anything.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| (silent, address)).unwrap();
    let dead = unused_address();
    // A proxy that is well, and a server that is not there.
    let to_nobody = |proxy: &Proxy| format!("servers: ['{dead}'], proxy: '{}'", proxy.url());
    let (no_way, no_server) =
        ("the proxy answers 407".to_owned(), format!("the proxy cannot reach {dead}: it answers 50"));
    let cases = [
        (of(&unknown), no_way.clone()),
        (tls(of(&unknown)), no_way.clone()),
        // tinyproxy's word for a wrong password, in a tunnel and in the server's place.
        (tls(of(&wrong)), "the proxy does not let pollcast reach".to_owned()),
        (of(&wrong), "the proxy answers 401: it does not take the user".to_owned()),
        (of(&squid.url_of("hidden-other")), no_way.clone()),
        (tls(of(&squid.url_of("hidden-other"))), no_way),
        (of(&socks.url_of("hidden-other")), "does not take the user and the password".to_owned()),
        (of(&format!("socks5://{}", silent.1)), "does not answer".to_owned()),
        (of(&format!("http://ann:hidden@{dead}")), "cannot be connected to".to_owned()),
        (tls(to_nobody(&http)), no_server.clone()),
        (tls(to_nobody(&squid)), no_server.clone()),
        (tls(to_nobody(&socks)), format!("the proxy cannot reach {dead}")),
        (to_nobody(&http), no_server.clone()),
        (to_nobody(&squid), no_server),
    ];
    // Side by side: each waits for checks of health.
    let telling = futures_util::stream::iter(&cases).map(|(keys, wanted)| told(keys, wanted));
    telling.buffer_unordered(4).collect::<Vec<()>>().await;
    assert_eq!(server.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn what_the_api_answers_through_a_proxy_is_the_apis_whatever_its_status() {
    let api = Legacy::start();
    for proxy in [Proxy::http().await, Proxy::squid().await] {
        let app = app::start(&file(
            "127.0.0.1:0",
            &format!("servers: ['{}'], proxy: '{}'", api.address(), proxy.url()),
        ));
        let mut http = Http::connect(app.addresses()[0]).await;
        for (number, status) in [401, 403, 404, 500, 502, 503].into_iter().enumerate() {
            for path in [format!("/x/{number}"), format!("/r/{}{number}", proxy.url().len())] {
                let reply = Reply::text("the API's own").status(status).header("server", "legacy/1");
                api.set(&path, reply.header("www-authenticate", "Basic realm=\"api\""));
                let answer = http.get(&path, &[]).await.expect(status);
                assert_eq!(answer.text(), "the API's own", "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_proxys_password_that_is_replaced_counts_for_the_next_requests() {
    for proxy in [Proxy::http().await, Proxy::socks().await, Proxy::squid().await] {
        for key in ["password_file: 'PATH'", "password: '${file:PATH}'"] {
            let (folder, server) = (Folder::new(), OldServer::start_plain());
            let path = folder.write("password", "hidden-other\n");
            let url = proxy.url().replace(&format!(":{PASSWORD}"), "");
            let key = key.replace("PATH", &path.display().to_string());
            let keys = format!("servers: ['{}'], proxy: {{url: '{url}', {key}}}", server.address);
            let app = app::start(&file("127.0.0.1:0", &keys).replace(HEALTH_CHECK, ""));
            let found: Vec<u16> = ways(app.addresses()[0]).await.iter().map(|answer| answer.status).collect();
            assert!(found.iter().all(|status| [502, 503].contains(status)), "{keys}: {found:?}");
            assert_eq!(server.heads(), Vec::<String>::new(), "{keys}");
            folder.write("password", &format!("{PASSWORD}\n"));
            let get = async |path: &str| Http::connect(app.addresses()[0]).await.get(path, &[]).await.status;
            let reached = async {
                // The file is looked at once a second.
                while get("/x").await != 200 {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            };
            within("an answer with the new password", reached).await;
            assert_eq!((get("/r/new").await, get("/x").await), (200, 200), "{keys}");
        }
    }
}

#[tokio::test]
async fn a_port_that_speaks_tls_or_does_not_is_told_and_the_probe_prints_the_lines() {
    let own = made(plain(), None);
    let (secured, open) = (OldServer::start(&own, Speaks::default()), OldServer::start_plain());
    let keys = format!("servers: ['{}']", secured.address);
    told(&keys, "this port speaks TLS: add tls: {}").await;
    let (_, text) = probe(&file("127.0.0.1:0", &keys), "/r/a").await;
    let [pin, _] = own.pins();
    let lines = format!("tls: {{ sni: {NAME}, pin: [{pin}] }}");
    let other = format!("tls: {{ pin: [{pin}] }}");
    assert!(text.contains(&lines) || text.contains(&other), "{text}");
    let keys = format!("servers: ['{}'], tls: {{}}", open.address);
    told(&keys, "this port does not speak TLS").await;
    let (_, text) = probe(&file("127.0.0.1:0", &keys), "/r/a").await;
    assert!(text.contains("Without `tls` it is reached"), "{text}");
}

#[tokio::test]
async fn curl_goes_the_same_ways() {
    let folder = Folder::new();
    let (path, server) = (folder.path.join("a.sock"), OldServer::start_plain());
    let _on_socket = OldServer::start_unix(&path, None);
    let (http, socks) = (Proxy::http().await, Proxy::socks().await);
    let get = |arguments: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "-m", "10"])
            .args(arguments)
            .output()
            .expect("curl: install Debian's package curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let url = format!("http://{}/x", server.address);
    let path = Path::new(&path).display().to_string();
    assert_eq!(get(&["--unix-socket", &path, "http://localhost/x"]), "{\"a\":1}");
    assert_eq!(get(&["--noproxy", "", "-x", &http.url(), &url]), "{\"a\":1}");
    assert_eq!(get(&["--noproxy", "", "-x", &socks.url(), &url]), "{\"a\":1}");
    assert!(server.heads().iter().all(|head| !head.contains(PASSWORD)));
}
