//! `conf/compose-cluster.yaml`: what it starts works together, and the engine's user has the rights of the manual and no
//! others.
//!
//! Must not know: anything below `config` and the engine's client.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pollcast::cluster::diagnosis::Payload;
use pollcast::cluster::redis::Redis;
use pollcast::config::{Cluster, Config};

use super::{load, root, scalars};
use crate::manual::pages::Page;
use crate::support::ports::unused_address;
use crate::support::process::Folder;
use crate::support::wire::GUARD;

const FILE: &str = "conf/compose-cluster.yaml";
const SECRET: &str = "a secret of thirty-two bytes or more";

/// What Compose makes of the file's scalars: two dollar signs are one.
fn texts() -> Vec<String> {
    scalars(&root().join(FILE)).into_iter().map(|text| text.replace("$$", "$")).collect()
}

fn text_with(mark: &str) -> String {
    texts().into_iter().find(|text| text.contains(mark)).unwrap_or_else(|| panic!("{FILE} has no {mark:?}"))
}

/// A folder with the secrets, which stands for the one in the containers.
fn secrets() -> Folder {
    let folder = Folder::new();
    folder.write("engine_password", "a password of the engine\n");
    folder
}

fn nodes_configuration(secrets: &Folder) -> Config {
    let text = text_with("listeners:\n");
    let text = text.replace("/run/secrets", &secrets.path.display().to_string());
    load(&text.replace("${POLLCAST_CLUSTER_SECRET}", SECRET), FILE)
}

/// Redis, started by the file's own command.
struct Started {
    child: Child,
    address: SocketAddr,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn redis_of_the_file(secrets: &Folder) -> Started {
    let (address, folder) = (unused_address(), secrets.path.display().to_string());
    let script =
        text_with("exec redis-server").replace("/tmp/users.acl", "users.acl").replace("/run/secrets", ".");
    let port = address.port();
    let script = format!("{} --bind 127.0.0.1 --port {port} --dir {folder}", script.trim_end());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(&secrets.path).stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.spawn().expect("a shell");
    let started = Started { child, address };
    let until = Instant::now() + GUARD;
    while std::net::TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "the command of {FILE} starts no Redis");
        #[expect(clippy::disallowed_methods, reason = "nothing tells when another process listens")]
        std::thread::sleep(Duration::from_millis(10));
    }
    started
}

#[test]
fn the_nodes_of_the_file_have_one_configuration_that_loads() {
    let secrets = secrets();
    let config = nodes_configuration(&secrets);
    // The token comes from an environment that a test does not have.
    let warned = config.warnings.iter().map(|warning| warning.place.as_str());
    assert_eq!(warned.collect::<Vec<_>>(), ["admin.address"]);
    let cluster = config.cluster.expect("a cluster");
    assert_eq!(cluster.servers, ["redis:6379"]);
    assert!(cluster.password_file.is_some(), "the password stands in a file");
    let names: BTreeSet<String> = texts().into_iter().filter(|text| text.starts_with("node-")).collect();
    let expected = ["node-1", "node-2", "node-3"].map(str::to_owned);
    assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
}

#[tokio::test]
async fn the_engine_of_the_file_lets_the_nodes_do_all_that_they_need_and_no_other_user_anything() {
    let secrets = secrets();
    let redis = redis_of_the_file(&secrets);
    let cluster = nodes_configuration(&secrets).cluster.expect("a cluster");
    let cluster =
        Cluster { servers: vec![redis.address.to_string()], timeout: GUARD, ..Cluster::clone(&cluster) };
    let found = Redis::examine(&Arc::new(cluster)).await.unwrap_or_else(|failed| panic!("{failed}"));
    assert_eq!(found.missing, Vec::<String>::new());
    assert!(matches!(found.payload, Payload::Passed(_)), "{found:?}");
    assert_eq!(found.eviction, None, "the user may ask for no settings");
    let port = redis.address.port().to_string();
    let anonymous = Command::new("redis-cli").args(["-p", &port, "ping"]).output().expect("redis-cli");
    let said = String::from_utf8_lossy(&anonymous.stdout).into_owned();
    assert!(said.contains("NOAUTH") || said.contains("NOPERM"), "{said}");
}

#[test]
fn the_rights_of_the_file_are_those_of_the_manual() {
    let rights = |text: &str| -> BTreeSet<String> {
        let is_right = |word: &&str| word.starts_with(['+', '-', '~', '&']) && !word.starts_with("--");
        text.split_whitespace().filter(is_right).map(str::to_owned).collect()
    };
    let script = text_with("exec redis-server");
    let line = script.lines().find(|line| line.trim_start().starts_with("user pollcast")).expect("a user");
    let blocks = Page::read("src/manual/cluster.md").blocks();
    let block =
        blocks.iter().find(|block| block.text.contains("ACL SETUSER")).expect("the rights in the manual");
    assert_eq!(rights(line), rights(&block.text));
}

#[test]
fn nginx_takes_the_configuration_of_the_balancer() {
    let folder = Folder::new();
    // Names of other containers have no address here; ports below 1024 are root's.
    let mut text =
        text_with("worker_connections").replace("listen 80;", &format!("listen {};", unused_address()));
    for node in ["node-1", "node-2", "node-3"] {
        text = text.replace(&format!("server {node}:"), "server 127.0.0.1:");
    }
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let places = kinds.map(|kind| format!("{kind}_temp_path {kind}; ")).concat();
    let text = text.replace("http {", &format!("http {{ access_log off; {places}"));
    let file = folder.write("nginx.conf", &format!("pid nginx.pid; error_log error.log;\n{text}"));
    // Users other than root seldom have this folder in their path.
    let there = Path::new("/usr/sbin/nginx");
    let output = Command::new(if there.exists() { there } else { Path::new("nginx") })
        .args(["-t", "-e", "error.log", "-p"])
        .args([folder.path.as_os_str(), "-c".as_ref(), file.as_os_str()])
        .output()
        .expect("nginx is installed (tests/run does it)");
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
}
