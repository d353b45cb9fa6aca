//! Claims about secrets in files, and about servers that are reached as one of `upstreams` is.

use super::super::identity::{JwksSource, KeyMaterial};
use super::super::{Auth, Config, Secret};
use super::tls;

const SECRET: &str = "hunter2 of thirty-two characters, or some more";

fn loaded(files: &tls::Files, text: &str) -> Config {
    let config = super::super::load::load_with(text, "pollcast.yaml", files.directory(), &|_| None);
    config.unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn secrets_stand_in_files_whatever_they_are_for_and_are_not_printed() {
    let files = tls::Files::new("secrets");
    files.write("secret", &format!("{SECRET}\n"));
    files.write("token", "hunter2-without-a-space\n");
    let config = loaded(
        &files,
        "listeners: [{ address: 127.0.0.1:8080, hosts: [a.test] }]
admin: { address: 127.0.0.1:9090, token: '${file:token}' }
version_key: ${file:secret}
upstreams:
  api: { servers: [127.0.0.1:3000], proxy: { url: 'http://ann@proxy:3128', password_file: secret } }
  other: { servers: [127.0.0.1:3001], proxy: { url: 'socks5://ann@proxy:1080', password: '${file:secret}' } }
routes:
  - { path: /basic, upstream: api, poll: { auth: { basic: { user: ann, password_file: secret } } } }
  - { path: /digest, upstream: api, poll: { auth: { digest: { username: ann, password: '${file:secret}' } } } }
  - path: /oauth
    upstream: other
    poll: { auth: { oauth2: { token_url: 'https://a/t', client_id: c, client_secret: '${file:secret}' } } }
    authenticate:
      keys: { clients: { ann: '${file:secret}' } }
      jwt: { issuer: [a], algorithms: [HS256], keys: [{ secret: '${file:secret}' }] }
",
    );
    assert_eq!(config.version_key, Some(Secret(SECRET.to_owned())));
    let token = config.admin.as_ref().and_then(|admin| admin.token.as_ref());
    assert_eq!(token.map(|token| token.0.as_str()), Some("hunter2-without-a-space"));
    for upstream in &config.upstreams {
        let proxy = upstream.proxy.as_ref().expect("a proxy");
        assert_eq!(proxy.credentials, Some(("ann".to_owned(), Secret(SECRET.to_owned()))));
        assert!(proxy.password_file.is_some());
    }
    let auth = |at: usize| config.routes[at].poll.auth.as_ref().expect("auth");
    assert!(matches!(auth(0), Auth::File(file) if file.first.as_bytes().starts_with(b"Basic ")));
    assert!(matches!(auth(1), Auth::Digest(of) if of.password.0 == SECRET && of.file.is_some()));
    assert!(
        matches!(auth(2), Auth::ClientCredentials(of) if of.client_secret.0 == SECRET && of.secret_file.is_some())
    );
    let who = config.routes[2].authenticate.as_ref().expect("authenticate");
    assert_eq!(who.keys.as_ref().map(|keys| keys.clients[0].1.0.as_str()), Some(SECRET));
    let key = &who.jwt.as_ref().expect("jwt").issuers[0].keys[0].material;
    assert!(matches!(key, KeyMaterial::Secret(secret) if secret.0 == SECRET));
    let shown = format!("{config:?} {config:#?}");
    // What HTTP basic authentication makes of it, too.
    assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVyMi"), "{shown}");
}

#[test]
fn servers_of_tokens_of_keys_and_of_questions_are_reached_as_their_upstream_is() {
    let files = tls::Files::new("servers");
    let config = loaded(
        &files,
        "listeners: [{ address: 127.0.0.1:8080, hosts: [a.test] }]
upstreams:
  api: { servers: [127.0.0.1:3000], proxy: 'http://ann:hunter2@proxy:3128' }
  auth: { servers: ['unix:/run/auth.sock'], budget: { rate: 1/s }, http2: true }
routes:
  - path: /named
    upstream: api
    poll: { auth: { oauth2: { token_url: 'http://login.test/token', client_id: c, client_secret: s, upstream: auth } } }
    authenticate:
      jwt: { issuer: [a], jwks: 'http://login.test/keys?v=1', upstream: auth }
      forward: { url: 'http://login.test/check', upstream: auth }
  - path: /by-url
    upstream: api
    poll: { auth: { oauth2: { token_url: 'https://login.test/token', client_id: c, client_secret: s } } }
    authenticate: { forward: { url: 'https://login.test/check' } }
",
    );
    let [named, by_url] = [0, 1].map(|at| &config.routes[at]);
    let tokens = |route: &super::super::Route| match &route.poll.auth {
        Some(Auth::ClientCredentials(of)) => of.server.clone(),
        other => panic!("{other:?}"),
    };
    let who = named.authenticate.as_ref().expect("authenticate");
    let keys = match who.jwt.as_ref().and_then(|jwt| jwt.issuers[0].jwks.as_ref()).map(|jwks| &jwks.source) {
        Some(JwksSource::Url { server, path }) => {
            assert_eq!(path, "/keys?v=1");
            server.clone()
        }
        other => panic!("{other:?}"),
    };
    let questions = who.forward.as_ref().expect("forward").server.clone();
    for server in [tokens(named), keys, questions] {
        assert_eq!(server.servers[0].address, "unix:/run/auth.sock");
        assert_eq!(server.host.as_deref(), Some("login.test"));
        assert!(server.http2 && server.proxy.is_none() && server.tls.is_none());
        assert!(server.budget.is_none(), "what is asked for is nobody's poll");
        assert!(!["api", "auth"].contains(&server.name.as_str()), "connections of their own");
    }
    // Tokens go the way of the API that they are for, questions about clients to the URL.
    let server = tokens(by_url);
    assert_eq!(server.proxy, config.upstreams[0].proxy);
    assert!(server.name.contains("proxy:3128") && !server.name.contains("hunter2"), "{}", server.name);
    let asked = by_url.authenticate.as_ref().and_then(|who| who.forward.as_ref()).expect("forward");
    assert_eq!(asked.server.proxy, None);
    assert!(config.warnings.iter().all(|warning| !warning.to_string().contains("uses this upstream")));
}
