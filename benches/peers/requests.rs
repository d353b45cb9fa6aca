//! What a plain request costs, by `wrk`: as many as 64 connections can ask for.
//! Must not know: which server it asks.

use std::process::{Command, Stdio};

use crate::family::Account;
use crate::subject::etag;
use crate::table::Figure;

/// Measures `GET path` of a server for this many seconds; `title`: of the figures.
pub fn measure(
    pid: u32,
    port: u16,
    path: &str,
    is_conditional: bool,
    seconds: u64,
    title: &str,
) -> Result<Vec<Figure>, String> {
    let known = if is_conditional { Some(etag(port, path)?) } else { None };
    // Caches are filled, connections to the upstream made.
    wrk(port, path, known.as_deref(), 1)?;
    let before = Account::of(pid)?;
    let answered = wrk(port, path, known.as_deref(), seconds)?;
    let spent = Account::of(pid)?.since(&before);
    Ok(vec![
        Figure::new(format!("{title}: answers"), "/s", answered.per_second),
        Figure::new(format!("{title}: CPU of an answer"), "µs", spent / answered.count),
    ])
}

struct Answered {
    count: f64,
    per_second: f64,
}

fn wrk(port: u16, path: &str, known: Option<&str>, seconds: u64) -> Result<Answered, String> {
    let mut command = Command::new("wrk");
    command.args(["-t1", "-c64", &format!("-d{seconds}s")]);
    if let Some(tag) = known {
        command.args(["-H", &format!("If-None-Match: {tag}")]);
    }
    let output = command
        .arg(format!("http://127.0.0.1:{port}{path}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("wrk: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = || format!("wrk said: {text}{}", String::from_utf8_lossy(&output.stderr));
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(failed());
    }
    // "  301234 requests in 5.00s, 85.34MB read" and "Requests/sec:  60240.11"
    let count = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    let per_second = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")?.trim().parse().ok());
    let (count, per_second) = count.zip(per_second).ok_or_else(failed)?;
    Ok(Answered { count, per_second })
}
