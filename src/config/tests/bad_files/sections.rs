//! Upstreams, listeners, limits and the other sections beside the routes.

use super::super::{ROUTE, SMALLEST, refused};
use super::told;

#[test]
fn bad_upstreams_are_told() {
    for (upstream, wanted) in [
        ("servers: []", ".servers: is empty; at least one server is needed"),
        (
            "servers: [\"https://a.example\"]",
            ".servers[0]: \"https://a.example\" is a URL; write only host:port, and \"tls: {}\" beside it for https",
        ),
        (
            "servers: [\"a b:1\"]",
            ".servers[0]: \"a b:1\" is not host:port; write it like api.internal:3000 or [::1]:3000",
        ),
        (
            "servers: [\"a:99999\"]",
            ".servers[0]: \"a:99999\" is not host:port; write it like api.internal:3000 or [::1]:3000",
        ),
        ("servers: [\"unix:\"]", ".servers[0]: names no socket; write it like unix:/run/app.sock"),
        ("servers: [\"unix:/a/\"]", ".servers[0]: names no socket; write it like unix:/run/app.sock"),
        (
            "servers: [\"unix:/a.sock\", \"unix:/a.sock\"]",
            ".servers[1]: \"unix:/a.sock\" is there twice; give one of them a weight",
        ),
        (
            "servers: [\"unix:/a.sock\"], proxy: \"http://proxy:3128\"",
            ".proxy: goes with no server that is a Unix socket: those are on this machine",
        ),
        (
            "servers: [a:1], proxy: \"https://ann:hidden@proxy:3128\"",
            ".proxy: is a proxy that is spoken to in TLS, which pollcast does not; http:// it is, if any",
        ),
        (
            "servers: [a:1], proxy: \"http://ann:hidden@proxy\"",
            ".proxy: has no port; write it like http://proxy:3128",
        ),
        ("servers: [a:1, a:1]", ".servers[1]: \"a:1\" is there twice; give one of them a weight"),
        (
            "servers: [{ address: a:1, weight: 1001 }]",
            ".servers[0].weight: \"1001\" is too large; at most 1000",
        ),
        ("servers: [{ weight: 1 }]", ".servers[0]: key \"address\" is missing"),
        (
            "servers: [a:1], budget: { rate: 1/s, scope: all }",
            ".budget.scope: \"all\" is not one of cluster, node",
        ),
        (
            "servers: [a:1], budget: { rate: fast }",
            ".budget.rate: \"fast\" is not a rate from 0.001/s to 100000/s; write it like 50/s or 30/m",
        ),
        ("servers: [a:1], host: \"a/b\"", ".host: \"a/b\" is not a host, with or without a port"),
        ("servers: [a:1], tls: { sni: 127.0.0.1 }", ".tls.sni: \"127.0.0.1\" is not a DNS name"),
        ("servers: [a:1], tls: { reload: 10ms }", ".tls.reload: \"10ms\" is too short; at least 1s"),
        ("servers: [a:1], health_check: { interval: 1s }", ".health_check: key \"path\" is missing"),
        ("servers: [a:1], forwarded: { proto: ws }", ".forwarded.proto: \"ws\" is not one of http, https"),
    ] {
        let text = SMALLEST.replace("servers: [127.0.0.1:3000]", upstream);
        assert_eq!(refused(&text), format!("pollcast.yaml:2: upstreams.api{wanted}"));
    }
}

#[test]
fn bad_listeners_are_told() {
    for (listener, wanted) in [
        (
            "address: localhost:80",
            ".address: \"localhost:80\" is not ip:port; did you mean \"127.0.0.1:80\"?",
        ),
        ("address: \"8080\"", ".address: \"8080\" is not ip:port; did you mean \"0.0.0.0:8080\"?"),
        ("address: nowhere", ".address: \"nowhere\" is not ip:port; write it like 0.0.0.0:8080 or [::]:8080"),
        (
            "address: 0.0.0.0:8080, proxy_protocol: true, client_address: peer",
            ".client_address: \"peer\" would be the load balancer's with proxy_protocol: true; write proxy_protocol or forwarded",
        ),
        (
            "address: 0.0.0.0:8080, client_address: proxy_protocol",
            ".client_address: \"proxy_protocol\" needs proxy_protocol: true on this listener",
        ),
        (
            "address: 0.0.0.0:8080, trusted_proxies: [10.0.0.0/33]",
            ".trusted_proxies[0]: \"10.0.0.0/33\" is neither an address nor a network; write it like 10.0.0.0/8 or fd00::/8",
        ),
        (
            "address: 0.0.0.0:8080, tls: { client_certificates: required, certificates: [] }",
            ".tls.client_certificates: has no effect without client_ca\npollcast.yaml:1: listeners[0].tls.certificates: is empty; at least one certificate is needed",
        ),
        (
            "address: 0.0.0.0:8080, tls: { client_crl: [], certificates: [] }",
            ".tls.client_crl: has no effect without client_ca\npollcast.yaml:1: listeners[0].tls.certificates: is empty; at least one certificate is needed",
        ),
        (
            "address: 0.0.0.0:8080, tls: { reload: 10ms, certificates: [] }",
            ".tls.reload: \"10ms\" is too short; at least 1s\npollcast.yaml:1: listeners[0].tls.certificates: is empty; at least one certificate is needed",
        ),
    ] {
        let text = SMALLEST.replace("address: 0.0.0.0:8080", listener);
        assert_eq!(refused(&text), format!("pollcast.yaml:1: listeners[0]{wanted}"));
    }
}

#[test]
fn an_admin_socket_has_a_path_that_fits() {
    let admin = |address: &str| refused(&format!("{SMALLEST}admin: {{ address: \"{address}\" }}\n"));
    let nameless = "names no socket; write it like unix:/run/pollcast/admin.sock";
    assert!(admin("unix:").ends_with(nameless), "{}", admin("unix:"));
    assert!(admin("unix:/run/").ends_with(nameless), "{}", admin("unix:/run/"));
    let long = admin(&format!("unix:/{}", "a".repeat(107)));
    assert!(long.ends_with("is too long for a Unix socket: at most 107 bytes"), "{long}");
}

#[test]
fn addresses_cannot_be_taken_twice() {
    let text = SMALLEST
        .replace("0.0.0.0:8080 }", "0.0.0.0:8080 }, { address: 127.0.0.1:8080 }, { address: \"[::]:8080\" }");
    assert_eq!(
        refused(&format!("{text}admin: {{ address: 127.0.0.1:8080 }}\n")),
        "pollcast.yaml:1: listeners[1].address: another listener has this address
pollcast.yaml:4: admin.address: is also a listener's; the admin surface needs an address of its own"
    );
}

#[test]
fn a_limit_by_address_needs_to_know_what_an_address_is() {
    let limit = "limits: { clients_per_address: 10 }\n";
    assert_eq!(
        refused(&format!("{SMALLEST}{limit}")),
        "pollcast.yaml:4: limits.clients_per_address: needs client_address on every listener; listeners[0] does not say it"
    );
    let said = SMALLEST.replace("8080 }", "8080, client_address: peer }");
    assert_eq!(super::super::loaded(&format!("{said}{limit}")).limits.clients_per_address, Some(10));
}

#[test]
fn every_limit_is_held_to_its_bounds() {
    let limits = "limits: { header_fields: 257, url_bytes: 1MiB, query_parameters: 0, request_body: 1B,\n\
                  \x20 header_timeout: 1ms, body_timeout: 2h, idle_timeout: 2h, http2_control_rate: 1/s, resources_per_address: 5,
                  \x20 new_resources_per_address: 5/s, snapshot_bytes_per_address: 1B, requests: 0, requests_per_address: 0 }\n";
    assert_eq!(
        refused(&format!("{SMALLEST}{limits}")),
        "pollcast.yaml:4: limits.header_fields: \"257\" is too large; at most 256
pollcast.yaml:4: limits.url_bytes: \"1MiB\" is too large; at most 32KiB
pollcast.yaml:4: limits.query_parameters: \"0\" is too small; at least 1
pollcast.yaml:4: limits.request_body: \"1B\" is too small; at least 1KiB
pollcast.yaml:5: limits.resources_per_address: needs client_address on every listener; listeners[0] does not say it
pollcast.yaml:5: limits.header_timeout: \"1ms\" is too short; at least 100ms
pollcast.yaml:5: limits.body_timeout: \"2h\" is too long; at most 1h
pollcast.yaml:5: limits.idle_timeout: \"2h\" is too long; at most 1h
pollcast.yaml:5: limits.http2_control_rate: \"1/s\" is too small; at least 10/s
pollcast.yaml:6: limits.new_resources_per_address: needs client_address on every listener; listeners[0] does not say it
pollcast.yaml:6: limits.snapshot_bytes_per_address: needs client_address on every listener; listeners[0] does not say it
pollcast.yaml:6: limits.snapshot_bytes_per_address: \"1B\" is too small; at least 1KiB
pollcast.yaml:6: limits.requests: \"0\" is too small; at least 1
pollcast.yaml:6: limits.requests_per_address: needs client_address on every listener; listeners[0] does not say it
pollcast.yaml:6: limits.requests_per_address: \"0\" is too small; at least 1"
    );
}

#[test]
fn messages_to_the_upstream_need_frames_to_come_in() {
    let websocket = "websocket: { frame_rate: 5/s, send: { method: POST, rate: 6/s } }";
    assert_eq!(
        refused(&format!("{ROUTE}    {websocket}\n")),
        "pollcast.yaml:6: routes[0].websocket.send.rate: is never reached: websocket.frame_rate is 5/s"
    );
}

#[test]
fn other_sections_are_held_to_their_bounds() {
    assert_eq!(
        refused(&format!(
            "{SMALLEST}public_prefix: /-/pollcast
version_key: short
threads: {{ front: 0 }}
log: {{ format: xml, buffer: 1 }}
drain: {{ window: 2h }}
limits: {{ send_buffer: 1KiB, accept_rate: fast, http2_streams: 0, first_byte_timeout: 1ms }}
admin: {{ address: 127.0.0.1:9, token: \"a b\" }}
"
        )),
        r#"pollcast.yaml:4: public_prefix: "/-/pollcast" is no prefix; it starts and ends with "/", as /-/pollcast/
pollcast.yaml:5: version_key: is too short for a secret key; at least 16 characters
pollcast.yaml:6: threads.front: "0" is too small; at least 1
pollcast.yaml:7: log.format: "xml" is not one of text, json
pollcast.yaml:7: log.buffer: "1" is too small; at least 16
pollcast.yaml:8: drain.window: "2h" is too long; at most 1h
pollcast.yaml:9: limits.accept_rate: "fast" is not a rate; write it like 10/s
pollcast.yaml:9: limits.send_buffer: "1KiB" is too small; at least 4KiB
pollcast.yaml:9: limits.first_byte_timeout: "1ms" is too short; at least 100ms
pollcast.yaml:9: limits.http2_streams: "0" is too small; at least 1
pollcast.yaml:10: admin.token: must be visible ASCII without spaces"#
    );
}

#[test]
fn what_is_wrong_with_a_cluster_is_told() {
    const SECRET: &str = "secret: 0123456789abcdef0123456789abcdef";
    for (cluster, wanted) in [
        (SECRET, ": key \"servers\" is missing"),
        ("servers: [a:1]", ": key \"secret\" is missing"),
        (
            "servers: [a:1], secret: short",
            ".secret: is too short for what names and seals everything; at least 32 characters",
        ),
        (
            &format!("servers: [a:1], {SECRET}, previous_secret: short"),
            ".previous_secret: is too short for what names and seals everything; at least 32 characters",
        ),
        (&format!("servers: [], {SECRET}"), ".servers: is empty; at least one server is needed"),
        (
            &format!("servers: [\"redis://a:1\"], {SECRET}"),
            ".servers[0]: \"redis://a:1\" is a URL; write only host:port, and \"tls: {}\" beside it for https",
        ),
        (&format!("servers: [a:1, a:1], {SECRET}"), ".servers[1]: \"a:1\" is there twice"),
        (&format!("servers: [a:1], {SECRET}, engine: kafka"), ".engine: \"kafka\" is not one of redis, nats"),
        (
            &format!("servers: [a:1], {SECRET}, engine: nats, sentinel: main"),
            ".sentinel: is nothing that NATS has; leave it out with engine: nats",
        ),
        (
            &format!("servers: [a:1], {SECRET}, engine: nats, tls: {{ sni: nats.internal }}"),
            ".tls.sni: is nothing that NATS has; leave it out with engine: nats",
        ),
        (
            &format!("servers: [a:1], {SECRET}, name: \"a b\""),
            ".name: \"a b\" is no name of 1 to 64 letters, digits, \"-\", \"_\" and \".\"",
        ),
        (
            &format!("servers: [a:1], {SECRET}, lease: 100ms"),
            ".lease: \"100ms\" is too short; at least 300ms",
        ),
        (
            &format!("servers: [a:1], {SECRET}, timeout: 2s"),
            ".timeout: is longer than lease: a node would lose its resources before it notices that the engine hangs",
        ),
        (
            &format!("servers: [a:1], {SECRET}, when_lost: wait"),
            ".when_lost: \"wait\" is not one of poll, hold",
        ),
        (&format!("servers: [a:1], {SECRET}, private: on"), ".private: \"on\" is not one of local, shared"),
        (
            &format!("servers: [a:1], {SECRET}, max_value: 1KiB"),
            ".max_value: \"1KiB\" is too small; at least 4KiB",
        ),
        (
            &format!("servers: [a:1], {SECRET}, max_commands: 0"),
            ".max_commands: \"0\" is too small; at least 1",
        ),
        (
            &format!("servers: [a:1], {SECRET}, tls: {{ sni: 127.0.0.1 }}"),
            ".tls.sni: \"127.0.0.1\" is not a DNS name",
        ),
    ] {
        let told = refused(&format!("{SMALLEST}cluster: {{ {cluster} }}\n"));
        assert_eq!(told, format!("pollcast.yaml:4: cluster{wanted}"));
    }
}

#[test]
fn what_goes_badly_with_a_cluster_is_a_warning() {
    let warned = |settings: &str, cluster: &str| {
        let cluster =
            format!("cluster: {{ servers: [a:1], secret: 0123456789abcdef0123456789abcdef, {cluster} }}");
        let config = super::super::loaded(&format!("{ROUTE}{settings}{cluster}\n"));
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(warned("", "lease: 1s"), "");
    let told = warned("    poll: { interval: 1s }\n", "lease: 700ms");
    assert!(told.contains("cluster.lease: is more than 0.6 of the shortest poll.interval (1s)"), "{told}");
    assert!(told.ends_with("at most 600ms keeps it at one"), "{told}");
    assert_eq!(warned("    poll: { interval: 1s }\n    cluster: off\n", "lease: 700ms"), "");
    let told = warned("", "private: shared, when_lost: hold");
    assert!(told.contains("cluster.when_lost: with private: shared"), "{told}");
    assert_eq!(warned("", "private: shared"), "");
    let told = warned("    poll: { cookie_jar: true }\n", "");
    assert!(
        told.contains("routes[0].poll.cookie_jar: each node of the cluster has a jar of its own"),
        "{told}"
    );
    for settings in
        ["    poll: { cookie_jar: false }\n", "    poll: { cookie_jar: true }\n    cluster: off\n"]
    {
        assert_eq!(warned(settings, ""), "");
    }
    let cluster = "cluster: { servers: [a:1], secret: 0123456789abcdef0123456789abcdef }";
    let batch = "    poll: { batch: { param: ids, items: /items, key: /id } }\n";
    let text = format!("{ROUTE}{batch}{cluster}\n").replace("/prices", "/prices/{id}");
    let warnings = super::super::loaded(&text).warnings;
    assert!(warnings.iter().any(|told| told.to_string().contains("spread over the nodes")), "{warnings:?}");
}

#[test]
fn the_place_of_an_upgrade_is_a_path_that_a_socket_can_have() {
    let long = "x".repeat(90);
    let told = |upgrade: &str| refused(&format!("{SMALLEST}upgrade: {upgrade}\n"));
    assert_eq!(told("{ timeout: 1s }"), "pollcast.yaml:4: upgrade: key \"socket\" is missing");
    assert_eq!(
        told("{ socket: run/, timeout: 1ms }"),
        r#"pollcast.yaml:4: upgrade.timeout: "1ms" is too short; at least 1s
pollcast.yaml:4: upgrade.socket: "run/" is not the path of a socket; write it like /run/pollcast/upgrade.sock"#
    );
    let told_long = told(&format!("{{ socket: {long} }}"));
    let words = "is 103 bytes long with /nonexistent before it; a socket's path has at most 100";
    assert!(told_long.ends_with(words), "{told_long}");
    assert!(told(&format!("{{ socket: /{long}{long} }}")).contains("is 181 bytes long; a socket's path"));
    let upgrade =
        |socket| super::super::loaded(&format!("{SMALLEST}upgrade: {{ socket: {socket} }}\n")).upgrade;
    assert_eq!(upgrade("a.sock").expect("said").socket, std::path::Path::new("/nonexistent/a.sock"));
    assert_eq!(upgrade("/run/a").expect("said").socket, std::path::Path::new("/run/a"));
}

#[test]
fn no_more_sockets_than_can_be_handed_over() {
    let listeners: String = (1..32).map(|port| format!("  - address: 127.0.0.1:{port}\n")).collect();
    let rest =
        "upstreams: { api: { servers: [127.0.0.1:3000] } }\npassthrough: api\nupgrade: { socket: /run/a }\n";
    let fits = format!("listeners:\n{listeners}{rest}");
    assert_eq!(super::super::loaded(&fits).listeners.len(), 31);
    assert_eq!(
        refused(&format!("{fits}admin: {{ address: 127.0.0.1:9090 }}\n")),
        "pollcast.yaml:35: upgrade: hands over at most 31 sockets; 32 are here, the admin listener included"
    );
}

#[test]
fn suggestions_are_only_made_when_near() {
    assert_eq!(told("    bananas: 1\n"), "pollcast.yaml:6: routes[0].bananas: unknown key \"bananas\"");
    assert_eq!(
        told("    stale-after: 1s\n"),
        "pollcast.yaml:6: routes[0].stale-after: unknown key \"stale-after\"; did you mean \"stale_after\"?"
    );
}
