//! The cost of authentication: time from connecting to the first event of a stream, and the server's CPU, for each way
//! in: `cargo bench --bench admission`.
//!
//! The released program in a process of its own, a real upstream, one client after the other over loopback.
//! New: each client comes with credentials never seen before; again: with those of the last one.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::signature::KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

#[path = "process/mod.rs"]
mod process;

use process::{Server, wait_for};

const CLIENTS: usize = 2000;
const SECRET: &str = "a secret of more than thirty-two characters";

/// A row of the table: a route, and what its n-th client says.
struct Row {
    name: &'static str,
    path: &'static str,
    says: Box<dyn Fn(usize) -> String>,
}

fn main() -> io::Result<()> {
    let folder = Folder::new()?;
    let keys = Keys::new(&folder)?;
    let upstream = upstream()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let file = folder.0.join("pollcast.yaml");
    std::fs::write(&file, configuration(port, upstream))?;
    let server = Server::start(&file, &[])?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for(address)?;
    println!("{CLIENTS} clients a row, one after the other; medians of three rounds");
    println!("{:<34} {:>12} {:>12} {:>14}", "way in", "median µs", "p99 µs", "CPU µs/client");
    let rows = rows(keys);
    let mut figures: Vec<Vec<[f64; 3]>> = rows.iter().map(|_| Vec::new()).collect();
    for _ in 0..3 {
        for (row, figures) in rows.iter().zip(&mut figures) {
            figures.push(measure(&server, address, row)?);
        }
    }
    for (row, figures) in rows.iter().zip(figures) {
        let median = |at: usize| {
            let mut values: Vec<f64> = figures.iter().map(|figures| figures[at]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        println!("{:<34} {:>12.0} {:>12.0} {:>14.1}", row.name, median(0), median(1), median(2));
    }
    Ok(())
}

fn rows(keys: Keys) -> Vec<Row> {
    let Keys { ec, rsa } = keys;
    let (ec, rsa) = (std::rc::Rc::new(ec), std::rc::Rc::new(rsa));
    let row = |name, path, says: Box<dyn Fn(usize) -> String>| Row { name, path, says };
    let secret = EncodingKey::from_secret(SECRET.as_bytes());
    let same = token(Algorithm::HS256, &secret, 0);
    let same_ec = token(Algorithm::ES256, &ec, 0);
    vec![
        row("open", "/open", Box::new(|_| String::new())),
        row("API key", "/key", Box::new(|_| "x-api-key: 0123456789abcdef\r\n".to_owned())),
        row("JWT HS256, new", "/hs", Box::new(move |n| token(Algorithm::HS256, &secret, n))),
        row("JWT HS256, again", "/hs", Box::new(move |_| same.clone())),
        row("JWT ES256, new", "/ec", Box::new(move |n| token(Algorithm::ES256, &ec, n))),
        row("JWT ES256, again", "/ec", Box::new(move |_| same_ec.clone())),
        row("JWT RS256, new", "/rsa", Box::new(move |n| token(Algorithm::RS256, &rsa, n))),
        row(
            "share: authorize, new",
            "/own",
            Box::new(|n| format!("authorization: Bearer {}-{n}\r\n", now())),
        ),
        row("share: authorize, again", "/own", Box::new(|_| "authorization: Bearer same\r\n".to_owned())),
    ]
}

/// The medians of one row: microseconds to the first event, their 99th percentile, CPU of a client.
fn measure(server: &Server, address: SocketAddr, row: &Row) -> io::Result<[f64; 3]> {
    let heads: Vec<String> = (0..CLIENTS).map(|n| request(row.path, &(row.says)(n))).collect();
    // The resource is warm, and so is the memory of the server.
    connect(address, &heads[0])?;
    let (cpu, mut times) = (server.cpu()?, Vec::with_capacity(CLIENTS));
    for head in &heads {
        let began = Instant::now();
        connect(address, head)?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let cpu = (server.cpu()? - cpu).as_secs_f64() * 1e6 / CLIENTS as f64;
    times.sort_by(f64::total_cmp);
    Ok([times[CLIENTS / 2], times[CLIENTS * 99 / 100], cpu])
}

fn request(path: &str, says: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: api.test\r\naccept: text/event-stream\r\n{says}\r\n")
}

/// Comes, reads the first event, and leaves.
fn connect(address: SocketAddr, head: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(head.as_bytes())?;
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first)?;
    if !first.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(format!("refused: {first}")));
    }
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

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos())
}

fn token(algorithm: Algorithm, key: &EncodingKey, n: usize) -> String {
    let claims = json!({ "sub": format!("user {n} {}", now()), "exp": now() / 1_000_000_000 + 3600 });
    let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, key);
    format!("authorization: Bearer {}\r\n", token.unwrap_or_else(|error| panic!("a token: {error}")))
}

struct Keys {
    ec: EncodingKey,
    rsa: EncodingKey,
}

impl Keys {
    /// New pairs; the public halves go to the folder.
    fn new(folder: &Folder) -> io::Result<Keys> {
        let pair = rcgen::KeyPair::generate().map_err(io::Error::other)?;
        std::fs::write(folder.0.join("ec.pem"), pair.public_key_pem())?;
        let ec = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).map_err(io::Error::other)?;
        let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048);
        let pair = pair.map_err(io::Error::other)?;
        let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).map_err(io::Error::other)?;
        std::fs::write(folder.0.join("rsa.pem"), pem("PUBLIC KEY", public.as_ref()))?;
        let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(io::Error::other)?;
        let private = pem("PRIVATE KEY", private.as_ref());
        let rsa = EncodingKey::from_rsa_pem(private.as_bytes()).map_err(io::Error::other)?;
        Ok(Keys { ec, rsa })
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn configuration(port: u16, upstream: SocketAddr) -> String {
    let route = |path: &str, more: &str| format!("  - {{ path: {path}, upstream: api, {more} }}\n");
    let jwt = |algorithm: &str, key: &str| {
        format!(
            "share: public, authenticate: {{ jwt: {{ algorithms: [{algorithm}], keys: [{{ {key} }}] }} }}"
        )
    };
    let keys = "share: public, authenticate: { keys: { clients: { partner: 0123456789abcdef } } }";
    [
        format!("listeners: [{{ address: '127.0.0.1:{port}' }}]\n"),
        format!("upstreams: {{ api: {{ servers: ['{upstream}'] }} }}\nlog: {{ access: false }}\n"),
        "defaults: { poll: { interval: 1h } }\nroutes:\n".to_owned(),
        route("/open", "share: public"),
        route("/key", keys),
        route("/hs", &jwt("HS256", &format!("secret: '{SECRET}'"))),
        route("/ec", &jwt("ES256", "pem: ec.pem")),
        route("/rsa", &jwt("RS256", "pem: rsa.pem")),
        route("/own", "share: authorize"),
    ]
    .concat()
}

/// Files of this run, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("pollcast-admission-{}", std::process::id()));
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

/// Says the same to everybody.
fn upstream() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    Ok(address)
}

fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n";
            stream.get_mut().write_all(format!("{head}{{\"n\":1}}").as_bytes())?;
        }
    }
}
