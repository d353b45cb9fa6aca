//! A real nginx from Debian's package that speaks TLS in front of a server which speaks none.
//!
//! Must not know: what the tests claim.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::openssl::Made;
use super::ports::unused_address;
use super::process::Folder;
use super::wire::GUARD;

/// One process, gone when dropped.
pub struct Nginx {
    child: Child,
    pub address: SocketAddr,
    _folder: Folder,
}

impl Nginx {
    /// `says`: lines of its `server`, as `ssl_protocols`.
    pub async fn start(made: &Made, to: SocketAddr, says: &str) -> Nginx {
        let (folder, address) = (Folder::new(), unused_address());
        folder.write("cert.pem", &made.pem());
        folder.write("key.pem", &made.key_pem());
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {kind};"))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log error.log;\nevents {{}}\n\
             http {{\naccess_log off; {temporary}\n\
             map $http_upgrade $upgraded {{ default upgrade; '' ''; }}\n\
             server {{\nlisten {address} ssl;\nssl_certificate cert.pem; ssl_certificate_key key.pem;\n{says}\n\
             location / {{ proxy_pass http://{to}; proxy_http_version 1.1; proxy_set_header Host $http_host;\n\
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgraded; }}\n}}\n}}\n"
        );
        let file = folder.write("nginx.conf", &config);
        // Users other than root seldom have this folder in their path.
        let there = Path::new("/usr/sbin/nginx");
        let child = Command::new(if there.exists() { there } else { Path::new("nginx") })
            .args(["-e".as_ref(), "error.log".as_ref(), "-p".as_ref(), folder.path.as_os_str()])
            .args(["-c".as_ref(), file.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child =
            child.unwrap_or_else(|error| panic!("nginx: {error}; install Debian's package nginx-light"));
        let nginx = Nginx { child, address, _folder: folder };
        let began = Instant::now();
        // Nothing tells when it listens.
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < GUARD, "nginx does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
