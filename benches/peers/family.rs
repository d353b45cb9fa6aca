//! A server with all its processes: what they cost together, and their end.
//! Must not know: which server it is.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::measure::{Cpu, memory_bytes};

/// Ids of a process and all its descendants, itself first.
pub fn processes_below(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended since it was listed.
        let text = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The second field, the name in parentheses, may hold anything.
        let after_name = text.rsplit(')').next().unwrap_or("");
        if let Some(parent) = after_name.split_whitespace().nth(1).and_then(|id| id.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Ends processes: asks, and after `patience` does not ask any more.
pub fn end(pids: &[u32], patience: Duration) {
    signal("-TERM", pids);
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline && pids.iter().any(|pid| is_alive(*pid)) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let left: Vec<u32> = pids.iter().copied().filter(|pid| is_alive(*pid)).collect();
    if !left.is_empty() {
        signal("-KILL", &left);
    }
}

fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    // One of them may be gone already, about which `kill` complains.
    let _ = Command::new("kill").arg(name).args(pids).stderr(Stdio::null()).status();
}

/// Whether it runs; a child that ended and was not waited for does not.
fn is_alive(pid: u32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).is_some_and(|state| state != "Z")
}

/// A child process and its descendants, ended with this value.
pub struct Family(Child);

impl Family {
    pub fn start(command: &mut Command) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        Ok(Self(command.spawn().map_err(|e| format!("{name}: {e}"))?))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Says how it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        self.0.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        end(&processes_below(self.0.id()), Duration::from_secs(3));
        let _ = self.0.wait();
    }
}

/// CPU time of a server's processes at one moment.
pub struct Account(Vec<(u32, Cpu)>);

impl Account {
    pub fn of(root: u32) -> Result<Self, String> {
        let cpus = processes_below(root).into_iter().map(|pid| Ok((pid, Cpu::of(pid)?)));
        Ok(Self(cpus.collect::<Result<_, String>>()?))
    }

    /// Microseconds of CPU since `earlier`, of the processes that lived then.
    pub fn since(&self, earlier: &Self) -> f64 {
        let spent = self.0.iter().filter_map(|(pid, cpu)| {
            let (_, before) = earlier.0.iter().find(|(other, _)| other == pid)?;
            Some(cpu.since(*before).0)
        });
        spent.sum()
    }
}

/// Anonymous and shared memory of a server's processes, in bytes, once it has settled (64 KiB) for
/// half a second.
pub fn settled_memory(root: u32) -> Result<u64, String> {
    const SAME_BYTES: u64 = 64 * 1024;
    let deadline = Instant::now() + Duration::from_secs(20);
    let total = || processes_below(root).into_iter().map(memory_bytes).sum::<Result<u64, String>>();
    let mut reads = vec![total()?];
    loop {
        std::thread::sleep(Duration::from_millis(250));
        reads.push(total()?);
        if let [.., a, b, c] = reads[..]
            && a.max(b).max(c) - a.min(b).min(c) <= SAME_BYTES
        {
            return Ok(c);
        }
        if Instant::now() > deadline {
            return Err(format!("memory of process {root} did not settle within 20 s: {reads:?}"));
        }
    }
}
