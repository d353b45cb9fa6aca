//! Clients of all kinds, which come, leave and come back as they like, and note all they are told.
//!
//! Must not know: what the upstream does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::record::{Journal, Recorder};
use super::script::FINAL;
use crate::support::client::{Http, Response, connect};
use crate::support::sse::Gunzip;

/// Where the clients are.
pub struct Ground {
    /// Of one node, or of several between which clients roam.
    pub nodes: Vec<SocketAddr>,
    pub path: String,
    pub journal: Arc<Journal>,
    /// Whether clients also name versions that they do not have.
    pub strays: bool,
    /// Whether clients also write.
    pub writes: bool,
    /// Turns true when no client is to leave any more before it has the final state.
    pub calm: watch::Sender<bool>,
}

pub struct Client {
    pub rng: fastrand::Rng,
    pub ground: Arc<Ground>,
    pub recorder: Recorder,
}

/// The host that all name: they are to share.
pub const HOST: &str = "api.example";

impl Client {
    pub fn new(who: String, ground: &Arc<Ground>, rng: fastrand::Rng) -> Client {
        let recorder = Recorder::new(who, ground.journal.clone());
        Client { rng, ground: ground.clone(), recorder }
    }

    pub fn is_calm(&self) -> bool {
        *self.ground.calm.borrow()
    }

    pub fn has_final(&self) -> bool {
        self.recorder.state() == Some(FINAL)
    }

    /// One visit after the other until it has the final state.
    pub async fn live(mut self) {
        while !self.has_final() {
            self.visit().await;
            let most = if self.is_calm() { 40 } else { 150 };
            sleep(Duration::from_millis(self.rng.u64(..most))).await;
        }
    }

    pub async fn visit(&mut self) {
        // Clients that are told nothing are not to hold up the end.
        let kind = if self.is_calm() { self.rng.u8(..10) } else { self.rng.u8(..14) };
        // A client that roams says what it has, or a node that is behind cannot know that it is; and an ordinary poll is answered
        // with what the node has.
        let kind = match kind {
            3 | 5 | 8 | 9 | 13 if self.roams() => 7,
            kind => kind,
        };
        self.recorder.note(format!("visit of kind {kind}"));
        match kind {
            0 | 1 => self.stream("HTTP/1.1").await,
            2 => self.stream("HTTP/1.0").await,
            3 => self.patches().await,
            4 => self.http2().await,
            5 => self.bare().await,
            6 => self.envelope().await,
            7 => self.held().await,
            8 => self.ordinary().await,
            9 => self.many().await,
            10 => self.half_open().await,
            11 => self.stops_reading().await,
            12 => self.leaves_at_once().await,
            _ if self.ground.writes => self.writes().await,
            _ => self.ordinary().await,
        }
    }

    fn roams(&self) -> bool {
        self.ground.nodes.len() > 1
    }

    /// A connection whose end is a FIN, or, as of somebody whose network went away, only a reset.
    pub async fn connect(&mut self) -> TcpStream {
        let stream = connect(self.ground.nodes[self.rng.usize(..self.ground.nodes.len())]).await;
        if self.rng.u8(..3) == 0 {
            self.ground.journal.count("vanish without FIN");
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
        }
        stream
    }

    /// What it says that it has: what it has, something older, something that no client ever had, or nothing.
    pub fn position(&mut self) -> Option<String> {
        let earlier = self.recorder.earlier();
        match self.rng.u8(..12) {
            _ if self.roams() || !self.ground.strays => self.recorder.version().map(str::to_owned),
            0 => None,
            1 if !earlier.is_empty() => {
                self.ground.journal.count("position: an older one");
                Some(earlier[self.rng.usize(..earlier.len())].clone())
            }
            2 => {
                self.ground.journal.count("position: one that nobody had");
                let unknown = blake3::hash(&self.rng.u64(..).to_le_bytes());
                Some(base64::Engine::encode(
                    &base64::engine::general_purpose::URL_SAFE_NO_PAD,
                    &unknown.as_bytes()[..16],
                ))
            }
            _ => self.recorder.version().map(str::to_owned),
        }
    }

    /// What it says of compression.
    pub fn coding(&mut self) -> &'static [(&'static str, &'static str)] {
        match self.rng.u8(..3) {
            0 => {
                self.ground.journal.count("client: takes gzip");
                &[("accept-encoding", "gzip")]
            }
            _ => &[],
        }
    }

    /// Until when it stays this time.
    pub fn patience(&mut self) -> Instant {
        Instant::now() + Duration::from_millis(self.rng.u64(50..2_000))
    }

    /// What comes until then; `None` if nothing did. From the calm on all clients wait until the end.
    pub async fn until<T>(&self, end: Instant, event: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(event);
        tokio::select! {
            biased;
            value = &mut event => return Some(value),
            () = sleep_until(end) => {}
        }
        match self.is_calm() {
            true => Some(event.await),
            false => None,
        }
    }

    /// A held poll, on one connection again and again.
    async fn held(&mut self) {
        let mut http = Http::over(self.connect().await, HOST);
        let (end, coding) = (self.patience(), self.coding());
        while !self.has_final() {
            let wait = if self.is_calm() { 1 } else { self.rng.u64(1..4) };
            let position = self.position();
            let (tag, prefer) =
                (position.as_ref().map(|version| format!("\"{version}\"")), format!("wait={wait}"));
            let mut headers = vec![("prefer", prefer.as_str())];
            headers.extend(coding);
            headers.extend(tag.iter().map(|tag| ("if-none-match", tag.as_str())));
            let began = Instant::now();
            self.ground.journal.count("client: held polls");
            let Some(answer) = self.until(end, http.get(&self.ground.path, &headers)).await else { return };
            let whole = Duration::from_secs(wait).mul_f64(0.93);
            if answer.status == 304 {
                assert!(began.elapsed() >= whole, "304 after {:?} of {wait} s: {answer:?}", began.elapsed());
            }
            if !self.answered(&answer, position.as_deref()) || Instant::now() > end && !self.is_calm() {
                return;
            }
            if answer.status != 304 && answer.header("etag").is_none() {
                sleep(Duration::from_millis(self.rng.u64(100..500))).await;
            }
        }
    }

    /// Ordinary polls, at times byte by byte.
    async fn ordinary(&mut self) {
        let mut http = Http::over(self.connect().await, HOST);
        let coding = self.coding();
        for _ in 0..self.rng.u8(1..5) {
            let position = self.position();
            let tag = position.as_ref().map(|version| format!("\"{version}\""));
            let mut headers = coding.to_vec();
            headers.extend(tag.iter().map(|tag| ("if-none-match", tag.as_str())));
            let answer = if self.rng.u8(..4) == 0 {
                self.ground.journal.count("client: byte by byte");
                let condition = tag.as_ref().map_or(String::new(), |tag| format!("If-None-Match: {tag}\r\n"));
                let request = format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\n{condition}\r\n", self.ground.path);
                for byte in request.as_bytes() {
                    http.send_raw(std::slice::from_ref(byte)).await;
                    tokio::task::yield_now().await;
                }
                http.read_response().await
            } else {
                self.ground.journal.count("client: ordinary polls");
                http.get(&self.ground.path, &headers).await
            };
            if !self.answered(&answer, position.as_deref()) || self.has_final() {
                return;
            }
            sleep(Duration::from_millis(self.rng.u64(..200))).await;
        }
    }

    /// Notes an answer to a client at `position`, and returns whether the connection goes on.
    pub fn answered(&mut self, answer: &Response, position: Option<&str>) -> bool {
        self.ground.journal.count(format!("answer: {}", answer.status));
        let tag = |answer: &Response| answer.etag().trim_start_matches("W/").trim_matches('"').to_owned();
        match answer.status {
            // What is no state is passed on, as long as nothing better is known.
            200 if answer.header("etag").is_none() => self.ground.journal.count("answer: 200, but no state"),
            200 => {
                let version = tag(answer);
                // What passes through is the API's own, which does not always heed a condition.
                let is_unheeded = position == Some(version.as_str())
                    && answer.header("cache-status").is_some_and(|status| status.contains("fwd=bypass"));
                if is_unheeded {
                    self.ground.journal.count("answer: the API's own 200 to the tag of it");
                }
                // Whatever it was told on another connection, an answer is a whole state.
                self.recorder.begin(position.filter(|_| !is_unheeded));
                let text = match Gunzip::of(answer) {
                    Some(mut gunzip) => String::from_utf8_lossy(&gunzip.feed(&answer.body)).into_owned(),
                    None => answer.text(),
                };
                self.recorder.content(Some(&version), &text);
            }
            304 => assert_eq!(Some(tag(answer).as_str()), position, "{answer:?}"),
            // What the upstream says of a resource that it does not have, and what is told while it is down.
            404 | 429 | 302 | 500 | 502 | 503 | 504 => {}
            _ => panic!("an unexpected answer: {answer:?}"),
        }
        !answer.names("connection", "close")
    }

    /// Says half of what it wants, and no more.
    async fn half_open(&mut self) {
        self.ground.journal.count("client: half-open");
        let mut http = Http::over(self.connect().await, HOST);
        let request =
            format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/event-stream\r\n\r\n", self.ground.path);
        http.send_raw(&request.as_bytes()[..self.rng.usize(1..request.len())]).await;
        if self.rng.bool() {
            // The client's FIN comes, its socket stays.
            http.wire.finish().await.ok();
        }
        sleep(Duration::from_millis(self.rng.u64(50..800))).await;
    }

    /// Asks for a stream and never reads it.
    async fn stops_reading(&mut self) {
        self.ground.journal.count("client: stops reading");
        let mut http = Http::over(self.connect().await, HOST);
        let accept = [("accept", "text/event-stream")];
        http.send("GET", &self.ground.path, &accept, b"").await;
        sleep(Duration::from_millis(self.rng.u64(100..1_500))).await;
    }

    /// Asks for anything and is gone before it is answered.
    async fn leaves_at_once(&mut self) {
        self.ground.journal.count("client: leaves at once");
        let mut http = Http::over(self.connect().await, HOST);
        let wanted: [&[(&str, &str)]; 3] =
            [&[], &[("accept", "text/event-stream")], &[("prefer", "wait=5"), ("if-none-match", "\"x\"")]];
        let headers = wanted[self.rng.usize(..3)];
        http.send("GET", &self.ground.path, headers, b"").await;
        if self.rng.bool() {
            sleep(Duration::from_millis(self.rng.u64(..20))).await;
        }
    }

    /// Writes, and reads what it wrote.
    async fn writes(&mut self) {
        self.ground.journal.count("client: writes");
        let mut http = Http::over(self.connect().await, HOST);
        let written = http.request("POST", &self.ground.path, &[("content-type", "text/plain")], b"x").await;
        // While the upstream is down there is nothing to read back.
        if written.status != 204 || written.names("connection", "close") {
            return;
        }
        // Where states are numbered: the one that the write made, as the upstream said.
        let made = written.header("x-made").map(|n| n.parse::<u64>().expect("a number"));
        let answer = http.get(&self.ground.path, &[]).await;
        self.answered(&answer, None);
        let unconfirmed = answer.header("cache-status").is_some_and(|status| status.contains("unconfirmed"));
        if answer.status == 200 && answer.header("etag").is_some() && !unconfirmed && !self.has_final() {
            let read = self.recorder.serial();
            assert!(made.is_none_or(|made| read >= made), "wrote {made:?}, read {read}: {answer:?}");
            self.ground.journal.count("writes read back");
        }
    }
}
