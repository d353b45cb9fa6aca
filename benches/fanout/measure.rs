//! What the operating system and pollcast's admin listener say about a server.
//! Must not know: what is being measured, and why.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of memory that belong to the process alone: anonymous and shared-memory Pss.
///
/// File pages are left out: their Pss falls whenever another process maps the same executable,
/// and the floor shares its executable with the clients.
pub fn memory_bytes(pid: u32) -> Result<u64, String> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = read(&path)?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib =
            line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse::<u64>().ok());
        kib.ok_or_else(|| format!("{path}: no {name}"))
    };
    Ok((field("Pss_Anon:")? + field("Pss_Shmem:")?) * 1024)
}

/// Waits until three reads in a row say the same (within 64 KiB), and returns the last.
pub fn settled_memory_bytes(pid: u32) -> Result<u64, String> {
    const SAME_BYTES: u64 = 64 * 1024;
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut reads = vec![memory_bytes(pid)?];
    loop {
        std::thread::sleep(Duration::from_millis(250));
        reads.push(memory_bytes(pid)?);
        if let [.., a, b, c] = reads[..] {
            let (low, high) = (a.min(b).min(c), a.max(b).max(c));
            if high - low <= SAME_BYTES {
                return Ok(c);
            }
        }
        if Instant::now() > deadline {
            return Err(format!("memory of process {pid} did not settle within 20 s: {reads:?}"));
        }
    }
}

/// CPU time of a process.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// Nanoseconds, user and system, of all living threads.
    pub total_ns: u64,
    /// Clock ticks; coarse, good only for the user's share of a long run.
    user_ticks: u64,
    system_ticks: u64,
}

impl Cpu {
    pub fn of(pid: u32) -> Result<Self, String> {
        let tasks = format!("/proc/{pid}/task");
        let mut total_ns = 0;
        for task in fs::read_dir(&tasks).map_err(|e| format!("{tasks}: {e}"))?.flatten() {
            // A thread may end between the listing and the reading.
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            total_ns += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
        let path = format!("/proc/{pid}/stat");
        let text = read(&path)?;
        // The second field, the name in parentheses, may hold anything.
        let fields: Vec<_> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |index: usize| {
            let field = fields.get(index).and_then(|field| field.parse::<u64>().ok());
            field.ok_or_else(|| format!("{path}: no field {}", index + 3))
        };
        Ok(Self { total_ns, user_ticks: ticks(11)?, system_ticks: ticks(12)? })
    }

    /// Microseconds spent since `earlier`, and the share of them (0 to 1) in user mode; none when
    /// too few ticks passed to tell.
    pub fn since(self, earlier: Self) -> (f64, Option<f64>) {
        const ENOUGH_TICKS: f64 = 20.0;
        let user = self.user_ticks.saturating_sub(earlier.user_ticks) as f64;
        let system = self.system_ticks.saturating_sub(earlier.system_ticks) as f64;
        let total = self.total_ns.saturating_sub(earlier.total_ns) as f64 / 1000.0;
        (total, (user + system >= ENOUGH_TICKS).then(|| user / (user + system)))
    }
}

/// The bytes that wait in the kernel's send queue of the server's socket towards `client_port`.
pub fn send_queue_bytes(server_port: u16, client_port: u16) -> Result<u64, String> {
    let (local, remote) = (format!(":{server_port:04X}"), format!(":{client_port:04X}"));
    let table = read("/proc/net/tcp")?;
    let socket = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(
        |fields| matches!(fields[..], [_, from, to, ..] if from.ends_with(&local) && to.ends_with(&remote)),
    );
    let queue = socket.as_ref().and_then(|fields| fields.get(4)?.split(':').next());
    let bytes = queue.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    bytes.ok_or_else(|| format!("/proc/net/tcp: no socket from port {server_port} to {client_port}"))
}

/// The most files this process and its children may have open.
pub fn open_files_limit() -> Result<usize, String> {
    let text = read("/proc/self/limits")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|rest| rest.split_whitespace().next());
    soft.and_then(|limit| limit.parse().ok()).ok_or_else(|| "/proc/self/limits: no open files".to_owned())
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))
}

/// Status and text of a small local HTTP answer (at most 4 MiB).
pub fn get(port: u16, path: &str) -> Result<(u16, String), String> {
    ask(port, "GET", path)
}

/// Asks something of the admin listener; gives status and body.
pub fn ask(port: u16, method: &str, path: &str) -> Result<(u16, String), String> {
    let failed = |e: std::io::Error| format!("127.0.0.1:{port}{path}: {e}");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).map_err(failed)?;
    // HTTP/1.0: the answer has no chunks and ends with the connection.
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n").map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(4 << 20).read_to_end(&mut answer).map_err(failed)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (_, text) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok((status.ok_or_else(|| format!("127.0.0.1:{port}{path}: not HTTP"))?, text.to_owned()))
}

/// The sum over all labels of a gauge on pollcast's `/metrics`; 0 without any.
pub fn gauge(admin_port: u16, name: &str) -> Result<f64, String> {
    let (status, text) = get(admin_port, "/metrics")?;
    if status != 200 {
        return Err(format!("/metrics: status {status}"));
    }
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let samples = lines.filter(|rest| rest.starts_with(['{', ' ']));
    Ok(samples.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}
