//! The servers that are compared, and how each is started for a kind of work and told of a change.
//! Must not know: clients, figures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Serialize;

use crate::family::Family;
use crate::folder::{await_port, free_port};
use crate::haproxy::{self, Haproxy};
use crate::nginx::{Nginx, Purpose};
use crate::pushpin::Pushpin;
use crate::server::Pollcast;
use crate::speech::Speech;
use crate::upstream::{CHANNEL, Upstream};
use crate::varnish::{self, Varnish};
use crate::wire::Stamp;

/// In the order of the table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Pollcast,
    Nginx,
    Haproxy,
    Varnish,
    Pushpin,
    Pingora,
}

impl Subject {
    pub const ALL: [Self; 6] =
        [Self::Pollcast, Self::Nginx, Self::Haproxy, Self::Varnish, Self::Pushpin, Self::Pingora];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pollcast => "pollcast",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Varnish => "varnish",
            Self::Pushpin => "pushpin",
            Self::Pingora => "bare Pingora",
        }
    }
}

/// A running server and what makes it publish.
pub enum Server {
    Pollcast(Pollcast),
    Nchan(Nginx),
    Nginx(Nginx),
    Haproxy(Haproxy),
    Varnish(Varnish),
    Pushpin(Pushpin),
    Bare { family: Family, port: u16 },
}

impl Server {
    /// One that streams the resource's changes or holds long-polls for them.
    pub fn pushing(subject: Subject, start: &Start<'_>, upstream: &Upstream) -> Result<Self, String> {
        match subject {
            Subject::Pollcast => Self::pollcast(start, upstream.port, "interval: 200ms", false),
            Subject::Nginx => Ok(Self::Nchan(Nginx::start(&Purpose::Nchan, start.workers)?)),
            Subject::Pushpin => Ok(Self::Pushpin(Pushpin::start(upstream.port)?)),
            Subject::Haproxy | Subject::Varnish | Subject::Pingora => Err("it publishes nothing".to_owned()),
        }
    }

    /// One that answers ordinary polls from what it has, at most a second old.
    pub fn caching(subject: Subject, start: &Start<'_>, upstream: u16) -> Result<Self, String> {
        match subject {
            Subject::Pollcast => Self::pollcast(start, upstream, "interval: 1s", false),
            Subject::Nginx => Ok(Self::Nginx(Nginx::start(&Purpose::Cache(upstream), start.workers)?)),
            Subject::Haproxy => Ok(Self::Haproxy(Haproxy::start(&haproxy::Purpose::Cache(upstream))?)),
            Subject::Varnish => Ok(Self::Varnish(Varnish::start(&varnish::Purpose::Cache(upstream))?)),
            Subject::Pushpin | Subject::Pingora => Err("it has no cache".to_owned()),
        }
    }

    /// One that passes everything through.
    /// `is_logged`: with a line of its access log for each request, where it writes them to a file.
    pub fn passing(
        subject: Subject,
        start: &Start<'_>,
        upstream: u16,
        is_logged: bool,
    ) -> Result<Self, String> {
        match subject {
            Subject::Pollcast => Self::pollcast(start, upstream, "interval: 1s", is_logged),
            Subject::Nginx => {
                let purpose =
                    if is_logged { Purpose::LoggedProxy(upstream) } else { Purpose::Proxy(upstream) };
                Ok(Self::Nginx(Nginx::start(&purpose, start.workers)?))
            }
            _ if is_logged => Err("its log is not measured".to_owned()),
            Subject::Haproxy => Ok(Self::Haproxy(Haproxy::start(&haproxy::Purpose::Proxy(upstream))?)),
            Subject::Varnish => Ok(Self::Varnish(Varnish::start(&varnish::Purpose::Proxy(upstream))?)),
            Subject::Pingora => bare(upstream),
            Subject::Pushpin => Err("it is not measured".to_owned()),
        }
    }

    fn pollcast(start: &Start<'_>, upstream: u16, poll: &str, is_logged: bool) -> Result<Self, String> {
        let pollcast = Pollcast::start(start.pollcast, "peers", |port, admin| {
            format!(
                "listeners:\n  - address: 127.0.0.1:{port}\n\
                 admin:\n  address: 127.0.0.1:{admin}\n\
                 upstreams:\n  legacy:\n    servers: [\"127.0.0.1:{upstream}\"]\n\
                 passthrough: legacy\n\
                 routes:\n  - path: \"/r/{{n}}\"\n    upstream: legacy\n    poll: {{ {poll} }}\n\
                 limits:\n  clients: 100000\n\
                 log:\n  access: {is_logged}\n"
            )
        });
        Ok(Self::Pollcast(pollcast?))
    }

    pub fn pid(&self) -> u32 {
        match self {
            Self::Pollcast(pollcast) => pollcast.pid(),
            Self::Nchan(nginx) | Self::Nginx(nginx) => nginx.pid(),
            Self::Haproxy(haproxy) => haproxy.pid(),
            Self::Varnish(varnish) => varnish.pid(),
            Self::Pushpin(pushpin) => pushpin.pid(),
            Self::Bare { family, .. } => family.pid(),
        }
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Pollcast(pollcast) => pollcast.port,
            Self::Nchan(nginx) | Self::Nginx(nginx) => nginx.port,
            Self::Haproxy(haproxy) => haproxy.port,
            Self::Varnish(varnish) => varnish.port,
            Self::Pushpin(pushpin) => pushpin.port,
            Self::Bare { port, .. } => *port,
        }
    }

    /// Where pollcast tells of itself.
    pub fn admin_port(&self) -> Option<u16> {
        match self {
            Self::Pollcast(pollcast) => Some(pollcast.admin_port),
            _ => None,
        }
    }

    /// Where a client finds the resource of `size` bytes, and how it asks for the next change.
    pub fn resource(&self, is_held: bool, size: usize) -> (String, Speech) {
        match (self, is_held) {
            (Self::Nchan(_), true) => ("/held".to_owned(), Speech::Nchan),
            (Self::Nchan(_), false) => ("/events".to_owned(), Speech::Events),
            (_, true) => (format!("/r/{size}"), Speech::Prefer),
            (_, false) => (format!("/r/{size}"), Speech::Events),
        }
    }

    /// Tells a server that does not poll.
    pub fn publish(&self, stamp: Stamp, size: usize) -> Result<(), String> {
        let body = stamp.body(size);
        match self {
            Self::Nchan(nginx) => post(nginx.port, "/publish", &body),
            Self::Pushpin(pushpin) => {
                let event = format!("data: {}\n\n", String::from_utf8_lossy(&body));
                let formats = serde_json::json!({ "http-stream": { "content": event } });
                let items = serde_json::json!({ "items": [{ "channel": CHANNEL, "formats": formats }] });
                post(pushpin.control_port, "/publish/", items.to_string().as_bytes())
            }
            Self::Pollcast(_) | Self::Nginx(_) | Self::Haproxy(_) | Self::Varnish(_) | Self::Bare { .. } => {
                Ok(())
            }
        }
    }
}

/// What the operator of the bench chose.
pub struct Start<'a> {
    pub pollcast: &'a Path,
    /// nginx's `worker_processes`.
    pub workers: &'a str,
}

fn bare(upstream: u16) -> Result<Server, String> {
    let port = free_port()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let program = std::env::current_exe().map_err(|e| format!("own path: {e}"))?;
    let mut family = Family::start(
        Command::new(program)
            .args(["role", "bare", &port.to_string(), &upstream.to_string(), &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null()),
    )?;
    await_port(port, &mut family).map_err(|why| format!("bare proxy: {why}"))?;
    Ok(Server::Bare { family, port })
}

fn post(port: u16, path: &str, body: &[u8]) -> Result<(), String> {
    let answer = exchange("POST", port, path, body)?;
    match answer.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(()),
        _ => Err(format!("POST 127.0.0.1:{port}{path}: wanted 2xx, got {:?}", answer.lines().next())),
    }
}

/// The ETag that the server on this port gives a resource.
pub fn etag(port: u16, path: &str) -> Result<String, String> {
    let answer = exchange("GET", port, path, b"")?;
    let lines = answer.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
    let mut tags = lines.filter(|(name, _)| name.eq_ignore_ascii_case("etag"));
    let tag = tags.next().map(|(_, value)| value.trim().to_owned());
    tag.ok_or_else(|| format!("127.0.0.1:{port}{path}: no ETag in {:?}", answer.lines().next()))
}

/// One small request on a connection of its own, and the whole answer.
fn exchange(method: &str, port: u16, path: &str, body: &[u8]) -> Result<String, String> {
    let failed = |e: std::io::Error| format!("{method} 127.0.0.1:{port}{path}: {e}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(64 << 10).read_to_end(&mut answer).map_err(failed)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
