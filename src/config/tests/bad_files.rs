//! Bad files and the whole of what is told about them.

mod client_settings;
mod route_settings;
mod routes;
mod sections;

use super::{ROUTE, refused};

/// What is told about [`ROUTE`] with these settings.
fn told(settings: &str) -> String {
    refused(&format!("{ROUTE}{settings}"))
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let text = "\
listeners:
  - address: :8080
    http2: yes
  - addres: 0.0.0.0:8081
upstreams:
  legacy:
    servers: [127.0.0.1]
    conect_timeout: 3s
passthrough: legcay
routes:
  - path: prices
    upstream: legacy
    poll:
      intervall: 2s
  - path: /rooms/{room}
    upstream: legacy
    poll:
      interval: 0s
      always: true
    history: 64
limits:
  clients: many
limits:
  clients: 7
";
    assert_eq!(
        refused(text),
        r#"pollcast.yaml:2: listeners[0].address: ":8080" is not ip:port; did you mean "0.0.0.0:8080"?
pollcast.yaml:3: listeners[0].http2: "yes" is neither true nor false
pollcast.yaml:4: listeners[1].addres: unknown key "addres"; did you mean "address"?
pollcast.yaml:4: listeners[1]: key "address" is missing
pollcast.yaml:7: upstreams.legacy.servers[0]: "127.0.0.1" has no port; write host:port, as api.internal:3000
pollcast.yaml:8: upstreams.legacy.conect_timeout: unknown key "conect_timeout"; did you mean "connect_timeout"?
pollcast.yaml:9: passthrough: "legcay" is not one of the upstreams; did you mean "legacy"?
pollcast.yaml:11: routes[0].path: "prices" is not a path; it starts with "/"
pollcast.yaml:14: routes[0].poll.intervall: unknown key "intervall"; did you mean "interval"?
pollcast.yaml:18: routes[1].poll.interval: "0s" is too short; at least 100ms
pollcast.yaml:19: routes[1].poll.always: needs a path without parameters: else it is not known which resources to poll
pollcast.yaml:20: routes[1].history: expected a mapping, found a plain value
pollcast.yaml:22: limits.clients: "many" is not a whole number from 1 to 10000000
pollcast.yaml:23: limits: key "limits" is already on line 21"#
    );
}

#[test]
fn what_is_missing_is_told() {
    let empty = "pollcast.yaml:1: key \"listeners\" is missing
pollcast.yaml:1: key \"upstreams\" is missing
pollcast.yaml:1: neither \"routes\" nor \"passthrough\" is there; at least one of them is needed";
    assert_eq!(refused(""), empty);
    assert_eq!(refused("# nothing\nlisteners:\nupstreams: ~\nroutes: []\n"), empty);
    assert_eq!(
        refused("listeners: []\nupstreams: {}\npassthrough: a\n"),
        "pollcast.yaml:1: listeners: is empty; at least one listener is needed
pollcast.yaml:2: upstreams: is empty; at least one upstream is needed
pollcast.yaml:3: passthrough: \"a\" is not one of the upstreams"
    );
}

#[test]
fn what_is_not_yaml_is_told_with_its_line() {
    for (text, wanted) in [
        ("listeners:\n  - [a\nb: c\n", "pollcast.yaml:3: not YAML: "),
        ("a: *b\n", "pollcast.yaml:1: not YAML: "),
        ("a: b\n---\nc: d\n", "pollcast.yaml:2: a second document starts here"),
        ("a: b\n{ c: d }: e\n", "pollcast.yaml:2: "),
        ("a: !include b\n", "pollcast.yaml:1: tags (a word behind \"!\") have no meaning here"),
        ("- a\n", "pollcast.yaml:1: expected a mapping, found a list"),
    ] {
        let told = refused(text);
        assert!(told.starts_with(wanted), "{text:?}\nwanted {wanted}\ntold {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn wrong_shapes_are_told_and_the_rest_is_checked() {
    assert_eq!(
        told(
            "    transports: sse
    poll: { headers: [a], interval: [1s], expect: {content_type: [a, [b]]} }
    share: [public]
    retry: 2s
    link: maybe
"
        ),
        r#"pollcast.yaml:6: routes[0].transports: expected a list, found a plain value
pollcast.yaml:7: routes[0].poll.headers: expected a mapping, found a list
pollcast.yaml:7: routes[0].poll.interval: expected a plain value or a mapping, found a list
pollcast.yaml:7: routes[0].poll.expect.content_type[1]: expected a plain value, found a list
pollcast.yaml:7: routes[0].poll.expect.content_type[0]: "a" is not a media type; write it like application/json, without parameters
pollcast.yaml:8: routes[0].share: expected a plain value or a mapping, found a list
pollcast.yaml:9: routes[0].retry: expected a list, found a plain value
pollcast.yaml:10: routes[0].link: "maybe" is neither true nor false"#
    );
}
