//! Contract §12: which hosts are served, one reading of each field name, and HTTP/2 in the form of HTTP/1.

use super::support::{Extra, http, start, start_with};
use crate::contract::Stand;
use crate::support::client::{Http, connect};
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;
use crate::support::ws::Ws;

#[tokio::test]
async fn a_listener_with_hosts_sends_others_away() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("1"));
    let app = start_with(&legacy, Extra { listener: ", hosts: [api.example.com]", ..Extra::default() });
    let own = app.addresses()[0].to_string();
    for (host, status) in [
        ("api.example.com", 200),
        ("API.example.com.:8080", 200),
        (own.as_str(), 200),
        ("127.0.0.1", 200),
        ("evil.example", 421),
        ("api.example.com.evil.example", 421),
        ("10.0.0.1", 421),
    ] {
        for path in ["/r/a", "/x"] {
            let answer = http(&app).await.get(path, &[("host", host)]).await;
            assert_eq!(answer.status, status, "{host} {path}: {answer:?}");
        }
        // Never for what is pollcast's own.
        http(&app).await.get("/-/pollcast/no", &[("host", host)]).await.expect(404);
    }
    let hosts: Vec<_> =
        legacy.all_seen().iter().filter_map(|seen| seen.header("host").map(str::to_owned)).collect();
    assert!(!hosts.iter().any(|host| host.contains("evil") || host == "10.0.0.1"), "{hosts:?}");
}

#[tokio::test]
async fn a_helper_for_any_host_polls_for_hosts_that_are_served_only() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("1"));
    let extra = Extra {
        listener: ", hosts: [api.example.com]",
        route: ", share: public, poll: {interval: 1h, auth: {bearer: OPERATOR}}",
        ..Extra::default()
    };
    let app = start_with(&legacy, extra);
    let many = "/-/pollcast/events?resource=/r/a";
    let mut sse = Sse::open(app.addresses()[0], many, &[("host", "evil.example")]).await;
    sse.next_event().await;
    let asked = &legacy.seen("/r/a")[0];
    assert_eq!(asked.header("host"), Some("api.example.com"));
    assert_eq!(asked.header("authorization"), Some("Bearer OPERATOR"));
    // Nor does the address that health checks name lead it anywhere.
    let own = app.addresses()[0].to_string();
    http(&app).await.get("/r/b", &[("host", own.as_str())]).await.expect(200);
    assert_eq!(legacy.seen("/r/b")[0].header("host"), Some("api.example.com"));
}

#[tokio::test]
async fn other_spellings_of_fields_that_mean_something_are_refused() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("1"));
    let app = start(&legacy, ", share: {by: [x-tenant]}");
    for name in [
        "X_Forwarded_For",
        "X_Forwarded_Proto",
        "X-Forwarded_Host",
        "X.Forwarded.User",
        "X_Real_IP",
        "X.Pollcast.Subject",
        "X-Pollcast.Subject",
        "X_Pollcast_Subject",
        "Content_Length",
        "Transfer_Encoding",
        "Proxy_Authorization",
    ] {
        for (method, path) in [("GET", "/x"), ("GET", "/r/a"), ("POST", "/r/a"), ("GET", "/r//a")] {
            http(&app).await.request(method, path, &[(name, "forged")], b"").await.expect(400);
        }
    }
    http(&app).await.get("/r/a", &[("X_Tenant", "ann")]).await.expect(400);
    http(&app).await.get("/-/pollcast/events?resource=/r/a", &[("X_Tenant", "ann")]).await.expect(400);
    assert_eq!(legacy.all_seen().len(), 0);
    // What no route lists, and names that APIs use.
    for (name, path) in [
        ("X_Tenant", "/x"),
        ("access_token", "/x"),
        ("api_key", "/x"),
        ("client_secret", "/x"),
        ("x_own", "/x"),
    ] {
        http(&app).await.get(path, &[(name, "1")]).await.expect(200);
        let seen = legacy.all_seen().pop().expect("it came");
        assert_eq!(seen.header(name), Some("1"), "{name}");
    }
    let refused = http_metric(&app, "framing").await;
    assert!(refused >= 40.0, "{refused}");
}

async fn http_metric(app: &pollcast::app::App, reason: &str) -> f64 {
    let text = super::support::admin(app).await.get("/metrics", &[]).await.text();
    let wanted = format!("pollcast_refusals_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&wanted)?.parse().ok()).unwrap_or(0.0)
}

#[tokio::test]
async fn forwarded_fields_of_strangers_are_removed_as_a_family() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("1"));
    let forged = [
        ("x-forwarded-user", "root"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
    ];
    let app = start(&legacy, "");
    http(&app).await.get("/x", &forged).await.expect(200);
    let seen = &legacy.seen("/x")[0];
    for name in ["x-forwarded-user", "x-forwarded-prefix", "x-forwarded-port", "x-real-ip", "forwarded"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.headers("x-forwarded-for"), ["127.0.0.1"]);
    // A stranger's word puts no client in a class.
    let by = start(&legacy, ", share: {by: [x-forwarded-user]}, poll: {interval: 1h}");
    http(&by).await.get("/r/a", &forged).await.expect(200);
    assert!(legacy.seen("/r/a").iter().all(|seen| seen.header("x-forwarded-user").is_none()));
    // A proxy of the operator's may say them.
    legacy.forget();
    let app = start_with(&legacy, Extra { listener: ", trusted_proxies: [127.0.0.1]", ..Extra::default() });
    http(&app).await.get("/x", &forged).await.expect(200);
    let seen = &legacy.seen("/x")[0];
    assert_eq!(seen.header("x-forwarded-user"), Some("root"));
    assert_eq!(seen.header("x-forwarded-for"), Some("10.0.0.1, 127.0.0.1"));
    // Then the headers are credentials, and no other client gets what they brought.
    let own = http(&app).await.get("/r/a", &[("x-forwarded-user", "root")]).await.expect(200);
    assert!(own.header("cache-status").is_some_and(|status| status.contains("credentials")), "{own:?}");
}

#[tokio::test]
async fn http2_reaches_the_upstream_in_the_form_of_http1() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("1"));
    let app = start_with(&legacy, Extra { listener: ", http2: true", ..Extra::default() });
    let mut h2 = H2::over(connect(app.addresses()[0]).await, "localhost").await;
    h2.get("/x", &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]).await.expect(200);
    assert_eq!(legacy.seen("/x")[0].headers("cookie"), ["a=1; b=2; c=3"]);
    h2.get("/x", &[("content-length", "0"), ("content-length", "0")]).await.expect(400);
    let mut h2 = H2::over(connect(app.addresses()[0]).await, "localhost").await;
    h2.get("/x", &[("origin", "http://a"), ("origin", "http://b")]).await.expect(400);
    assert_eq!(legacy.count("/x"), 1);
}

#[tokio::test]
async fn a_class_sees_the_cookies_of_http2_joined() {
    let stand = Stand::with("poll: {interval: 1h}, share: {by: ['cookie:session']}", "");
    stand.legacy.answer_with("/prices/A", |seen| {
        Reply::json(serde_json::json!({ "cookies": seen.headers("cookie").join("|") }).to_string())
    });
    let app = start_with(
        &stand.legacy,
        Extra {
            listener: ", http2: true",
            top: "",
            route: ", share: {by: ['cookie:session']}, poll: {interval: 1h}",
            ..Extra::default()
        },
    );
    stand.legacy.answer_with("/r/a", |seen| {
        Reply::json(serde_json::json!({ "cookies": seen.headers("cookie").join("|") }).to_string())
    });
    let mut h2 = H2::over(connect(app.addresses()[0]).await, "localhost").await;
    let answer = h2.get("/r/a", &[("cookie", "_ga=1"), ("cookie", "session=7")]).await.expect(200);
    assert_eq!(answer.json(), serde_json::json!({ "cookies": "session=7" }));
}

#[tokio::test]
async fn an_identity_is_said_once_where_a_route_authenticates() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("1"));
    let keys = ", authenticate: {keys: {header: x-key, clients: {ann: hunter2hunter2hunter2}}}";
    let app = start(&legacy, keys);
    let twice = [
        ("x-key", "hunter2hunter2hunter2"),
        ("authorization", "Bearer bad"),
        ("authorization", "Bearer good"),
    ];
    http(&app).await.get("/r/a", &twice).await.expect(400);
    http(&app).await.get("/r/a", &twice[..2]).await.expect(200);
    // A route without `authenticate` leaves it to the API.
    http(&app).await.get("/x", &twice[1..]).await.expect(200);
    assert_eq!(legacy.seen("/x")[0].headers("authorization").len(), 2);
}

#[tokio::test]
async fn the_admin_surface_answers_its_own_names_wherever_it_listens() {
    for (extra, named) in [("", 403), (", hosts: [ops.internal]", 200)] {
        let legacy = Legacy::start();
        let app = crate::support::app::start(&format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\nadmin: {{address: '0.0.0.0:0'{extra}}}\n\
             upstreams: {{a: {{servers: ['{}']}}}}\npassthrough: a\n",
            legacy.address()
        ));
        let port = app.admin_address().expect("an admin listener").port();
        let admin = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        for (host, status) in [
            ("10.1.2.3:9090", 200),
            ("localhost", 200),
            ("ops.internal:9090", named),
            ("evil.example:9090", 403),
        ] {
            let answer = Http::connect(admin).await.get("/resources", &[("host", host)]).await;
            assert_eq!(answer.status, status, "{host}: {answer:?}");
            Http::connect(admin).await.get("/live", &[("host", host)]).await.expect(200);
            Http::connect(admin).await.get("/ready", &[("host", host)]).await.expect(200);
        }
    }
}

#[tokio::test]
async fn what_joins_on_a_web_socket_is_polled_for_hosts_that_are_served_only() {
    let legacy = Legacy::start();
    legacy.set("*", Reply::json("1"));
    let app = start_with(&legacy, Extra { listener: ", hosts: [api.example.com]", ..Extra::default() });
    let own = app.addresses()[0].to_string();
    let handshake = [("host", own.as_str()), ("sec-websocket-protocol", "pollcast.v1")];
    let mut ws = Ws::open(app.addresses()[0], "/r/a", &handshake).await;
    assert!(ws.next_text().await.contains("snapshot"));
    ws.send_text(r#"{"op":"subscribe","resource":"/r/b"}"#).await;
    assert!(ws.next_text().await.contains("snapshot"));
    for path in ["/r/a", "/r/b"] {
        assert_eq!(legacy.seen(path)[0].header("host"), Some("api.example.com"), "{path}");
    }
}
