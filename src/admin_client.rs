//! A question to a running pollcast by its admin listener, `ip:port` or `unix:/path`.
//!
//! Must not know: what is asked.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use http::Method;

/// Longest wait for each step of the question.
const STEP_TIME_MAX: Duration = Duration::from_secs(2);

/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// The answer to a question.
#[derive(Debug)]
pub struct Answer {
    /// The first line of its head.
    pub status_line: String,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// Whether the question was answered as it was asked.
    pub fn is_ok(&self) -> bool {
        self.status() == Some(200)
    }

    /// Its status. `None` if its first line has none.
    pub fn status(&self) -> Option<u16> {
        self.status_line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
    }
}

/// Asks with GET. `token`: that of `admin.token`.
///
/// # Errors
/// There is no answer.
pub fn get(admin: &str, target: &str, token: Option<&str>) -> io::Result<Answer> {
    ask(admin, &Method::GET, target, token)
}

/// Asks with a method that needs no body. `token`: that of `admin.token`.
///
/// # Errors
/// There is no answer.
pub fn ask(admin: &str, method: &Method, target: &str, token: Option<&str>) -> io::Result<Answer> {
    let line = format!("{method} {target}");
    if let Some(path) = admin.strip_prefix("unix:") {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(STEP_TIME_MAX))?;
        stream.set_write_timeout(Some(STEP_TIME_MAX))?;
        return ask_over(stream, "localhost", &line, token);
    }
    let bad = |_| io::Error::new(io::ErrorKind::InvalidInput, "it is neither ip:port nor unix:/path");
    let address: SocketAddr = admin.parse().map_err(bad)?;
    let stream = TcpStream::connect_timeout(&address, STEP_TIME_MAX)?;
    stream.set_read_timeout(Some(STEP_TIME_MAX))?;
    stream.set_write_timeout(Some(STEP_TIME_MAX))?;
    ask_over(stream, admin, &line, token)
}

fn ask_over(
    mut stream: impl Read + Write,
    host: &str,
    line: &str,
    token: Option<&str>,
) -> io::Result<Answer> {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("{line} HTTP/1.1\r\nHost: {host}\r\n{token}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status_line = head.lines().next().unwrap_or_default().to_owned();
    Ok(Answer { status_line, body: body.to_owned() })
}
