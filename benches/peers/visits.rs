//! What the first request of a connection costs a server: connections one after the other, each with one request.
//! Must not know: which server it asks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::family::Account;
use crate::speech;
use crate::table::Figure;

/// Connections of one measurement: fewer than there are ports, since closed ones keep theirs for a minute.
const VISITS: usize = 8_000;

/// Measures `GET path` over connections that ask once.
pub fn measure(pid: u32, port: u16, path: &str, title: &str) -> Result<Vec<Figure>, String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench.test\r\nAccept: application/json\r\n\r\n");
    // Caches are filled, and hot.
    (0..VISITS / 20).try_for_each(|_| visit(port, &request))?;
    let before = Account::of(pid)?;
    (0..VISITS).try_for_each(|_| visit(port, &request))?;
    // What follows the last ends of connections counts, too.
    std::thread::sleep(Duration::from_millis(50));
    let spent = Account::of(pid)?.since(&before);
    Ok(vec![Figure::new(format!("{title}: CPU"), "µs", spent / VISITS as f64)])
}

fn visit(port: u16, request: &str) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("a visit: {e}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 8 * 1024]);
    loop {
        match stream.read(&mut buffer).map_err(failed)? {
            0 => return Err("the server closed the connection before its answer was whole".to_owned()),
            length => answer.extend_from_slice(&buffer[..length]),
        }
        if speech::polled(&answer)?.is_some() {
            return Ok(());
        }
    }
}
