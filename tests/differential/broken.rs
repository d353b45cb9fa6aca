//! Proxies that are wrong on purpose, each in one way, and one that is right: what the comparison has to find.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::exchange::{Answer, Client, Enough, Request};
use super::play::Front;
use crate::support::wire::{Fields, Wire, field, parse_request};

/// What is wrong with a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// What one user was given, everybody gets for the same URL.
    Leaks,
    DropsField(&'static str),
    DropsCharset,
    /// A kept answer is given for as long as it may be young, whatever was written.
    StaleAfterWrite,
}

/// A small proxy on a thread of its own; it ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Front for Proxy {
    fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Kept = Arc<Mutex<HashMap<String, Answer>>>;

impl Proxy {
    pub fn start(fault: Fault, api: SocketAddr) -> Proxy {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a non-blocking listener");
        let address = listener.local_addr().expect("a bound socket's address");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let kept = Kept::default();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, fault, api, kept.clone()));
            }
        });
        Proxy { address, runtime: Some(runtime) }
    }
}

async fn serve(stream: TcpStream, fault: Fault, api: SocketAddr, kept: Kept) {
    let _ = stream.set_nodelay(true);
    let (mut wire, mut upstream) = (Wire::over(stream), Client::new(api));
    while let Ok(Some(head)) = wire.head().await {
        let Ok((method, target, _, fields)) = parse_request(&head) else { return };
        let length = field(&fields, "content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
        let Ok(body) = wire.exactly(length).await else { return };
        // The few methods there are, for ever: their names are the test's.
        let method: &'static str = Box::leak(method.into_boxed_str());
        let request =
            Request { method, target, fields: asked(&fields), body: body.to_vec(), enough: Enough::All };
        let keeps = matches!(fault, Fault::Leaks | Fault::StaleAfterWrite) && method == "GET";
        let known = if keeps { kept.lock().get(&request.target).cloned() } else { None };
        let is_hit = known.is_some();
        let answer = match known {
            Some(answer) => answer,
            None => match upstream.ask(&request).await {
                Ok(answer) => answer,
                // The connection ends as the API's did.
                Err(_) => return,
            },
        };
        if keeps && answer.status == 200 {
            kept.lock().insert(request.target.clone(), answer.clone());
        }
        if wire.write(&written(&answer, fault, is_hit, method)).await.is_err() {
            return;
        }
    }
}

fn asked(fields: &Fields) -> Fields {
    let own = ["connection", "content-length", "te", "upgrade"];
    fields.iter().filter(|(name, _)| !own.contains(&name.to_ascii_lowercase().as_str())).cloned().collect()
}

fn written(answer: &Answer, fault: Fault, is_hit: bool, method: &str) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", answer.status);
    let mut has_length = false;
    for (name, value) in &answer.fields {
        let lower = name.to_ascii_lowercase();
        has_length |= lower == "content-length";
        if matches!(lower.as_str(), "connection" | "transfer-encoding")
            || matches!(fault, Fault::DropsField(dropped) if dropped == name)
        {
            continue;
        }
        let value = match value.split_once(';') {
            Some((before, _)) if lower == "content-type" && fault == Fault::DropsCharset => before,
            _ => value,
        };
        head += &format!("{name}: {value}\r\n");
    }
    if is_hit {
        head += "Cache-Status: pollcast; hit; ttl=1\r\n";
    }
    let has_body = method != "HEAD" && !matches!(answer.status, 204 | 304);
    if !has_length && has_body {
        head += &format!("Content-Length: {}\r\n", answer.raw.len());
    }
    [head.as_bytes(), b"\r\n", &answer.raw].concat()
}
