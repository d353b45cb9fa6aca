//! A private pushpin: its own folder, configuration and ports, never the machine's service.
//! Must not know: what is measured with it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::family::Family;
use crate::folder::{Folder, await_port, free_port};

pub struct Pushpin {
    family: Family,
    pub port: u16,
    /// Where items are published.
    pub control_port: u16,
    _folder: Folder,
}

impl Pushpin {
    /// Starts it in front of the API at `upstream`.
    pub fn start(upstream: u16) -> Result<Self, String> {
        let folder = Folder::new("pushpin")?;
        let (port, control_port) = (free_port()?, free_port()?);
        let routes = folder.write("routes", &format!("* 127.0.0.1:{upstream}\n"))?;
        let path = folder.path.display();
        let file =
            folder.write("pushpin.conf", &configuration(&path, &routes.display(), port, control_port))?;
        let mut family = Family::start(
            Command::new("pushpin")
                .arg(format!("--config={}", file.display()))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        for port in [port, control_port] {
            await_port(port, &mut family)
                .map_err(|why| format!("pushpin: {why}; {}", folder.log_end("pushpin-handler.log")))?;
        }
        await_stream(port)?;
        Ok(Self { family, port, control_port, _folder: folder })
    }

    pub fn pid(&self) -> u32 {
        self.family.pid()
    }
}

/// Its processes listen before they have found each other, and until then answer with 500 or forget
/// a connection. Nothing says when they have: one stream that works, and a little time.
fn await_stream(port: u16) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if opens_stream(port).unwrap_or(false) {
            std::thread::sleep(Duration::from_secs(1));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err("pushpin: no stream was opened within 10 s".to_owned())
}

fn opens_stream(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET /r/200 HTTP/1.1\r\nHost: bench.test\r\n\r\n")?;
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    Ok(start == *b"HTTP/1.1 200")
}

/// Debian's file with everything in one folder, its own zurl, and limits out of the way.
fn configuration(
    folder: &dyn std::fmt::Display,
    routes: &dyn std::fmt::Display,
    port: u16,
    control_port: u16,
) -> String {
    format!(
        "[global]\ninclude={{libdir}}/internal.conf\nrundir={folder}\nipc_prefix=bench-\n\
         [runner]\nservices=condure,zurl,pushpin-proxy,pushpin-handler\nhttp_port=127.0.0.1:{port}\n\
         logdir={folder}\nlog_level=1\nclient_buffer_size=8192\nclient_maxconn=19000\n\
         condure_bin=condure\nzurl_bin=zurl\n\
         [proxy]\nroutesfile={routes}\n\
         zurl_out_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in\n\
         zurl_out_stream_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-in-stream\n\
         zurl_in_specs=ipc://{{rundir}}/{{ipc_prefix}}zurl-out\n\
         [handler]\npush_in_http_addr=127.0.0.1\npush_in_http_port={control_port}\n\
         push_in_http_max_headers_size=10000\npush_in_http_max_body_size=1000000\n\
         push_in_spec=ipc://{{rundir}}/{{ipc_prefix}}push\n\
         push_in_sub_specs=ipc://{{rundir}}/{{ipc_prefix}}sub\npush_in_sub_connect=false\n\
         command_spec=ipc://{{rundir}}/{{ipc_prefix}}command\n\
         stats_spec=ipc://{{rundir}}/{{ipc_prefix}}stats\n\
         message_rate=10000000\nmessage_hwm=10000000\nmessage_wait=5000\nid_cache_ttl=60\n\
         connection_subscription_max=20\nsubscription_linger=60\nstats_subscription_ttl=60\n\
         stats_report_interval=10\nstats_format=tnetstring\n"
    )
}
