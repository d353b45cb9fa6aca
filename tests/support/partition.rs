//! The way between two programs, which can be cut: in one direction or both, or for connections of one kind alone.
//!
//! What is held up is not lost: it arrives when the way is open again, as late as that is. Must not know: what is said,
//! but for the word that makes a connection to Redis one that hears.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::ports::unused_address;

/// What does not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Everything gets through.
    Nothing,
    /// Nothing gets to the server.
    ToServer,
    /// Nothing comes from the server.
    FromServer,
    /// Nothing gets through at all.
    Both,
    /// Connections that have subscribed to something hear nothing.
    Subscriptions,
    /// Connections that have not are answered nothing.
    Commands,
    /// All connections are reset, and nothing listens for new ones.
    Refused,
}

impl Cut {
    fn lets_pass(self, direction: Direction, hears: bool) -> bool {
        match self {
            Cut::Nothing => true,
            Cut::Both | Cut::Refused => false,
            Cut::ToServer => direction == Direction::Back,
            Cut::FromServer => direction == Direction::There,
            Cut::Subscriptions => direction == Direction::There || !hears,
            Cut::Commands => direction == Direction::There || hears,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    There,
    Back,
}

/// A way to a server.
pub struct Partition {
    /// Where the server is, for those on this side of it.
    pub address: SocketAddr,
    cut: watch::Sender<Cut>,
    accepting: AbortHandle,
}

impl Partition {
    /// A way to `server` that is open.
    pub async fn before(server: SocketAddr) -> Partition {
        let address = unused_address();
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let cut = watch::Sender::new(Cut::Nothing);
        let accepting = tokio::spawn(accept(listener, address, server, cut.subscribe()));
        Partition { address, cut, accepting: accepting.abort_handle() }
    }

    /// From now on this does not get through.
    pub fn cut(&self, cut: Cut) {
        self.cut.send_replace(cut);
    }
}

impl Drop for Partition {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    mut listener: TcpListener,
    address: SocketAddr,
    server: SocketAddr,
    cut: watch::Receiver<Cut>,
) {
    let mut is_cut = cut.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                tokio::spawn(carry(client, server, cut.clone()));
                continue;
            }
            _ = is_cut.wait_for(|cut| *cut == Cut::Refused) => {}
        }
        drop(listener);
        if is_cut.wait_for(|cut| *cut != Cut::Refused).await.is_err() {
            return;
        }
        listener = TcpListener::bind(address).await.expect("the port is still free");
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, mut cut: watch::Receiver<Cut>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        // A peer that has ended already is noticed below.
        let _ = stream.set_nodelay(true);
    }
    let hears = AtomicBool::new(false);
    let (of_there, of_back) = (cut.clone(), cut.clone());
    let is_refused = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            () = pass(Direction::There, from_client, to_server, of_there, &hears) => false,
            () = pass(Direction::Back, from_server, to_client, of_back, &hears) => false,
            refused = cut.wait_for(|cut| *cut == Cut::Refused) => refused.is_ok(),
        }
    };
    if is_refused {
        reset(&client);
        reset(&server);
    }
}

async fn pass(
    direction: Direction,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut cut: watch::Receiver<Cut>,
    hears: &AtomicBool,
) {
    let mut bytes = vec![0; 65536];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if direction == Direction::There && bytes[..count].windows(9).any(|word| word == b"SUBSCRIBE") {
            hears.store(true, Ordering::SeqCst);
        }
        let may_pass = |cut: &Cut| cut.lets_pass(direction, hears.load(Ordering::SeqCst));
        if cut.wait_for(may_pass).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

fn reset(stream: &TcpStream) {
    // A stream that is closed already cannot be reset.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
