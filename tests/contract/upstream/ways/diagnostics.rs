//! What operators are told of a way that leads nowhere, and what the API says through a proxy.

use std::path::Path;
use std::process::Command;

use futures_util::StreamExt;

use super::{HEALTH_CHECK, NAME, file, plain, probe, ways};
use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};
use crate::support::openssl::{OldServer, Speaks, made};
use crate::support::ports::unused_address;
use crate::support::process::{Folder, Process};
use crate::support::proxy::{PASSWORD, Proxy};
use crate::support::wire::within;

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
    let of = |proxy: &str| format!("servers: ['{place}'], proxy: '{proxy}'");
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
        (of(&format!("socks5://{}", silent.1)) + ", connect_timeout: 1s", "does not answer".to_owned()),
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
        let keys = format!("servers: ['{}'], proxy: '{}'", api.address(), proxy.url());
        let app = app::start(&file("127.0.0.1:0", &keys).replace(HEALTH_CHECK, ""));
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
