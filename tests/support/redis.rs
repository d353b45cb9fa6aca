//! A real `redis-server` on a port of its own, that can be killed, stopped, woken and started again.
//!
//! Must not know: what is stored.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pollcast::config::{Cluster, Secret};

use super::ports::unused_address;
use super::process::Folder;
use super::wire::GUARD;

pub struct RedisServer {
    child: Option<Child>,
    pub address: SocketAddr,
    options: Vec<String>,
    /// Where it lives; removed in the end.
    pub folder: Folder,
}

impl RedisServer {
    /// Starts one with these options besides its port; returns when it accepts connections.
    pub fn start(options: &[&str]) -> RedisServer {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let (address, folder) = (unused_address(), Folder::new());
        let mut server = RedisServer { child: None, address, options, folder };
        server.launch();
        server
    }

    /// Starts it again at the same place: with what it saved (`SAVE`), or empty.
    pub fn launch(&mut self) {
        let mut command = Command::new("redis-server");
        // A configuration file comes first.
        let (files, options): (Vec<_>, Vec<_>) =
            self.options.iter().partition(|option| option.ends_with(".conf"));
        command.args(files);
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.arg("--dir").arg(&self.folder.path);
        let port = self.address.port().to_string();
        match options.iter().any(|option| option.as_str() == "--tls-cert-file") {
            true => command.args(["--port", "0", "--tls-port", &port]),
            false => command.args(["--port", &port]),
        };
        command.args(options).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server is installed (tests/run does it)"));
        let until = Instant::now() + GUARD;
        while std::net::TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < until, "redis-server does not listen on {}", self.address);
            #[expect(clippy::disallowed_methods, reason = "nothing tells when another process listens")]
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it can be waited for");
        }
    }

    /// Sends a signal: `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id();
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status();
        assert!(sent.expect("a shell").success(), "kill -{name}");
    }

    /// What `redis-cli` answers.
    pub fn ask(&self, words: &[&str]) -> String {
        let port = self.address.port().to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output();
        let output = output.expect("redis-cli is installed (tests/run does it)");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// The configuration of a node with this engine. Its times are long: what a test waits for is no time.
    pub fn cluster(&self) -> Cluster {
        Cluster {
            servers: vec![self.address.to_string()],
            secret: Secret("a secret of thirty-two bytes or more".to_owned()),
            lease: Duration::from_secs(60),
            timeout: GUARD,
            ..Cluster::unsaid()
        }
    }

    /// The same, shared.
    pub fn node(&self) -> Arc<Cluster> {
        Arc::new(self.cluster())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
