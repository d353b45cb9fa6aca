//! Claims about what one configuration changes in another: each key is classified on purpose.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::schema::schema;
use super::super::{Config, Difference, Effect};
use super::{load_text, loaded, tls};

/// The keys, one a line.
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/tests/difference_keys.txt");

const SECTIONS: [&str; 12] = [
    "listeners",
    "admin",
    "passthrough",
    "limits",
    "drain",
    "upgrade",
    "reload",
    "threads",
    "public_prefix",
    "version_key",
    "log",
    "tracing",
];

/// A file with one setting of a place of its own, and what is needed beside it.
fn text(place: &str, setting: &str) -> String {
    let section = place.split('.').next().unwrap_or_default();
    let is_process = SECTIONS.contains(&section) || place == "cluster" || place.starts_with("cluster.");
    let mut text = String::new();
    let mut line = |line: &str| text.push_str(&format!("{line}\n"));
    if is_process {
        line(setting);
    }
    if section != "listeners" {
        line("listeners: [{ address: 127.0.0.1:8080, client_address: peer, hosts: [a.test, b.test] }]");
    }
    let api = if section == "upstreams" { setting } else { "host: api.test" };
    let servers = if setting.starts_with("servers") { "" } else { "servers: [127.0.0.1:3000], " };
    line(&format!(
        "upstreams: {{ api: {{ {servers}{api} }}, other: {{ servers: [127.0.0.1:3001], host: other.test }}, third: {{ servers: [127.0.0.1:3002] }} }}"
    ));
    let own = if section == "routes" { setting } else { "plain: share" };
    let path = if own.starts_with("path:") { "" } else { "path: /a, " };
    let upstream = if own.starts_with("upstream:") { "" } else { "upstream: api, " };
    line(&format!("routes: [{{ {path}{upstream}{own} }}]"));
    text
}

fn files() -> tls::Files {
    let files = tls::Files::new("difference");
    files.pair("a.crt", "a.key");
    files.pair("b.crt", "b.key");
    for (from, to) in [("a.crt", "c.crt"), ("a.key", "c.key")] {
        std::fs::copy(files.directory().join(from), files.directory().join(to)).expect("it was written");
    }
    for name in ["a.crl", "b.crl"] {
        files.revocation_list(name);
    }
    for name in ["a.pem", "b.pem"] {
        files.write(name, &rcgen::KeyPair::generate().expect("a key").public_key_pem());
    }
    files.write("one", "one\n");
    files.write("two", "two\n");
    files
}

fn load(files: &tls::Files, text: &str) -> Result<Config, String> {
    let config = super::super::load::load_with(text, "pollcast.yaml", files.directory(), &|_| None);
    config.map_err(|problems| format!("{problems}\n{text}"))
}

/// A line of the table.
struct Row {
    place: String,
    /// `s`, `m`, `r`, `p` or `a`.
    class: String,
    setting: String,
    values: [String; 2],
}

fn table() -> Vec<Row> {
    let text = std::fs::read_to_string(KEYS).expect("the table");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let rows = lines.map(|line| {
        let cells: Vec<String> = line.split(" | ").map(|cell| cell.trim().to_owned()).collect();
        let [place, class, setting, one, two] = cells.try_into().expect("five cells");
        Row { place, class, setting, values: [one, two] }
    });
    rows.collect()
}

#[test]
fn each_key_reaches_as_far_as_the_table_says() {
    let files = files();
    let wrong: Vec<String> = table()
        .iter()
        .filter_map(|row| checked(row, &files).err().map(|found| format!("{}: {found}", row.place)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn checked(row: &Row, files: &tls::Files) -> Result<(), String> {
    let Row { place, class, setting, values } = row;
    let read = |value: &String| load(files, &text(place, &setting.replace("%%", value)));
    let (old, again, new) = (read(&values[0])?, read(&values[0])?, read(&values[1])?);
    let found = Difference::of(&old, &again);
    if !found.is_empty() {
        return Err(format!("the same is not the same: {found:?}"));
    }
    let found = Difference::of(&old, &new);
    let (route, upstream) = (&found.routes[0], &found.upstreams[0]);
    let section = place.split_once('.').map_or("", |(section, _)| section);
    let (keys, is_as_said) = match (class.as_str(), section) {
        ("a", _) => {
            let effects: Vec<Effect> = found.routes.iter().map(|route| route.effect).collect();
            let is_as_said = effects == [Effect::Added, Effect::Removed] && found.is_removed(0);
            return (is_as_said && found.same_route(0).is_none()).then_some(()).ok_or(format!("{found:?}"));
        }
        ("p", _) => (&found.process, found.restart.is_empty()),
        ("r", _) => (&found.restart, old_counts(&new, &old)),
        (_, "routes") => {
            let same = (class == "s").then_some(0);
            (&route.keys, route.effect == effect(class) && found.same_route(0) == same)
        }
        // Its routes have another upstream.
        _ => {
            let is_of_routes = route.effect == effect(class) && route.keys.contains(&"upstream");
            (&upstream.keys, upstream.effect == effect(class) && is_of_routes)
        }
    };
    let own = place.split_once('.').map_or(place.as_str(), |(_, own)| own);
    let is_named = keys.iter().any(|key| place.starts_with(key) || own.starts_with(key));
    let lines = found.lines().join("\n");
    let is_said = keys.iter().all(|key| lines.contains(key));
    (is_as_said && is_named && is_said).then_some(()).ok_or(format!("{found:?}"))
}

/// Whether nothing that needs a restart is left once the running values are put in.
fn old_counts(new: &Config, old: &Config) -> bool {
    Difference::of(old, &new.clone().with_restart_keys_of(old)).is_empty()
}

fn effect(class: &str) -> Effect {
    match class {
        "s" => Effect::Settings,
        "m" => Effect::Meaning,
        other => panic!("no class of a route or an upstream: {other}"),
    }
}

#[test]
fn the_table_has_every_key() {
    let mut keys = BTreeSet::new();
    leaves(&schema(), "", &mut keys);
    let said: BTreeSet<String> = table().into_iter().map(|row| row.place).collect();
    let missing: Vec<&String> = keys.difference(&said).collect();
    assert!(missing.is_empty(), "classify in src/config/difference, and here: {missing:#?}");
    // Words that stand for a mapping have lines, too.
    let is_known = |place: &String| keys.iter().any(|key| key.starts_with(place.as_str()));
    let unknown: Vec<&String> = said.iter().filter(|place| !is_known(place)).collect();
    assert!(unknown.is_empty(), "no keys: {unknown:#?}");
}

/// The keys that hold values. Returns whether there are keys below the place.
fn leaves(schema: &Value, place: &str, keys: &mut BTreeSet<String>) -> bool {
    let branches = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let mut found = branches.fold(false, |found, branch| leaves(branch, place, keys) | found);
    for (key, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        found = true;
        let below = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        // What the defaults say is said for routes, and what is included is said by other keys.
        if below != "defaults" && below != "include" && !leaves(schema, &below, keys) {
            keys.insert(below);
        }
    }
    for key in ["items", "additionalProperties"] {
        let open = schema.get(key).filter(|schema| schema.is_object());
        found |= open.is_some_and(|schema| leaves(schema, place, keys));
    }
    found
}

#[test]
fn what_another_spelling_or_the_defaults_say_is_the_same() {
    let one = "listeners: [{ address: 127.0.0.1:8080 }]
upstreams: { api: { servers: [127.0.0.1:3000], host: a.test }, b: { servers: [127.0.0.1:3001] } }
routes:
  - { path: /a, upstream: api, heartbeat: 10s }
  - { path: /b, upstream: b, hosts: [a.test, b.test], heartbeat: 10s }
";
    let two = "listeners: [{ address: 127.0.0.1:8080, http2: false }]
upstreams: { b: { servers: ['127.0.0.1:3001'] }, api: { servers: [127.0.0.1:3000], host: a.test } }
defaults: { heartbeat: 10000ms }
routes:
  - { path: /b, upstream: b, hosts: [b.test, a.test] }
  - { path: /a, upstream: api, poll: { interval: 5s } }
";
    let found = Difference::of(&loaded(one), &loaded(two));
    assert!(found.is_empty() && found.lines().is_empty(), "{found:?}");
    assert_eq!((found.same_route(0), found.same_route(1)), (Some(1), Some(0)));
}

#[test]
fn routes_of_one_path_are_told_apart_by_their_hosts() {
    let text = |routes: &str| {
        loaded(&format!(
            "listeners: [{{ address: 127.0.0.1:8080 }}]
upstreams: {{ api: {{ servers: [127.0.0.1:3000] }} }}
routes: [{routes}]
"
        ))
    };
    let old =
        text("{ path: /a, upstream: api, hosts: [a.test] }, { path: /a, upstream: api, hosts: [b.test] }");
    let new = text(
        "{ path: /a, upstream: api, hosts: [c.test, b.test] }, { path: /a, upstream: api, hosts: [a.test], link: true },
         { path: /a, upstream: api, hosts: [d.test] }",
    );
    let found = Difference::of(&old, &new);
    let effects: Vec<_> = found.routes.iter().map(|route| (route.old, route.new, route.effect)).collect();
    assert_eq!(
        effects,
        [
            (Some(1), Some(0), Effect::Meaning),
            (Some(0), Some(1), Effect::Settings),
            (None, Some(2), Effect::Added)
        ]
    );
    assert_eq!(found.routes[0].keys, ["hosts"]);
}

#[test]
fn rotated_credentials_are_settings_and_other_users_are_not() {
    let route = |settings: &str| {
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:8080, hosts: [a.test] }}]
upstreams: {{ api: {{ servers: [127.0.0.1:3000] }} }}
routes: [{{ path: /a, upstream: api, {settings} }}]
"
        );
        load_text(&text, &[]).unwrap_or_else(|problems| panic!("{problems}"))
    };
    let keys = |header: &str, key: &str| {
        format!(
            "share: {{ by: ['identity:subject'] }},
             authenticate: {{ keys: {{ header: {header}, clients: {{ ann: '{key}' }} }} }}"
        )
    };
    let (one, two) = ("change me, change me, change me!", "and again, and again, and again!");
    for (old, new, wanted) in [
        ("poll: { headers: { x-api-key: a } }", "poll: { headers: { x-api-key: b } }", Effect::Settings),
        ("poll: { headers: { x-api-key: a } }", "poll: { headers: { x-other-key: a } }", Effect::Meaning),
        ("poll: { headers: { x-api-key: a } }", "link: false", Effect::Meaning),
        (
            "poll: { auth: { bearer: a } }",
            "poll: { auth: { basic: { user: a, password: b } } }",
            Effect::Meaning,
        ),
        ("poll: { auth: { bearer: a } }", "poll: off", Effect::Meaning),
        (&keys("x-a", one), &keys("x-a", two), Effect::Settings),
        (&keys("x-a", one), &keys("x-b", one), Effect::Meaning),
    ] {
        let found = Difference::of(&route(old), &route(new));
        assert_eq!(found.routes[0].effect, wanted, "{old} -> {new}: {found:?}");
        assert!(!format!("{found:?}{}", found.json()).contains("and again"));
    }
}

#[test]
fn tokens_that_stay_good_end_no_stream() {
    let issuer =
        |name: &str, more: &str| format!("{{ issuer: {name}, jwks: 'https://{name}.test/k'{more} }}");
    let (a, b, c) = (issuer("a", ""), issuer("b", ""), issuer("c", ""));
    let key = |id: &str| format!("{{ id: {id}, secret: 'change me, change me, change me {id}!' }}");
    let signed = |keys: &str| format!("{{ issuer: s, algorithms: [HS256], keys: [{keys}] }}");
    let (before, rotated) = (signed(&key("x")), signed(&format!("{}, {}", key("y"), key("x"))));
    let (few, more) = (issuer("a", ", algorithms: [RS256]"), issuer("a", ", algorithms: [ES256, RS256]"));
    let slower = issuer("a", ", refresh: 1h");
    let elsewhere = a.replace("/k'", "/l'");
    let jwt = |issuers: &[&String], more: &str| {
        let issuers: Vec<&str> = issuers.iter().map(|issuer| issuer.as_str()).collect();
        let text = format!(
            "listeners: [{{ address: 127.0.0.1:8080, hosts: [a.test] }}]
upstreams: {{ api: {{ servers: [127.0.0.1:3000] }} }}
routes: [{{ path: '/a/{{x}}', upstream: api, share: public, authenticate: {{ jwt: {{ issuers: [{}]{more} }} }} }}]
",
            issuers.join(", ")
        );
        load_text(&text, &[]).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
    };
    for (old, new) in [
        (jwt(&[&a, &b], ""), jwt(&[&a, &b, &c], "")),
        (jwt(&[&before], ""), jwt(&[&rotated], "")),
        (jwt(&[&few], ""), jwt(&[&more], "")),
        (jwt(&[&a], ", audience: [x]"), jwt(&[&a], ", audience: [x, y]")),
        (jwt(&[&a], ", claims: { x: room }"), jwt(&[&a], "")),
        (jwt(&[&a], ", leeway: 1s"), jwt(&[&a], ", leeway: 1m")),
        (jwt(&[&a], ""), jwt(&[&a], ", require_exp: false")),
    ] {
        let there = Difference::of(&old, &new);
        assert_eq!(
            (there.routes[0].effect, &there.routes[0].keys[..]),
            (Effect::Settings, &["authenticate"][..])
        );
        let back = Difference::of(&new, &old);
        assert_eq!(back.routes[0].effect, Effect::Meaning, "what lets in fewer: {back:?}");
    }
    let (old, new) = (jwt(&[&a], ""), jwt(&[&slower], ""));
    assert_eq!(Difference::of(&old, &new).routes[0].effect, Effect::Settings);
    for (old, new) in [
        // The issuer becomes a part of who a client is.
        (jwt(&[&a], ""), jwt(&[&a, &b], "")),
        (jwt(&[&a], ""), jwt(&[&elsewhere], "")),
        (jwt(&[&a], ""), jwt(&[&a], ", audience: [x]")),
        (jwt(&[&a], ""), jwt(&[&a], ", subject: email")),
    ] {
        let found = Difference::of(&old, &new);
        assert_eq!(found.routes[0].effect, Effect::Meaning, "{found:?}");
    }
}
