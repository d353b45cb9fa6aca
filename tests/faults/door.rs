//! What stands between pollcast and its upstream: connections that are refused, reset at once, never served, slow
//! byte by byte, or cut.
//!
//! Must not know: HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::record::Journal;

const FAULTS: [&str; 6] = [
    "reset at accept",
    "closed at accept",
    "never served",
    "byte by byte, both ways",
    "cut by a reset",
    "cut by an end",
];

/// A door with faults of its own, from the storm to the calm.
pub struct Door {
    pub address: SocketAddr,
    calm: Arc<AtomicBool>,
    accepting: AbortHandle,
}

impl Door {
    pub async fn before(upstream: SocketAddr, seed: u64, journal: Arc<Journal>) -> Door {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let calm = Arc::new(AtomicBool::new(true));
        let rng = Mutex::new(fastrand::Rng::with_seed(seed));
        let is_calm = calm.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (fault, within) = {
                    let mut rng = rng.lock();
                    let bad = !is_calm.load(Ordering::SeqCst) && rng.u8(..2) == 0;
                    (bad.then(|| FAULTS[rng.usize(..FAULTS.len())]), rng.usize(1..3_000))
                };
                if let Some(fault) = fault {
                    journal.count(format!("fault: {fault}"));
                }
                tokio::spawn(pass(client, upstream, fault, within));
            }
        });
        Door { address, calm, accepting: accepting.abort_handle() }
    }

    pub fn storm(&self) {
        self.calm.store(false, Ordering::SeqCst);
    }

    pub fn calm(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
}

async fn pass(mut client: TcpStream, upstream: SocketAddr, fault: Option<&str>, within: usize) {
    match fault {
        Some("reset at accept") => return reset(client),
        Some("closed at accept") => return,
        Some("never served") => {
            // Until the other side has had enough.
            let mut byte = [0; 1024];
            while matches!(client.read(&mut byte).await, Ok(1..)) {}
            return;
        }
        _ => {}
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    for stream in [&client, &server] {
        // Pieces go out as they come: nothing is slower than it is meant to be.
        let _ = stream.set_nodelay(true);
    }
    let most = fault.is_some_and(|fault| fault.starts_with("cut")).then_some(within);
    let piece = if fault == Some("byte by byte, both ways") { 4 } else { 16 << 10 };
    {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        // Either side may go when it likes.
        tokio::select! {
            _ = carry(&mut from_client, &mut to_server, piece, None) => {}
            _ = carry(&mut from_server, &mut to_client, piece, most) => {}
        }
    }
    if fault == Some("cut by a reset") {
        reset(client);
    }
}

/// Carries bytes in pieces of this length, with a pause after each that is shorter than usual, up to `most`.
async fn carry(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    piece: usize,
    most: Option<usize>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    let mut left = most.unwrap_or(usize::MAX);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        for bytes in buffer[..read.min(left)].chunks(piece) {
            to.write_all(bytes).await?;
            if piece < buffer.len() {
                tokio::task::yield_now().await;
            }
        }
        left -= read.min(left);
        if left == 0 {
            return Ok(());
        }
    }
}
