//! Real proxies from Debian's packages: tinyproxy (HTTP) and microsocks (SOCKS5).
//!
//! Must not know: what the tests claim.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::ports::unused_address;
use super::process::Folder;
use super::wire::GUARD;

/// Who the proxies let through.
pub const USER: &str = "ann";
pub const PASSWORD: &str = "hidden-word";

/// A proxy that runs until it is dropped.
pub struct Proxy {
    child: Child,
    address: SocketAddr,
    scheme: &'static str,
    folder: Folder,
}

impl Proxy {
    /// tinyproxy, which lets through who says [`USER`] and [`PASSWORD`].
    pub async fn http() -> Proxy {
        let (folder, address) = (Folder::new(), unused_address());
        let log = folder.path.join("log");
        let config = format!(
            "Port {}\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\nAllow 127.0.0.1\nLogFile \"{}\"\nLogLevel Connect\n\
             BasicAuth {USER} {PASSWORD}\n",
            address.port(),
            log.display(),
        );
        let config = folder.write("tinyproxy.conf", &config);
        let mut command = Command::new("tinyproxy");
        command.arg("-d").arg("-c").arg(config);
        Proxy::run(command, "tinyproxy", "http", address, folder).await
    }

    /// microsocks, which lets through who says [`USER`] and [`PASSWORD`].
    pub async fn socks() -> Proxy {
        let (folder, address) = (Folder::new(), unused_address());
        let mut command = Command::new("microsocks");
        command.args(["-i", "127.0.0.1", "-p", &address.port().to_string(), "-u", USER, "-P", PASSWORD]);
        Proxy::run(command, "microsocks", "socks5", address, folder).await
    }

    async fn run(
        mut command: Command,
        package: &str,
        scheme: &'static str,
        address: SocketAddr,
        folder: Folder,
    ) -> Proxy {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child =
            child.unwrap_or_else(|error| panic!("{package}: {error}; install Debian's package {package}"));
        let proxy = Proxy { child, address, scheme, folder };
        let began = Instant::now();
        // Nothing tells when it listens.
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < GUARD, "{package} does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy
    }

    /// As `proxy:` has it.
    pub fn url(&self) -> String {
        self.url_of(PASSWORD)
    }

    /// With another password.
    pub fn url_of(&self, password: &str) -> String {
        format!("{}://{USER}:{password}@{}", self.scheme, self.address)
    }

    /// What tinyproxy wrote about its connections.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path.join("log")).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
