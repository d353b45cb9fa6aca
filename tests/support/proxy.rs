//! Real proxies from Debian's packages: tinyproxy and squid (HTTP), microsocks and dante (SOCKS5).
//!
//! Must not know: what the tests claim.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::ports::unused_address;
use super::process::Folder;
use super::wire::GUARD;

/// The user that the proxies let through.
pub const USER: &str = "ann";
pub const PASSWORD: &str = "hidden-word";

/// A proxy that runs until it is dropped.
pub struct Proxy {
    child: Child,
    address: SocketAddr,
    scheme: &'static str,
    /// It wants to know [`USER`] and [`PASSWORD`].
    asks: bool,
    folder: Folder,
}

impl Proxy {
    /// tinyproxy, which lets through clients that say [`USER`] and [`PASSWORD`].
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

    /// microsocks, which lets through clients that say [`USER`] and [`PASSWORD`].
    pub async fn socks() -> Proxy {
        let (folder, address) = (Folder::new(), unused_address());
        let mut command = Command::new("microsocks");
        command.args(["-i", "127.0.0.1", "-p", &address.port().to_string(), "-u", USER, "-P", PASSWORD]);
        Proxy::run(command, "microsocks", "socks5", address, folder).await
    }

    /// squid, which lets through clients that say [`USER`] and [`PASSWORD`].
    pub async fn squid() -> Proxy {
        let (folder, address) = (Folder::new(), unused_address());
        let hashed = Command::new("openssl").args(["passwd", "-apr1", PASSWORD]).output();
        let hashed = hashed.expect("openssl: install Debian's package openssl").stdout;
        let passwords = folder.write("passwords", &format!("{USER}:{}", String::from_utf8_lossy(&hashed)));
        let config = folder.write(
            "squid.conf",
            &format!(
                "http_port {address}\npid_filename none\ncache deny all\naccess_log none\ncache_log /dev/null\n\
                 coredump_dir /\nnetdb_filename none\npinger_enable off\nvisible_hostname squid.test\n\
                 auth_param basic program /usr/lib/squid/basic_ncsa_auth {}\n\
                 auth_param basic children 2 startup=1 idle=1\nacl known proxy_auth REQUIRED\nhttp_access allow known\n\
                 http_access deny all\nshutdown_lifetime 0\nmax_filedescriptors 1024\n",
                passwords.display()
            ),
        );
        let mut command = Command::new(of_administrators("squid"));
        // Its shared memory goes by this name.
        command.args(["-N", "-n", &format!("t{}x{}", std::process::id(), address.port()), "-f"]).arg(config);
        Proxy::run(command, "squid", "http", address, folder).await
    }

    /// dante, which lets everybody through.
    pub async fn dante() -> Proxy {
        let (folder, address) = (Folder::new(), unused_address());
        let config = folder.write(
            "danted.conf",
            &format!(
                "logoutput: /dev/null\ninternal: 127.0.0.1 port = {}\nexternal: 127.0.0.1\nclientmethod: none\n\
                 socksmethod: none\nclient pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}\n\
                 socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n",
                address.port()
            ),
        );
        let mut command = Command::new(of_administrators("danted"));
        command.arg("-f").arg(config).arg("-p").arg(folder.path.join("pid"));
        let mut proxy = Proxy::run(command, "dante-server", "socks5", address, folder).await;
        proxy.asks = false;
        proxy
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
        let proxy = Proxy { child, address, scheme, asks: true, folder };
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
        let who = if self.asks { format!("{USER}:{password}@") } else { String::new() };
        format!("{}://{who}{}", self.scheme, self.address)
    }

    /// What tinyproxy wrote about its connections.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path.join("log")).unwrap_or_default()
    }
}

/// A program that others than root may not have in their path.
fn of_administrators(program: &str) -> PathBuf {
    let there = Path::new("/usr/sbin").join(program);
    if there.exists() { there } else { program.into() }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
