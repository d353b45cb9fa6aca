//! What tools read besides the code: conf/, and what its files name; the readiness probe.
//!
//! Reads the files as text and holds their names against the schema, the metrics and the
//! configuration loader. Must not know: anything below `config` and `app`.

mod cluster;
mod expressions;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use pollcast::config::{self, AdminAddress, Config};
use pollcast::metrics::Metrics;
use saphyr_parser::{Event, Parser};
use serde_json::Value;

use crate::manual::pages::{self, Page};
use crate::support::app;
use crate::support::client::Http;
use crate::support::process::{Folder, Process};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn conf(name: &str) -> String {
    read(&root().join("conf").join(name))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

// --- Metrics ---

/// The metrics that are registered, those of a cluster included.
fn registered() -> BTreeSet<String> {
    let metrics = Metrics::new().expect("registers");
    metrics.cluster().expect("registers");
    metrics.described().into_iter().map(|described| described.name).collect()
}

/// The metrics that a running application shows.
async fn scraped() -> BTreeSet<String> {
    let app = app::start(
        "listeners: [{address: '127.0.0.1:0'}]\nadmin: {address: '127.0.0.1:0'}\n\
         upstreams: {api: {servers: ['127.0.0.1:1']}}\npassthrough: api\n",
    );
    let admin = app.admin_address().expect("configured above");
    let mut http = Http::connect(admin).await;
    let text = http.get("/metrics", &[]).await.expect(200).text();
    let help = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    help.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

/// Every word of a text that looks like a metric of ours or of the process.
fn named_in(text: &str) -> BTreeSet<String> {
    // What rules record has colons in its name.
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words
        .filter(|word| word.starts_with("pollcast_") || word.starts_with("process_"))
        .map(|word| {
            let parts = ["_bucket", "_sum", "_count"];
            let base = parts.iter().find_map(|part| word.strip_suffix(part));
            base.unwrap_or(word).to_owned()
        })
        .collect()
}

#[tokio::test]
async fn dashboard_alerts_and_pages_name_only_metrics_that_exist() {
    let scraped = scraped().await;
    let registered = registered();
    let process = scraped.iter().filter(|name| name.starts_with("process_"));
    let known: BTreeSet<String> = registered.iter().chain(process).cloned().collect();
    let unread: Vec<_> = scraped.difference(&known).collect();
    assert!(unread.is_empty(), "these are not described: {unread:?}");
    let pages = pages::all();
    let files = ["grafana.json", "prometheus-alerts.yaml"].map(|name| (name.to_owned(), conf(name)));
    let texts = pages.iter().map(|page| (page.name(), page.text.clone()));
    for (file, text) in files.into_iter().chain(texts) {
        let named = named_in(&text);
        assert!(!named.is_empty() || file.ends_with(".md"), "{file} names no metric");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} names metrics that do not exist: {unknown:?}");
    }
    let told = Page::read("src/manual/operations.md").cells("Metric").into_iter().collect::<BTreeSet<_>>();
    let untold: Vec<_> = registered.iter().filter(|name| !told.contains(*name)).collect();
    assert!(untold.is_empty(), "the table of the page on operations leaves out {untold:?}");
}

#[test]
fn the_page_on_operations_lists_every_alert() {
    let scalars = scalars(&root().join("conf/prometheus-alerts.yaml"));
    let alerts = scalars.windows(2).filter(|pair| pair[0] == "alert").map(|pair| pair[1].clone());
    let told = Page::read("src/manual/operations.md").cells("Alert").into_iter().collect::<BTreeSet<_>>();
    assert_eq!(alerts.collect::<BTreeSet<_>>(), told);
}

#[test]
fn the_dashboard_is_json_and_every_panel_asks_for_something() {
    let dashboard: Value = serde_json::from_str(&conf("grafana.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list of panels");
    let asking = panels.iter().filter(|panel| panel["type"] != "row");
    let mut count = 0;
    for panel in asking {
        count += 1;
        let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
        let named = |target: &Value| target["expr"].as_str().is_some_and(|expr| !named_in(expr).is_empty());
        assert!(
            !targets.is_empty() && targets.iter().all(named),
            "panel {} asks for nothing",
            panel["title"]
        );
    }
    assert!(count > 0, "no panels");
}

// --- YAML ---

/// The scalars of a file, documents and nesting ignored; fails on what is not YAML.
fn scalars(file: &Path) -> Vec<String> {
    let text = read(file);
    let events = Parser::new_from_str(&text).map(|event| match event {
        Ok((event, _)) => event,
        Err(error) => panic!("{}: {error}", file.display()),
    });
    let scalar = |event| match event {
        Event::Scalar(value, ..) => Some(value.into_owned()),
        _ => None,
    };
    events.filter_map(scalar).collect()
}

/// The value of the first key of this name.
fn value_of(scalars: &[String], key: &str) -> String {
    let at = scalars.iter().position(|scalar| scalar == key);
    let value = at.and_then(|at| scalars.get(at + 1));
    value.unwrap_or_else(|| panic!("no {key}")).clone()
}

/// What the pods of `conf/kubernetes` are configured with: a file of its own.
const KUBERNETES: &str = "kubernetes/config.yaml";

/// The configurations of pollcast inside a file for another tool.
fn embedded(file: &str) -> Vec<Config> {
    if file == KUBERNETES {
        return vec![load(&conf(file), file)];
    }
    let scalars = scalars(&root().join("conf").join(file));
    let texts = scalars.into_iter().filter(|scalar| scalar.contains("listeners:\n"));
    // Compose writes one dollar sign as two.
    texts.map(|text| load(&text.replace("$$", "$"), file)).collect()
}

fn load(text: &str, name: &str) -> Config {
    config::load_str(text, name, root()).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

#[test]
fn every_yaml_file_in_conf_parses() {
    let folders =
        ["conf", "conf/kubernetes"].map(|name| std::fs::read_dir(root().join(name)).expect("it is there"));
    let files = folders.into_iter().flatten().map(|entry| entry.expect("readable").path());
    let yaml: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "yaml")).collect();
    assert!(yaml.len() >= 5, "conf/ has {yaml:?}");
    for file in &yaml {
        assert!(!scalars(file).is_empty(), "{} is empty", file.display());
    }
    for name in ["pollcast.yaml", "reference.yaml"] {
        config::load(&root().join("conf").join(name)).unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn configurations_inside_other_files_load_and_can_be_probed() {
    for file in ["compose.yaml", KUBERNETES] {
        let configs = embedded(file);
        assert_eq!(configs.len(), 1, "{file}");
        for config in configs {
            // The token comes from an environment that a test does not have.
            let warned = config.warnings.iter().map(|warning| warning.place.as_str());
            assert_eq!(warned.collect::<Vec<_>>(), ["admin.address"], "{file}");
            let admin = config.admin.expect("a probe needs the admin listener").address;
            assert_eq!(admin, AdminAddress::Tcp(([0, 0, 0, 0], 9090).into()), "{file}");
            assert_eq!(config.listeners[0].address.port(), 8080, "{file}");
        }
    }
}

#[test]
fn what_other_files_are_put_together_of_is_there() {
    let kustomization = scalars(&root().join("conf/kubernetes/kustomization.yaml"));
    for file in ["pollcast.yaml", "config.yaml"] {
        let is_named = |word: &String| word == file || word.ends_with(&format!("={file}"));
        assert!(kustomization.iter().any(is_named), "{file}: {kustomization:?}");
    }
    // Deployment and Service name the pods, and the Deployment the ConfigMap that is generated.
    let pods = scalars(&root().join("conf/kubernetes/pollcast.yaml"));
    assert!(pods.windows(2).any(|words| words == ["configMap", "name"]), "{pods:?}");
    let monitoring = scalars(&root().join("conf/compose-monitoring.yaml"));
    for mounted in monitoring.iter().filter(|word| word.starts_with("./")) {
        let file = mounted.trim_start_matches("./").split(':').next().expect("a file");
        assert!(root().join("conf").join(file).is_file(), "{mounted}");
    }
    let prometheus = monitoring.iter().find(|word| word.contains("scrape_configs")).expect("a configuration");
    let admin = embedded("compose.yaml")[0].admin.as_ref().expect("an admin listener").hosts.clone();
    let target = admin.iter().map(|host| format!("{host}:9090")).find(|target| prometheus.contains(target));
    assert!(target.is_some(), "Prometheus asks {prometheus} and would be refused by all but {admin:?}");
}

/// Docker copies what `.dockerignore` lets through, and nothing else: cargo has to find its way with that.
#[test]
fn the_image_s_build_context_is_a_package() {
    let folder = Folder::new();
    let kept = read(&root().join(".dockerignore"));
    for name in kept.lines().filter_map(|line| line.strip_prefix('!')) {
        let from = root().join(name);
        // Of a folder it is enough that it is there: nothing is compiled here.
        let from = if from.is_dir() { from.join("main.rs") } else { from };
        let to = folder.path.join(from.strip_prefix(root()).expect("below the root"));
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder in the context");
        std::fs::copy(&from, &to).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
    }
    std::fs::copy(root().join("src/lib.rs"), folder.path.join("src/lib.rs")).expect("src/lib.rs");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]);
    let output = cargo.current_dir(&folder.path).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_supervisor_waits_longer_than_the_drain() {
    let drain = |config: &Config| config.drain.delay + config.drain.window + Duration::from_secs(2);
    let seconds = |text: &str| {
        let number = text.trim_end_matches('s').parse();
        Duration::from_secs(number.unwrap_or_else(|_| panic!("{text} is no number of seconds")))
    };
    for (file, key) in
        [("compose.yaml", "stop_grace_period"), ("kubernetes/pollcast.yaml", "terminationGracePeriodSeconds")]
    {
        let wait = value_of(&scalars(&root().join("conf").join(file)), key);
        let config = if file.starts_with("kubernetes/") { KUBERNETES } else { file };
        assert!(seconds(&wait) > drain(&embedded(config)[0]), "{file}: {key}: {wait}");
    }
    let unit = conf("pollcast.service");
    let wait = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    let defaults = load(&conf("pollcast.yaml"), "pollcast.yaml");
    assert!(seconds(wait.expect("a time to stop")) > drain(&defaults));
}

// --- The probe ---

async fn ready(admin: std::net::SocketAddr) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
    command.args(["ready", "--admin", &admin.to_string()]);
    let run = tokio::task::spawn_blocking(move || command.output());
    run.await.expect("not cancelled").expect("the binary runs")
}

/// The probe's complaint; fails the test if it has none.
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn the_probe_tells_a_ready_process_from_a_draining_one_and_from_none() {
    let process = Process::start(
        "listeners: [{address: PUBLIC_ADDRESS}]\nadmin: {address: ADMIN_ADDRESS, token: secret}\n\
         upstreams: {api: {servers: ['127.0.0.1:1']}}\npassthrough: api\ndrain: {delay: 1m}\n",
    )
    .await;
    let up = ready(process.admin).await;
    let said = (up.status.code(), up.stdout.as_slice());
    assert_eq!(said, (Some(0), &b"ready\n"[..]));
    process.signal("TERM");
    process.wait_stderr("draining").await;
    let said = complaint(&ready(process.admin).await);
    assert!(said.contains("HTTP/1.1 503"), "{said}");
    process.signal("TERM");
    process.wait_exit().await;
    let said = complaint(&ready(process.admin).await);
    assert!(said.contains(&format!("{} is not ready", process.admin)), "{said}");
}

// --- Threats ---

const SECURITY: &str = include_str!("../src/manual/security.md");

/// The functions of all tests below `tests/`.
fn test_functions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = read(&path);
                let names = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
    found
}

#[test]
fn each_threat_of_the_manual_has_a_test_that_exists() {
    let functions = test_functions();
    let table = SECURITY.split("| Threat | Answer | Test |").nth(1).expect("the table of threats");
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() >= 24, "{} threats", rows.len());
    for row in rows {
        let cell = row.trim_end_matches(" |").rsplit(" | ").next().expect("a last cell");
        let names: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            assert!(functions.contains(name) || root().join(name).exists(), "no such test: {name}");
        }
    }
}

/// What the advisories say of a crate counts again once the crate is gone, or may be another version.
#[test]
fn each_advisory_that_is_let_by_names_a_crate_of_the_tree_and_a_reason() {
    let (deny, lock) = (read(&root().join("deny.toml")), read(&root().join("Cargo.lock")));
    let let_by: Vec<&str> = deny.lines().filter(|line| line.contains("id = \"RUSTSEC-")).collect();
    assert!(!let_by.is_empty(), "nothing is let by: then this test has no use");
    for line in let_by {
        let reason = line.split_once("reason = \"").map(|(_, reason)| reason);
        let (name, why) = reason.and_then(|reason| reason.split_once(": ")).unwrap_or_default();
        assert!(lock.contains(&format!("\nname = \"{name}\"\n")), "not in the tree: {line}");
        assert!(why.len() > 40, "no reason: {line}");
    }
    for provider in ["aws-lc-rs", "aws-lc-sys", "openssl-src", "native-tls"] {
        assert!(deny.contains(&format!("{{ name = \"{provider}\"")), "{provider} may come in");
    }
}
