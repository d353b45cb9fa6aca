//! A private nginx: its own folder, configuration and port, never the machine's service.
//! Must not know: what is measured with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::family::Family;
use crate::folder::{Folder, await_port, free_port};

/// What an instance is for: the inside of `server {}`, and what goes beside it.
pub enum Purpose {
    /// Publishes on `/publish`, streams on `/events`, long-polls on `/held`.
    Nchan,
    /// Microcaching in front of this port.
    Cache(u16),
    /// Passes everything to this port.
    Proxy(u16),
    /// The same with an access log.
    LoggedProxy(u16),
    /// Answers `/<n>` with n bytes by itself, everything else with 200 bytes.
    Answers,
}

pub struct Nginx {
    family: Family,
    pub port: u16,
    _folder: Folder,
}

impl Nginx {
    /// `workers`: as nginx understands it, a number or `auto`.
    pub fn start(purpose: &Purpose, workers: &str) -> Result<Self, String> {
        let folder = Folder::new("nginx")?;
        let port = free_port()?;
        if let Purpose::Answers = purpose {
            for size in ANSWER_SIZES {
                folder.write(&format!("{size}"), &"x".repeat(size))?;
            }
        }
        let file = folder.write("nginx.conf", &configuration(purpose, workers, port)?)?;
        let mut family = Family::start(
            Command::new(program())
                .args(["-e".as_ref(), "error.log".as_ref(), "-p".as_ref(), folder.path.as_os_str()])
                .args(["-c".as_ref(), file.as_os_str()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null()),
        )?;
        await_port(port, &mut family)
            .map_err(|why| format!("nginx: {why}; {}", folder.log_end("error.log")))?;
        Ok(Self { family, port, _folder: folder })
    }

    pub fn pid(&self) -> u32 {
        self.family.pid()
    }
}

/// Users other than root seldom have `/usr/sbin` in their path.
fn program() -> &'static str {
    if Path::new("/usr/sbin/nginx").exists() { "/usr/sbin/nginx" } else { "nginx" }
}

/// Where Debian's package put the module.
fn nchan_module() -> Result<PathBuf, String> {
    let listed = Command::new("dpkg").args(["-L", "libnginx-mod-nchan"]).output();
    let listed = listed.map_err(|e| format!("dpkg: {e}"))?;
    let text = String::from_utf8_lossy(&listed.stdout);
    let module = text.lines().find(|line| line.ends_with(".so"));
    Ok(module.ok_or("libnginx-mod-nchan is not installed")?.into())
}

fn configuration(purpose: &Purpose, workers: &str, port: u16) -> Result<String, String> {
    let load = match purpose {
        Purpose::Nchan => format!("load_module {};\n", nchan_module()?.display()),
        _ => String::new(),
    };
    let (beside, inside) = match purpose {
        Purpose::Nchan => (String::new(), nchan()),
        Purpose::Cache(upstream) => cache(*upstream),
        // No file between the upstream and a slow client, as its manual says for large bodies.
        Purpose::Proxy(upstream) | Purpose::LoggedProxy(upstream) => {
            (keep_alive(*upstream), format!("location / {{ {PASS} proxy_max_temp_file_size 0; }}"))
        }
        Purpose::Answers => {
            let body = "x".repeat(200);
            let files = ANSWER_SIZES.map(|size| {
                format!("location = /{size} {{ root .; default_type application/octet-stream; }}\n")
            });
            let answers = format!("location / {{ default_type application/json; return 200 {body}; }}");
            ("open_file_cache max=10;".to_owned(), files.concat() + &answers)
        }
    };
    let log = if let Purpose::LoggedProxy(_) = purpose { "access.log" } else { "off" };
    // Beyond its purpose only what Debian's own nginx.conf says, and limits out of the way.
    Ok(format!(
        "{load}daemon off;\nuser root;\npid nginx.pid;\nerror_log error.log;\n\
         worker_processes {workers};\nworker_rlimit_nofile 20000;\n\
         events {{ worker_connections 19000; }}\n\
         http {{\n\
         access_log {log};\nsendfile on;\ntcp_nopush on;\nkeepalive_requests 1000000000;\n\
         client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\n\
         scgi_temp_path scgi;\nuwsgi_temp_path uwsgi;\n\
         {beside}\n\
         server {{\nlisten 127.0.0.1:{port} backlog=4096;\n{inside}\n}}\n}}\n"
    ))
}

/// Sizes of the files of [`Purpose::Answers`].
const ANSWER_SIZES: [usize; 2] = [64 << 10, 5 << 20];

/// Headers of every request that goes to an upstream over connections that are kept.
const PASS: &str = "proxy_pass http://upstream; proxy_http_version 1.1; proxy_set_header Connection \"\";";

fn keep_alive(upstream: u16) -> String {
    format!(
        "upstream upstream {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}"
    )
}

fn nchan() -> String {
    // A new subscriber gets the newest message at once, as pollcast's clients get the state.
    let channel = "nchan_channel_id resource; nchan_subscriber_first_message -1;";
    format!(
        "location = /publish {{ nchan_publisher; nchan_channel_id resource; \
         nchan_message_buffer_length 64; nchan_message_timeout 1h; }}\n\
         location = /events {{ nchan_subscriber eventsource; {channel} }}\n\
         location = /held {{ nchan_subscriber longpoll; {channel} }}"
    )
}

fn cache(upstream: u16) -> (String, String) {
    // Files that are kept open, without the detour over a temporary folder.
    let beside = format!(
        "{}\nproxy_cache_path cache keys_zone=cache:1m use_temp_path=off;\n\
         open_file_cache max=1000 inactive=60s;",
        keep_alive(upstream)
    );
    let inside = format!(
        "location / {{ {PASS} proxy_cache cache; proxy_cache_valid 200 1s; proxy_cache_lock on; \
         proxy_cache_use_stale updating; proxy_cache_background_update on; }}"
    );
    (beside, inside)
}
