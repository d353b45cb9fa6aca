//! The real binary as a process: signals in, exit status and log out.
//!
//! Must not know: what is inside. Tests that need no signals use `app`, which is faster.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;

use super::client::Http;
use super::ports::unused_address;
use super::wire::GUARD;

/// Lines of a log that a failed test shows.
const SHOWN_LINES: usize = 30;

/// The command line that runs a configuration file.
fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pollcast"));
    command.arg("run").arg("--config").arg(config);
    command
}

pub struct Process {
    id: u32,
    exit: watch::Receiver<Option<ExitStatus>>,
    stderr: watch::Receiver<String>,
    /// Where the configuration lies; removed in the end.
    pub folder: Folder,
    /// What `PUBLIC_ADDRESS` in the configuration became.
    pub address: SocketAddr,
    /// What `ADMIN_ADDRESS` in the configuration became.
    pub admin: SocketAddr,
}

impl Process {
    /// Runs pollcast with this configuration, in which `PUBLIC_ADDRESS` and `ADMIN_ADDRESS` stand for
    /// free ports; returns when the admin listener's `/ready` says 200 (without one: when the public
    /// address accepts connections).
    pub async fn start(yaml: &str) -> Process {
        let process = Process::start_unready(yaml);
        process.wait_ready(yaml.contains("ADMIN_ADDRESS")).await;
        process
    }

    /// The same without waiting.
    pub fn start_unready(yaml: &str) -> Process {
        Process::start_at(yaml, free_addresses(), &[], &[])
    }

    /// The same with so many open files at most.
    pub async fn start_limited(yaml: &str, files: usize) -> Process {
        let limited = |config: &Path| {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("ulimit -n {files}; exec \"$0\" run --config \"$1\""));
            shell.arg(env!("CARGO_BIN_EXE_pollcast")).arg(config);
            shell
        };
        let process = Process::start_with(yaml, free_addresses(), &[], &[], limited);
        process.wait_ready(yaml.contains("ADMIN_ADDRESS")).await;
        process
    }

    /// As [`Process::start`]; standard error is a pipe that only the caller reads.
    pub async fn start_unread(yaml: &str) -> (Process, std::io::PipeReader) {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let unread = |config: &Path| {
            let mut command = command(config);
            command.stderr(writer.try_clone().expect("a descriptor"));
            command
        };
        let process = Process::start_as(yaml, free_addresses(), unread);
        drop(writer);
        process.wait_ready(yaml.contains("ADMIN_ADDRESS")).await;
        (process, reader)
    }

    /// As [`Process::start`], with these in its environment.
    pub async fn start_told(yaml: &str, environment: &[(&str, &Path)]) -> Process {
        let process = Process::start_at(yaml, free_addresses(), &[], environment);
        process.wait_ready(yaml.contains("ADMIN_ADDRESS")).await;
        process
    }

    /// Another process that takes the sockets of this one (`--upgrade`), with this configuration, in which the
    /// addresses stand for the same as in this one's. Does not wait.
    pub fn successor(&self, yaml: &str) -> Process {
        self.successor_told(yaml, &[])
    }

    /// Another process at the addresses of this one, which has ended; returns when it is ready.
    pub async fn again(&self, yaml: &str) -> Process {
        assert!(self.exited().is_some(), "the process still runs");
        let process = Process::start_at(yaml, [self.address, self.admin], &[], &[]);
        process.wait_ready(yaml.contains("ADMIN_ADDRESS")).await;
        process
    }

    /// As [`Process::successor`], with these in its environment.
    pub fn successor_told(&self, yaml: &str, environment: &[(&str, &Path)]) -> Process {
        Process::start_at(yaml, [self.address, self.admin], &["--upgrade"], environment)
    }

    fn start_at(
        yaml: &str,
        [address, admin]: [SocketAddr; 2],
        arguments: &[&str],
        environment: &[(&str, &Path)],
    ) -> Process {
        Process::start_with(yaml, [address, admin], arguments, environment, command)
    }

    fn start_with(
        yaml: &str,
        [address, admin]: [SocketAddr; 2],
        arguments: &[&str],
        environment: &[(&str, &Path)],
        command: impl Fn(&Path) -> Command,
    ) -> Process {
        let with = |config: &Path| {
            let mut command = command(config);
            command.args(arguments).envs(environment.iter().copied()).stderr(Stdio::piped());
            command
        };
        Process::start_as(yaml, [address, admin], with)
    }

    /// `command`: with its standard error.
    fn start_as(
        yaml: &str,
        [address, admin]: [SocketAddr; 2],
        command: impl FnOnce(&Path) -> Command,
    ) -> Process {
        let folder = Folder::new();
        let config = folder.path.join("pollcast.yaml");
        let text =
            yaml.replace("PUBLIC_ADDRESS", &address.to_string()).replace("ADMIN_ADDRESS", &admin.to_string());
        fs::write(&config, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", config.display()));
        let mut process = Process::spawn(command(&config), folder);
        (process.address, process.admin) = (address, admin);
        process
    }

    /// Runs any command in `folder`, its stderr captured.
    pub fn run(mut command: Command, folder: Folder) -> Process {
        command.stderr(Stdio::piped());
        Process::spawn(command, folder)
    }

    fn spawn(mut command: Command, folder: Folder) -> Process {
        command.current_dir(&folder.path).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
        let (log, stderr) = watch::channel(String::new());
        let (ended, exit) = watch::channel(None);
        let (id, nowhere) = (child.id(), SocketAddr::from(([127, 0, 0, 1], 0)));
        std::thread::spawn(move || {
            capture(&mut child, &log);
            ended.send_replace(child.wait().ok());
        });
        Process { id, exit, stderr, folder, address: nowhere, admin: nowhere }
    }

    async fn wait_ready(&self, has_admin: bool) {
        let until = Instant::now() + GUARD;
        loop {
            let ready = match has_admin {
                true => is_ready(self.admin).await,
                false => TcpStream::connect(self.address).await.is_ok(),
            };
            if ready {
                return;
            }
            if let Some(status) = self.exited() {
                panic!("the process ended with {status} before it was ready:\n{}", self.stderr());
            }
            assert!(Instant::now() < until, "not ready within {GUARD:?}:\n{}", self.stderr());
            // Nothing tells when another process listens: this is the one place that asks again.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// CPU time that it has used so far, its own and the kernel's for it.
    pub fn cpu(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.id);
        let stat = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        // After the name, which may hold anything, in parentheses.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|n| n.parse::<u64>().expect("a number")).sum();
        // A hundred a second, as Linux tells everybody.
        Duration::from_millis(ticks * 10)
    }

    /// Memory of its own in RAM, bytes.
    pub fn memory(&self) -> usize {
        let path = format!("/proc/{}/status", self.id);
        let status = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("kilobytes") * 1024
    }

    /// The exit status, if it has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Sends a signal by its short name: `TERM`, `INT`, `HUP`, `QUIT`, `STOP`, `CONT`, `KILL`.
    pub fn signal(&self, name: &str) {
        assert!(self.exited().is_none(), "no process to signal any more:\n{}", self.stderr());
        // The shell's own `kill`: a small system may have no other.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.id)).status();
        assert!(sent.is_ok_and(|s| s.success()), "cannot send {name} to process {}", self.id);
    }

    /// Waits for the end of the process.
    pub async fn wait_exit(&self) -> ExitStatus {
        self.wait_exit_within(GUARD).await
    }

    pub async fn wait_exit_within(&self, limit: Duration) -> ExitStatus {
        let mut exit = self.exit.clone();
        match tokio::time::timeout(limit, exit.wait_for(Option::is_some)).await {
            Ok(Ok(status)) => status.expect("waited for Some"),
            _ => {
                let log = self.stderr();
                let end = log.lines().rev().take(SHOWN_LINES).collect::<Vec<_>>();
                let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
                panic!("the process did not end within {limit:?}; the end of its log:\n{end}")
            }
        }
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.borrow().clone()
    }

    /// Waits until stderr contains `text`.
    pub async fn wait_stderr(&self, text: &str) {
        let mut stderr = self.stderr.clone();
        match tokio::time::timeout(GUARD, stderr.wait_for(|log| log.contains(text))).await {
            Ok(Ok(_)) => {}
            _ => panic!("stderr never said {text:?}:\n{}", self.stderr()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited().is_none() {
            let _ = Command::new("sh").arg("-c").arg(format!("kill -KILL {}", self.id)).status();
        }
    }
}

fn capture(child: &mut Child, log: &watch::Sender<String>) {
    let Some(stderr) = child.stderr.take() else { return };
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        log.send_modify(|log| {
            log.push_str(&String::from_utf8_lossy(&line));
            log.push('\n');
        });
    }
}

async fn is_ready(admin: SocketAddr) -> bool {
    match TcpStream::connect(admin).await {
        Ok(stream) => {
            Http::over(stream, "localhost").get("/ready", &[("connection", "close")]).await.status == 200
        }
        Err(_) => false,
    }
}

/// Where the listener of clients and the one of the administrator are going to be.
fn free_addresses() -> [SocketAddr; 2] {
    [unused_address(), unused_address()]
}

/// A fresh folder that is removed in the end.
pub struct Folder {
    pub path: PathBuf,
}

impl Folder {
    pub fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("pollcast-test-{}-{number}-{:08x}", std::process::id(), fastrand::u32(..));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
        Folder { path }
    }

    /// Writes a file into it and returns its path.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, content).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
