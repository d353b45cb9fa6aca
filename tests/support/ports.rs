//! Ports for listeners that are not there yet.
//!
//! Must not know: what is going to listen.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use socket2::{Domain, Socket, Type};

/// Below the ports that the kernel gives to outgoing connections: none of those takes a port between the moment in
/// which it is chosen and the moment in which a process listens on it.
const PORTS: std::ops::Range<u16> = 12_000..32_000;

/// Returns an address of this machine on which nothing listens. The same is not given twice by this process.
pub fn unused_address() -> SocketAddr {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..)));
    let count = PORTS.end - PORTS.start;
    let candidates = (0..count).map(|_| PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % count);
    let mut addresses = candidates.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    addresses.find(is_unused).expect("a port that is not in use")
}

/// Whether nothing listens on an address. It is bound and no more: a process that another thread starts just now has a copy
/// of the socket for a moment, and a copy that listens would be in the way of what the address is for.
fn is_unused(address: &SocketAddr) -> bool {
    let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.bind(&(*address).into()).is_ok()
}
