//! No secret is told: not in the log at its most talkative, not in metrics, not to operators, not in
//! messages to clients.

use std::path::Path;
use std::process::Command;

use crate::support::client::{Http, Sse, Ws};
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Process;

/// Part of every secret of this file, and of nothing else.
const MARK: &str = "hunter2";

fn yaml(legacy: &Legacy) -> String {
    let server = legacy.address();
    format!(
        "listeners: [{{address: PUBLIC_ADDRESS, http2: true}}]\n\
         admin: {{address: ADMIN_ADDRESS, token: admin-hunter2}}\n\
         upstreams: {{legacy: {{servers: ['{server}'], host: api.test}}, gone: {{servers: ['127.0.0.1:1'], connect_timeout: 100ms}}}}\n\
         passthrough: legacy\n\
         version_key: version-key-hunter2-long\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         defaults: {{poll: {{interval: 100ms, backoff: {{min: 100ms, max: 200ms}}}}, stale_after: 0s}}\n\
         routes:\n  \
         - {{path: '/by/{{name}}', upstream: legacy, share: {{by: [authorization, x-api-key, 'cookie:session']}}, ignore_headers: [x-anything]}}\n  \
         - {{path: '/unset/{{name}}', upstream: legacy}}\n  \
         - {{path: '/own/{{name}}', upstream: legacy, share: public, poll: {{headers: {{x-service: own-hunter2}}}}}}\n  \
         - {{path: '/basic/{{name}}', upstream: legacy, share: public, poll: {{auth: {{basic: {{user: ann, password: basic-hunter2}}}}}}}}\n  \
         - {{path: '/bearer/{{name}}', upstream: legacy, share: public, poll: {{auth: {{bearer: bearer-hunter2}}}}}}\n  \
         - {{path: '/grant/{{name}}', upstream: legacy, share: public, poll: {{auth: {{oauth2: {{token_url: 'http://{server}/token?k=url-hunter2', client_id: me, client_secret: secret-hunter2}}}}}}}}\n  \
         - {{path: '/jwt/{{name}}', upstream: legacy, share: public, authenticate: {{jwt: {{algorithms: [HS256], keys: [{{secret: 'jwt-hunter2 and some more characters'}}]}}, keys: {{clients: {{partner: partner-hunter2-long}}}}, token: {{query: access_token, cookie: session}}}}}}\n  \
         - {{path: '/asked/{{name}}', upstream: legacy, share: {{by: ['identity:subject']}}, authenticate: {{forward: {{url: 'http://{server}/check?k=url-hunter2'}}}}}}\n  \
         - {{path: '/authorize/{{name}}', upstream: legacy, share: authorize, poll: {{headers: {{x-service: own-hunter2}}}}}}\n  \
         - {{path: '/gone/{{name}}', upstream: gone, share: public}}\n"
    )
}

/// Every place where a client may put a secret.
const SECRETS: [(&str, &str); 7] = [
    ("authorization", "Bearer authorization-hunter2"),
    ("cookie", "session=cookie-hunter2; theme=theme-hunter2"),
    ("x-api-key", "key-hunter2"),
    ("x-auth-token", "auth-hunter2"),
    ("proxy-authorization", "Basic proxy-hunter2"),
    ("x-anything", "anything-hunter2"),
    ("referer", "https://a.example/?t=referer-hunter2"),
];

fn script(legacy: &Legacy) {
    legacy.set("*", Reply::json("{\"n\":1}").header("set-cookie", "session=set-hunter2; Path=/"));
    legacy.set("/own/plain", Reply::json("{\"n\":1}"));
    legacy.set("/by/plain", Reply::json("{\"n\":1}"));
    legacy.set("/token", Reply::json("{\"access_token\":\"token-hunter2\",\"expires_in\":3600}"));
    let raw =
        |lines: &str| Reply::raw(format!("HTTP/1.1 200 OK\r\n{lines}\r\nContent-Length: 2\r\n\r\n{{}}"));
    legacy.set("/by/space", raw("Set-Cookie : a=upstream-hunter2"));
    legacy.set("/by/bare", raw("Set-Cookie: a=upstream-hunter2\nX: y"));
    legacy.set("/by/folded", raw("Set-Cookie: a=b;\r\n upstream-hunter2"));
    legacy.set("/by/colon", raw("upstream-hunter2"));
    legacy.set("/by/status", Reply::raw("HTTP/1.1 hunter2 OK\r\nX: upstream-hunter2\r\n\r\n"));
    legacy.set("/by/nul", raw("Set-Cookie: a=upstream\0-hunter2"));
    legacy.set("/by/reset", Reply::reset());
    legacy.set("/by/error", Reply::text("trace-hunter2").status(500));
    legacy.set("/unset/reset", Reply::reset());
    legacy.set("/through/reset", Reply::reset());
    legacy.set("/through/bad", raw("Set-Cookie : a=upstream-hunter2"));
    legacy.set("/grant/no", Reply::empty(401));
}

/// Sends every secret everywhere, and returns what own answers said.
async fn traffic(process: &Process) -> String {
    let mut said = String::new();
    for route in
        ["by", "unset", "own", "basic", "bearer", "grant", "jwt", "asked", "authorize", "gone", "through"]
    {
        for name in
            ["plain", "space", "bare", "folded", "colon", "status", "nul", "reset", "error", "no", "bad"]
        {
            let target = format!("/{route}/{name}?access_token=query-hunter2&page=1");
            let mut http = Http::connect(process.address).await;
            let answer = http.get(&target, &SECRETS).await;
            // What passes through is the upstream's own; a problem is ours.
            if answer.header("content-type") == Some("application/problem+json") {
                said += &format!("{answer:?}\n");
            }
        }
        let target = format!("/{route}/plain?api_key=query-hunter2");
        let stream =
            [&SECRETS[..], &[("accept", "text/event-stream"), ("last-event-id", "id-hunter2")]].concat();
        let mut http = Http::connect(process.address).await;
        http.send("GET", &target, &stream, b"").await;
        said += &format!("{:?}\n", http.read_head().await.status);
    }
    let mut sse = Sse::open(process.address, "/by/plain?sig=query-hunter2", &SECRETS).await;
    sse.next_event().await;
    let mut ws = Ws::open(process.address, "/by/plain?sig=query-hunter2", &SECRETS).await;
    ws.next_text().await;
    for (index, shape) in [
        "GET /x?t=hunter2 HTTP/1.1\r\nHost: a\r\nAuthorization : hunter2\r\n\r\n",
        "GET /x?t=hunter2 HTTP/9.1\r\nHost: a\r\nAuthorization: hunter2\r\n\r\n",
        "GET /x?t=hunter2 HTTP/1.1\r\nHost: a@hunter2\r\nAuthorization: hunter2\r\n\r\n",
        "GET /x?t=hunter2 HTTP/1.1\r\nHost: a\r\nContent-Length: hunter2\r\n\r\n",
        "GET /x?t=hunter2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: hunter2\r\n\r\n",
        "GET /x?t=hunter2 HTTP/1.1\r\nHost: a\r\nConnection: hunter2\0\r\n\r\n",
        "POST /x?t=hunter2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nhunter2\r\n",
        "POST /x?t=hunter2 HTTP/1.1\r\nHost: a\r\nCookie: a=hunter2\r\nContent-Length: 50\r\n\r\nhunter2",
        "GET /guarded/..//by/a?t=hunter2 HTTP/1.1\r\nHost: a\r\nCookie: a=hunter2\r\n\r\n",
        "GET /by/a?t=hunter2 HTTP/1.1\r\nHost: a\r\nCookie: session=hunter2; session=hunter22\r\n\r\n",
        "GET /-/pollcast/events?resource=%2Fby%2Fa%3Ft%3Dhunter2 HTTP/1.1\r\nHost: a\r\nCookie: session=hunter2\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nhunter2hunter2hunter2",
    ]
    .iter()
    .enumerate()
    {
        let mut http = Http::connect(process.address).await;
        http.send_raw(shape.as_bytes()).await;
        if index != 10 {
            // Some of them wait for more.
            let _ = http.wire.finish().await;
        }
        let answer = tokio::time::timeout(std::time::Duration::from_secs(5), http.wire.head()).await;
        said += &format!("{answer:?}\n");
    }
    said
}

#[tokio::test]
async fn no_secret_is_in_the_log_or_shown_to_a_peer() {
    let legacy = Legacy::start();
    script(&legacy);
    let process = Process::start_told(&yaml(&legacy), &[("RUST_LOG", Path::new("trace"))]).await;
    let said = traffic(&process).await;
    assert!(!said.contains(MARK), "an answer tells a secret:\n{}", lines_with_mark(&said));
    let mut admin = Http::connect(process.admin).await;
    let refused = admin.get("/metrics", &[("authorization", "Bearer wrong-hunter2")]).await.expect(401);
    assert!(!refused.text().contains(MARK));
    let right = [("authorization", "Bearer admin-hunter2")];
    for path in ["/metrics", "/resources", "/", "/nothing-hunter2?x=hunter2"] {
        let answer = admin.get(path, &right).await;
        assert!(!answer.text().contains(MARK), "{path}:\n{}", lines_with_mark(&answer.text()));
    }
    let listed = admin.get("/resources", &right).await.text();
    assert!(listed.contains("/by/plain?access_token=…&page=1"), "{listed}");
    process.signal("TERM");
    process.wait_exit().await;
    let log = process.stderr();
    assert!(log.contains("poll failed") && log.contains("request ended"), "{log}");
    assert!(!log.contains(MARK), "the log tells a secret:\n{}", lines_with_mark(&log));
}

fn lines_with_mark(text: &str) -> String {
    let shown = text.lines().filter(|line| line.contains(MARK)).take(10);
    shown.map(|line| line.chars().take(600).collect::<String>() + "\n").collect()
}

#[tokio::test]
async fn a_bad_configuration_is_told_without_its_secrets() {
    for yaml in [
        "admin: {address: '127.0.0.1:0', token: 'admin hunter2'}",
        "admin: {address: '127.0.0.1:0', token: [hunter2]}",
        "version_key: hunter2",
        "routes: [{path: /a, upstream: legacy, poll: {headers: {x-key: \"hunter2\\u0001\"}}}]",
        "routes: [{path: /a, upstream: legacy, poll: {auth: {bearer: 'a hunter2'}}}]",
        "routes: [{path: /a, upstream: legacy, poll: {auth: {basic: {user: 'a:b', password: \"hunter2\\u0001\"}}}}]",
        "routes: [{path: /a, upstream: legacy, poll: {auth: {oauth2: {token_url: nonsense, client_id: a, client_secret: hunter2}}}}]",
        "routes: [{path: /a, upstream: legacy, poll: {auth: {oauth2: {token_url: 'http://u:hunter2@a/b', client_id: a, client_secret: b}}}}]",
        "routes: [{path: /a, upstream: legacy, poll: {auth: {oauth2: {token_url: 'ftp://a/b?k=hunter2', client_id: a, client_secret: b}}}}]",
    ] {
        let folder = crate::support::process::Folder::new();
        let text = format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{legacy: {{servers: ['127.0.0.1:1'], host: a}}}}\n{yaml}\n"
        );
        let file = folder.write("pollcast.yaml", &text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
        let output = command.arg("check").arg("--config").arg(&file).output().expect("the binary runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains(MARK), "{yaml}: {said}");
        assert!(!output.status.success(), "{yaml}: {said}");
    }
}
