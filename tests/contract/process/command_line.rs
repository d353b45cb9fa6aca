//! The binary as its users meet it: commands, exit codes, messages, the log.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use crate::contract::edge::support::{Extra, process_yaml};
use crate::support::client::{Http, Sse, Ws, long_poll};
use crate::support::legacy::{Legacy, Reply};
use crate::support::ports::unused_address;
use crate::support::process::{Folder, Process};

fn pollcast(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pollcast"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const GOOD: &str = "listeners: [{address: '127.0.0.1:0'}]\n\
                    upstreams: {api: {servers: ['127.0.0.1:1']}}\n\
                    passthrough: api\n";

#[test]
fn help_and_version_go_to_stdout_with_success() {
    let folder = Folder::new();
    let version = pollcast(&folder.path, &["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(text(&version.stdout), format!("pollcast {}\n", env!("CARGO_PKG_VERSION")));
    let help = pollcast(&folder.path, &["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for command in ["run", "check", "demo", "schema"] {
        assert!(text(&help.stdout).contains(command), "{}", text(&help.stdout));
        let help = pollcast(&folder.path, &[command, "--help"]);
        assert_eq!((help.status.code(), help.stderr.len()), (Some(0), 0));
    }
}

#[test]
fn wrong_usage_is_64_and_speaks_on_stderr() {
    let folder = Folder::new();
    for arguments in [&["nonsense"][..], &["run", "--nonsense"], &[], &["demo", "--listen", "x"]] {
        let output = pollcast(&folder.path, arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn check_says_good_or_every_problem_with_its_line() {
    let folder = Folder::new();
    folder.write("good.yaml", GOOD);
    let good = pollcast(&folder.path, &["check", "--config", "good.yaml"]);
    assert_eq!(good.status.code(), Some(0), "{}", text(&good.stderr));
    assert!(text(&good.stdout).contains("good.yaml"), "{}", text(&good.stdout));
    folder.write("bad.yaml", &format!("{GOOD}limits:\n  header_bytes: 1B\n  nonsense: 1\n"));
    for command in ["check", "run"] {
        let bad = pollcast(&folder.path, &[command, "--config", "bad.yaml"]);
        assert_eq!(bad.status.code(), Some(64), "{command}");
        let problems = text(&bad.stderr);
        assert!(problems.contains("bad.yaml:5: limits.header_bytes"), "{problems}");
        assert!(problems.contains("bad.yaml:6") && problems.contains("nonsense"), "{problems}");
        assert!(problems.ends_with('\n'), "{problems:?}");
        assert!(bad.stdout.is_empty());
    }
}

#[test]
fn check_says_what_a_reload_does_and_what_needs_a_restart() {
    let folder = Folder::new();
    let file = |name: &str, end: &str| folder.write(name, &format!("{GOOD}{end}"));
    file(
        "old.yaml",
        "routes:
  - { path: /same, upstream: api }
  - { path: /faster, upstream: api }
  - { path: /other, upstream: api }
  - { path: /gone, upstream: api }
",
    );
    file(
        "new.yaml",
        "routes:
  - { path: /faster, upstream: api, poll: { interval: 1s } }
  - { path: /same, upstream: api, poll: { interval: 5000ms } }
  - { path: /other, upstream: api, change: { select: /a } }
  - { path: /new, upstream: api }
limits: { clients: 10 }
version_key: a-key-of-sixteen-and-more
",
    );
    let check = |arguments: &[&str]| {
        let output =
            pollcast(&folder.path, &[&["check", "--config", "new.yaml", "--diff"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(
        check(&["old.yaml"]),
        "route /faster: changes in place, its streams stay: poll.interval
route /other: means something else, its streams end and come back: change
route /new: is new
route /gone: is removed, its streams end
changes at once: limits.clients
needs a restart, stays as it is until then: version_key
1 route stays
"
    );
    let json: serde_json::Value = serde_json::from_str(&check(&["old.yaml", "--json"])).expect("JSON");
    assert_eq!(
        json["routes"][2],
        serde_json::json!({"path": "/other", "hosts": [], "change": "meaning", "keys": ["change"]})
    );
    assert_eq!(json["restart"], serde_json::json!(["version_key"]));
    assert_eq!(check(&["new.yaml"]), "a reload changes nothing: 4 routes stay\n");
    file("bad.yaml", "nonsense: 1\n");
    let bad = pollcast(&folder.path, &["check", "--config", "new.yaml", "--diff", "bad.yaml"]);
    assert_eq!(bad.status.code(), Some(64));
    assert!(text(&bad.stderr).contains("bad.yaml:4: nonsense"), "{}", text(&bad.stderr));
}

#[test]
fn a_missing_file_is_named() {
    let folder = Folder::new();
    for command in ["check", "run"] {
        let output = pollcast(&folder.path, &[command, "--config", "nowhere.yaml"]);
        assert_eq!(output.status.code(), Some(64), "{command}");
        assert!(text(&output.stderr).contains("nowhere.yaml"), "{}", text(&output.stderr));
    }
    // Without --config: conf/pollcast.yaml.
    let output = pollcast(&folder.path, &["check"]);
    assert!(text(&output.stderr).contains("conf/pollcast.yaml"), "{}", text(&output.stderr));
}

#[test]
fn the_schema_is_json() {
    let folder = Folder::new();
    let output = pollcast(&folder.path, &["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(schema["properties"]["routes"].is_object(), "{schema}");
}

#[test]
fn a_port_in_use_is_1_and_named() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    folder.write("public.yaml", &GOOD.replace("127.0.0.1:0", &address));
    folder.write("admin.yaml", &format!("{GOOD}admin: {{address: '{address}'}}\n"));
    for file in ["public.yaml", "admin.yaml"] {
        let output = pollcast(&folder.path, &["run", "--config", file]);
        assert_eq!(output.status.code(), Some(1), "{file}");
        let said = text(&output.stderr);
        assert!(said.contains(&address) && said.to_lowercase().contains("in use"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    let demo = pollcast(&folder.path, &["demo", "--listen", &address, "--admin", "127.0.0.1:0"]);
    assert_eq!(demo.status.code(), Some(1));
    assert!(text(&demo.stderr).contains(&address), "{}", text(&demo.stderr));
}

#[tokio::test]
async fn the_demo_serves_its_page_and_its_streams() {
    let folder = Folder::new();
    let [listen, admin] = [unused_address(), unused_address()];
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
    command.args(["demo", "--listen", &listen.to_string(), "--admin", &admin.to_string()]);
    let process = Process::run(command, folder);
    let until = std::time::Instant::now() + crate::support::wire::GUARD;
    while tokio::net::TcpStream::connect(listen).await.is_err() {
        assert!(std::time::Instant::now() < until, "{}", process.stderr());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let page = Http::connect(listen).await.get("/", &[]).await.expect(200);
    assert!(page.header("content-type").is_some_and(|t| t.starts_with("text/html")), "{page:?}");
    let mut sse = Sse::open(listen, "/auction/1", &[]).await;
    sse.next_event().await;
    Http::connect(admin).await.get("/ready", &[]).await.expect(200);
    drop(sse);
    process.signal("INT");
    assert_eq!(process.wait_exit().await.code(), Some(0), "{}", process.stderr());
}

fn access_lines(log: &str) -> Vec<serde_json::Value> {
    let lines = log.lines().map(|line| {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("not JSON: {e}: {line}"))
    });
    lines.filter(|line| line["target"] == "access").collect()
}

#[tokio::test]
async fn each_request_and_stream_is_one_line_of_json_without_secrets() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    legacy.set("/x", Reply::text("hello"));
    legacy.set("/r/bad", Reply::empty(500));
    let extra = Extra {
        route: ", share: {by: [authorization, 'cookie:session']}, poll: {headers: {x-service: hidden-service}}",
        top: "log: {format: json}\ndrain: {delay: 0s, window: 0s}\nversion_key: hidden-version-key-of-the-nodes",
        ..Extra::default()
    };
    let yaml = process_yaml(&legacy, extra).replace(
        "admin: {address: 'ADMIN_ADDRESS'}",
        "admin: {address: 'ADMIN_ADDRESS', token: hidden-admin-token}",
    );
    let process = Process::start(&yaml).await;
    let secrets =
        [("authorization", "Bearer hidden-bearer"), ("cookie", "session=hidden-cookie; other=hidden-other")];
    let mut http = Http::connect(process.address).await;
    http.get("/x?token=hidden-query", &secrets).await.expect(200);
    let etag = http.get("/r/a?token=hidden-query", &secrets).await.expect(200).etag().to_owned();
    http.get("/r/bad?token=hidden-query", &secrets).await.expect(500);
    http.get("/r//a?token=hidden-query", &secrets).await.expect(404);
    let held: Vec<_> =
        secrets.iter().copied().chain([("prefer", "wait=1"), ("if-none-match", &etag)]).collect();
    http.get("/r/a?token=hidden-query", &held).await.expect(304);
    long_poll(&mut http, "/r/a", None, std::time::Duration::from_secs(1)).await;
    let mut sse = Sse::open(process.address, "/r/a?token=hidden-query", &secrets).await;
    sse.next_event().await;
    let mut ws = Ws::open(process.address, "/r/a?token=hidden-query", &secrets).await;
    ws.next_text().await;
    drop((sse, ws));
    Http::connect(process.admin)
        .await
        .get("/metrics", &[("authorization", "Bearer hidden-admin-token")])
        .await
        .expect(200);
    for transport in ["sse", "websocket"] {
        process.wait_stderr(&format!("\"transport\":\"{transport}\"")).await;
    }
    process.signal("TERM");
    process.wait_exit().await;
    let log = process.stderr();
    assert!(!log.contains("hidden"), "a secret was logged:\n{log}");
    let lines = access_lines(&log);
    let transports: Vec<&str> = lines.iter().filter_map(|l| l["fields"]["transport"].as_str()).collect();
    let streams = transports.iter().filter(|t| ["sse", "websocket"].contains(t)).count();
    assert_eq!((lines.len(), streams), (8, 2), "{transports:?}\n{log}");
    for line in &lines {
        let fields = &line["fields"];
        for name in ["transport", "duration_ms", "bytes", "events", "reason", "peer", "route", "path"] {
            assert!(fields.get(name).is_some(), "{name} is missing in {line}");
        }
    }
    let sse = lines.iter().find(|l| l["fields"]["transport"] == "sse").expect("the stream's line");
    assert_eq!(sse["fields"]["events"], 1, "{sse}");
    assert!(sse["fields"]["bytes"].as_u64().is_some_and(|bytes| bytes > 20), "{sse}");
    let passed = lines.iter().find(|l| l["fields"]["path"] == "/x").expect("the request's line");
    assert_eq!(
        (&passed["fields"]["status"], &passed["fields"]["bytes"]),
        (&200.into(), &5.into()),
        "{passed}"
    );
}

#[tokio::test]
async fn the_access_log_can_be_switched_off() {
    let legacy = Legacy::start();
    legacy.set("/x", Reply::text("x"));
    let extra = Extra { top: "log: {access: false}\ndrain: {delay: 0s, window: 0s}", ..Extra::default() };
    let process = Process::start(&process_yaml(&legacy, extra)).await;
    Http::connect(process.address).await.get("/x", &[("connection", "close")]).await.expect(200);
    process.signal("TERM");
    process.wait_exit().await;
    assert!(!process.stderr().contains("request ended"), "{}", process.stderr());
}

#[tokio::test]
async fn the_access_log_has_the_lines_that_are_wanted() {
    for (lines, has_well) in [("{only: errors}", false), ("{sample: 1}", true), ("{sample: 0.0001}", false)] {
        let legacy = Legacy::start();
        legacy.set("/well", Reply::text("x"));
        legacy.set("/wrong", Reply::text("x").status(404));
        let top = format!("log: {{format: json, access: {lines}}}\ndrain: {{delay: 0s, window: 0s}}");
        let extra = Extra { top: &top, ..Extra::default() };
        let process = Process::start(&process_yaml(&legacy, extra)).await;
        for (path, status) in [("/well", 200), ("/wrong", 404)] {
            Http::connect(process.address).await.get(path, &[("connection", "close")]).await.expect(status);
        }
        process.signal("TERM");
        process.wait_exit().await;
        let log = access_lines(&process.stderr());
        let has = |path: &str| log.iter().any(|line| line["fields"]["path"] == path);
        assert_eq!((has("/well"), has("/wrong")), (has_well, true), "{lines}: {log:?}");
    }
}

#[test]
fn check_says_of_each_route_what_becomes_of_plain_requests_and_what_it_misses() {
    let folder = Folder::new();
    let text_of = |routes: &str| {
        format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{api: {{servers: ['127.0.0.1:1']}}}}\n\
             passthrough: api\nroutes: [{routes}]\n"
        )
    };
    folder.write(
        "plain.yaml",
        &text_of(
            "{path: '/items/{*rest}', upstream: api, hosts: [a], poll: {headers: {x-api-key: k}}}, \
             {path: /prices, upstream: api}, {path: /own, upstream: api, poll: off}",
        ),
    );
    let output = pollcast(&folder.path, &["check", "--config", "plain.yaml"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for line in [
        "/items/{*rest}: plain requests are the API's (plain: share answers them from the snapshot)",
        "/prices: plain requests are answered from the snapshot (plain: pass leaves them to the API)",
        "/own: nothing is polled or pushed, all requests are the API's (poll: off)",
        "/items/{*rest}: does not cover /items",
        "/prices: does not cover /prices/",
        "plain.yaml: good: 3 routes, 1 upstream",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}\nnot in\n{said}");
    }
    assert!(said.contains("warning") && said.contains("routes[0].poll.headers"), "{said}");
}

#[test]
fn check_names_the_entries_of_the_upgrade_page_that_concern_the_file() {
    let folder = Folder::new();
    folder.write(
        "old.yaml",
        "listeners: [{address: '127.0.0.1:0'}]\nupstreams: {api: {servers: ['127.0.0.1:1']}}\n\
         passthrough: api\nroutes: [{path: '/api/{*rest}', upstream: api}, {path: /rates, upstream: api, share: {by: [x-api-key]}}]\n",
    );
    let output = pollcast(&folder.path, &["check", "--config", "old.yaml"]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let line = |part: &str| {
        let found = said.lines().find(|line| line.starts_with("since 0.1.0, ") && line.contains(part));
        found.unwrap_or_else(|| panic!("{part:?} is not named in\n{said}")).to_owned()
    };
    assert!(
        line("Plain requests of a route whose path ends in").starts_with("since 0.1.0, /api/{*rest}: "),
        "{said}"
    );
    assert!(line("`Range` on a plain request").starts_with("since 0.1.0, /rates: "), "{said}");
    assert!(line("a request with other credentials only").starts_with("since 0.1.0, /rates: "), "{said}");
    assert!(line("src/manual/from-0.1.md").starts_with("since 0.1.0, every file: "), "{said}");
    assert!(!said.contains("share: authorize"), "{said}");
}

#[tokio::test]
async fn each_header_that_made_requests_pass_through_has_one_line_in_the_log() {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json("1"));
    let process = Process::start(&process_yaml(&legacy, Extra::default())).await;
    let mut http = Http::connect(process.address).await;
    for number in ["1", "2", "3"] {
        for name in ["private-token", "x-app-version", "authorization"] {
            http.get("/r/a", &[(name, number)]).await.expect(200);
        }
    }
    process.signal("TERM");
    process.wait_exit().await;
    let log = process.stderr();
    for name in ["private-token", "x-app-version", "authorization"] {
        assert_eq!(log.matches(&format!("header {name} ")).count(), 1, "{name}:\n{log}");
    }
}
