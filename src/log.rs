//! What the process logs, and in which form.
//!
//! Must not know: how lines reach their reader (`log_writer`).

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use pollcast::access_log;
use pollcast::config::Config;
use pollcast::log_writer::{Flush, LogWriter};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The levels that are logged. Pingora's hand-over logs its waits as errors; a failure there is reported anyway.
const LOGGED: &str =
    "info,pingora=warn,pingora_core=warn,pingora_core::server::transfer_fd=off,pingora_proxy=warn";

/// Where lines go once the log has started.
static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// Starts the log on standard error; `RUST_LOG` overrides what is logged of pollcast itself. What is buffered is
/// written when the returned value is dropped.
pub fn start(config: &Config) -> io::Result<Flush> {
    // A descriptor of its own: nothing else that writes to standard error waits for this.
    let target = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let (writer, flush) = LogWriter::start(target, config.log.buffer)?;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOGGED));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Colours are for terminals; a journal would keep their codes.
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false)
        .with_writer(writer.clone());
    let discreet = filter_fn(|event| is_discreet(event.target(), *event.level()));
    // A second subscriber is refused; then the first one serves.
    let _ = match config.log.json {
        true => log.json().finish().with(discreet).try_init(),
        false => log.finish().with(discreet).try_init(),
    };
    // Lines of the access log are made apart, and wanted as the filter says.
    if tracing::enabled!(target: "access", tracing::Level::INFO) {
        access_log::start(writer.clone(), config.log.json);
    }
    let _ = WRITER.set(writer);
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let trace = std::backtrace::Backtrace::capture();
        let trace = match trace.status() {
            std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
            _ => String::new(),
        };
        tracing::error!(thread = thread.name().unwrap_or_default(), "{panic}{trace}");
    }));
    Ok(flush)
}

/// Says something whatever the log's level: with the log's lines if it has started, else at once.
pub fn say(text: &str) {
    match WRITER.get() {
        Some(writer) => writer.push(text.as_bytes()),
        None => drop(io::stderr().write_all(text.as_bytes())),
    }
}

/// Below warnings the libraries print whole requests, credentials and all: whatever `RUST_LOG` says, only what
/// this program writes itself is logged there.
fn is_discreet(target: &str, level: tracing::Level) -> bool {
    let own = target == "access" || target.split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    own || level <= tracing::Level::WARN
}
