//! The nodes of the demo: each a process of this program, which can be killed and started again.
//!
//! Owns the processes and what their admin listeners said last. Must not know: who is connected to them.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::config::{Meeting, node_text};
use super::engine::{Engine, unused_address};
use super::process::Guarded;

/// Most nodes of a demo.
pub const NODES_MAX: u8 = 9;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// Between two questions to a node about its resources.
const ASK_SPACING: Duration = Duration::from_millis(500);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer of an admin listener that is read.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The nodes and the engine between them; all end when this is dropped.
#[derive(Debug)]
pub struct Nodes {
    nodes: Vec<Node>,
    program: OsString,
    folder: PathBuf,
    _engine: Engine,
}

#[derive(Debug)]
struct Node {
    name: String,
    address: SocketAddr,
    admin: SocketAddr,
    file: PathBuf,
    process: Mutex<Option<Guarded>>,
    /// What `/resources` said last; `None` while it says nothing.
    listed: Mutex<Option<Value>>,
}

impl Nodes {
    /// Starts the engine and this many nodes in front of the legacy API; returns when all are ready.
    ///
    /// # Errors
    /// There is no engine on this machine, or one of them does not start. Says which.
    pub async fn start(count: u8, legacy: SocketAddr, admin: SocketAddr) -> io::Result<Arc<Nodes>> {
        let program = std::env::current_exe()?.into_os_string();
        let folder = std::env::temp_dir().join(format!("pollcast-demo-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&folder)?;
        let started = Nodes::start_in(folder.clone(), program, count, legacy, admin).await;
        if started.is_err() {
            let _ = std::fs::remove_dir_all(&folder);
        }
        started
    }

    async fn start_in(
        folder: PathBuf,
        program: OsString,
        count: u8,
        legacy: SocketAddr,
        admin: SocketAddr,
    ) -> io::Result<Arc<Nodes>> {
        let secret =
            |words: usize| (0..words).map(|_| format!("{:016x}", fastrand::u64(..))).collect::<String>();
        let password = secret(2);
        let engine = Engine::start(&folder, &password).await?;
        let meeting = Meeting { engine: engine.address, password, secret: secret(4) };
        let mut nodes = Vec::new();
        for number in 1..=count.min(NODES_MAX) {
            let name = format!("node-{number}");
            // One port a node, counted up from the one that was said; 0 leaves them to the system.
            let admin = match admin.port() {
                0 => unused_address()?,
                port => SocketAddr::new(admin.ip(), port.saturating_add(u16::from(number) - 1)),
            };
            let (address, file) = (unused_address()?, folder.join(format!("{name}.yaml")));
            std::fs::write(&file, node_text(legacy, address, admin, &name, &meeting))?;
            let (process, listed) = (Mutex::default(), Mutex::default());
            nodes.push(Node { name, address, admin, file, process, listed });
        }
        let nodes = Nodes { nodes, program, folder, _engine: engine };
        for node in &nodes.nodes {
            *node.process.lock() = Some(nodes.run(node)?);
        }
        for node in &nodes.nodes {
            node.ready().await?;
        }
        Ok(Arc::new(nodes))
    }

    fn run(&self, node: &Node) -> io::Result<Guarded> {
        let config = node.file.as_os_str();
        // Each line of three nodes three times is more than a demo has to say.
        let quiet = [("RUST_LOG", "error")];
        let environment = if std::env::var_os("RUST_LOG").is_some() { &[][..] } else { &quiet };
        Guarded::start(&self.program, ["run".as_ref(), "--config".as_ref(), config], environment)
    }

    /// Asks the nodes for their resources again and again, for as long as they are there.
    pub fn watch(self: &Arc<Self>) {
        for place in 0..self.nodes.len() {
            let nodes = Arc::downgrade(self);
            tokio::spawn(async move {
                while let Some(nodes) = nodes.upgrade() {
                    let node = &nodes.nodes[place];
                    let listed = if node.is_running() { resources(node.admin).await } else { None };
                    *node.listed.lock() = listed;
                    drop(nodes);
                    sleep(ASK_SPACING).await;
                }
            });
        }
    }

    /// Kills a node: it says no word to anybody. Returns whether there is such a node.
    pub fn kill(&self, name: &str) -> bool {
        let Some(node) = self.node(name) else { return false };
        let process = node.process.lock().take();
        drop(process);
        node.listed.lock().take();
        true
    }

    /// Starts a node that was killed, at its old place. Returns whether there is such a node.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn revive(&self, name: &str) -> io::Result<bool> {
        let Some(node) = self.node(name) else { return Ok(false) };
        if !node.is_running() {
            let process = self.run(node)?;
            *node.process.lock() = Some(process);
        }
        Ok(true)
    }

    fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Names, with where clients and operators reach each.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr, SocketAddr)> {
        self.nodes.iter().map(|node| (node.name.as_str(), node.address, node.admin))
    }

    /// What the page shows: each node, and which one polls each path.
    pub(super) fn json(&self) -> (Vec<Value>, Value) {
        let mut holders = json!({});
        let mut told = Vec::new();
        for node in &self.nodes {
            let listed = node.listed.lock().clone();
            let resources = listed.as_ref().and_then(|listed| listed["resources"].as_array());
            let mut held = 0;
            for resource in resources.into_iter().flatten().filter(|resource| resource["role"] == "holder") {
                held += 1;
                if let Some(path) = resource["path"].as_str() {
                    holders[path] = json!(node.name);
                }
            }
            told.push(json!({
                "name": node.name,
                "admin": node.admin.to_string(),
                "is_running": node.is_running(),
                "is_ready": listed.is_some(),
                "has_engine": listed.as_ref().map(|listed| listed["cluster"]["connected"] == true),
                "holds": listed.is_some().then_some(held),
            }));
        }
        (told, holders)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &self.nodes {
            node.process.lock().take();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Node {
    fn is_running(&self) -> bool {
        self.process.lock().as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// Waits until it serves.
    async fn ready(&self) -> io::Result<()> {
        let until = Instant::now() + START_TIMEOUT;
        loop {
            if ask(self.admin, "/ready").await.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")) {
                return Ok(());
            }
            if !self.is_running() || Instant::now() > until {
                return Err(io::Error::other(format!(
                    "{} does not start; the lines above say why",
                    self.name
                )));
            }
            // Nothing tells when another process serves.
            sleep(LOOK).await;
        }
    }
}

/// What a node lists. Returns `None` if it does not answer.
async fn resources(admin: SocketAddr) -> Option<Value> {
    let answer = ask(admin, "/resources").await.ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    serde_json::from_str(body).ok()
}

/// The whole answer to a GET.
async fn ask(address: SocketAddr, path: &str) -> io::Result<String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    timeout(ANSWER_TIMEOUT, asking).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
