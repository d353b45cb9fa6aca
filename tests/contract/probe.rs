//! `pollcast check --probe`: what it asks, what it says, what it never says.

use std::process::{Command, Output};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Folder;

/// A configuration file before `legacy`; `more`: further keys.
fn folder(legacy: &Legacy, more: &str) -> Folder {
    let folder = Folder::new();
    let address = legacy.address();
    folder.write(
        "p.yaml",
        &format!("listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{legacy: {{servers: ['{address}']}}}}\npassthrough: legacy\n{more}"),
    );
    folder
}

fn probe(folder: &Folder, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pollcast"))
        .args(["check", "-c", "p.yaml", "--every", "100ms", "--probe"])
        .args(arguments)
        .current_dir(&folder.path)
        .output()
        .expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn good(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The `routes:` section at the end of a report.
fn route_of(report: &str) -> &str {
    &report[report.find("routes:\n").unwrap_or_else(|| panic!("no route in:\n{report}"))..]
}

#[test]
fn a_probe_reports_what_it_saw_and_prints_a_route_that_check_accepts() {
    let legacy = Legacy::start();
    let number = AtomicU64::new(0);
    legacy.answer_with("/rooms/7/messages", move |_| {
        let n = number.fetch_add(1, Ordering::Relaxed);
        Reply::json(format!(
            "{{\"generated_at\":{n},\"messages\":[{{\"id\":2,\"text\":\"b\"}},{{\"id\":1,\"text\":\"a\"}}]}}"
        ))
        .header("cache-control", "max-age=9")
        .header("ratelimit-remaining", "40")
    });
    let folder = folder(&legacy, "");
    let report = good(&probe(&folder, &["/rooms/7/messages", "--polls", "3"]));
    assert_eq!(legacy.count("/rooms/7/messages"), 3, "no validators, no credentials: nothing else to ask");
    for wanted in [
        "no validator",
        "max-age=9",
        "ratelimit-remaining: 40",
        "/generated_at differ on every poll and look like noise",
        "0 of 2 polls brought something new",
        "/messages has 2 items with unique /id (newest_first)",
        "\"/rooms/{id}/messages\"",
        "change: { ignore: [\"/generated_at\"] }",
        "feed: { items: \"/messages\", id: \"/id\", order: newest_first }",
        "interval: 9s",
    ] {
        assert!(report.contains(wanted), "{wanted:?} is missing in:\n{report}");
    }
    let file = std::fs::read_to_string(folder.path.join("p.yaml")).expect("the file");
    folder.write("p.yaml", &format!("{file}{}", route_of(&report)));
    let report = good(&probe(&folder, &["/rooms/7/messages", "--polls", "2"]));
    assert!(report.contains("route /rooms/{id}/messages"), "{report}");
}

#[test]
fn validators_are_tried() {
    let legacy = Legacy::start();
    legacy.set("/works", Reply::json("{\"a\":1}").etag("W/\"1\""));
    legacy.set("/ignored", Reply::json("{\"a\":1}").etag("\"1\"").ignores_validators());
    let folder = folder(&legacy, "");
    let report = good(&probe(&folder, &["/works", "--polls", "2"]));
    assert!(report.contains("ETag (weak); a conditional request got 304"), "{report}");
    assert_eq!(legacy.count("/works"), 3);
    let report = good(&probe(&folder, &["/ignored", "--polls", "2"]));
    assert!(report.contains("ETag (strong); but a conditional request got the same body"), "{report}");
}

#[test]
fn credentials_are_tried_with_and_without_and_never_printed() {
    let legacy = Legacy::start();
    legacy.answer_with("/me", |seen| match seen.header("authorization") {
        Some(_) => Reply::json("{\"name\":\"a\"}").header("set-cookie", "sid=hidden-cookie"),
        None => Reply::empty(401),
    });
    let folder = folder(&legacy, "");
    let secrets = ["--header", "Authorization: Bearer hidden-token", "--header", "X-Trace: hidden-trace"];
    let url = format!("http://{}/me?token=hidden-query", legacy.address());
    let output = probe(&folder, &[&[url.as_str(), "--polls", "2"], &secrets[..]].concat());
    let report = good(&output);
    assert!(report.contains("without authorization: 401"), "{report}");
    assert!(report.contains("without x-trace: the same"), "{report}");
    assert!(report.contains("share: { by: [\"authorization\"] }"), "{report}");
    assert!(!format!("{report}{}", text(&output.stderr)).contains("hidden"), "{report}");
    legacy.set("/open", Reply::json("{\"a\":1}").header("vary", "accept"));
    let report = good(&probe(&folder, &[&["/open", "--polls", "2"], &secrets[..]].concat()));
    assert!(report.contains("    share: public\n"), "{report}");
    let denied = probe(&folder, &["/me", "--polls", "2"]);
    assert_eq!(denied.status.code(), Some(1));
    assert!(text(&denied.stdout).contains("needs credentials"), "{}", text(&denied.stdout));
}

#[test]
fn a_route_is_asked_as_the_relay_would() {
    let legacy = Legacy::start();
    legacy.set("/prices/A", Reply::json("{\"a\":1}"));
    let route = "routes: [{path: '/prices/{symbol}', upstream: legacy, query: [c], \
                 hosts: ['127.0.0.1'], poll: {interval: 3s, headers: {x-api-key: hidden-key}}}]\n";
    let folder = folder(&legacy, route);
    let report = good(&probe(&folder, &["/prices/A?c=1&other=2", "--polls", "2"]));
    assert!(!report.contains("hidden") && report.contains("interval: 3s"), "{report}");
    let asked = legacy.seen("/prices/A");
    assert_eq!(asked[0].target, "/prices/A?c=1");
    assert_eq!(asked[0].header("x-api-key"), Some("hidden-key"));
    assert_eq!(asked[0].header("accept-encoding"), Some("gzip, br, zstd"));
}

#[test]
fn what_cannot_be_asked_is_said() {
    let legacy = Legacy::start();
    legacy.set("/gone", Reply::reset());
    let folder = folder(&legacy, "");
    for arguments in
        [&["nonsense"][..], &["/a", "--header", "hidden"], &["/a", "--polls", "1"], &["/a", "--every", "1ms"]]
    {
        let output = probe(&folder, arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    let output = probe(&folder, &["/gone"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("legacy"), "{}", text(&output.stderr));
}
