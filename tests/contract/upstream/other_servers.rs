//! Contract §10: the servers of tokens, of key sets and of questions about clients are reached as `upstreams` are: over
//! sockets, through proxies, verified as their `tls` says.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::json;
use tokio::net::{TcpStream, UnixListener};

use crate::contract::sharing::identity::keys::{signed, signer};
use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Folder;
use crate::support::proxy::{PASSWORD, Proxy};
use crate::support::tls::Authority;

/// Listens on a socket and leads on to an address.
fn lead_on(path: &Path, to: SocketAddr) {
    let listener = UnixListener::bind(path).expect("a socket");
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = TcpStream::connect(to).await.expect("the server");
                // Its end is seen by both sides.
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
}

/// An API, and a server that gives tokens, keys and answers about clients, under a name that no resolver knows.
struct Scene {
    api: Legacy,
    auth: Legacy,
    token: String,
}

impl Scene {
    fn new(auth: Legacy) -> Scene {
        let (key, set) = signer("first");
        auth.set("/token", Reply::json(json!({ "access_token": "t1", "expires_in": 3600 }).to_string()));
        auth.set("/keys", Reply::json(set.to_string()));
        auth.set("/check", Reply::empty(204).header("x-auth-request-user", "ann"));
        let api = Legacy::start();
        for path in ["/t/a", "/j/a", "/f/a"] {
            api.set(path, Reply::json("{}"));
        }
        Scene { api, auth, token: signed(&key, "first") }
    }

    /// The statuses of what needs a token, a key set, and an answer about the client; `way`: keys of the upstream that
    /// leads to the server.
    async fn ask(&self, scheme: &str, way: &str) -> [u16; 3] {
        let (api, base) = (self.api.address(), format!("{scheme}://auth.invalid"));
        let app = app::start(&format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\n\
             log: {{access: false}}\n\
             upstreams: {{api: {{servers: ['{api}'], host: api.test}}, auth: {{{way}}}}}\n\
             defaults: {{share: public, poll: {{interval: 1h}}}}\n\
             routes:\n\
             - {{path: '/t/{{x}}', upstream: api, poll: {{auth: {{oauth2: {{token_url: '{base}/token', client_id: c, \
             client_secret: s, upstream: auth}}}}}}}}\n\
             - {{path: '/j/{{x}}', upstream: api, authenticate: {{jwt: {{jwks: '{base}/keys', issuer: [me], upstream: auth}}}}}}\n\
             - {{path: '/f/{{x}}', upstream: api, authenticate: {{forward: {{url: '{base}/check', upstream: auth}}}}}}\n"
        ));
        let mut http = Http::connect(app.addresses()[0]).await;
        let credential = [("authorization", self.token.as_str())];
        let mut found = [0; 3];
        for (status, (path, headers)) in
            found.iter_mut().zip([("/t/a", &[][..]), ("/j/a", &credential), ("/f/a", &credential)])
        {
            *status = http.get(path, headers).await.status;
        }
        found
    }

    async fn expect_reached(&self, scheme: &str, way: &str) {
        assert_eq!(self.ask(scheme, way).await, [200; 3], "{way}");
        assert_eq!(self.api.seen("/t/a")[0].headers("authorization"), ["Bearer t1"], "{way}");
        for path in ["/token", "/keys", "/check"] {
            let seen = self.auth.seen(path);
            assert!(!seen.is_empty(), "{way}: {path}");
            assert!(seen.iter().all(|seen| seen.headers("host") == ["auth.invalid"]), "{way}: {seen:?}");
            let of_the_proxy = |seen: &crate::support::legacy::Seen| {
                seen.header("proxy-authorization").is_some()
                    || String::from_utf8_lossy(&seen.head).contains(PASSWORD)
            };
            assert!(!seen.iter().any(of_the_proxy), "{way}: {seen:?}");
        }
        self.api.forget();
        self.auth.forget();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_key_sets_and_questions_go_over_sockets_and_through_proxies() {
    let (folder, scene) = (Folder::new(), Scene::new(Legacy::start()));
    let path = folder.path.join("auth.sock");
    lead_on(&path, scene.auth.address());
    scene.expect_reached("http", &format!("servers: ['unix:{}']", path.display())).await;
    for proxy in [Proxy::http().await, Proxy::socks().await] {
        let way = format!("servers: ['{}'], proxy: '{}'", scene.auth.address(), proxy.url());
        scene.expect_reached("http", &way).await;
        if proxy.url().starts_with("http") {
            let log = proxy.log();
            assert!(log.contains(&format!("CONNECT {}", scene.auth.address())), "{log}");
        }
        drop(proxy);
        // Nothing goes around it.
        assert_eq!(scene.ask("http", &way).await, [502, 503, 503], "{way}");
        assert!(scene.auth.all_seen().is_empty(), "{way}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_key_sets_and_questions_go_to_no_server_that_tls_does_not_believe() {
    let (folder, authority, other) = (Folder::new(), Authority::new(), Authority::new());
    let scene = Scene::new(Legacy::start_tls(&authority.certify(&["auth.test"])));
    let ca = |name: &str, of: &Authority| folder.write(name, &of.pem).display().to_string();
    let (own, strange) = (ca("own.pem", &authority), ca("other.pem", &other));
    let server = format!("servers: ['{}']", scene.auth.address());
    let path = folder.path.join("auth.sock");
    lead_on(&path, scene.auth.address());
    let http = Proxy::http().await;
    for server in [
        server.clone(),
        format!("{server}, proxy: '{}'", http.url()),
        format!("servers: ['unix:{}']", path.display()),
    ] {
        for legacy in ["", ", legacy: true"] {
            let tls = |ca: &str, name: &str| format!("{server}, tls: {{ca: '{ca}', sni: {name}{legacy}}}");
            scene.expect_reached("https", &tls(&own, "auth.test")).await;
            for way in [tls(&strange, "auth.test"), tls(&own, "other.test")] {
                assert_eq!(scene.ask("https", &way).await, [502, 503, 503], "{way}");
                assert!(scene.auth.all_seen().is_empty(), "{way}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_of_an_api_behind_a_proxy_are_behind_it_too() {
    let scene = Scene::new(Legacy::start());
    let (proxy, token_server) = (Proxy::http().await, scene.auth.address());
    let yaml = |more: &str| {
        format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\n\
             log: {{access: false}}\n\
             upstreams: {{api: {{servers: ['{}'], host: '{}', proxy: '{}'}}, direct: {{servers: ['{token_server}']}}}}\n\
             routes: [{{path: '/t/{{x}}', upstream: api, share: public, poll: {{interval: 1h, auth: {{oauth2: \
             {{token_url: 'http://{token_server}/token', client_id: c, client_secret: s{more}}}}}}}}}]\n",
            scene.api.address(),
            scene.api.address(),
            proxy.url()
        )
    };
    let asks_for_it = format!("POST http://{token_server}/token");
    for (more, goes_through) in [(", upstream: direct", false), ("", true)] {
        let app = app::start(&yaml(more));
        Http::connect(app.addresses()[0]).await.get("/t/a", &[]).await.expect(200);
        assert_eq!(proxy.log().contains(&asks_for_it), goes_through, "{more}: {}", proxy.log());
    }
    assert_eq!(scene.auth.count("/token"), 2);
}
