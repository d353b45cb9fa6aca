//! A private varnish: its own folder, program in VCL and port, never the machine's service.
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

pub struct Varnish {
    family: Family,
    pub port: u16,
    _folder: Folder,
}

impl Varnish {
    pub fn start(purpose: &Purpose) -> Result<Self, String> {
        let folder = Folder::new("varnish")?;
        let port = free_port()?;
        let file = folder.write("default.vcl", &program_in_vcl(purpose))?;
        let log = std::fs::File::create(folder.path.join("error.log"))
            .map_err(|e| format!("varnish: error.log: {e}"))?;
        let mut family = Family::start(
            Command::new(program())
                // In the foreground and without a change of user: the folder is this bench's.
                .args(["-F", "-j", "none", "-n"])
                .arg(folder.path.join("instance"))
                .args(["-a", &format!("127.0.0.1:{port}"), "-s", "malloc,64m", "-f"])
                .arg(file)
                // Idle clients outlast the longest pause of the bench, a flood of them finds room.
                .args(["-p", "timeout_idle=60", "-p", "listen_depth=4096", "-l", "16m"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log),
        )?;
        await_port(port, &mut family)
            .map_err(|why| format!("varnish: {why}; {}", folder.log_end("error.log")))?;
        Ok(Self { family, port, _folder: folder })
    }

    pub fn pid(&self) -> u32 {
        self.family.pid()
    }
}

/// Users other than root seldom have `/usr/sbin` in their path.
fn program() -> &'static str {
    if Path::new("/usr/sbin/varnishd").exists() { "/usr/sbin/varnishd" } else { "varnishd" }
}

fn program_in_vcl(purpose: &Purpose) -> String {
    let (upstream, rules) = match purpose {
        Purpose::Cache(upstream) => (
            upstream,
            "sub vcl_backend_response { set beresp.ttl = 1s; set beresp.grace = 10s; return (deliver); }\n",
        ),
        Purpose::Proxy(upstream) => (upstream, "sub vcl_recv { return (pass); }\n"),
    };
    format!("vcl 4.1;\nbackend api {{ .host = \"127.0.0.1\"; .port = \"{upstream}\"; }}\n{rules}")
}
