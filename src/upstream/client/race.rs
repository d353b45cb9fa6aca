//! One connection to a name that has several addresses: they are tried side by side, each a little after the one
//! before (RFC 8305), so that a dead address or family costs a moment and not the whole time for connecting.
//!
//! Must not know: why the connection is wanted, what is said over it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::upstream::target::Addresses;

/// The next address is tried after the ones before have not answered for this long (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to `first`, or, where it is slow or fails, to the next one of `addresses`. `limit` is how long the caller
/// waits for it.
///
/// # Errors
/// Returns the error of the first address that failed if all did.
pub(super) async fn connect(
    first: SocketAddr,
    addresses: &Addresses,
    limit: Duration,
) -> io::Result<TcpStream> {
    let delay = ATTEMPT_DELAY.min(limit / 4);
    let order = addresses.order(first);
    let mut waiting = order.iter().copied();
    let mut running = FuturesUnordered::new();
    let mut first_error = None;
    loop {
        match waiting.next() {
            Some(address) => running.push(async move { (address, TcpStream::connect(address).await) }),
            None if running.is_empty() => {
                return Err(first_error.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
            }
            None => {}
        }
        let is_last = waiting.len() == 0;
        tokio::select! {
            Some((address, connected)) = running.next() => match connected {
                Ok(connection) => {
                    let before = order.iter().position(|one| *one == address).unwrap_or(0);
                    addresses.note_winner(address, &order[..before]);
                    return Ok(connection);
                }
                Err(error) => drop(first_error.get_or_insert(error)),
            },
            () = sleep(delay), if !is_last => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::client::tests::{nowhere, silent};
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    /// Longer than any of this takes.
    const LIMIT: Duration = Duration::from_secs(10);

    fn addresses(of: &[SocketAddr]) -> Addresses {
        let addresses = Addresses::default();
        addresses.set(of);
        addresses
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_costs_a_moment_and_is_tried_last_from_then_on() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (good, (_held, dead)) = (listener.local_addr().unwrap(), silent().await);
        let addresses = addresses(&[dead, good]);
        let began = Instant::now();
        let connection = connect(dead, &addresses, LIMIT).await.unwrap();
        assert_eq!(connection.peer_addr().unwrap(), good);
        assert!(began.elapsed() >= ATTEMPT_DELAY, "the first one has its time: {:?}", began.elapsed());
        assert_eq!(addresses.best(), Some(good));
    }

    #[tokio::test]
    async fn an_address_that_refuses_costs_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (good, (_held, dead)) = (listener.local_addr().unwrap(), nowhere());
        let dead = dead.parse().unwrap();
        let connection = connect(dead, &addresses(&[dead, good]), LIMIT).await.unwrap();
        assert_eq!(connection.peer_addr().unwrap(), good);
    }

    #[tokio::test]
    async fn where_all_fail_the_first_reason_is_told() {
        let ((_one, first), (_other, second)) = (nowhere(), nowhere());
        let (first, second) = (first.parse().unwrap(), second.parse().unwrap());
        let error = connect(first, &addresses(&[first, second]), LIMIT).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
