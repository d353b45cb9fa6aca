//! The words of the command line: commands, their arguments, and their bounds.
//!
//! Doc comments here are what `--help` prints. Must not know: what the commands do.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Polls an API once, whatever the number of clients, and pushes its changes to all of them.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the proxy.
    Run {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE", default_value = "conf/pollcast.yaml")]
        config: PathBuf,
        /// Take the listening sockets of the running process, which hands them over when it gets SIGQUIT.
        #[arg(long)]
        upgrade: bool,
    },
    /// Read the configuration, say everything that is wrong with it, and exit.
    Check {
        /// The configuration file.
        #[arg(short, long, value_name = "FILE", default_value = "conf/pollcast.yaml")]
        config: PathBuf,
        /// Poll this path or URL a few times too, and say what it would take to push it; repeatable. Of a file with
        /// `cluster`, say whether its engine can be worked with; without a URL, that alone.
        #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "")]
        probe: Vec<String>,
        /// Say what a reload from this file to the configuration does, route by route, instead of anything else.
        #[arg(long, value_name = "OLD", conflicts_with = "probe")]
        diff: Option<PathBuf>,
        /// Say what a reload of the running pollcast with this admin listener would do, `ip:port` or `unix:/path`, instead
        /// of anything else. It reads its own file again; its `admin.token` is read from the environment variable
        /// POLLCAST_ADMIN_TOKEN.
        #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["config", "probe", "diff"])]
        admin: Option<String>,
        /// Say what `--diff` or `--admin` says as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        asking: Asking,
    },
    /// Start a legacy API that can only be polled, and pollcast in front of it.
    Demo {
        /// How many nodes poll as one; more than one need redis-server, which the demo starts.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
        nodes: u8,
        /// Where pollcast listens.
        #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Where its admin listener is; those of further nodes have the ports behind it.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
        admin: SocketAddr,
    },
    /// Say what becomes of a request and why: its route, each step of the decision, what it would get, and the poll that
    /// would be made. Nothing is sent to the API.
    Explain(Explained),
    /// Ask a running pollcast whether it is ready: exit code 0, or 1 and the reason. For health checks.
    Ready {
        /// Its admin listener, `ip:port` or `unix:/path`.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
        admin: String,
    },
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
}

/// What `explain` is asked.
#[derive(clap::Args)]
pub(crate) struct Explained {
    /// A path with its query, or an absolute URL.
    pub(crate) url: String,
    /// The method.
    #[arg(short = 'X', long = "request", value_name = "METHOD", default_value = "GET")]
    pub(crate) method: http::Method,
    /// A header of the request, as 'Authorization: Bearer …'; repeatable. Its value is never shown.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// The address of the client, for limits by address and `trusted_proxies`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) client: Option<IpAddr>,
    /// The configuration file: what a process that has just begun with it would do.
    #[arg(short, long, value_name = "FILE", default_value = "conf/pollcast.yaml", conflicts_with = "admin")]
    pub(crate) config: PathBuf,
    /// Ask the running pollcast with this admin listener instead, `ip:port` or `unix:/path`; its `admin.token` is read
    /// from the environment variable POLLCAST_ADMIN_TOKEN.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,
    /// Say it as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How `check --probe` asks.
#[derive(clap::Args)]
pub(crate) struct Asking {
    /// How many polls.
    #[arg(long, requires = "probe", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=100))]
    pub(crate) polls: u16,
    /// Look for this long instead, with more polls.
    #[arg(long = "for", requires = "probe", conflicts_with = "polls", value_name = "TIME", value_parser = look)]
    pub(crate) looking_for: Option<Duration>,
    /// Time from one poll to the next, at least 100ms.
    #[arg(long, requires = "probe", value_name = "TIME", default_value = "2s", value_parser = spacing)]
    pub(crate) every: Duration,
    /// A header that a client would send, as 'Authorization: Bearer …'; repeatable. The report says
    /// what changes without it, and never its value.
    #[arg(short = 'H', long = "header", requires = "probe", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Write the configuration with the suggested routes to this file, which must not exist.
    #[arg(long, requires = "probe", value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
}

fn spacing(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(3600), "from 100ms to 1h")
}

fn look(text: &str) -> Result<Duration, String> {
    within(text, Duration::from_secs(24 * 3600), "from 100ms to 24h")
}

fn within(text: &str, longest: Duration, bounds: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_millis(100)..=longest).contains(&time) { Ok(time) } else { Err(bounds.to_owned()) }
}
