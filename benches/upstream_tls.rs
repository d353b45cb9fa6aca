//! What TLS to an upstream costs: the server's CPU for a request on a kept connection and for one on a new connection,
//! without TLS, with rustls and with OpenSSL (`tls.ca`), for what passes through and for polls:
//! `cargo bench --bench upstream_tls`.
//!
//! The released program in a process of its own, one request after the other over loopback; the ways take turns, so that
//! all of them see the same machine.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod};
use openssl::x509::X509;

#[path = "process/mod.rs"]
mod process;

use process::{Server, wait_for};

/// Requests of one measurement, on kept connections and on new ones.
const KEPT: usize = 4000;
const NEW: usize = 1000;

const ROUNDS: usize = 3;

/// The ways to the upstream, by the names of their upstreams.
const WAYS: [&str; 3] = ["plain", "rustls", "openssl"];

fn main() -> io::Result<()> {
    let folder = Folder::new()?;
    let pair = rcgen::generate_simple_self_signed(["bench.test".to_owned()]).map_err(io::Error::other)?;
    std::fs::write(folder.0.join("ca.pem"), pair.cert.pem())?;
    let (plain, secured) =
        (upstream(None)?, upstream(Some(acceptor(&pair.cert.pem(), &pair.signing_key.serialize_pem())?))?);
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let file = folder.0.join("pollcast.yaml");
    std::fs::write(&file, configuration(port, plain, secured))?;
    // The authorities of the system, as rustls reads them; and no line for each handshake.
    let authorities = folder.0.join("ca.pem");
    let environment = [("SSL_CERT_FILE", authorities.as_path()), ("RUST_LOG", Path::new("error"))];
    let server = Server::start(&file, &environment)?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for(address)?;
    println!("CPU of the server, µs a request; medians of {ROUNDS} rounds of {KEPT} and {NEW} requests");
    println!("{:<16} {:>10} {:>10} {:>10}", "", WAYS[0], WAYS[1], WAYS[2]);
    let mut number = 0;
    for (name, kind, closes) in [
        ("passes, kept", "pass", false),
        ("passes, new", "pass", true),
        ("polls, kept", "poll", false),
        ("polls, new", "poll", true),
    ] {
        let mut figures = [const { Vec::new() }; WAYS.len()];
        for _ in 0..ROUNDS {
            for (way, figures) in WAYS.iter().zip(&mut figures) {
                let prefix = format!("/{way}/{kind}/{}", if closes { "close" } else { "keep" });
                figures.push(measure(&server, address, &prefix, closes, &mut number)?);
            }
        }
        let medians = figures.map(|mut figures| {
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        });
        println!("{name:<16} {:>10.1} {:>10.1} {:>10.1}", medians[0], medians[1], medians[2]);
    }
    Ok(())
}

/// CPU of the server for one request, microseconds. Each request names a resource of its own.
fn measure(
    server: &Server,
    address: SocketAddr,
    prefix: &str,
    closes: bool,
    number: &mut usize,
) -> io::Result<f64> {
    let requests = if closes { NEW } else { KEPT };
    let mut client = BufReader::new(TcpStream::connect(address)?);
    client.get_ref().set_nodelay(true)?;
    // Connections are there, and memory is warm.
    for _ in 0..20 {
        *number += 1;
        ask(&mut client, &format!("{prefix}-{number}"))?;
    }
    let before = server.cpu()?;
    for _ in 0..requests {
        *number += 1;
        ask(&mut client, &format!("{prefix}-{number}"))?;
    }
    Ok((server.cpu()? - before).as_secs_f64() * 1e6 / requests as f64)
}

fn ask(client: &mut BufReader<TcpStream>, path: &str) -> io::Result<()> {
    client.get_mut().write_all(format!("GET {path} HTTP/1.1\r\nhost: bench.test\r\n\r\n").as_bytes())?;
    let (mut length, mut first) = (0, String::new());
    loop {
        let mut line = String::new();
        if client.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        if first.is_empty() {
            first = line;
        }
    }
    client.read_exact(&mut vec![0; length])?;
    match first.starts_with("HTTP/1.1 200") {
        true => Ok(()),
        false => Err(io::Error::other(format!("{path}: {first}"))),
    }
}

fn configuration(port: u16, plain: SocketAddr, secured: SocketAddr) -> String {
    let mut text = format!(
        "listeners: [{{ address: '127.0.0.1:{port}' }}]\nlog: {{ access: false }}\n\
         limits: {{ resources: 1000000 }}\nupstreams:\n  \
         plain: {{ servers: ['{plain}'], host: bench.test }}\n  \
         rustls: {{ servers: ['{secured}'], host: bench.test, tls: {{ sni: bench.test }} }}\n  \
         openssl: {{ servers: ['{secured}'], host: bench.test, tls: {{ sni: bench.test, ca: ca.pem }} }}\nroutes:\n"
    );
    for way in WAYS {
        text.push_str(&format!("  - {{ path: '/{way}/pass/{{x}}', upstream: {way}, poll: off }}\n"));
        // Nothing follows it, so that each request is one poll.
        text.push_str(&format!(
            "  - {{ path: '/{way}/poll/{{x}}', upstream: {way}, share: public, poll: {{ interval: 1h, linger: 0s }} }}\n"
        ));
    }
    text
}

fn acceptor(cert: &str, key: &str) -> io::Result<Arc<SslAcceptor>> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    acceptor.set_certificate(&*X509::from_pem(cert.as_bytes())?)?;
    acceptor.set_private_key(&*PKey::private_key_from_pem(key.as_bytes())?)?;
    Ok(Arc::new(acceptor.build()))
}

/// Says the same to everybody, and ends the connection behind an answer to `/…/close…`.
fn upstream(tls: Option<Arc<SslAcceptor>>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tls = tls.clone();
            thread::spawn(move || -> io::Result<()> {
                stream.set_nodelay(true)?;
                match tls {
                    None => serve(&mut BufReader::new(stream)),
                    Some(tls) => {
                        let stream =
                            tls.accept(stream).map_err(|error| io::Error::other(error.to_string()))?;
                        let mut stream = BufReader::new(stream);
                        serve(&mut stream)?;
                        stream.get_mut().shutdown().map(drop).map_err(io::Error::other)
                    }
                }
            });
        }
    });
    Ok(address)
}

fn serve<S: Read + Write>(stream: &mut BufReader<S>) -> io::Result<()> {
    let mut closes = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        closes |= line.contains("/close");
        if line == "\r\n" {
            let ends = if closes { "connection: close\r\n" } else { "" };
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n{ends}\r\n"
            );
            stream.get_mut().write_all(format!("{head}{{\"n\":1}}").as_bytes())?;
            if closes {
                return Ok(());
            }
        }
    }
}

/// Files of this run, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("pollcast-upstream-tls-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
