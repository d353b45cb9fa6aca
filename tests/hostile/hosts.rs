//! Contract §1, §10: the configuration alone says which server is asked, whatever name a client sends; and no client
//! reaches the admin surface through a listener for clients.

use std::os::unix::fs::PermissionsExt;

use super::{Fate, Range, attempt_all, yaml};
use crate::support::app;
use crate::support::client::{Http, Sse};
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::{Folder, Process};

fn with_routes(legacy: &Legacy, routes: &str) -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         log: {{access: false}}\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         defaults: {{poll: {{interval: 100ms, backoff: {{min: 100ms, max: 100ms}}}}, share: public, stale_after: 0s}}\n\
         routes:\n{routes}\n",
        legacy.address()
    )
}

#[tokio::test]
async fn no_word_of_a_client_leads_a_request_to_another_server() {
    let range = Range::open();
    let elsewhere = Legacy::start();
    let there = elsewhere.address();
    let named = [
        format!("Host: {there}"),
        format!("Host: a\r\nX-Forwarded-Host: {there}"),
        format!("Host: a\r\nX-Forwarded-For: {}", there.ip()),
        format!("Host: a\r\nX-Forwarded-Server: {there}\r\nX-Host: {there}"),
        format!("Host: a\r\nForwarded: host=\"{there}\""),
        format!("Host: a\r\nX-Original-URL: http://{there}/x\r\nX-Rewrite-URL: //{there}/x"),
        format!("Host: a\r\nReferer: http://{there}/\r\nOrigin: http://{there}"),
    ];
    let targets: Vec<String> =
        (0..named.len()).flat_map(|number| [format!("/x{number}"), format!("/open/{number}")]).collect();
    let mut cases = Vec::new();
    for (fields, targets) in named.iter().zip(targets.chunks(2)) {
        for target in targets {
            cases.push((format!("GET {target} HTTP/1.1\r\n{fields}\r\n\r\n"), Fate::Seen(target)));
        }
    }
    for line in [
        format!("GET http://a@{there}/x"),
        format!("GET http://a\\@{there}/x"),
        format!("GET http:{there}/x"),
        format!("GET http://{there}/x"),
        format!("GET {there}"),
        format!("CONNECT {there}"),
    ] {
        cases.push((format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"), Fate::Dropped));
    }
    cases.push((format!("GET http://{there}/y HTTP/1.1\r\nHost: {there}\r\n\r\n"), Fate::Seen("/y")));
    cases.push((format!("GET http://{there}/y HTTP/1.0\r\n\r\n"), Fate::SeenLast("/y")));
    attempt_all(&range, "servers named by clients", &cases).await;
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn no_answer_leads_a_poll_to_another_server() {
    let (legacy, elsewhere) = (Legacy::start(), Legacy::start());
    elsewhere.set("*", Reply::json("{\"items\":[]}"));
    let there = elsewhere.address();
    let app = app::start(&with_routes(
        &legacy,
        "  - {path: '/redirect/{name}', upstream: legacy, poll: {follow_redirects: 5}}\n  \
         - {path: '/feed/{name}', upstream: legacy, feed: {items: /items, id: /id, pages: {next: /next}}}\n  \
         - {path: '/linked/{name}', upstream: legacy, feed: {items: /items, id: /id, pages: {}}}",
    ));
    let mut http = Http::connect(app.addresses()[0]).await;
    for (number, location) in [
        format!("http://{there}/x"),
        format!("//{there}/x"),
        format!("https://{there}/x"),
        format!("http://{}@{there}/x", legacy.address()),
        format!("http://{there}#@{}/x", legacy.address()),
        format!("http:\\\\{there}\\x"),
        format!("\\\\{there}\\x"),
        format!("/\\{there}/x"),
        format!("gopher://{there}/x"),
        "file:///etc/passwd".to_owned(),
        format!("http://{there}:{}/x", there.port()),
    ]
    .iter()
    .enumerate()
    {
        let path = format!("/redirect/{number}");
        legacy.set(&path, Reply::empty(302).header("location", location));
        let answer = http.get(&path, &[]).await;
        assert!(
            answer.status == 502 || answer.status == 404 || answer.status == 302,
            "{location}: {answer:?}"
        );
    }
    for (number, next) in [
        format!("http://{there}/feed/A?page=2"),
        format!("//{there}/feed/A?page=2"),
        format!("http://{there}?page=2"),
        format!("http://{there}/../feed/A?page=2&k=hunter2"),
    ]
    .iter()
    .enumerate()
    {
        let body = |id: u32| format!("{{\"items\":[{{\"id\":{id}}}],\"next\":\"{next}\"}}");
        for route in ["feed", "linked"] {
            let path = format!("/{route}/{number}");
            let link = format!("<{next}>; rel=\"next\"");
            legacy.set(&path, Reply::json(body(1)).header("link", &link));
            let mut sse = Sse::open(app.addresses()[0], &path, &[]).await;
            legacy.wait_count(&path, 2).await;
            legacy.set(&path, Reply::json(body(9)).header("link", &link));
            let event = sse.next_event().await;
            assert!(!event.data.contains("hunter2"), "{next}: {event:?}");
            legacy.wait_count(&path, 4).await;
        }
    }
    assert_eq!(elsewhere.connections(), 0);
    // The answer to a write names what to poll again, never where.
    legacy.set("/write", Reply::empty(201).header("location", &format!("http://{there}/feed/0")));
    http.request("POST", "/write", &[], b"x").await.expect(201);
    let mut admin = Http::connect(app.admin_address().expect("an admin listener")).await;
    let answer = admin.request("POST", &format!("/-/poll?url=http://{there}/feed/0"), &[], b"").await;
    assert!(answer.status == 404 || answer.status == 200, "{answer:?}");
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn the_admin_surface_is_not_behind_any_listener_for_clients() {
    let range = Range::open();
    let admin = range.app.admin_address().expect("an admin listener");
    for target in ["/metrics", "/resources", "/live", "/ready", "/-/poll?url=/open/a"] {
        for request in [
            format!("GET {target} HTTP/1.1\r\nHost: {admin}\r\n\r\n"),
            format!("GET http://{admin}{target} HTTP/1.1\r\nHost: {admin}\r\n\r\n"),
            format!(
                "POST {target} HTTP/1.1\r\nHost: localhost:{}\r\nX-Forwarded-Host: {admin}\r\nContent-Length: 0\r\n\r\n",
                admin.port()
            ),
        ] {
            range.legacy.forget();
            let mut http = Http::connect(range.address()).await;
            http.send_raw(request.as_bytes()).await;
            // It is the upstream's path like any other.
            assert_eq!(http.read_response().await.expect(200).text(), "\"ok\"", "{request:?}");
            assert_eq!(range.legacy.all_seen()[0].target, target);
        }
        for prefixed in [
            format!("/-/pollcast{target}"),
            format!("/-/pollcast/admin{target}"),
            format!("/-/pollcast/..{target}"),
        ] {
            Http::connect(range.address()).await.get(&prefixed, &[]).await.expect(404);
        }
    }
    // A listener for clients and the admin surface never share a port, however they are written.
    let legacy = Legacy::start();
    for (listener, address) in [
        ("0.0.0.0:7001", "127.0.0.1:7001"),
        ("127.0.0.1:7001", "0.0.0.0:7001"),
        ("'[::]:7001'", "127.0.0.1:7001"),
        ("127.0.0.1:7001", "'[::]:7001'"),
        ("'[::]:7001'", "0.0.0.0:7001"),
        ("'[::1]:7001'", "'[0:0:0:0:0:0:0:1]:7001'"),
    ] {
        let text = yaml(&legacy, "", "").replacen("'127.0.0.1:0'", listener, 1).replacen(
            "'127.0.0.1:0'",
            address,
            1,
        );
        let problems = pollcast::config::load_str(&text, "a.yaml", std::path::Path::new(".")).err();
        let said = problems.map(|problems| problems.to_string()).unwrap_or_default();
        assert!(said.contains("also a listener's"), "{listener} {address}: {said}");
    }
}

#[tokio::test]
async fn the_admin_surface_answers_no_other_sites_pages() {
    let range = Range::open();
    let admin = range.app.admin_address().expect("an admin listener");
    let own = format!("http://{admin}");
    for (fields, status) in [
        (&[][..], 200),
        (&[("host", "localhost:9090")], 200),
        (&[("host", "[::1]")], 200),
        (&[("origin", own.as_str())], 200),
        (&[("origin", "https://evil.example")], 403),
        (&[("origin", "null")], 403),
        // DNS rebinding: a name of somebody's that leads here.
        (&[("host", "evil.example")], 403),
        (&[("host", "evil.example:9090"), ("origin", "http://evil.example:9090")], 403),
        (&[("host", "localhost.evil.example")], 403),
        (&[("host", "127.0.0.1.evil.example")], 403),
    ] {
        for (method, target) in
            [("GET", "/resources"), ("GET", "/metrics"), ("POST", "/-/poll?url=/open/none")]
        {
            let answer = Http::connect(admin).await.request(method, target, fields, b"").await;
            let wanted = if method == "POST" && status == 200 { 404 } else { status };
            assert_eq!(answer.status, wanted, "{method} {target} {fields:?}: {answer:?}");
        }
        // Health checks come under any name.
        Http::connect(admin).await.get("/ready", fields).await.expect(200);
    }
}

#[tokio::test]
async fn own_documents_are_guarded_and_name_no_versions() {
    let range = Range::open();
    let mut public = Http::connect(range.address()).await;
    let mut admin = Http::connect(range.app.admin_address().expect("an admin listener")).await;
    let mut answers = vec![
        public.get("/guarded//a", &[]).await.expect(400),
        public.get("/-/pollcast/no", &[]).await.expect(404),
        public.get("/guarded/a?_push=sse", &[("cookie", "u=1")]).await.expect(401),
    ];
    for path in ["/metrics", "/resources", "/", "/no", "/live", "/ready"] {
        answers.push(admin.get(path, &[]).await);
    }
    answers.push(admin.request("DELETE", "/", &[], b"").await.expect(405));
    for answer in &answers {
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{answer:?}");
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{answer:?}"
        );
    }
    range.legacy.set("/open/v", Reply::json("1"));
    answers.push(public.get("/open/v", &[]).await.expect(200));
    answers.push(public.get("/after", &[]).await.expect(200));
    let mut broken = Http::connect(range.address()).await;
    broken.send_raw(b"nonsense\r\n\r\n").await;
    answers.push(broken.read_response().await.expect(400));
    for answer in answers {
        for name in ["server", "via", "x-powered-by", "x-pollcast-version"] {
            let said = answer.header(name).unwrap_or_default();
            assert!(!said.contains(|c: char| c.is_ascii_digit()), "{name}: {said:?}");
        }
    }
}

#[tokio::test]
async fn the_admin_surface_can_be_a_socket_of_the_user_alone() {
    let legacy = Legacy::start();
    let folder = Folder::new();
    let path = folder.path.join("admin.sock");
    let text = yaml(&legacy, "", "").replacen("'127.0.0.1:0'", "PUBLIC_ADDRESS", 1).replacen(
        "'127.0.0.1:0'",
        &format!("'unix:{}'", path.display()),
        1,
    );
    for round in 0..2 {
        // The second time it stands there still.
        let process = Process::start(&text).await;
        process.wait_stderr("listening").await;
        let mode = std::fs::metadata(&path).expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let stream = tokio::net::UnixStream::connect(&path).await.expect("the admin socket");
        let mut admin = Http::over(stream, "localhost");
        assert!(admin.get("/metrics", &[]).await.expect(200).text().contains("pollcast_build_info"));
        let ready = std::process::Command::new(env!("CARGO_BIN_EXE_pollcast"))
            .args(["ready", "--admin", &format!("unix:{}", path.display())])
            .output()
            .expect("the binary runs");
        assert!(ready.status.success(), "{ready:?}");
        let second = Process::start_unready(&text);
        assert!(!second.wait_exit().await.success());
        assert!(second.stderr().contains("another process listens there"), "{}", second.stderr());
        process.signal(if round == 0 { "KILL" } else { "TERM" });
        process.wait_exit().await;
    }
}

#[tokio::test]
async fn the_listeners_own_address_passes_no_guard_of_its_host() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("\"secret\""));
    let route = "- {path: /adm, upstream: legacy, hosts: [www.example.com], share: {by: ['identity:subject']}, \
                 authenticate: {keys: {clients: {b: billing-key-0123456789}}}}";
    let yaml = with_routes(&legacy, route)
        .replacen("[{address: '127.0.0.1:0'}]", "[{address: '127.0.0.1:0', hosts: [www.example.com]}]", 1)
        .replacen("']}}", "'], host: api.internal}}", 1);
    let app = app::start(&yaml);
    let address = app.addresses()[0];
    let port = address.port();
    for host in ["www.example.com".to_owned(), "127.0.0.1".to_owned(), format!("127.0.0.1:{port}")] {
        for method in ["GET", "POST"] {
            let mut http = Http::connect(address).await;
            let head = format!("{method} /adm HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
            http.send_raw(head.as_bytes()).await;
            http.read_response().await.expect(401);
        }
    }
    assert!(legacy.all_seen().is_empty());
}
