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
    let polls = legacy.seen("/rooms/7/messages");
    assert!(polls[..3].iter().all(|seen| seen.headers == polls[0].headers), "three polls, as the relay asks");
    for wanted in [
        "no validator",
        "max-age=9",
        "ratelimit-remaining: 40",
        "/generated_at differ on every poll and look like noise",
        "0 of 2 polls brought something new",
        "/messages has 2 items with unique /id (in no order that shows)",
        "\"/rooms/{id}/messages\"",
        "change: { ignore: [\"/generated_at\"] }",
        "feed: { items: \"/messages\", id: \"/id\", order: none }",
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

/// The paths of the routes that a file has.
fn paths(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("- path: ")).collect()
}

#[test]
fn several_urls_are_one_file_and_it_is_written_only_where_there_is_none() {
    let legacy = Legacy::start();
    legacy.set("/a", Reply::json("{\"a\":1}"));
    legacy.set("/b/7", Reply::json("{\"b\":1}"));
    let folder = folder(&legacy, "routes:\n  - path: /{*rest}\n    upstream: legacy\n");
    let arguments = ["/a", "--probe", "/b/7", "--polls", "2", "--write", "new.yaml"];
    let report = good(&probe(&folder, &arguments));
    assert_eq!(report.matches("routes:\n").count(), 1, "{report}");
    assert_eq!(paths(route_of(&report)), ["\"/a\"", "\"/b/{id}\""]);
    let written = std::fs::read_to_string(folder.path.join("new.yaml")).expect("the new file");
    assert_eq!(paths(&written), ["\"/a\"", "\"/b/{id}\"", "/{*rest}"]);
    let check = Command::new(env!("CARGO_BIN_EXE_pollcast"))
        .args(["check", "-c", "new.yaml"])
        .current_dir(&folder.path)
        .output()
        .expect("the binary runs");
    assert!(good(&check).contains("good: 3 routes, 1 upstream"), "{}", text(&check.stdout));
    let again = probe(&folder, &arguments);
    assert_eq!(again.status.code(), Some(64), "{}", text(&again.stderr));
    assert_eq!(std::fs::read_to_string(folder.path.join("new.yaml")).expect("the file"), written);
}

#[test]
fn a_get_that_takes_something_away_is_asked_no_further_and_has_no_route() {
    let legacy = Legacy::start();
    let number = AtomicU64::new(0);
    legacy.answer_with("/queue", move |_| {
        let n = number.fetch_add(1, Ordering::Relaxed);
        Reply::json(format!("{{\"id\":{n},\"text\":\"m{n}\"}}")).etag(&format!("\"{n}\""))
    });
    let left = AtomicU64::new(2);
    legacy.answer_with("/emptied", move |_| {
        match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)) {
            Ok(_) => Reply::text("message"),
            Err(_) => Reply::empty(204),
        }
    });
    let handshake = AtomicU64::new(0);
    legacy.answer_with("/socket.io", move |_| {
        let n = handshake.fetch_add(1, Ordering::Relaxed) % 10;
        Reply::text(format!("0{{\"sid\":\"lv_VI97HAXpY6yYWAAA{n}\",\"pingInterval\":25000}}"))
            .header("cache-control", "no-store")
    });
    let folder = folder(&legacy, "");
    for (path, why) in [
        ("/queue", "may take something away"),
        ("/emptied", "may take something away"),
        ("/socket.io", "a value of its own"),
    ] {
        let output = probe(&folder, &[path, "--polls", "4"]);
        let report = text(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{report}");
        assert!(report.contains(why) && !report.contains("routes:"), "{report}");
        assert_eq!(legacy.count(path), 4, "{path}");
    }
}

#[test]
fn a_refusal_is_told_with_what_it_wants_and_nothing_of_its_body() {
    let legacy = Legacy::start();
    legacy.set(
        "/key",
        Reply::empty(401)
            .header("www-authenticate", "Digest realm=\"a\", nonce=\"hidden\"")
            .header("access-control-allow-headers", "Content-Type, X-API-Key")
            .header("etag", "\"1\""),
    );
    let folder = folder(&legacy, "");
    let output = probe(&folder, &["/key", "--polls", "2"]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}");
    for wanted in ["needs credentials", "WWW-Authenticate: Digest", "good for one request", "X-API-Key"] {
        assert!(report.contains(wanted), "{wanted} is missing in:\n{report}");
    }
    for unwanted in ["flapping", "conditions", "hidden", "routes:"] {
        assert!(!report.contains(unwanted), "{unwanted} is in:\n{report}");
    }
}

#[test]
fn sockets_and_streams_of_the_apis_own_are_seen() {
    let legacy = Legacy::start();
    legacy.answer_with("/jsonrpc", |seen| match seen.header("upgrade") {
        Some(_) => Reply::raw(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        ),
        None => Reply::json("{\"a\":1}"),
    });
    let (stream, feed) = Reply::stream("text/event-stream");
    legacy.set("/events", stream);
    let folder = folder(&legacy, "");
    let report = good(&probe(&folder, &["/jsonrpc", "--polls", "2"]));
    assert!(report.contains("websocket   the API has one of its own"), "{report}");
    let output = probe(&folder, &["/events", "--polls", "2"]);
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("a stream or media of the API's own") && !report.contains("routes:"), "{report}");
    drop(feed);
}

#[test]
fn a_body_over_the_limit_is_measured_and_the_limit_suggested() {
    let legacy = Legacy::start();
    legacy.set("/large", Reply::json(format!("\"{}\"", "x".repeat(2 << 20))));
    let folder = folder(&legacy, "");
    let report = good(&probe(&folder, &["/large", "--polls", "2"]));
    assert!(report.contains("max_body: 4MiB"), "{report}");
}

#[test]
fn the_probe_says_what_other_headers_change_and_how_long_it_looked() {
    let legacy = Legacy::start();
    legacy.answer_with("/form", |seen| {
        let language =
            if seen.header("accept-language").is_some_and(|l| l.starts_with("fr")) { "fr" } else { "en" };
        let version = seen.header("api-version").unwrap_or("1");
        match seen.header("accept") {
            Some(accept) if accept.starts_with("text/html") => Reply::new("text/html", "<p>"),
            _ => Reply::json(format!("{{\"l\":\"{language}\",\"v\":\"{version}\"}}")),
        }
    });
    let folder = folder(&legacy, "");
    let report = good(&probe(&folder, &["/form", "--for", "300ms", "-H", "Api-Version: 2"]));
    for wanted in [
        "looked      for 0.",
        "; 4 polls",
        "api-version is doubt",
        "without api-version: other content",
        "another accept-language: other content",
        "text/html for Accept: a browser's",
        "vary: [\"api-version\", \"accept-language\"]",
    ] {
        assert!(report.contains(wanted), "{wanted:?} is missing in:\n{report}");
    }
}
