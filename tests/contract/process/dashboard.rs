//! The dashboard at `/` of the admin listener: its page, its list, its stream, and what none of them shows.

use std::time::Duration;

use serde_json::Value;

use crate::contract::edge::support::{Extra, admin, start, start_with, yaml};
use crate::support::app;
use crate::support::client::{Http, Sse};
use crate::support::legacy::{Legacy, Reply};
use crate::support::wire::within;

const HTML: [(&str, &str); 1] = [("accept", "text/html,*/*;q=0.8")];

async fn list(http: &mut Http, query: &str) -> Value {
    http.get(&format!("/-/dashboard/resources?{query}"), &[]).await.expect(200).json()
}

fn paths(list: &Value) -> Vec<&str> {
    let rows = list["rows"].as_array().expect("rows");
    rows.iter().map(|row| row["path"].as_str().expect("a path")).collect()
}

/// The next event of this name; what comes before it goes to `passed`.
async fn until(events: &mut Sse, name: &str, passed: &mut String) -> String {
    loop {
        let event = events.next_event().await;
        passed.push_str(&event.data);
        if event.event == name {
            return event.data;
        }
    }
}

#[tokio::test]
async fn the_page_is_whole_says_what_it_may_load_and_needs_no_token() {
    let legacy = Legacy::start();
    let yaml = yaml(&legacy, Extra::default()).replace(
        "admin: {address: '127.0.0.1:0'}",
        "admin: {address: '127.0.0.1:0', token: 's3cret-token-of-admin'}",
    );
    let app = app::start(&yaml);
    let mut http = admin(&app).await;
    let page = http.get("/", &HTML).await.expect(200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    let text = page.text();
    let named: Vec<&str> =
        text.split("\"/-/dashboard/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(named.len() >= 4, "{text}");
    for name in named {
        http.get(&format!("/-/dashboard/{name}"), &[]).await.expect(200);
    }
    // What they are fed with needs the token, and so does all that has an effect.
    for path in ["/-/dashboard/resources", "/-/dashboard/stream", "/"] {
        http.get(path, &[]).await.expect(401);
    }
    http.request("POST", "/-/drain", &[("content-length", "0")], b"").await.expect(401);
    let right = [("authorization", "Bearer s3cret-token-of-admin")];
    http.get("/-/dashboard/resources", &right).await.expect(200);
}

#[tokio::test]
async fn the_list_is_searched_sorted_and_cut_into_pages_by_the_server() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let mut streams = Vec::new();
    for (name, followers) in [("apple", 1), ("banana", 3), ("cherry", 2)] {
        legacy.set(&format!("/r/{name}"), Reply::json(format!("\"{}\"", name.repeat(followers))));
        for _ in 0..followers {
            let mut stream = Sse::open(app.addresses()[0], &format!("/r/{name}"), &[]).await;
            stream.next_event().await;
            streams.push(stream);
        }
    }
    let mut http = admin(&app).await;
    let all = list(&mut http, "").await;
    assert_eq!(paths(&all), ["/r/banana", "/r/cherry", "/r/apple"]);
    assert_eq!(all["rows"][0]["transports"]["sse"], 3);
    assert_eq!(all["rows"][0]["outcomes"][0], "changed");
    let rows = list(&mut http, "sort=path&order=descending&rows=2").await;
    assert_eq!((paths(&rows), rows["list"]["pages"].as_u64()), (vec!["/r/cherry", "/r/banana"], Some(2)));
    let second = list(&mut http, "sort=path&order=descending&rows=2&page=1").await;
    assert_eq!(paths(&second), ["/r/apple"]);
    let behind = list(&mut http, "sort=path&rows=2&order=descending&page=99").await;
    assert_eq!(paths(&behind), ["/r/apple"], "a page behind the last is the last");
    let found = list(&mut http, "search=R/CHER+fresh").await;
    assert_eq!((paths(&found), found["list"]["matched"].as_u64()), (vec!["/r/cherry"], Some(1)));
    for wrong in ["sort=colour", "rows=101", "page=x", "nothing=1"] {
        http.get(&format!("/-/dashboard/resources?{wrong}"), &[]).await.expect(400);
    }
}

#[tokio::test]
async fn nothing_of_a_class_or_of_a_secret_parameter_is_shown_or_searched() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("{\"balance\": \"hidden-content\"}"));
    let route = ", share: {by: [authorization]}, poll: {interval: 100ms, headers: {x-service: hidden-key}}";
    let app = start_with(&legacy, Extra { route, ..Extra::default() });
    let fields = [("authorization", "Bearer hidden-token")];
    let mut stream = Sse::open(app.addresses()[0], "/r/a?api_key=hidden-value", &fields).await;
    stream.next_event().await;
    let mut http = admin(&app).await;
    let shown = list(&mut http, "").await;
    let row = &shown["rows"][0];
    assert_eq!((&row["class"][0], &row["is_shown"]), (&"authorization".into(), &false.into()), "{shown}");
    assert_eq!(list(&mut http, "search=hidden").await["list"]["matched"], 0);
    let query = format!("/-/dashboard/stream?open={}", row["id"]);
    let mut events = Sse::open(app.admin_address().expect("TCP"), &query, &[]).await;
    let mut text = String::new();
    until(&mut events, "change", &mut text).await;
    legacy.set("/r/a", Reply::json("{\"balance\": \"hidden-other\"}"));
    stream.next_event().await;
    until(&mut events, "change", &mut text).await;
    assert!(!text.contains("hidden") && !shown.to_string().contains("hidden"), "{text}");
}

#[tokio::test]
async fn the_stream_tells_what_is_new_and_the_open_resource_s_changes() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("{\"price\": 1, \"name\": \"x\"}"));
    let app = start(&legacy, ", poll: {interval: 100ms}");
    let mut follower = Sse::open(app.addresses()[0], "/r/a", &[]).await;
    follower.next_event().await;
    let mut http = admin(&app).await;
    let id = list(&mut http, "").await["rows"][0]["id"].clone();
    let address = app.admin_address().expect("TCP");
    let mut events = Sse::open(address, &format!("/-/dashboard/stream?open={id}"), &[]).await;
    let mut passed = String::new();
    let summary: Value = serde_json::from_str(&events.next_named("summary").await.data).expect("JSON");
    assert_eq!(summary["upstreams"][0]["name"], "legacy");
    let rows: Value = serde_json::from_str(&events.next_named("resources").await.data).expect("JSON");
    assert_eq!(rows["rows"][0]["path"], "/r/a");
    until(&mut events, "change", &mut passed).await;
    legacy.set("/r/a", Reply::json("{\"price\": 2, \"name\": \"x\"}"));
    let changed = async {
        loop {
            let told: Value =
                serde_json::from_str(&until(&mut events, "change", &mut passed).await).expect("JSON");
            if let Some(change) = told.get("change").filter(|change| !change.is_null()) {
                return change["difference"]["lines"].clone();
            }
        }
    };
    let lines = within("a change", changed).await;
    assert_eq!(lines, serde_json::json!([{ "place": "/price", "before": "1", "after": "2" }]));
}

#[tokio::test]
async fn streams_are_bounded_and_their_places_are_free_again() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let address = app.admin_address().expect("TCP");
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(Sse::open(address, "/-/dashboard/stream", &[]).await);
    }
    let refused = admin(&app).await.get("/-/dashboard/stream", &[]).await.expect(503);
    assert_eq!(refused.header("retry-after"), Some("5"));
    open.clear();
    let again = async {
        while Sse::try_open(address, "/-/dashboard/stream", &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within("a free place", again).await;
}

#[tokio::test]
async fn a_drain_by_call_needs_a_token_even_where_none_is_set() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let mut http = admin(&app).await;
    http.request("POST", "/-/drain", &[("content-length", "0")], b"").await.expect(403);
    http.get("/-/drain", &[]).await.expect(405);
    http.get("/ready", &[]).await.expect(200);
}

/// The next page of routes that a dashboard is told.
async fn routes(events: &mut Sse) -> Value {
    let told = until(events, "routes", &mut String::new()).await;
    serde_json::from_str(&told).expect("JSON")
}

#[tokio::test]
async fn the_routes_say_whether_they_are_polled_and_why_their_requests_passed_through() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let app = start(&legacy, ", presence: {}");
    let mut follower = Sse::open(app.addresses()[0], "/r/a", &[]).await;
    follower.next_event().await;
    let mut http = admin(&app).await;
    let row = list(&mut http, "").await["rows"][0].clone();
    assert_eq!((&row["presence"], &row["followers"]), (&1.into(), &1.into()), "{row}");
    let address = app.admin_address().expect("TCP");
    let mut events = Sse::open(address, "/-/dashboard/stream", &[]).await;
    let first = routes(&mut events).await;
    let row = &first["rows"][0];
    assert_eq!((&row["path"], &row["poll"]), (&"/r/{name}".into(), &"on".into()), "{first}");
    assert_eq!(
        (&row["resources"], &row["followers"], &row["presence"]),
        (&1.into(), &1.into(), &true.into())
    );
    let mut client = Http::connect(app.addresses()[0]).await;
    client.request("POST", "/r/a", &[("content-length", "0")], b"").await;
    client.get("/elsewhere", &[]).await;
    let counted = async {
        loop {
            let told = routes(&mut events).await;
            let row = &told["rows"][0];
            if row["passed_through"]["method"] == 1 && told["no_route"]["passed_through"]["uncovered"] == 1 {
                return;
            }
        }
    };
    within("the reasons", counted).await;
    http.request("POST", "/-/routes?path=/r/%7Bname%7D&poll=off", &[], b"").await.expect(200);
    let off = async {
        loop {
            let row = routes(&mut events).await["rows"][0].clone();
            if row["poll"] == "switched-off" {
                return row;
            }
        }
    };
    let row = within("the switched-off route", off).await;
    assert!(row["off_since"].is_string() && row["resources"] == 0, "{row}");
    let mut searched = Sse::open(address, "/-/dashboard/stream?routes=switched-off+/R/", &[]).await;
    assert_eq!(routes(&mut searched).await["matched"], 1);
    let mut searched = Sse::open(address, "/-/dashboard/stream?routes=nowhere&routes_page=7", &[]).await;
    let none = routes(&mut searched).await;
    assert_eq!((&none["matched"], &none["total"], &none["page"]), (&0.into(), &1.into(), &0.into()));
}

#[tokio::test]
async fn samples_that_the_page_has_are_not_sent_again() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let address = app.admin_address().expect("TCP");
    let mut events = Sse::open(address, "/-/dashboard/stream", &[]).await;
    let first: Value =
        serde_json::from_str(&until(&mut events, "samples", &mut String::new()).await).expect("JSON");
    assert!(first["bypasses"].is_object() && first["refusals"].is_object(), "{first}");
    let newest = first["at"].as_array().and_then(|at| at.last()?.as_u64()).expect("a sample");
    let mut again = Sse::open(address, &format!("/-/dashboard/stream?since={newest}"), &[]).await;
    let next: Value =
        serde_json::from_str(&until(&mut again, "samples", &mut String::new()).await).expect("JSON");
    assert!(next["at"][0].as_u64().is_some_and(|at| at > newest), "{next} after {newest}");
}

#[tokio::test]
async fn the_page_can_say_what_each_reason_means() {
    let legacy = Legacy::start();
    let app = start(&legacy, "");
    let reasons = admin(&app).await.get("/-/dashboard/reasons", &[]).await.expect(200).json();
    assert_eq!(reasons["passed_through"]["method"], "It is neither GET nor HEAD.");
    assert!(reasons["refused"]["url-bytes"].as_str().is_some_and(|said| said.contains("limits.url_bytes")));
}
