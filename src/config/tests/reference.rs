//! Claims about conf/reference.yaml and the schema: both name every key, and the reference tells the truth.

use std::path::Path;

use serde_json::Value;

use super::super::Problem;
use super::super::schema::schema;
use super::super::yaml::{self, Kind, Node};
use super::{load_text, tls};

const REFERENCE: &str = include_str!("../../../conf/reference.yaml");

/// The keys of the reference that have no default, with the same examples.
const EXAMPLES: &str = "\
listeners: [{ address: 0.0.0.0:8080, client_address: peer, hosts: [www.example.com] }]
admin: { address: 127.0.0.1:9090, hosts: [ops.internal] }
upstreams:
  api:
    servers: [127.0.0.1:3000, { address: api.internal:3001 }]
    host: api.example.com
    tls: { sni: api.example.com }
    proxy: http://pollcast:none@proxy.internal:3128
    health_check: { path: /health }
    forwarded: { for: 192.0.2.1, proto: https, host: www.example.com }
    budget: { rate: 50/s }
passthrough: api
limits: { clients: 100000 }
upgrade: { socket: /run/pollcast/upgrade.sock }
routes:
  - path: /prices/{symbol}
    upstream: api
    hosts: [www.example.com]
    poll: { interval: { min: 500ms, max: 1m }, auth: { bearer: none } }
    change:
      ignore: [/generated_at, $..request_id]
      ignore_lines: [\"^Reading \"]
      select: /data
      tolerance: { /price: 0.01 }
      array_key: { /items: /id }
      compare: json
  - path: /inventory/{*rest}
    upstream: api
    upstream_path: /legacy/api.php/{*rest}
  - path: /prices/raw/{*rest}
    upstream: api
    poll: off
  - path: /rooms/{room}/messages
    upstream: api
    share: { by: [authorization, \"cookie:session\"] }
    feed:
      items: /messages
      id: /id
      cursor: { query: since, from: /last_id }
      pages: { next: number, query: page }
  - path: /shops/{shop}/items/{item}
    upstream: api
    poll:
      auth: { oauth2: { token_url: https://auth.example.com/token, client_id: pollcast, client_secret: none,
        scope: items:read, audience: https://api.example.com } }
      batch: { param: ids, items: /items, key: /id }
  - path: /reports
    upstream: api
    poll: { auth: { basic: { user: ann, password: none } } }
  - path: /cameras/{camera}
    upstream: api
    poll: { auth: { digest: { username: viewer, password: none } } }
  - path: /tenants/{tenant}/orders
    upstream: api
    share: { by: [\"identity:org\"] }
    authenticate:
      jwt:
        issuers: [{ issuer: https://issuer.example.com, algorithms: [ES256], jwks: https://issuer.example.com/jwks.json }]
        audience: [pollcast]
        claims: { tenant: org }
      keys: { clients: { partner: change-me-please-now } }
      forward: { url: \"http://127.0.0.1:4180/check\" }
      token: { query: access_token }
  - path: /reports/{id}
    upstream: api
    share: authorize
    authenticate: { jwt: { algorithms: [HS256], keys: [{ secret: \"change me, change me, change me!\" }] } }
    presence: { notify: { path: \"/reports/{id}/presence\" } }
defaults:
  poll: { cookie_jar: true }
  cors: { origins: [\"https://shop.example.com\"] }
  websocket: { send: { path: /messages } }
tracing: { otlp: { endpoint: \"https://collector.internal:4318\", headers: { x-api-key: none },
  resource: { deployment.environment: production } } }
cluster:
  servers: [redis.internal:6379]
  sentinel: pollcast
  username: pollcast
  password: none
  tls: { sni: redis.internal }
  secret: \"change me, change me, change me!\"
";

/// The reference with the lines that name files.
fn uncommented() -> String {
    REFERENCE.lines().map(|line| format!("{}\n", line.strip_prefix("#~").unwrap_or(line))).collect()
}

#[test]
fn the_reference_says_the_defaults() {
    let load = |text| {
        let mut config = load_text(text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        // Warnings name lines, and the same settings stand on others here.
        let warnings = std::mem::take(&mut config.warnings);
        let place = |warning: &Problem| warning.to_string().split_once(": ").map(|(_, rest)| rest.to_owned());
        (format!("{config:#?}"), warnings.iter().map(place).collect::<Vec<_>>())
    };
    let ((reference, warned), (defaults, warned_by_default)) = (load(REFERENCE), load(EXAMPLES));
    assert_eq!(warned, warned_by_default);
    for (said, holds) in reference.lines().zip(defaults.lines()) {
        assert_eq!(said, holds);
    }
    assert_eq!(reference, defaults);
}

#[test]
fn the_reference_loads_with_the_files_it_names() {
    let files = tls::Files::new("reference");
    files.pair("tls/site.crt", "tls/site.key");
    files.certificate("tls/internal-ca.pem");
    files.pair("tls/shop.crt", "tls/shop.key");
    files.pair("tls/pollcast.crt", "tls/pollcast.key");
    files.certificate("tls/clients-ca.pem");
    files.revocation_list("tls/clients.crl");
    std::fs::create_dir_all(files.directory().join("routes")).expect("a folder");
    files.write("tls/authorization", "Bearer one\n");
    files.write("tls/proxy-password", "one\n");
    files.write("tls/archive-password", "one\n");
    files.write("tls/issuer.pem", &rcgen::KeyPair::generate().expect("a key").public_key_pem());
    let config =
        super::super::load::load_with(&uncommented(), "reference.yaml", files.directory(), &|_| None);
    let config = config.unwrap_or_else(|problems| panic!("{problems}"));
    let tls = config.listeners[1].tls.as_ref().expect("TLS");
    assert!(tls.certificates.len() == 2 && tls.certificates[1].cert.is_absolute());
}

#[test]
fn the_reference_names_every_key() {
    let tree = yaml::parse(&uncommented(), 0).expect("YAML");
    let mut missing = Vec::new();
    collect_missing(&schema(), &[&tree], "", &mut missing);
    assert_eq!(missing, [] as [&str; 0]);
}

/// Walks the schema beside all nodes that stand in its place, and notes the keys that none of them has.
fn collect_missing(schema: &Value, nodes: &[&Node], place: &str, missing: &mut Vec<String>) {
    for branch in schema.get("anyOf").and_then(Value::as_array).into_iter().flatten() {
        collect_missing(branch, nodes, place, missing);
    }
    // What an issuer says for itself, one that is alone says beside it.
    let issuers =
        nodes.iter().filter(|_| place == "authenticate.jwt").flat_map(|node| values(node, Some("issuers")));
    let both: Vec<&Node> = nodes.iter().copied().chain(issuers.flat_map(|list| values(list, None))).collect();
    let nodes = &both[..];
    for (key, schema) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let key_place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        let mut below: Vec<&Node> = nodes.iter().flat_map(|node| values(node, Some(key))).collect();
        // What a route may say, the defaults may say for it.
        if place.is_empty() && (key == "routes" || key == "defaults") {
            let tree = nodes[0];
            let routes = values(tree, Some("routes")).into_iter().flat_map(|routes| values(routes, None));
            below = values(tree, Some("defaults")).into_iter().chain(routes).collect();
            let schema = schema.get("items").unwrap_or(schema);
            collect_missing(schema, &below, "", missing);
            continue;
        }
        if place == "authenticate.jwt" && key == "issuers" && !below.is_empty() {
            collect_missing(schema.get("items").unwrap_or(schema), nodes, &key_place, missing);
            continue;
        }
        if below.is_empty() {
            missing.push(key_place);
        } else {
            collect_missing(schema, &below, &key_place, missing);
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(schema) = schema.get(key).filter(|schema| schema.is_object()) {
            let below: Vec<&Node> = nodes.iter().flat_map(|node| values(node, None)).collect();
            collect_missing(schema, &below, place, missing);
        }
    }
}

/// The values under a key of a mapping, or all values of a mapping or list.
fn values<'a>(node: &'a Node, wanted: Option<&str>) -> Vec<&'a Node> {
    match &node.kind {
        Kind::Mapping(entries) => {
            let entries = entries.iter().filter(|entry| wanted.is_none_or(|key| key == entry.key));
            entries.map(|entry| &entry.value).collect()
        }
        Kind::List(items) if wanted.is_none() => items.iter().collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_schema_describes_every_key() {
    fn undescribed(schema: &Value, place: &str, found: &mut Vec<String>) {
        for (key, value) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let place = format!("{place}.{key}");
            if value.get("description").is_none() {
                found.push(place.clone());
            }
            undescribed(value, &place, found);
        }
        for key in ["items", "additionalProperties"] {
            schema.get(key).into_iter().for_each(|schema| undescribed(schema, place, found));
        }
        let branches = schema.get("anyOf").and_then(Value::as_array);
        branches.into_iter().flatten().for_each(|schema| undescribed(schema, place, found));
    }
    let mut found = Vec::new();
    undescribed(&schema(), "", &mut found);
    assert_eq!(found, [] as [&str; 0]);
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let problems = super::super::load(Path::new("/nonexistent/pollcast.yaml")).expect_err("refused");
    assert_eq!(
        problems.to_string(),
        "/nonexistent/pollcast.yaml: cannot be read: No such file or directory (os error 2)"
    );
}
