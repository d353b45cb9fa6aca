//! What the process logs, and in which form.
//!
//! Must not know: how lines reach their reader (`log_writer`).

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;

use pollcast::access_log;
use pollcast::config::{Config, Log, LogLevel};
use pollcast::log_writer::{Flush, LogWriter};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged of libraries. Pingora's hand-over logs its waits as errors; a failure there is reported anyway.
const LIBRARIES: &str =
    "pingora=warn,pingora_core=warn,pingora_core::server::transfer_fd=off,pingora_proxy=warn";

/// Sets what is logged.
type SetFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

/// Changes what is logged once the log has started; empty if `RUST_LOG` says it.
static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Where lines go once the log has started.
static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// Has the log follow another configuration.
pub fn follow(log: &Log) {
    if let Some(set) = SET_FILTER.get() {
        set(filter(log.level));
    }
}

fn filter(level: LogLevel) -> EnvFilter {
    EnvFilter::new(format!("{},{LIBRARIES}", level.word()))
}

/// Starts the log on standard error; `RUST_LOG` counts before `log.level`. What is buffered is
/// written when the returned value is dropped.
pub fn start(config: &Config) -> io::Result<Flush> {
    // A descriptor of its own: nothing else that writes to standard error waits for this.
    let target = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let (writer, flush) = LogWriter::start(target, config.log.buffer)?;
    let said = EnvFilter::try_from_default_env().ok();
    let is_said = said.is_some();
    let log = tracing_subscriber::fmt()
        .with_env_filter(said.unwrap_or_else(|| filter(config.log.level)))
        // Colours are for terminals; a journal would keep their codes.
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false)
        .with_writer(writer.clone());
    let discreet = filter_fn(|event| is_discreet(event.target(), *event.level()));
    // A second subscriber is refused; then the first one serves.
    let set: SetFilter = match config.log.json {
        true => {
            let log = log.json().with_filter_reloading();
            let handle = log.reload_handle();
            let _ = log.finish().with(discreet).try_init();
            // The log that it belongs to lives as long as the process.
            Box::new(move |filter| drop(handle.reload(filter)))
        }
        false => {
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            let _ = log.finish().with(discreet).try_init();
            Box::new(move |filter| drop(handle.reload(filter)))
        }
    };
    if !is_said {
        let _ = SET_FILTER.set(set);
    }
    // Lines of the access log are made apart. `log.access` says which there are, and before it `RUST_LOG`.
    if !is_said || tracing::enabled!(target: "access", tracing::Level::INFO) {
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
