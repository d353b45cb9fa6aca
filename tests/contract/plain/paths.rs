//! Contract §1, §11: paths that servers read in several ways, and the API's own parameters, on routes that poll.

use serde_json::json;

use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;
use crate::support::ws::Ws;

/// An API that says which target it was asked for.
fn echo() -> Legacy {
    let legacy = Legacy::start();
    legacy.answer_with("*", |seen| Reply::json(json!({ "target": seen.target }).to_string()));
    legacy
}

fn start(legacy: &Legacy, routes: &str) -> pollcast::app::App {
    app::start(&format!(
        "listeners: [{{address: '127.0.0.1:0', http2: true}}]\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         log: {{access: false}}\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         defaults: {{poll: {{interval: 1h}}}}\n\
         routes:\n{routes}\n",
        legacy.address()
    ))
}

const ODD: [&str; 9] = [
    "/api/queues/%2F/q1",
    "/api/v4/projects/group%2fname/jobs",
    "/api//items",
    "/api/map;lat=50;long=20",
    "/api/files/a%5Cb",
    "/api/a%3Bb",
    "/api/a/./b",
    "/api/100%2525",
    "/api/a%zz",
];

#[tokio::test]
async fn a_wide_route_follows_odd_paths_byte_for_byte() {
    let legacy = echo();
    for plain in ["pass", "share"] {
        let app = start(&legacy, &format!("- {{path: '/api/{{*rest}}', upstream: legacy, plain: {plain}}}"));
        for path in ODD {
            let wanted = json!({ "target": path });
            let mut http = Http::connect(app.addresses()[0]).await;
            assert_eq!(http.get(path, &[]).await.expect(200).json(), wanted);
            let mut sse = Sse::open(app.addresses()[0], path, &[]).await;
            assert_eq!(sse.next_event().await.data, wanted.to_string());
            let mut ws = Ws::open(app.addresses()[0], path, &[]).await;
            assert_eq!(ws.next_text().await, wanted.to_string());
            let long = http.get(path, &[("prefer", "wait=5")]).await.expect(200);
            assert_eq!(long.json(), wanted);
            // On a stream of many alike.
            let escaped: String = path.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let many = format!("/-/pollcast/events?resource={escaped}");
            let mut sse = Sse::open(app.addresses()[0], &many, &[]).await;
            assert!(sse.next_event().await.data.contains(path), "{path}");
        }
    }
}

#[tokio::test]
async fn an_exact_route_follows_an_escaped_slash_as_a_part_of_a_name() {
    let legacy = echo();
    let app = start(
        &legacy,
        "- {path: '/api/queues/{vhost}/{queue}', upstream: legacy, spelling: exact, share: public, \
            websocket: {send: {path: '/api/exchanges/{vhost}/publish'}}}\n\
         - {path: '/api/projects/{id}', upstream: legacy, spelling: exact}",
    );
    for path in ["/api/queues/%2F/q1", "/api/projects/group%2Fname"] {
        let mut sse = Sse::open(app.addresses()[0], path, &[]).await;
        assert_eq!(sse.next_event().await.data, json!({ "target": path }).to_string());
    }
    let mut ws = Ws::open(app.addresses()[0], "/api/queues/%2F/q1", &[]).await;
    ws.next_text().await;
    ws.send_text("{}").await;
    let sent = legacy.wait_seen("a message", |seen| seen.method == "POST").await;
    assert_eq!(sent.target, "/api/exchanges/%2F/publish");
}

#[tokio::test]
async fn a_write_touches_the_resource_of_an_odd_path() {
    let legacy = Legacy::start();
    let path = "/api/queues/%2F/q1";
    legacy.set(path, Reply::json("1"));
    let app = start(&legacy, "- {path: '/api/{*rest}', upstream: legacy}");
    let mut sse = Sse::open(app.addresses()[0], path, &[]).await;
    assert_eq!(sse.next_event().await.data, "1");
    legacy.answer_with(path, |_| Reply::json("2"));
    let mut http = Http::connect(app.addresses()[0]).await;
    http.request("PUT", path, &[], b"2").await.expect(200);
    assert_eq!(sse.next_event().await.data, "2");
}

#[tokio::test]
async fn a_path_that_some_reading_places_outside_of_its_route_is_never_polled() {
    let legacy = echo();
    let app = start(
        &legacy,
        "- {path: '/api/{*rest}', upstream: legacy, plain: share, hosts: ['127.0.0.1'], \
            poll: {auth: {bearer: OPERATOR}}}",
    );
    let mut http = Http::connect(app.addresses()[0]).await;
    for path in [
        "/api/%252e%252e/admin",
        "/api/%25252e%25252e/admin",
        "/api/%2525252525252e%2525252525252e/admin",
        "/api/%c0%ae%c0%ae/admin",
        "/api/%c0%2e%c0%2e/admin",
        "/api/%fc%80%80%80%80%ae%fc%80%80%80%80%ae/admin",
        "/api/%uff0e%uff0e/admin",
        "/api/%ef%bc%8e%ef%bc%8e/admin",
        "/api/..%20/admin",
        "/api/.%0a./admin",
        "/api/.%ff./admin",
        "/api/..%2fadmin",
        "/api/../admin",
    ] {
        let answer = http.get(path, &[]).await.expect(200);
        assert_eq!(answer.json(), json!({ "target": path }));
        assert_eq!(answer.header("cache-status"), Some("pollcast; fwd=bypass; detail=path"));
        http.request("POST", path, &[], b"x").await.expect(200);
        // An EventSource is told why, as it could do nothing with a document.
        let refused = http.get(path, &[("accept", "text/event-stream")]).await.expect(406);
        assert!(refused.text().contains("servers read this path differently"), "{refused:?}");
        http = Http::connect(app.addresses()[0]).await;
        let escaped: String = path.bytes().map(|byte| format!("%{byte:02X}")).collect();
        http.get(&format!("/-/pollcast/events?resource={escaped}"), &[]).await.expect(404);
    }
    assert!(legacy.all_seen().iter().all(|seen| seen.header("authorization").is_none()));
    http.get("/api/a", &[]).await.expect(200);
    assert!(legacy.seen("/api/a")[0].header("authorization").is_some(), "inside it is");
}

#[tokio::test]
async fn an_event_stream_of_the_apis_own_passes_through_on_a_path_in_doubt() {
    let legacy = Legacy::start();
    legacy.set("/api/../own", Reply::new("text/event-stream", "data: 1\n\n").until_close());
    let app = start(&legacy, "- {path: '/api/{*rest}', upstream: legacy}");
    let mut sse = Sse::open(app.addresses()[0], "/api/../own", &[]).await;
    assert_eq!(sse.next_event().await.data, "1");
}

#[tokio::test]
async fn a_rest_covers_its_folder_itself() {
    let legacy = echo();
    let app = start(
        &legacy,
        "- {path: '/items/{*rest}', upstream: legacy}\n- {path: '/{*rest}', upstream: legacy}",
    );
    for path in ["/items/", "/"] {
        let mut sse = Sse::open(app.addresses()[0], path, &[]).await;
        assert_eq!(sse.next_event().await.data, json!({ "target": path }).to_string());
    }
}

#[tokio::test]
async fn bytes_outside_of_ascii_name_resources_of_their_own() {
    let legacy = echo();
    let app = start(&legacy, "- {path: '/api/{*rest}', upstream: legacy, plain: share}");
    for (raw, polled) in
        [("/api/café".as_bytes(), "/api/caf%C3%A9"), ("/api/x?a=é&_push=poll".as_bytes(), "/api/x?a=%C3%A9")]
    {
        let mut http = Http::connect(app.addresses()[0]).await;
        http.send_raw(&[b"GET ", raw, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await;
        assert_eq!(http.read_response().await.expect(200).json(), json!({ "target": polled }));
    }
}

#[tokio::test]
async fn a_parameter_named_like_a_switch_is_the_apis_on_ordinary_polls() {
    let legacy = Legacy::start();
    legacy.answer_with("/api/events", |seen| {
        let query = seen.target.split_once('?').map_or("", |(_, query)| query);
        let last = query.split('&').find_map(|pair| pair.strip_prefix("last_event_id="));
        Reply::json(json!({ "last": last }).to_string())
    });
    for (settings, stream) in [("", "{\"last\":null}"), ("switches: {resume: off}", "{\"last\":\"3\"}")] {
        let app = start(
            &legacy,
            &format!("- {{path: '/api/{{*rest}}', upstream: legacy, plain: share, {settings}}}"),
        );
        let mut http = Http::connect(app.addresses()[0]).await;
        for last in ["-1", "2", "4"] {
            let path = format!("/api/events?queue=7&last_event_id={last}");
            assert_eq!(http.get(&path, &[]).await.expect(200).json(), json!({ "last": last }));
        }
        let mut sse = Sse::open(app.addresses()[0], "/api/events?queue=7&last_event_id=3", &[]).await;
        assert_eq!(sse.next_event().await.data, stream);
    }
}

#[tokio::test]
async fn a_route_counts_for_its_hosts_only() {
    let (one, two) = (Legacy::start(), Legacy::start());
    for (legacy, body) in [(&one, "1"), (&two, "2")] {
        legacy.set("*", Reply::json(body));
    }
    let app = app::start(&format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams: {{one: {{servers: ['{}']}}, two: {{servers: ['{}']}}}}\n\
         routes:\n\
         - {{path: '/x/{{a}}', upstream: one, share: public, hosts: [one.example]}}\n\
         - {{path: '/x/{{a}}', upstream: two, share: public, hosts: [two.example]}}\n",
        one.address(),
        two.address()
    ));
    let mut http = Http::connect(app.addresses()[0]).await;
    for (host, status, body) in
        [("one.example", 200, "1"), ("TWO.example:81", 200, "2"), ("three.example", 404, "")]
    {
        let answer = http.get("/x/a", &[("host", host)]).await.expect(status);
        assert!(body.is_empty() || answer.text() == body, "{host}: {answer:?}");
    }
}
