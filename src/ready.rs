//! `pollcast ready`: asks a running pollcast whether it is ready, for health checks.
//!
//! Must not know: what makes it ready.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longest wait for each step of the question.
const STEP_TIME_MAX: Duration = Duration::from_secs(2);

/// Most bytes that are read of an answer; the status line is at its beginning.
const ANSWER_BYTES_MAX: u64 = 1024;

/// Asks a running pollcast by its admin listener, `ip:port` or `unix:/path`.
///
/// # Errors
/// It is not ready, or does not answer.
pub fn ask(admin: &str) -> io::Result<()> {
    match ask_ready(admin) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200 ") => Ok(()),
        Ok(answer) => {
            let said = answer.lines().next().unwrap_or_default();
            Err(io::Error::other(format!("{admin} is not ready: it answered {said:?}")))
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("{admin} is not ready: {error}"))),
    }
}

/// The beginning of the answer to `GET /ready`.
fn ask_ready(admin: &str) -> io::Result<String> {
    if let Some(path) = admin.strip_prefix("unix:") {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(STEP_TIME_MAX))?;
        stream.set_write_timeout(Some(STEP_TIME_MAX))?;
        return ask_over(stream, "localhost");
    }
    let bad = |_| io::Error::new(io::ErrorKind::InvalidInput, "it is neither ip:port nor unix:/path");
    let address: SocketAddr = admin.parse().map_err(bad)?;
    let stream = TcpStream::connect_timeout(&address, STEP_TIME_MAX)?;
    stream.set_read_timeout(Some(STEP_TIME_MAX))?;
    stream.set_write_timeout(Some(STEP_TIME_MAX))?;
    ask_over(stream, admin)
}

fn ask_over(mut stream: impl Read + Write, host: &str) -> io::Result<String> {
    let request = format!("GET /ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
