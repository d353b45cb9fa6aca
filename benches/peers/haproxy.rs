//! A private haproxy: its own folder, configuration and port, never the machine's service.
//! Must not know: what is measured with it.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::family::Family;
use crate::folder::{Folder, await_port, free_port};

/// What an instance is for.
pub enum Purpose {
    /// Caches for one second in front of this port.
    Cache(u16),
    /// Passes everything to this port.
    Proxy(u16),
}

pub struct Haproxy {
    family: Family,
    pub port: u16,
    _folder: Folder,
}

impl Haproxy {
    pub fn start(purpose: &Purpose) -> Result<Self, String> {
        let folder = Folder::new("haproxy")?;
        let port = free_port()?;
        let file = folder.write("haproxy.cfg", &configuration(purpose, port))?;
        let log = std::fs::File::create(folder.path.join("error.log"))
            .map_err(|e| format!("haproxy: error.log: {e}"))?;
        let mut family = Family::start(
            Command::new(program())
                .args(["-db".as_ref(), "-f".as_ref(), file.as_os_str()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log),
        )?;
        await_port(port, &mut family)
            .map_err(|why| format!("haproxy: {why}; {}", folder.log_end("error.log")))?;
        Ok(Self { family, port, _folder: folder })
    }

    pub fn pid(&self) -> u32 {
        self.family.pid()
    }
}

/// Users other than root seldom have `/usr/sbin` in their path.
fn program() -> &'static str {
    if Path::new("/usr/sbin/haproxy").exists() { "/usr/sbin/haproxy" } else { "haproxy" }
}

/// One process with a thread a core, as its manual recommends; connections to the upstream are shared (`http-reuse`), large
/// bodies spliced in the kernel.
fn configuration(purpose: &Purpose, port: u16) -> String {
    let (cache, rules, upstream) = match purpose {
        Purpose::Cache(upstream) => (
            "cache microcache\n    total-max-size 4\n    max-age 1\n",
            "    http-request cache-use microcache\n    http-response cache-store microcache\n",
            upstream,
        ),
        Purpose::Proxy(upstream) => ("", "    option splice-auto\n", upstream),
    };
    format!(
        "global\n    maxconn 19500\n    fd-hard-limit 20000\n    no strict-limits\n\
         defaults\n    mode http\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n    \
         timeout http-keep-alive 60s\n    http-reuse always\n\
         {cache}frontend clients\n    bind 127.0.0.1:{port} backlog 4096\n{rules}    default_backend api\n\
         backend api\n    server one 127.0.0.1:{upstream}\n"
    )
}
