//! A client without credentials that follows a path while others ask.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::judge::What;
use super::scene::Who;
use crate::support::wire::Wire;

/// How long the first bytes are awaited.
const FIRST_WAIT_MAX: Duration = Duration::from_millis(1500);

pub struct Follower {
    got: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Follower {
    /// Opens the stream; returns when its first bytes came, or none did for long.
    pub async fn start(address: SocketAddr, path: &str) -> Follower {
        let got = Arc::new(Mutex::new(Vec::new()));
        let (into, first) = (got.clone(), Arc::new(tokio::sync::Notify::new()));
        let head = format!("GET {path} HTTP/1.1\r\nHost: api.test\r\nAccept: text/event-stream\r\n\r\n");
        let told = first.clone();
        let reading = tokio::spawn(async move {
            let Ok(stream) = TcpStream::connect(address).await else { return };
            let mut wire = Wire::over(stream);
            if wire.write(head.as_bytes()).await.is_err() {
                return;
            }
            while wire.fill().await.is_ok_and(|n| n > 0) {
                into.lock().extend_from_slice(&wire.buffer.split());
                told.notify_one();
            }
        });
        // Nothing may come at all: the API alone decides.
        let _ = tokio::time::timeout(FIRST_WAIT_MAX, first.notified()).await;
        Follower { got, reading }
    }

    /// What the stream told that it should not have.
    pub fn end(self) -> Vec<What> {
        self.reading.abort();
        let got = self.got.lock();
        let text = String::from_utf8_lossy(&got);
        let mut found = Vec::new();
        for who in [Who::Ann, Who::Bob] {
            if who.mark().is_some_and(|mark| text.contains(mark)) {
                found.push(What::Leak(who));
            }
        }
        let states = text.lines().filter(|line| line.starts_with("data:")).filter_map(state_in);
        let states: Vec<usize> = states.collect();
        if let Some(pair) = states.windows(2).find(|pair| pair[1] < pair[0]) {
            found.push(What::WentBack { floor: pair[0], got: pair[1], passed: false });
        }
        found
    }
}

/// The state that a line of a body tells.
pub fn state_in(line: &str) -> Option<usize> {
    let (_, rest) = line.split_once("\"state\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
