//! The command line: `run`, `check`, `explain`, `demo`, `ready`, `schema`; exit codes 0, 1 and 64.
//!
//! Must not know: what the commands do inside.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use clap::error::ErrorKind;
use http::Method;
use pollcast::app;
use pollcast::check;
use pollcast::config::{self, Config, Difference};
use pollcast::demo;
use pollcast::front;
use pollcast::probe;
use pollcast::resource::{header_field, printable};
use pollcast::upgrade::{self, Failure, Predecessor, Relief, Sockets};

use admin_client::Answer;
use cli::{Arguments, Asking, Command, Explained};
use signals::Signals;

mod admin_client;
mod cli;
mod log;
mod ready;
mod signals;
mod supervisor;

/// Bad usage or configuration (sysexits.h EX_USAGE).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // A failure to print cannot be reported either.
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if asked { ExitCode::SUCCESS } else { ExitCode::from(USAGE) };
        }
    };
    match arguments.command {
        Command::Run { config, upgrade } => run(&config, upgrade),
        Command::Check { config, diff: Some(old), json, .. } => compare(&old, &config, json),
        Command::Check { admin: Some(admin), json, .. } => ask_running(&admin, json),
        Command::Check { json: true, .. } => wrong(&"--json is for --diff and --admin"),
        Command::Check { config, probe, .. } if probe.is_empty() => check(&config),
        Command::Check { config, probe, asking, .. } => examine(&config, &probe, &asking),
        Command::Explain(asked) => explain(&asked),
        Command::Demo { nodes: 1, listen, admin } => demonstrate(listen, admin),
        Command::Demo { nodes, listen, admin } => demonstrate_nodes(nodes, listen, admin),
        Command::Ready { admin } => match ready::ask(&admin) {
            Ok(()) => print("ready\n"),
            Err(error) => failed(&error),
        },
        Command::Schema => print(&format!("{:#}\n", config::schema())),
    }
}

fn run(file: &Path, take_over: bool) -> ExitCode {
    let source = app::ConfigFile::at(file);
    let config = match load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    // Dropped last: all that is said until then is written.
    let _flush = match log::start(&config) {
        Ok(flush) => flush,
        Err(error) => return failed(&error),
    };
    log_settings(&config);
    let signals = match Signals::heard().and_then(Signals::with_quit_and_hangup) {
        Ok(signals) => signals,
        Err(error) => return failed(&error),
    };
    let (sockets, predecessor) = match take_over.then(|| inherit(&config)) {
        None => (Sockets::default(), None),
        Some(Ok((sockets, predecessor))) => (sockets, Some(predecessor)),
        Some(Err(failure)) => return failed(&failure),
    };
    let source = app::Source { file: source, apply_log: Box::new(log::follow) };
    let app = match app::start_on(config, sockets, Some(source)) {
        Ok(app) => app,
        Err(error) => return failed(&error),
    };
    for address in app.addresses() {
        tracing::info!(%address, "listening");
    }
    match predecessor.map(Predecessor::relieve) {
        None => {}
        Some(Ok(Relief::Leaves)) => tracing::info!("took over; the old process drains"),
        Some(Ok(Relief::Gone)) => tracing::warn!("took over; the old process is gone, and did not drain"),
        Some(Err(failure)) => {
            signals.leave(app);
            return failed(&failure);
        }
    }
    supervisor::tell_ready();
    signals.serve(app)
}

/// Logs what operators should know of a configuration before it is served: what looks like a mistake, what becomes of
/// each route's requests, and what the system does not give.
fn log_settings(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for route in &config.routes {
        tracing::info!("{}", route.plain_line());
        if let Some(line) = route.upstream_line() {
            tracing::info!("{line}");
        }
    }
    if let Some(limit) = raise_descriptor_limit()
        && let Some(shortage) = front::shortage(config, limit)
    {
        // An operator with few clients can do nothing about the default.
        match config.limits.clients_said {
            true => tracing::warn!("{shortage}"),
            false => tracing::debug!("{shortage}"),
        }
    }
    if let Some(upgrade) = &config.upgrade
        && let Err(failure) = upgrade::inspect(&upgrade.socket)
    {
        tracing::warn!("an upgrade would fail: {failure}");
    }
}

/// Waits for the sockets of the running process.
fn inherit(config: &Config) -> Result<(Sockets, Predecessor), Failure> {
    let upgrade = config.upgrade.as_ref().ok_or(Failure::Unset)?;
    tracing::info!(socket = %upgrade.socket.display(), "waiting for the sockets of the running process");
    upgrade::inherit(upgrade)
}

fn check(file: &Path) -> ExitCode {
    match load(file) {
        Ok(config) => {
            let (said, counts) = (check::report(&config), check::counts(&config));
            print(&format!("{said}{}: good: {counts}\n", file.display()))
        }
        Err(code) => code,
    }
}

/// `check --diff`.
fn compare(old: &Path, new: &Path, as_json: bool) -> ExitCode {
    match load(old).and_then(|old| Ok(Difference::of(&old, &load(new)?))) {
        Ok(difference) if as_json => print(&format!("{:#}\n", difference.json())),
        Ok(difference) => print(&difference.text()),
        Err(code) => code,
    }
}

/// `check --admin`.
fn ask_running(admin: &str, as_json: bool) -> ExitCode {
    let format = if as_json { "json" } else { "text" };
    let call = format!("/-/reload?only_look=true&format={format}");
    match ask_admin(admin, &Method::POST, &call) {
        Ok(answer) if answer.is_ok() => print(&answer.body),
        // The file is wrong, as `check` would say it.
        Ok(answer) if answer.status() == Some(422) => wrong(&answer.body.trim_end()),
        Ok(answer) => failed(&unexpected(admin, &answer)),
        Err(error) => failed(&error),
    }
}

/// Asks a running process, with the token of the environment.
fn ask_admin(admin: &str, method: &Method, call: &str) -> io::Result<Answer> {
    let token = std::env::var("POLLCAST_ADMIN_TOKEN").ok();
    let answer = admin_client::ask(admin, method, call, token.as_deref());
    answer.map_err(|error| io::Error::new(error.kind(), format!("{admin} is not reached: {error}")))
}

fn unexpected(admin: &str, answer: &Answer) -> io::Error {
    io::Error::other(format!("{admin} answered {:?}: {}", answer.status_line, answer.body.trim_end()))
}

/// Says what is wrong with what was asked.
fn wrong(why: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "pollcast: {}", printable(&why.to_string()));
    ExitCode::from(USAGE)
}

/// What is asked about a URL.
fn question(
    url: &str,
    asking: &Asking,
    headers: &[(http::HeaderName, http::HeaderValue)],
) -> probe::Question {
    let (polls, every) = (asking.polls.into(), asking.every);
    let question = probe::Question { url: url.to_owned(), polls, every, headers: headers.to_vec() };
    asking.looking_for.map_or(question.clone(), |time| question.looking_for(time))
}

/// `check --probe`.
fn examine(file: &Path, urls: &[String], asking: &Asking) -> ExitCode {
    let config = match load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let headers = match asking.headers.iter().map(|text| header_field(text)).collect::<Result<Vec<_>, _>>() {
        Ok(headers) => headers,
        Err(why) => return wrong(&format!("--header: {why}")),
    };
    let urls: Vec<&String> = urls.iter().filter(|url| !url.is_empty()).collect();
    if urls.is_empty() && config.cluster.is_none() {
        return wrong(
            &"--probe: without a URL it looks at the engine of `cluster`, which the file does not have",
        );
    }
    let questions: Vec<_> = urls.iter().map(|url| question(url, asking, &headers)).collect();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let engine = runtime.block_on(probe::engine(&config));
    let results = match runtime.block_on(probe::probe(&config, &questions)) {
        Ok(results) => results,
        Err(refusal) => return wrong(&refusal),
    };
    let failures = results.iter().filter_map(|result| result.as_ref().err());
    let mut code = failures.fold(ExitCode::SUCCESS, |_, refusal| failed(refusal));
    if engine.as_ref().is_some_and(|engine| !engine.is_good) {
        code = ExitCode::FAILURE;
    }
    let reports: Vec<&probe::Report> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    if reports.iter().any(|report| !report.has_data) {
        code = ExitCode::FAILURE;
    }
    let engine = engine.map_or(String::new(), |engine| engine.text);
    let between = if engine.is_empty() || reports.is_empty() { "" } else { "\n" };
    let printed = print(&(engine + between + &probe::printed(&reports)));
    let Some(to) = &asking.write else { return if printed == ExitCode::SUCCESS { code } else { printed } };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return failed(&error),
    };
    match probe::write(&text, &reports, to) {
        Ok(()) => code,
        Err(why) => wrong(&why),
    }
}

/// `explain`.
fn explain(asked: &Explained) -> ExitCode {
    let headers = match asked.headers.iter().map(|text| header_field(text)).collect::<Result<Vec<_>, _>>() {
        Ok(headers) => headers,
        Err(why) => return wrong(&format!("--header: {why}")),
    };
    let question =
        front::Asked { url: asked.url.clone(), method: asked.method.clone(), headers, client: asked.client };
    if let Some(admin) = &asked.admin {
        return match ask_admin(admin, &Method::GET, &question.call(asked.json)) {
            Ok(answer) if answer.is_ok() => print(&answer.body),
            Ok(answer) => failed(&unexpected(admin, &answer)),
            Err(error) => failed(&error),
        };
    }
    let config = match load(&asked.config) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match app::explain(config, &question) {
        Ok(Ok(explanation)) if asked.json => print(&format!("{:#}\n", explanation.json())),
        Ok(Ok(explanation)) => print(&explanation.text()),
        Ok(Err(why)) => wrong(&why),
        Err(error) => failed(&error),
    }
}

fn load(file: &Path) -> Result<Config, ExitCode> {
    config::load(file).map_err(|problems| {
        let _ = writeln!(io::stderr(), "{}", printable(&problems.to_string()));
        ExitCode::from(USAGE)
    })
}

/// What every demo needs before it starts anything: signals are heard, and there is room for its crowd.
fn prepare_demo() -> io::Result<(Signals, tokio::runtime::Runtime)> {
    let signals = Signals::heard()?;
    raise_descriptor_limit();
    Ok((signals, tokio::runtime::Runtime::new()?))
}

fn demonstrate(listen: SocketAddr, admin: SocketAddr) -> ExitCode {
    let (signals, runtime) = match prepare_demo() {
        Ok(prepared) => prepared,
        Err(error) => return failed(&error),
    };
    let legacy = runtime.block_on(demo::serve_legacy(([127, 0, 0, 1], 0).into(), demo::Pace::default()));
    let legacy = match legacy {
        Ok(legacy) => legacy,
        Err(error) => return failed(&error),
    };
    let text = demo::config_text(legacy.address(), listen, admin);
    let config = config::load_str(&text, "demo.yaml", Path::new("."))
        .map_err(|problems| io::Error::other(problems.to_string()))
        .and_then(|mut config| {
            // No load balancer has to notice that a demo ends.
            (config.drain.delay, config.drain.window) = (Duration::ZERO, Duration::from_secs(1));
            Ok((log::start(&config)?, config))
        });
    let (_flush, config) = match config {
        Ok(config) => config,
        Err(error) => return failed(&error),
    };
    let app = match app::start(config) {
        Ok(app) => app,
        Err(error) => return failed(&error),
    };
    let listen = app.addresses().first().copied().unwrap_or(listen);
    legacy.point_crowd_at(listen);
    print(&demo::banner(legacy.address(), listen, app.admin_address().unwrap_or(admin)));
    let code = signals.serve(app);
    drop(legacy);
    code
}

/// The demo of several nodes: each is a process of its own, with a load balancer in this one.
fn demonstrate_nodes(count: u8, listen: SocketAddr, admin: SocketAddr) -> ExitCode {
    let (signals, runtime) = match prepare_demo() {
        Ok(prepared) => prepared,
        Err(error) => return failed(&error),
    };
    let started = runtime.block_on(async {
        let legacy = demo::serve_legacy(([127, 0, 0, 1], 0).into(), demo::Pace::default()).await?;
        let nodes = demo::Nodes::start(count, legacy.address(), admin).await?;
        nodes.watch();
        let balancer = demo::Balancer::start(listen, nodes.clone()).await?;
        legacy.point_crowd_at(balancer.address());
        legacy.show_nodes(&balancer);
        io::Result::Ok((legacy, nodes, balancer))
    });
    let (legacy, nodes, balancer) = match started {
        Ok(started) => started,
        Err(error) => return failed(&error),
    };
    let listen = balancer.address();
    print(&demo::banner_of_nodes(&nodes, legacy.address(), listen, admin));
    signals.wait();
    drop((balancer, legacy, nodes));
    // What its tasks hold of the nodes goes with it.
    drop(runtime);
    ExitCode::SUCCESS
}

/// Every client costs a descriptor: take what the system allows, and say how much that is.
fn raise_descriptor_limit() -> Option<u64> {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => {
            tracing::info!(limit, "open files");
            Some(limit)
        }
        Err(error) => {
            tracing::warn!("the limit of open files could not be raised: {error}");
            None
        }
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(printable(text).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    log::say(&format!("pollcast: {}\n", printable(&error.to_string())));
    ExitCode::FAILURE
}
