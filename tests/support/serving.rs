//! One connection of the legacy API: reads requests, performs replies, misbehaves as described.
//!
//! Must not know: the test's side of the legacy API; `legacy` holds scripts and records.

use std::io::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::frames::{CLOSE, Frame, PING, PONG};
use super::legacy::{Expectation, Reply, Seen, Taken};
use super::memory::{Answer, Flight, Shared};
use super::reply::{End, Framing, Kind, Piece};
use super::wire::{Wire, field, names_token, parse_request};

/// Serves one connection to its end.
pub(super) async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    number: u64,
) {
    let _ = stream.set_nodelay(true);
    // A second handle of the socket: SO_LINGER must be reachable below TLS.
    let Ok(socket) = SockRef::from(&stream).try_clone() else {
        return;
    };
    let wire = match tls {
        None => Wire::over(stream),
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => Wire::over(stream),
            Err(_) => return,
        },
    };
    let serving = Serving { shared, wire, number };
    // A client that leaves or lies ends its connection; what it sent before is on record.
    if let Ok(Ending::Reset) = serving.run().await {
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
}

/// How a connection ends.
enum Ending {
    Close,
    Reset,
}

/// What follows an answer.
enum Next {
    Request,
    Finish,
    Reset,
    /// The client left while it was being answered.
    Gone,
}

/// One connection of the legacy API.
struct Serving {
    shared: Arc<Shared>,
    wire: Wire,
    number: u64,
}

impl Serving {
    async fn run(mut self) -> Result<Ending> {
        while let Some(head) = self.wire.head().await? {
            let at = Instant::now();
            let Ok((method, target, version, headers)) = parse_request(&head) else {
                self.shared.change(|state| state.malformed += 1);
                self.wire.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await?;
                return Ok(Ending::Close);
            };
            let connection = self.number;
            let mut seen =
                Seen { method, target, version, headers, head, body: Bytes::new(), at, connection };
            let flight = Flight::begin(&self.shared, &seen.target);
            let taken = self.shared.state.lock().takes_connection(&seen.target);
            if !taken {
                if let Some(refusal) = self.expect(&seen).await? {
                    self.record(&seen);
                    self.perform(&refusal, &seen).await?;
                    return Ok(Ending::Close);
                }
                seen.body = self.body(&seen).await?;
            }
            self.record(&seen);
            let answer = self.shared.state.lock().answer(&seen.target);
            let reply = match answer {
                Answer::Fixed(reply) => reply,
                Answer::Computed(answer) => answer(&seen),
            };
            if let Kind::Take { handshake, to } = &reply.kind {
                if *handshake {
                    self.accept_websocket(&reply, &seen).await?;
                }
                // A test that no longer waits for connections lets this one close.
                let _ = to.send(Taken { seen, wire: self.wire, _flight: flight }).await;
                return Ok(Ending::Close);
            }
            match self.perform(&reply, &seen).await? {
                Next::Request if keeps_alive(&seen, &reply) => drop(flight),
                Next::Request | Next::Finish => {
                    self.wire.finish().await?;
                    return Ok(Ending::Close);
                }
                Next::Gone => return Ok(Ending::Close),
                Next::Reset => return Ok(Ending::Reset),
            }
        }
        Ok(Ending::Close)
    }

    fn record(&self, seen: &Seen) {
        self.shared.change(|state| state.seen.push(seen.clone()));
    }

    async fn expect(&mut self, seen: &Seen) -> Result<Option<Reply>> {
        if !names_token(&seen.headers, "expect", "100-continue") {
            return Ok(None);
        }
        let expectation = self.shared.state.lock().expectation(&seen.target);
        match expectation {
            Expectation::Continue => self.wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?,
            Expectation::Ignore => {}
            Expectation::Refuse(reply) => return Ok(Some(reply.header("connection", "close"))),
        }
        Ok(None)
    }

    async fn body(&mut self, seen: &Seen) -> Result<Bytes> {
        if names_token(&seen.headers, "transfer-encoding", "chunked") {
            let mut body = BytesMut::new();
            while let Some(chunk) = self.wire.chunk().await? {
                body.extend_from_slice(&chunk);
            }
            return Ok(body.freeze());
        }
        let length = seen.header("content-length").and_then(|v| v.trim().parse().ok());
        self.wire.exactly(length.unwrap_or(0)).await
    }

    async fn perform(&mut self, reply: &Reply, seen: &Seen) -> Result<Next> {
        let start = async {
            tokio::time::sleep(reply.delay).await;
            if let Some(gate) = &reply.gate {
                gate.opened().await;
            }
        };
        if unless_gone(&mut self.wire, start).await.is_none() {
            return Ok(Next::Gone);
        }
        match &reply.kind {
            Kind::Silence => Ok(self.hang().await),
            Kind::Reset => Ok(Next::Reset),
            Kind::Close => Ok(Next::Finish),
            Kind::Raw(bytes) => self.wire.write(bytes).await.map(|()| Next::Finish),
            Kind::WebSocketEcho => {
                self.accept_websocket(reply, seen).await?;
                self.echo().await
            }
            Kind::Stream(feed) => {
                let taken = feed.lock().take();
                let Some(feed) = taken else {
                    let busy = Reply::text("this stream has had its one reader\n").status(503);
                    return self.message(&busy, seen).await;
                };
                self.stream(reply, feed, seen).await
            }
            Kind::Take { .. } => panic!("a computed answer cannot take the connection over: use `set`"),
            Kind::Message => self.message(reply, seen).await,
        }
    }

    async fn message(&mut self, reply: &Reply, seen: &Seen) -> Result<Next> {
        if reply.answers_validators && is_not_modified(reply, seen) {
            self.wire.write(&not_modified(reply)).await?;
            return Ok(Next::Request);
        }
        let head = head_of(reply, seen, Some(reply.body.len()));
        let bodiless = seen.method == "HEAD" || matches!(reply.status, 204 | 304);
        if let Some(unasked) = &reply.unasked {
            // In one piece: what comes later may be taken for the answer to the next request, and rightly so.
            assert!(framing_for(reply, seen) == Framing::Length, "only behind a body with a length");
            let body: &[u8] = if bodiless { b"" } else { &reply.body };
            self.wire.write(&[&head, body, unasked].concat()).await?;
            return Ok(Next::Request);
        }
        self.wire.write(&head).await?;
        if !bodiless {
            let limit = match reply.end {
                End::Proper => reply.body.len(),
                End::CutAfter(n) | End::HangAfter(n) | End::ResetAfter(n) => n.min(reply.body.len()),
            };
            let framing = framing_for(reply, seen);
            let (piece_bytes, pause) = reply.drip.unwrap_or((limit.max(1), Duration::ZERO));
            for piece in reply.body[..limit].chunks(piece_bytes) {
                self.wire.write(&framed(piece, framing)).await?;
                let pause = tokio::time::sleep(pause);
                if reply.drip.is_some() && unless_gone(&mut self.wire, pause).await.is_none() {
                    return Ok(Next::Gone);
                }
            }
            match reply.end {
                End::Proper if framing == Framing::Chunked => self.wire.write(b"0\r\n\r\n").await?,
                End::Proper => {}
                End::CutAfter(_) => return Ok(Next::Finish),
                End::HangAfter(_) => return Ok(self.hang().await),
                End::ResetAfter(_) => return Ok(Next::Reset),
            }
        }
        Ok(Next::Request)
    }

    async fn stream(&mut self, reply: &Reply, mut feed: mpsc::Receiver<Piece>, seen: &Seen) -> Result<Next> {
        self.wire.write(&head_of(reply, seen, None)).await?;
        let framing = framing_for(reply, seen);
        loop {
            match unless_gone(&mut self.wire, feed.recv()).await {
                None => return Ok(Next::Gone),
                Some(Some(Piece::Data(data))) => self.wire.write(&framed(&data, framing)).await?,
                Some(Some(Piece::Cut)) => return Ok(Next::Finish),
                Some(None) if framing == Framing::Chunked => {
                    self.wire.write(b"0\r\n\r\n").await?;
                    return Ok(Next::Request);
                }
                Some(None) => return Ok(Next::Finish),
            }
        }
    }

    async fn hang(&mut self) -> Next {
        let for_ever = std::future::pending::<()>();
        let _ = unless_gone(&mut self.wire, for_ever).await;
        Next::Gone
    }

    async fn accept_websocket(&mut self, reply: &Reply, seen: &Seen) -> Result<()> {
        let key = seen.header("sec-websocket-key").unwrap_or_default();
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let mut head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n"
        );
        for (name, value) in &reply.fields {
            head += &format!("{name}: {value}\r\n");
        }
        self.wire.write((head + "\r\n").as_bytes()).await
    }

    async fn echo(&mut self) -> Result<Next> {
        loop {
            while let Some((frame, len)) = Frame::parse(&self.wire.buffer).map_err(std::io::Error::other)? {
                let _ = self.wire.buffer.split_to(len);
                let opcode = if frame.opcode == PING { PONG } else { frame.opcode };
                self.wire.write(&Frame { opcode, masked: false, ..frame }.encode(None)).await?;
                if opcode == CLOSE {
                    return Ok(Next::Finish);
                }
            }
            if self.wire.fill().await? == 0 {
                return Ok(Next::Gone);
            }
        }
    }
}

/// `None` if the client leaves before `event`. Bytes that it sends meanwhile stay buffered.
async fn unless_gone<T>(wire: &mut Wire, event: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(event);
    loop {
        tokio::select! {
            biased;
            value = &mut event => return Some(value),
            read = wire.fill() => {
                if matches!(read, Ok(0) | Err(_)) {
                    return None;
                }
            }
        }
    }
}

fn keeps_alive(seen: &Seen, reply: &Reply) -> bool {
    let wanted = match seen.version {
        0 => names_token(&seen.headers, "connection", "keep-alive"),
        _ => !names_token(&seen.headers, "connection", "close"),
    };
    wanted && framing_for(reply, seen) != Framing::Close && !names_token(&reply.fields, "connection", "close")
}

/// HTTP/1.0 knows no chunks.
fn framing_for(reply: &Reply, seen: &Seen) -> Framing {
    match reply.framing {
        Framing::Chunked if seen.version == 0 => Framing::Close,
        framing => framing,
    }
}

fn framed(piece: &[u8], framing: Framing) -> Vec<u8> {
    if framing != Framing::Chunked {
        return piece.to_vec();
    }
    let mut bytes = format!("{:x}\r\n", piece.len()).into_bytes();
    bytes.extend_from_slice(piece);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn is_not_modified(reply: &Reply, seen: &Seen) -> bool {
    if reply.status != 200 || !matches!(seen.method.as_str(), "GET" | "HEAD") {
        return false;
    }
    if let Some(asked) = seen.header("if-none-match") {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = field(&reply.fields, "etag").map(opaque);
        return own.is_some_and(|own| asked.split(',').any(|t| t.trim() == "*" || opaque(t) == own));
    }
    let asked = seen.header("if-modified-since");
    asked.is_some() && asked == field(&reply.fields, "last-modified")
}

fn not_modified(reply: &Reply) -> Vec<u8> {
    let kept = reply.fields.iter().filter(|(n, _)| !n.to_ascii_lowercase().starts_with("content-"));
    let lines: String = kept.map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    format!("HTTP/1.1 304 Not Modified\r\n{lines}\r\n").into_bytes()
}

fn head_of(reply: &Reply, seen: &Seen, length: Option<usize>) -> Vec<u8> {
    let mut head = String::new();
    for (status, fields) in &reply.interim {
        head += &status_line(*status);
        fields.iter().for_each(|(n, v)| head += &format!("{n}: {v}\r\n"));
        head += "\r\n";
    }
    head += &status_line(reply.status);
    reply.fields.iter().for_each(|(n, v)| head += &format!("{n}: {v}\r\n"));
    match (framing_for(reply, seen), length) {
        (Framing::Length, Some(_)) if reply.status == 204 => {}
        (Framing::Length, Some(length)) => head += &format!("Content-Length: {length}\r\n"),
        (Framing::Chunked, _) => head += "Transfer-Encoding: chunked\r\n",
        _ => head += "Connection: close\r\n",
    }
    // Values are one char a byte (see `Fields`).
    (head + "\r\n").chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect()
}

fn status_line(status: u16) -> String {
    let known = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    format!("HTTP/1.1 {status} {}\r\n", known.unwrap_or("Unknown"))
}
