//! How long after a write's answer the new state is with a follower, beside the upstream's own round
//! trip: `cargo bench --bench write`.
//!
//! The real application and a real upstream with a fixed latency in one process, over loopback. The
//! interval is an hour, so that only the write can cause the poll; each write is to a resource of its own, since a
//! resource is polled for writes four times an interval.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pollcast::{app, config};

const LATENCY: Duration = Duration::from_millis(20);
const WRITES: usize = 200;

fn main() -> io::Result<()> {
    let upstream = upstream()?;
    let yaml = format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams: {{api: {{servers: ['{upstream}']}}}}\n\
         log: {{access: false}}\n\
         routes: [{{path: '/state/{{n}}', upstream: api, share: public, poll: {{interval: 1h}}}}]\n"
    );
    let config = config::load_str(&yaml, "write.yaml", Path::new("."))
        .map_err(|error| io::Error::other(error.to_string()))?;
    let app = app::start(config)?;
    let address = app.addresses()[0];
    let mut direct = BufReader::new(open(upstream)?);
    let mut writer = BufReader::new(open(address)?);
    let (mut delivered, mut round_trips) = (Vec::new(), Vec::new());
    for write in 0..WRITES {
        let path = format!("/state/{write}");
        let mut events = BufReader::new(open(address)?);
        let asked = format!("GET {path} HTTP/1.1\r\nhost: api.test\r\naccept: text/event-stream\r\n\r\n");
        events.get_mut().write_all(asked.as_bytes())?;
        next_event(&mut events)?;
        let begin = Instant::now();
        exchange(&mut direct, "GET", &path)?;
        round_trips.push(begin.elapsed());
        exchange(&mut writer, "POST", &path)?;
        let answered = Instant::now();
        next_event(&mut events)?;
        delivered.push(answered.elapsed());
    }
    println!("{WRITES} writes, upstream latency {LATENCY:?}");
    print("upstream round trip", &mut round_trips);
    print("write answered to delivered", &mut delivered);
    app.stop();
    Ok(())
}

fn print(name: &str, times: &mut [Duration]) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    println!("{name:<28} median {:6.2} ms   p99 {:6.2} ms", at(50), at(99));
}

fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(stream)
}

/// One request and its whole answer.
fn exchange(stream: &mut BufReader<TcpStream>, method: &str, path: &str) -> io::Result<()> {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: api.test\r\ncontent-length: 0\r\n\r\n");
    stream.get_mut().write_all(request.as_bytes())?;
    let length = read_head(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?.1;
    io::copy(&mut stream.by_ref().take(length), &mut io::sink())?;
    Ok(())
}

/// The first line of a head, and the length of its body.
fn read_head(stream: &mut impl BufRead) -> io::Result<Option<(String, u64)>> {
    let (mut first, mut length) = (String::new(), 0);
    if stream.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            Some(_) => {}
            None => return Ok(Some((first, length))),
        }
    }
}

fn next_event(stream: &mut impl BufRead) -> io::Result<()> {
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.starts_with("data:") {
            return Ok(());
        }
    }
}

/// A counter that any request but GET moves on; every answer takes [`LATENCY`].
fn upstream() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let counter = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counter = counter.clone();
            thread::spawn(move || serve(stream, &counter));
        }
    });
    Ok(address)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the latency is the point, and the thread is this connection's own"
)]
fn serve(stream: TcpStream, counter: &AtomicU64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some((first, length)) = read_head(&mut stream)? {
        io::copy(&mut stream.by_ref().take(length), &mut io::sink())?;
        thread::sleep(LATENCY);
        let is_write = !first.starts_with("GET");
        let count = if is_write {
            counter.fetch_add(1, Ordering::SeqCst) + 1
        } else {
            counter.load(Ordering::SeqCst)
        };
        let body = format!("{{\"count\":{count}}}");
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.get_mut().write_all(format!("{head}{body}").as_bytes())?;
    }
    Ok(())
}
