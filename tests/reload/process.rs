//! Signal, call and watch: a real process. A wrong file changes nothing and is told in full; what needs a restart is named.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::client::{Http, Response, Sse};
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::{Folder, Process};
use crate::support::tls::{Authority, Identity};

/// `listener`: more keys of the listener; `top`: more keys of the file.
fn yaml(legacy: &Legacy, routes: &str, listener: &str, top: &str) -> String {
    format!(
        "listeners: [{{address: PUBLIC_ADDRESS{listener}}}]\n\
         admin: {{address: ADMIN_ADDRESS, token: the-token-of-operators}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         routes: [{routes}]\n\
         {top}\n",
        legacy.address()
    )
}

const A: &str = "{path: /a, upstream: legacy, poll: {interval: 100ms}}";

const B: &str = "{path: /b, upstream: legacy, poll: {interval: 100ms}}";

/// Writes another configuration at the place of the running one.
fn rewrite(process: &Process, yaml: &str) {
    let text = yaml.replace("PUBLIC_ADDRESS", &process.address.to_string());
    let text = text.replace("ADMIN_ADDRESS", &process.admin.to_string());
    process.folder.write("pollcast.yaml", &text);
}

const TOKEN: (&str, &str) = ("authorization", "Bearer the-token-of-operators");

async fn call(process: &Process, target: &str) -> Response {
    let mut http = Http::connect(process.admin).await;
    http.request("POST", target, &[TOKEN], b"").await
}

async fn status(process: &Process) -> Value {
    let answer = Http::connect(process.admin).await.get("/resources", &[TOKEN]).await.expect(200);
    answer.json()["configuration"].clone()
}

async fn metric(process: &Process, line: &str) -> bool {
    let text = Http::connect(process.admin).await.get("/metrics", &[TOKEN]).await.expect(200).text();
    text.lines().any(|found| found == line)
}

#[tokio::test]
async fn a_call_says_what_changed_and_a_wrong_file_changes_nothing() {
    let legacy = Legacy::start();
    for path in ["/a", "/b"] {
        legacy.set(path, Reply::json("1"));
    }
    let process = Process::start(&yaml(&legacy, A, "", "")).await;
    let mut sse = Sse::open(process.address, "/a", &[]).await;
    assert_eq!(sse.next_event().await.data, "1");
    let unasked = Http::connect(process.admin).await.request("POST", "/-/reload", &[], b"").await;
    assert_eq!(unasked.status, 401, "it is an operator's call");
    let same = call(&process, "/-/reload").await.expect(200).json();
    assert_eq!((&same["result"], &same["generation"]), (&Value::from("unchanged"), &Value::from(1)));

    rewrite(&process, &yaml(&legacy, "{path: /a, upstream: none}", "", "limits: {clients: many}"));
    let wrong = call(&process, "/-/reload").await.expect(422).json();
    let problems = wrong["problems"].as_array().expect("problems");
    assert!(problems.len() >= 2 && problems.iter().all(|one| one["line"].as_u64() > Some(0)), "{wrong}");
    assert!(problems.iter().any(|one| one["place"] == "routes[0].upstream"), "{wrong}");
    process.wait_stderr("routes[0].upstream").await;
    let shown = status(&process).await;
    assert_eq!(
        (&shown["generation"], &shown["last_reload"]["result"]),
        (&Value::from(1), &Value::from("invalid"))
    );
    assert!(metric(&process, "pollcast_reloads_total{result=\"invalid\"} 1").await);
    assert!(metric(&process, "pollcast_config_last_reload_successful 0").await);
    legacy.set("/a", Reply::json("2"));
    assert_eq!(sse.next_event().await.data, "2");

    rewrite(&process, &yaml(&legacy, &format!("{A}, {B}"), "", "threads: {shards: 3}"));
    let looked = call(&process, "/-/reload?only_look=true").await.expect(200).json();
    assert_eq!((&looked["result"], &looked["generation"]), (&Value::from("looked"), &Value::from(1)));
    let done = call(&process, "/-/reload").await.expect(200).json();
    assert_eq!((&done["result"], &done["generation"]), (&Value::from("applied"), &Value::from(2)), "{done}");
    assert_eq!(done["routes"][0]["path"], "/b", "{done}");
    assert_eq!(
        (&done["routes"][0]["change"], &done["routes_unchanged"]),
        (&Value::from("added"), &Value::from(1))
    );
    assert_eq!(done["needs_restart"], serde_json::json!(["threads"]), "{done}");
    process.wait_stderr("threads differs, and counts from the next start on").await;
    assert!(metric(&process, "pollcast_config_generation 2").await);
    assert!(metric(&process, "pollcast_config_last_reload_successful 1").await);
    let mut added = Sse::open(process.address, "/b", &[]).await;
    assert_eq!(added.next_event().await.data, "1");
    legacy.set("/a", Reply::json("3"));
    assert_eq!(sse.next_event().await.data, "3");
}

#[tokio::test]
async fn the_command_line_asks_the_running_process_what_a_reload_would_do() {
    let legacy = Legacy::start();
    let process = Process::start(&yaml(&legacy, A, "", "")).await;
    let admin = process.admin.to_string();
    let check = |token: Option<&str>, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
        command.args(["check", "--admin", &admin]).args(arguments).env_remove("POLLCAST_ADMIN_TOKEN");
        let output = command.envs(token.map(|token| ("POLLCAST_ADMIN_TOKEN", token))).output();
        let output = output.expect("pollcast runs");
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text)
    };
    let token = Some("the-token-of-operators");
    // A process whose admin listener answers knows its file.
    assert_eq!(check(token, &[]), (Some(0), "a reload changes nothing: 1 route stays\n".to_owned()));
    rewrite(&process, &yaml(&legacy, &format!("{A}, {B}"), "", "threads: {shards: 3}"));
    let wanted = "route /b: is new\nneeds a restart, stays as it is until then: threads\n1 route stays\n";
    assert_eq!(check(token, &[]), (Some(0), wanted.to_owned()));
    let (code, text) = check(token, &["--json"]);
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (code, &json["result"], &json["routes"][0]["change"]),
        (Some(0), &"looked".into(), &"added".into())
    );
    rewrite(&process, &yaml(&legacy, "{path: /a, upstream: none}", "", ""));
    let (code, text) = check(token, &[]);
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("routes[0].upstream") && text.contains("pollcast.yaml:"), "{text}");
    let (code, text) = check(None, &[]);
    assert!(code == Some(1) && text.contains("401"), "{text}");
    assert_eq!(status(&process).await["generation"], 1, "nothing was taken");
}

#[tokio::test]
async fn no_scrape_shows_a_route_or_an_upstream_that_is_gone_and_others_keep_their_counts() {
    let (legacy, other) = (Legacy::start(), Legacy::start());
    legacy.set("/a", Reply::json("1"));
    other.set("/b", Reply::json("1"));
    let with = |routes: &str, upstream: &str| {
        yaml(&legacy, routes, "", "").replace("upstreams: {", &format!("upstreams: {{{upstream}"))
    };
    let spare = format!("spare: {{servers: ['{}']}}, ", other.address());
    let both = with(&format!("{A}, {{path: /b, upstream: spare, poll: {{interval: 1h}}}}"), &spare);
    let process = Process::start(&both).await;
    let scrape =
        async || Http::connect(process.admin).await.get("/metrics", &[TOKEN]).await.expect(200).text();
    let mut kept = Sse::open(process.address, "/a", &[]).await;
    assert_eq!(kept.next_event().await.data, "1");
    Http::connect(process.address).await.get("/b", &[]).await.expect(200);
    let text = scrape().await;
    assert!(text.contains("upstream=\"spare\"") && text.contains("route=\"/b\""), "{text}");
    rewrite(&process, &with(A, ""));
    call(&process, "/-/reload").await.expect(200);
    let text = scrape().await;
    assert!(!text.contains("spare") && !text.contains("\"/b\""), "{text}");
    assert!(text.contains("pollcast_subscribers{route=\"/a\",transport=\"sse\"} 1"), "{text}");
    let polled = "pollcast_polls_total{outcome=\"changed\",route=\"/a\",upstream=\"legacy\"} 1";
    assert!(text.contains(polled), "{text}");
    // One of that name that comes again begins at 0.
    rewrite(&process, &both);
    call(&process, "/-/reload").await.expect(200);
    assert!(metric(&process, "pollcast_poll_duration_seconds_count{upstream=\"spare\"} 0").await);
}

#[tokio::test]
async fn sighup_reads_the_file_and_the_log_follows_its_level() {
    let legacy = Legacy::start();
    let process = Process::start(&yaml(&legacy, A, "", "log: {level: warn}")).await;
    assert!(!process.stderr().contains("listening"), "{}", process.stderr());
    legacy.set("/a", Reply::json("1"));
    let mut sse = Sse::open(process.address, "/a", &[]).await;
    assert_eq!(sse.next_event().await.data, "1");
    rewrite(&process, &yaml(&legacy, &format!("{A}, {B}"), "", "log: {level: info}"));
    process.signal("HUP");
    // The level counts when the reload is done; the next one is heard.
    let generation = async {
        while status(&process).await["generation"] != 2 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    crate::support::wire::within("the new configuration", generation).await;
    process.signal("HUP");
    process.wait_stderr("the configuration is as before").await;
    legacy.set("/a", Reply::json("2"));
    assert_eq!(sse.next_event().await.data, "2");
}

/// Has a process watch its file.
const WATCH: &str = "reload: {watch: true}";

/// A process that watches its file, and a stream of it.
async fn watching() -> (Legacy, Process, Sse) {
    let legacy = Legacy::start();
    legacy.set("/a", Reply::json("1"));
    let process = Process::start(&yaml(&legacy, A, "", WATCH)).await;
    let mut sse = Sse::open(process.address, "/a", &[]).await;
    assert_eq!(sse.next_event().await.data, "1");
    (legacy, process, sse)
}

#[tokio::test]
async fn a_watched_file_is_taken_when_it_is_written_or_its_link_leads_elsewhere() {
    let (legacy, process, mut sse) = watching().await;
    rewrite(&process, &yaml(&legacy, &format!("{A}, {B}"), "", WATCH));
    process.wait_stderr("a new configuration counts").await;

    // As Kubernetes does: pollcast.yaml -> ..data/pollcast.yaml, ..data -> ..1, and then -> ..2.
    let at = |name: &str| process.folder.path.join(name);
    let third = yaml(&legacy, &format!("{A}, {{path: /c, upstream: legacy}}"), "", WATCH);
    for (folder, text) in [("..1", yaml(&legacy, &format!("{A}, {B}"), "", WATCH)), ("..2", third)] {
        std::fs::create_dir(at(folder)).expect("a folder");
        let text = text.replace("PUBLIC_ADDRESS", &process.address.to_string());
        let text = text.replace("ADMIN_ADDRESS", &process.admin.to_string());
        std::fs::write(at(folder).join("pollcast.yaml"), text).expect("a file");
    }
    let point = |target: &str, link: &Path| {
        let fresh = at("..fresh");
        symlink(target, &fresh).expect("a link");
        std::fs::rename(&fresh, link).expect("a link in its place");
    };
    point("..1", &at("..data"));
    point("..data/pollcast.yaml", &at("pollcast.yaml"));
    point("..2", &at("..data"));
    process.wait_stderr("route /c: is new").await;
    legacy.set("/a", Reply::json("2"));
    assert_eq!(sse.next_event().await.data, "2");
}

#[tokio::test]
async fn a_file_that_a_watched_one_includes_is_watched_too() {
    let (legacy, process, mut sse) = watching().await;
    let folder = process.folder.path.join("more");
    std::fs::create_dir(&folder).expect("a folder");
    let route = |path: &str| format!("routes: [{{path: {path}, upstream: legacy}}]\n");
    std::fs::write(folder.join("one.yaml"), route("/one")).expect("a file");
    rewrite(&process, &yaml(&legacy, A, "", &format!("{WATCH}\ninclude: ['more/*.yaml']")));
    process.wait_stderr("route /one: is new").await;
    // Only the included file is another one, and then there is one more.
    std::fs::write(folder.join("one.yaml"), route("/other")).expect("a file");
    process.wait_stderr("route /other: is new").await;
    std::fs::write(folder.join("two.yaml"), route("/two")).expect("a file");
    process.wait_stderr("route /two: is new").await;
    legacy.set("/a", Reply::json("2"));
    assert_eq!(sse.next_event().await.data, "2");
}

#[tokio::test]
async fn other_certificates_are_for_the_next_handshakes_and_one_that_cannot_be_used_stops_all() {
    let (authority, folder, legacy) = (Authority::new(), Folder::new(), Legacy::start());
    legacy.set("/a", Reply::json("1"));
    let listener = |name: &str| {
        let Identity { cert_pem, key_pem } = authority.certify(&["localhost"]);
        let cert = folder.write(&format!("{name}.crt"), &cert_pem);
        let key = folder.write(&format!("{name}.key"), &key_pem);
        (
            format!(
                ", tls: {{certificates: [{{cert: '{}', key: '{}'}}], reload: off}}",
                cert.display(),
                key.display()
            ),
            key,
        )
    };
    let (first, _) = listener("first");
    let process = Process::start(&yaml(&legacy, A, &first, "")).await;
    let shown = async || {
        let stream = authority.connect(process.address, "localhost", &[]).await;
        let (_, session) = stream.get_ref();
        session.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let before = shown().await;
    let stream = authority.connect(process.address, "localhost", &[]).await;
    let mut sse = Sse::over(stream, "localhost", "HTTP/1.1", "/a", &[]).await.expect("a stream");
    assert_eq!(sse.next_event().await.data, "1");
    let (second, key) = listener("second");
    rewrite(&process, &yaml(&legacy, &format!("{A}, {B}"), &second, ""));
    let done = call(&process, "/-/reload").await.expect(200).json();
    assert_eq!(done["result"], "applied", "{done}");
    assert_ne!(shown().await, before);
    let (third, _) = listener("third");
    // A key that is another certificate's.
    let third = third.replace("third.key", &key.file_name().expect("a name").to_string_lossy());
    rewrite(&process, &yaml(&legacy, A, &third, ""));
    let refused = call(&process, "/-/reload").await.expect(422).json();
    assert!(refused["problems"].to_string().contains("certificates[0].cert"), "{refused}");
    assert_eq!(status(&process).await["generation"], 2);
    legacy.set("/a", Reply::json("2"));
    assert_eq!(sse.next_event().await.data, "2");
}
