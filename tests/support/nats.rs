//! A real `nats-server` with JetStream on a port of its own, that can be killed, stopped, woken and started again.
//!
//! Must not know: what is stored.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pollcast::config::{Cluster, ClusterEngine, Secret};

use super::ports::unused_address;
use super::process::Folder;
use super::wire::GUARD;

pub struct NatsServer {
    child: Option<Child>,
    pub address: SocketAddr,
    options: Vec<String>,
    /// Where it lives; removed in the end.
    folder: Folder,
}

impl NatsServer {
    /// Starts one with these options besides its port; returns when it accepts connections.
    pub fn start(options: &[&str]) -> NatsServer {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server =
            NatsServer { child: None, address: unused_address(), options, folder: Folder::new() };
        server.launch();
        server
    }

    /// Starts one with a configuration besides its port.
    pub fn configured(text: &str) -> NatsServer {
        let folder = Folder::new();
        let path = folder.path.join("nats.conf");
        std::fs::write(&path, text).expect("a file of its own");
        let options = vec!["-c".to_owned(), path.display().to_string()];
        let mut server = NatsServer { child: None, address: unused_address(), options, folder };
        server.launch();
        server
    }

    /// Starts it again at the same place. What it held in memory is gone.
    pub fn launch(&mut self) {
        // Debian installs it where only its administrator looks.
        let installed = Path::new("/usr/sbin/nats-server");
        let mut command = Command::new(if installed.exists() { installed } else { Path::new("nats-server") });
        command.args(["-js", "-a", "127.0.0.1", "-p", &self.address.port().to_string(), "-sd"]);
        command.arg(&self.folder.path).args(&self.options);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("nats-server is installed (tests/run does it)"));
        let until = Instant::now() + GUARD;
        while std::net::TcpStream::connect(self.address).is_err() {
            assert!(Instant::now() < until, "nats-server does not listen on {}", self.address);
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

    /// The configuration of a node with this engine. Its times are long: what a test waits for is no time.
    pub fn cluster(&self) -> Cluster {
        Cluster {
            engine: ClusterEngine::Nats,
            servers: vec![self.address.to_string()],
            secret: Secret("a secret of thirty-two bytes or more".to_owned()),
            lease: Duration::from_secs(60),
            timeout: GUARD,
            max_value: 512 * 1024,
            ..Cluster::unsaid()
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
