//! Contract §12: an operator makes a route a plain proxy at once (`POST /-/routes`), until the next reload.

use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::client::{Http, Response, Sse, Ws, long_poll};
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Process;
use crate::support::wire::within;

const TOKEN: (&str, &str) = ("authorization", "Bearer the-token-of-operators");

const STREAM: (&str, &str) = ("accept", "text/event-stream");

const FAST: &str = "upstream: legacy, poll: {interval: 100ms}";

/// pollcast as a process, whose routes an operator switches.
struct Stand {
    legacy: Legacy,
    process: Process,
}

impl Stand {
    /// `/off/{name}` is what will be switched, `/kept/{name}` what is not; `more`: routes besides, each with a comma
    /// in front.
    async fn start(more: &str) -> Stand {
        let legacy = Legacy::start();
        for path in ["/off/a", "/kept/a"] {
            legacy.set(path, Reply::json("1").with_etag());
        }
        let yaml = format!(
            "listeners: [{{address: PUBLIC_ADDRESS, http2: true}}]\n\
             admin: {{address: ADMIN_ADDRESS, token: the-token-of-operators}}\n\
             upstreams: {{legacy: {{servers: ['{}']}}}}\n\
             routes: [{{path: '/off/{{name}}', {FAST}}}, {{path: '/kept/{{name}}', {FAST}}}{more}]\n",
            legacy.address()
        );
        let process = Process::start(&yaml).await;
        // From then on the process knows its file.
        process.wait_stderr("listening").await;
        Stand { legacy, process }
    }

    async fn http(&self) -> Http {
        Http::connect(self.process.address).await
    }

    async fn call(&self, target: &str) -> Response {
        Http::connect(self.process.admin).await.request("POST", target, &[TOKEN], b"").await
    }

    async fn see(&self, target: &str) -> Response {
        Http::connect(self.process.admin).await.get(target, &[TOKEN]).await.expect(200)
    }

    /// Switches a route, and gives what was answered.
    async fn switch(&self, path: &str, poll: &str) -> Value {
        let path = path.replace('{', "%7B").replace('}', "%7D");
        self.call(&format!("/-/routes?path={path}&poll={poll}")).await.expect(200).json()
    }

    async fn has_line(&self, line: &str) -> bool {
        self.see("/metrics").await.text().lines().any(|found| found == line)
    }

    /// What operators see of a route.
    async fn route(&self, path: &str) -> Value {
        let list = self.see("/-/routes").await.json();
        let routes = list["routes"].as_array().expect("routes").clone();
        routes.into_iter().find(|route| route["path"] == path).expect("the route is listed")
    }

    /// Waits until so many requests are held.
    async fn wait_held(&self, wanted: usize) {
        let held = async {
            loop {
                let text = self.see("/metrics").await.text();
                let of =
                    |line: &&str| line.starts_with("pollcast_subscribers{") && line.contains("long_poll");
                let counts =
                    text.lines().filter(of).filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
                if counts.sum::<usize>() == wanted {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within("the polls to be held", held).await;
    }

    /// Waits for several polls of a route that goes on, and gives how often this path was asked for meanwhile. Requests
    /// that were on their way before are not counted.
    async fn asked_meanwhile(&self, path: &str) -> usize {
        self.legacy.wait_count("/kept/a", self.legacy.count("/kept/a") + 2).await;
        let before = self.legacy.count(path);
        self.legacy.wait_count("/kept/a", self.legacy.count("/kept/a") + 5).await;
        self.legacy.count(path) - before
    }
}

/// The data of the next event of this name; others are skipped.
async fn next_of(sse: &mut Sse, name: &str) -> String {
    loop {
        let event = sse.next_event().await;
        if event.event == name {
            return event.data;
        }
    }
}

fn detail(response: &Response) -> &str {
    let said = response.header("cache-status").unwrap_or_default();
    said.strip_prefix("pollcast; fwd=bypass; detail=").unwrap_or(said)
}

#[tokio::test]
async fn plain_requests_pass_through_until_the_route_is_on_again() {
    let stand = Stand::start("").await;
    let mut http = stand.http().await;
    let etag = http.get("/off/a", &[]).await.expect(200).etag().to_owned();
    assert_eq!(stand.route("/off/{name}").await["poll"], "on");
    assert!(stand.has_line("pollcast_routes_off 0").await);
    let done = stand.switch("/off/{name}", "off").await;
    assert_eq!((&done["poll"], &done["switched"]), (&Value::from("off"), &Value::from(1)), "{done}");
    // On the connection of before, whose repeats were known.
    stand.legacy.set("/off/a", Reply::json("2"));
    let plain = http.get("/off/a", &[("if-none-match", &etag)]).await.expect(200);
    assert_eq!((detail(&plain), plain.text().as_str()), ("switched-off", "2"));
    let posted = http.request("POST", "/off/a", &[], b"x").await.expect(200);
    assert_eq!(posted.text(), "2");
    assert_eq!(detail(&http.get("/kept/a", &[]).await), "pollcast; fwd=miss", "the other route is as before");

    let route = stand.route("/off/{name}").await;
    assert_eq!(route["poll"], "switched-off", "{route}");
    assert!(route["off_since"].as_str().is_some_and(|since| since.ends_with('Z')), "{route}");
    assert!(route["passed_through"]["switched-off"].as_u64() >= Some(1), "{route}");
    let listed = stand.see("/resources").await.json();
    assert!(listed["routes"].to_string().contains("\"switched-off\""), "{listed}");
    assert!(stand.has_line("pollcast_routes_off 1").await);
    let mut dashboard = Sse::open(stand.process.admin, "/-/dashboard/stream", &[TOKEN]).await;
    let summary = dashboard.next_named("summary").await;
    assert!(summary.data.contains("\"routes_off\":[\"/off/{name}\"]"), "{summary:?}");
    stand.process.wait_stderr("an operator has switched the route off").await;
    let again = stand.switch("/off/{name}", "off").await;
    assert_eq!(again["switched"], 0, "it is off already: {again}");

    let done = stand.switch("/off/{name}", "on").await;
    assert_eq!(done["switched"], 1, "{done}");
    stand.process.wait_stderr("an operator has switched the route on").await;
    assert!(stand.has_line("pollcast_routes_off 0").await);
    assert_eq!(stand.route("/off/{name}").await["off_since"], Value::Null);
    stand.legacy.set("/off/a", Reply::json("3"));
    let mut sse = Sse::open(stand.process.address, "/off/a", &[]).await;
    assert_eq!(sse.next_event().await.data, "3");
}

#[tokio::test]
async fn streams_end_with_a_reason_come_back_to_the_api_and_polls_stop() {
    let stand = Stand::start("").await;
    let address = stand.process.address;
    let mut kept = Sse::open(address, "/kept/a", &[]).await;
    let mut sse = Sse::open(address, "/off/a", &[]).await;
    let mut ws = Ws::open(address, "/off/a", &[]).await;
    let mut h2 = H2::over(TcpStream::connect(address).await.expect("a connection"), "localhost").await;
    let (_, mut stream) = h2.open("GET", "/off/a", &[STREAM]).await;
    assert_eq!((kept.next_event().await.data.as_str(), sse.next_event().await.data.as_str()), ("1", "1"));
    assert_eq!((ws.next_text().await.as_str(), stream.next_event().await.data.as_str()), ("1", "1"));
    let mut http = stand.http().await;
    let etag = http.get("/off/a", &[]).await.expect(200).etag().to_owned();
    let held =
        tokio::spawn(
            async move { long_poll(&mut http, "/off/a", Some(&etag), Duration::from_secs(9)).await },
        );
    stand.wait_held(1).await;

    let done = stand.switch("/off/{name}", "off").await;
    assert_eq!(done["ended"]["followers"], 4, "{done}");
    let bye = sse.next_named("bye").await;
    let said: Value = serde_json::from_str(&bye.data).expect("JSON");
    assert_eq!((&said["reason"], &said["reconnect"]), (&"switched-off".into(), &true.into()), "{said}");
    assert!(said["retry_ms"].as_u64() > Some(0), "{said}");
    sse.expect_end().await;
    assert_eq!(ws.next_close().await, (1012, "switched-off".to_owned()));
    let bye = stream.next_event().await;
    assert!(bye.event == "bye" && bye.data.contains("switched-off"), "{bye:?}");
    stream.expect_end().await;
    assert_eq!(held.await.expect("an answer").status, 304);
    let ends = "pollcast_ends_total{reason=\"switched-off\",transport=\"sse\"} 2";
    let counted = async {
        while !stand.has_line(ends).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within("the ends to be counted", counted).await;

    assert_eq!(stand.asked_meanwhile("/off/a").await, 0, "nothing of it is polled");
    // What comes back gets the API's own answer, whatever it asks for.
    let mut http = stand.http().await;
    let back = http.get("/off/a", &[STREAM]).await.expect(200);
    assert_eq!((detail(&back), back.text().as_str()), ("switched-off", "1"));
    let back = long_poll(&mut http, "/off/a", Some("\"v\""), Duration::from_secs(9)).await.expect(200);
    assert_eq!(detail(&back), "switched-off");
    let back = Ws::try_open(address, "/off/a", &[]).await.err().expect("the API's own answer");
    assert_eq!((back.status, detail(&back)), (200, "switched-off"));
    assert_eq!(stand.asked_meanwhile("/off/a").await, 0, "nor does it begin again");
    stand.legacy.set("/kept/a", Reply::json("2"));
    assert_eq!(kept.next_event().await.data, "2", "the other route goes on");
}

#[tokio::test]
async fn clients_of_many_resources_are_told_and_keep_the_others() {
    let stand = Stand::start("").await;
    let address = stand.process.address;
    let protocol = [("sec-websocket-protocol", "pollcast.v1")];
    let mut ws = Ws::open(address, "/-/pollcast/ws", &protocol).await;
    for path in ["/off/a", "/kept/a"] {
        ws.send_text(&format!(r#"{{"op":"subscribe","resource":"{path}"}}"#)).await;
        let said = ws.next_text().await;
        assert!(said.contains("\"snapshot\"") && said.contains(path), "{said}");
    }
    let many = "/-/pollcast/events?resource=/off/a&resource=/kept/a";
    let mut sse = Sse::open(address, many, &[]).await;
    // Whichever is told first.
    for event in [sse.next_event().await, sse.next_event().await] {
        assert!(matches!(event.event.as_str(), "/off/a" | "/kept/a"), "{event:?}");
    }
    stand.switch("/off/{name}", "off").await;
    let bye: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
    assert_eq!((&bye["type"], &bye["resource"]), (&"bye".into(), &"/off/a".into()), "{bye}");
    assert_eq!((&bye["reason"], &bye["reconnect"]), (&"switched-off".into(), &true.into()), "{bye}");
    let bye = next_of(&mut sse, "bye").await;
    assert!(bye.contains("\"/off/a\"") && bye.contains("switched-off"), "{bye:?}");

    ws.send_text(r#"{"op":"subscribe","resource":"/off/a"}"#).await;
    let refused: Value = serde_json::from_str(&ws.next_text().await).expect("JSON");
    assert_eq!((&refused["type"], &refused["status"]), (&"error".into(), &503.into()), "{refused}");
    stand.legacy.set("/kept/a", Reply::json("2"));
    assert!(ws.next_text().await.contains("/kept/a"));
    assert_eq!(next_of(&mut sse, "/kept/a").await, "2");
    stand.switch("/off/{name}", "on").await;
    ws.send_text(r#"{"op":"subscribe","resource":"/off/a"}"#).await;
    let said = ws.next_text().await;
    assert!(said.contains("\"snapshot\"") && said.contains("/off/a"), "{said}");
}

#[tokio::test]
async fn what_is_polled_without_clients_and_what_is_asked_for_together_stops_too() {
    let more = ", {path: /always, upstream: legacy, poll: {interval: 100ms, always: true}}, \
                {path: '/items/{id}', upstream: legacy, poll: {interval: 100ms, batch: {param: ids, items: /items, key: \
                /id, path: /list}}}, \
                {path: /feed, upstream: legacy, poll: {interval: 100ms}, feed: {items: /messages, id: /id}}";
    let stand = Stand::start(more).await;
    stand.legacy.set("/always", Reply::json("1"));
    stand.legacy.set("/list", Reply::json(r#"{"items":[{"id":"a"},{"id":"b"}]}"#));
    stand.legacy.set("/feed", Reply::json(r#"{"messages":[{"id":"1"}]}"#));
    let address = stand.process.address;
    let mut kept = Sse::open(address, "/kept/a", &[]).await;
    kept.next_event().await;
    stand.legacy.wait_count("/always", 2).await;
    let mut streams = Vec::new();
    for path in ["/items/a", "/items/b", "/feed"] {
        streams.push(Sse::open(address, path, &[]).await);
    }
    stand.legacy.wait_count("/list", 2).await;
    stand.legacy.wait_count("/feed", 2).await;
    for route in ["/always", "/items/{id}", "/feed"] {
        assert_eq!(stand.switch(route, "off").await["switched"], 1);
    }
    for sse in &mut streams {
        assert!(next_of(sse, "bye").await.contains("switched-off"));
    }
    for path in ["/always", "/list", "/feed"] {
        assert_eq!(stand.asked_meanwhile(path).await, 0, "{path} is polled although it is off");
    }
    assert!(stand.has_line("pollcast_routes_off 3").await);
    // A write of such a route is the API's, and has nothing polled.
    stand.legacy.set("/items/a", Reply::json("{}"));
    let mut http = stand.http().await;
    http.request("PUT", "/items/a", &[], b"{}").await.expect(200);
    let polled = stand.call("/-/poll?url=/always").await;
    assert_eq!(polled.status, 404, "nothing follows it: {polled:?}");
    assert_eq!(stand.asked_meanwhile("/list").await, 0);
    stand.switch("/always", "on").await;
    stand.legacy.wait_count("/always", stand.legacy.count("/always") + 2).await;
}

#[tokio::test]
async fn a_reload_switches_on_again_and_one_that_is_refused_does_not() {
    let stand = Stand::start("").await;
    stand.switch("/off/{name}", "off").await;
    let file = stand.process.folder.path.join("pollcast.yaml");
    let good = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, "routes: 1\n").expect("a file");
    stand.call("/-/reload").await.expect(422);
    assert_eq!(stand.route("/off/{name}").await["poll"], "switched-off", "a wrong file changes nothing");
    std::fs::write(&file, good).expect("a file");
    let looked = stand.call("/-/reload?only_look=true").await.expect(200).json();
    assert_eq!(looked["routes"][0]["path"], "/off/{name}", "it is said what a reload would do: {looked}");
    assert_eq!(stand.route("/off/{name}").await["poll"], "switched-off");
    // The file is as it was when the process began.
    let done = stand.call("/-/reload").await.expect(200).json();
    assert_eq!(done["result"], "applied", "{done}");
    stand.process.wait_stderr("the reload ends that an operator had switched this route off").await;
    assert_eq!(stand.route("/off/{name}").await["poll"], "on");
    assert!(stand.has_line("pollcast_routes_off 0").await);
    let mut sse = Sse::open(stand.process.address, "/off/a", &[]).await;
    assert_eq!(sse.next_event().await.data, "1");
    let same = stand.call("/-/reload").await.expect(200).json();
    assert_eq!(same["result"], "unchanged", "{same}");
    // A file that has the route off itself takes the switch's place.
    stand.switch("/off/{name}", "off").await;
    let file_text = std::fs::read_to_string(&file).expect("the configuration");
    let off = file_text.replacen("poll: {interval: 100ms}", "poll: off", 1);
    std::fs::write(&file, off).expect("a file");
    assert_eq!(stand.call("/-/reload").await.expect(200).json()["result"], "applied");
    assert_eq!(stand.route("/off/{name}").await["poll"], "off");
    assert!(stand.has_line("pollcast_routes_off 0").await);
    let shown = stand.see("/resources").await.json()["configuration"]["generation"].clone();
    assert!(stand.has_line(&format!("pollcast_config_generation {shown}")).await, "{shown}");
}

#[tokio::test]
async fn a_wrong_call_switches_nothing_and_says_why() {
    let stand = Stand::start(", {path: /never, upstream: legacy, poll: off}").await;
    let unasked = Http::connect(stand.process.admin)
        .await
        .request("POST", "/-/routes?path=/off/%7Bname%7D&poll=off", &[], b"")
        .await;
    assert_eq!(unasked.status, 401, "it is an operator's call");
    let unlisted = Http::connect(stand.process.admin).await.get("/-/routes", &[]).await;
    assert_eq!(unlisted.status, 401);
    let unknown = stand.call("/-/routes?path=/off/a&poll=off").await.expect(404).json();
    assert!(unknown["detail"].as_str().is_some_and(|said| said.contains("/off/a")), "{unknown}");
    assert_eq!(unknown["routes"], serde_json::json!(["/kept/{name}", "/never", "/off/{name}"]));
    for target in ["/-/routes?path=/never", "/-/routes?poll=off", "/-/routes?path=/never&poll=maybe"] {
        stand.call(target).await.expect(400);
    }
    let configured = stand.call("/-/routes?path=/never&poll=on").await.expect(409).json();
    assert!(configured["detail"].as_str().is_some_and(|said| said.contains("poll: off")), "{configured}");
    assert_eq!(stand.route("/off/{name}").await["poll"], "on");
    assert_eq!(stand.route("/never").await["poll"], "off");
}
