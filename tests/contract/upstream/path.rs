//! Contract §10, `upstream_path`: an API that lives on other paths, end to end.

use crate::contract::{FAST, ONCE, Stand};
use crate::support::app;
use crate::support::client::Sse;
use crate::support::legacy::{Feed, Legacy, Reply};

/// pollcast with these routes, and nothing that passes through without one.
fn with_routes(routes: &str) -> Stand {
    let legacy = Legacy::start();
    let yaml = crate::contract::config(&legacy, "", "");
    let kept: Vec<&str> = yaml.lines().filter(|line| !line.starts_with(['r', 'p'])).collect();
    let app = app::start(&format!("{}\nroutes: [{routes}]\n", kept.join("\n")));
    Stand { legacy, app }
}

fn inventory(more: &str) -> Stand {
    with_routes(&format!(
        "{{path: '/inventory/{{*rest}}', upstream: legacy, upstream_path: '/legacy/api.php/{{*rest}}', {more}}}"
    ))
}

#[tokio::test]
async fn polls_and_what_passes_through_go_where_the_api_lives() {
    for (plain, polls) in
        [("plain: share, poll: {interval: 1h}", true), ("plain: pass", false), ("poll: off", false)]
    {
        let stand = inventory(plain);
        let path = "/legacy/api.php/items/5";
        stand
            .legacy
            .set(path, Reply::json("{\"n\":1}").header("link", "</legacy/api.php/items/6>; rel=next"));
        let mut http = stand.http().await;
        let answer = http.get("/inventory/items/5?a=b", &[]).await.expect(200);
        assert_eq!(answer.text(), "{\"n\":1}", "{plain}");
        assert_eq!(answer.header("link"), Some("</inventory/items/6>; rel=next"), "{plain}");
        let seen = stand.legacy.all_seen();
        assert_eq!(seen.len(), 1, "{plain}");
        assert_eq!(seen[0].target, "/legacy/api.php/items/5?a=b", "{plain}");
        assert_eq!(seen[0].headers("x-forwarded-prefix"), ["/inventory"], "{plain}");
        assert_eq!(seen[0].header("x-pollcast-subscribers").is_some(), polls, "{plain}");
    }
}

#[tokio::test]
async fn a_stream_follows_the_mapped_resource_and_a_304_keeps_the_clients_paths() {
    let stand = inventory(FAST);
    let path = "/legacy/api.php/items";
    let reply = |n: u32| {
        let link = format!("</legacy/api.php/items?page={n}>; rel=next");
        Reply::json(format!("{{\"n\":{n}}}")).header("etag", &format!("\"{n}\"")).header("link", &link)
    };
    stand.legacy.set(path, reply(1));
    let mut sse = Sse::open(stand.address(), "/inventory/items", &[]).await;
    assert_eq!(sse.next_event().await.data, "{\"n\":1}");
    stand.legacy.set(path, reply(2));
    assert_eq!(sse.next_event().await.data, "{\"n\":2}");
    let mut http = stand.http().await;
    stand.legacy.wait_count(path, stand.legacy.count(path) + 2).await;
    let answer = http.get("/inventory/items", &[("prefer", "wait=1")]).await.expect(200);
    assert_eq!(answer.header("link"), Some("</inventory/items?page=2>; rel=next"));
}

#[tokio::test]
async fn a_segment_becomes_a_query_and_stays_one_value() {
    let stand = with_routes(&format!(
        "{{path: '/prices/{{symbol}}', upstream: legacy, upstream_path: '/api.php?symbol={{symbol}}', {ONCE}}}"
    ));
    stand.legacy.answer_with("/api.php", |seen| Reply::json(format!("\"{}\"", seen.target)));
    let mut http = stand.http().await;
    for (path, wanted) in [
        ("/prices/A", "/api.php?symbol=A"),
        ("/prices/B?x=1&_push=poll", "/api.php?symbol=B&x=1"),
        ("/prices/A&admin=1", "/api.php?symbol=A%26admin%3D1"),
        ("/prices/A%26admin=1", "/api.php?symbol=A%26admin%3D1"),
        ("/prices/A%23b+c", "/api.php?symbol=A%23b%2Bc"),
    ] {
        let answer = http.get(path, &[]).await.expect(200);
        assert_eq!(answer.text(), format!("\"{wanted}\""), "{path}");
    }
    let asked = stand.legacy.all_seen().len();
    for path in
        ["/prices/A?symbol=B", "/prices/A?x&SYMBOL[]=B", "/prices/A?s%79mbol.x=B", "/prices/A%2526x=1"]
    {
        http.get(path, &[]).await.expect(400);
        http.request("POST", path, &[], b"x").await.expect(400);
        http.get(path, &[("accept", "text/event-stream")]).await.expect(400);
    }
    assert_eq!(stand.legacy.all_seen().len(), asked, "nothing of these reached the API");
    assert_eq!(stand.metric("pollcast_refusals_total", "upstream-path").await, 12.0);
}

#[tokio::test]
async fn nothing_of_a_client_leaves_the_mapping() {
    for more in ["plain: share", "plain: pass", "poll: off"] {
        let stand = with_routes(&format!(
            "{{path: '/{{*rest}}', upstream: legacy, upstream_path: '/legacy/{{*rest}}', {more}}}, \
             {{path: '/a/{{*rest}}', upstream: legacy, upstream_path: '/legacy/a/{{*rest}}', {more}}}"
        ));
        let mut http = stand.http().await;
        for path in [
            "/../secret",
            "/a/../../secret",
            "/%2e%2e/secret",
            "/a/%2e%2e/b",
            "/a/..%2f..%2fsecret",
            "/..%5csecret",
            "/..;/secret",
            "/%252e%252e%252fsecret",
            "/%c0%ae%c0%ae/secret",
        ] {
            for (method, body) in [("GET", &b""[..]), ("POST", b"x")] {
                let answer = http.request(method, path, &[], body).await;
                assert!(matches!(answer.status, 400 | 404), "{more}: {path}: {}", answer.status);
            }
        }
        let seen: Vec<String> = stand.legacy.all_seen().iter().map(|seen| seen.target.clone()).collect();
        let outside: Vec<&String> = seen
            .iter()
            .filter(|target| {
                !pollcast::resource::Readings::of(target).iter().all(|path| path.starts_with("/legacy/"))
            })
            .collect();
        assert_eq!(outside, [] as [&String; 0], "{more}");
    }
}

#[tokio::test]
async fn writes_name_what_clients_know() {
    let stand = inventory("plain: share, poll: {interval: 1h}");
    stand.legacy.set("/legacy/api.php/items", Reply::json("[1]"));
    stand.legacy.set("/legacy/api.php/items/9", Reply::json("{}"));
    stand.legacy.set("/legacy/api.php/orders", Reply::json("[]"));
    let mut http = stand.http().await;
    http.get("/inventory/items/9", &[]).await.expect(200);
    let location = format!("http://{}/legacy/api.php/items/9", stand.legacy.address());
    let created = Reply::empty(201)
        .header("location", &location)
        .header("set-cookie", "sid=1; Path=/; Domain=legacy.test; HttpOnly")
        .header("set-cookie", "cart=2; Path=/legacy/api.php/cart");
    stand.legacy.set("/legacy/api.php/orders", created);
    let answer = http.request("POST", "/inventory/orders", &[], b"x").await.expect(201);
    assert_eq!(answer.header("location"), Some("/inventory/items/9"));
    let cookies = ["sid=1; Path=/inventory; HttpOnly", "cart=2; Path=/inventory/cart"];
    assert_eq!(answer.headers("set-cookie"), cookies);
    http.get("/inventory/items/9", &[]).await.expect(200);
    assert!(stand.legacy.count("/legacy/api.php/items/9") >= 2, "the write's Location was polled again");
}

#[tokio::test]
async fn a_copy_goes_where_its_destination_is_mapped_to() {
    let stand = inventory("poll: off");
    stand.legacy.set("/legacy/api.php/a", Reply::empty(201));
    let mut http = stand.http().await;
    let host = stand.address();
    let to = format!("http://{host}/inventory/b");
    http.request("COPY", "/inventory/a", &[("destination", &to)], b"").await.expect(201);
    let seen = stand.legacy.seen("/legacy/api.php/a");
    assert_eq!(seen[0].headers("destination"), [format!("http://{host}/legacy/api.php/b")]);
    let out = format!("http://{host}/admin/b");
    http.request("COPY", "/inventory/a", &[("destination", &out)], b"").await.expect(400);
    assert_eq!(stand.legacy.count("/legacy/api.php/a"), 1);
}

#[tokio::test]
async fn redirects_are_followed_on_the_upstreams_side_and_told_on_the_clients() {
    let stand = inventory("plain: share, poll: {interval: 1h, follow_redirects: 1}");
    stand.legacy.set("/legacy/api.php/old", Reply::empty(302).header("location", "/elsewhere/new"));
    stand.legacy.set("/elsewhere/new", Reply::json("{\"new\":1}"));
    stand.legacy.set("/legacy/api.php/far", Reply::empty(302).header("location", "http://other.test/x"));
    let location = "/legacy/api.php/items/7";
    let mut http = stand.http().await;
    assert_eq!(http.get("/inventory/old", &[]).await.expect(200).text(), "{\"new\":1}");
    let answer = http.get("/inventory/far", &[]).await.expect(302);
    assert_eq!(answer.header("location"), Some("http://other.test/x"));
    let stand = inventory("plain: share, poll: {interval: 1h}");
    stand.legacy.set("/legacy/api.php/moved", Reply::empty(302).header("location", location));
    let mut http = stand.http().await;
    let answer = http.get("/inventory/moved", &[]).await.expect(302);
    assert_eq!(answer.header("location"), Some("/inventory/items/7"));
}

#[tokio::test]
async fn the_pages_of_a_feed_are_the_upstreams() {
    let stand = with_routes(
        "{path: '/news/{topic}', upstream: legacy, upstream_path: '/list.php?t={topic}', poll: {interval: 100ms}, \
         feed: {items: '', id: /id, order: newest_first, pages: {next: link}}}",
    );
    let page = |ids: &[u32], next: Option<&str>| {
        let items: Vec<String> = ids.iter().map(|id| format!("{{\"id\":{id}}}")).collect();
        let reply = Reply::json(format!("[{}]", items.join(",")));
        next.map_or(reply.clone(), |next| reply.header("link", &format!("<{next}>; rel=\"next\"")))
    };
    stand.legacy.set("/list.php", page(&[1], None));
    let mut sse = Sse::open(stand.address(), "/news/tea", &[]).await;
    stand.legacy.wait_count("/list.php", 1).await;
    stand.legacy.set("/list.php?t=tea&page=2", page(&[2, 1], None));
    stand.legacy.set("/list.php", page(&[4, 3], Some("/list.php?t=tea&page=2")));
    let mut got = Vec::new();
    while got.len() < 3 {
        got.push(sse.next_event().await.data);
    }
    assert_eq!(got, ["{\"id\":2}", "{\"id\":3}", "{\"id\":4}"]);
}

#[tokio::test]
async fn an_event_stream_of_the_apis_own_passes_through_from_its_place() {
    let stand = inventory("poll: off");
    let (reply, feed): (Reply, Feed) = Reply::stream("text/event-stream");
    stand.legacy.set("/legacy/api.php/events", reply);
    let opening = Sse::open(stand.address(), "/inventory/events", &[]);
    let sending = feed.send("data: 1\n\n");
    let (mut sse, _) = tokio::join!(opening, sending);
    assert_eq!(sse.next_event().await.data, "1");
}

#[tokio::test]
async fn a_batch_says_what_the_route_sets_in_the_query_but_for_the_name() {
    let stand = with_routes(
        "{path: '/t/{tenant}/{symbol}', upstream: legacy, upstream_path: '/api.php?tenant={tenant}&symbol={symbol}&format=json', \
         poll: {interval: 1h, batch: {path: /api.php, parameter: symbol, param: symbols, items: '', key: /id, window: 1s}}}",
    );
    stand.legacy.set("/api.php", Reply::json("[{\"id\":\"A\",\"n\":1},{\"id\":\"B\",\"n\":2}]"));
    let get = async |path: &'static str| stand.http().await.get(path, &[]).await.expect(200).text();
    let (a, b, other) = tokio::join!(get("/t/x%20y/A?v=2"), get("/t/x%20y/B?v=2"), get("/t/z/A"));
    assert_eq!((a.as_str(), b.as_str()), ("{\"id\":\"A\",\"n\":1}", "{\"id\":\"B\",\"n\":2}"));
    assert_eq!(other, "{\"id\":\"A\",\"n\":1}", "another tenant's batch");
    let mut targets: Vec<String> = stand.legacy.all_seen().into_iter().map(|seen| seen.target).collect();
    targets.sort();
    assert_eq!(
        targets,
        ["/api.php?tenant=x%20y&format=json&v=2&symbols=A,B", "/api.php?tenant=z&format=json&symbols=A"]
    );
}
