//! Connections that wait for their next request: the newest first, each for a while, so many at most.
//!
//! Polls come many thousands a minute on a few connections, so a resting connection has no task of its own:
//! it is looked at when it is taken, and every second. Must not know: requests, how connections are made.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use pingora::protocols::Stream;
use tokio::io::AsyncReadExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use crate::upstream::target::Target;

/// The longest time for which a connection that its server closed is still held.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);

/// The resting connections of one upstream.
pub(super) struct Idle {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The connection that was used last stands last.
    resting: VecDeque<Resting>,
    /// Runs while there are any.
    sweep: Option<JoinHandle<()>>,
}

struct Resting {
    target: Target,
    /// The number of the certificates that it was made with.
    group: u64,
    stream: Stream,
    until: Instant,
}

impl Idle {
    /// `most` is the most connections: one more closes the one that rested longest.
    pub(super) fn new(most: usize) -> Arc<Idle> {
        Arc::new(Idle { most, state: Mutex::default() })
    }

    /// Keeps a connection whose answer was read whole. `group` is the number of the certificates that it was made with.
    pub(super) fn keep(self: &Arc<Self>, target: &Target, group: u64, stream: Stream, time: Duration) {
        let resting = Resting { target: target.clone(), group, stream, until: Instant::now() + time };
        let mut state = self.state.lock();
        state.resting.push_back(resting);
        let surplus = if state.resting.len() > self.most { state.resting.pop_front() } else { None };
        // A task of another runtime may have ended with it.
        if state.sweep.as_ref().is_none_or(JoinHandle::is_finished) {
            state.sweep = Some(tokio::spawn(sweep(Arc::downgrade(self))));
        }
        drop(state);
        // Connections are closed without the lock, as that is a system call.
        drop(surplus);
    }

    /// A connection to `target`, made with these papers, that seems to live.
    pub(super) fn take(&self, target: &Target, group: u64) -> Option<Stream> {
        loop {
            let mut resting = self.take_newest(target, group)?;
            if resting.until > Instant::now() && is_silent(&mut resting.stream) {
                return Some(resting.stream);
            }
        }
    }

    fn take_newest(&self, target: &Target, group: u64) -> Option<Resting> {
        let resting = &mut self.state.lock().resting;
        let place = resting.iter().rposition(|one| one.group == group && one.target == *target)?;
        resting.remove(place)
    }

    /// Closes what has rested long enough or was closed by its server; says when to look again. Returns `None` if
    /// no idle connection is left.
    fn close_spent(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let mut spent = Vec::new();
        for mut resting in std::mem::take(&mut state.resting) {
            let is_kept = resting.until > now && is_silent(&mut resting.stream);
            if is_kept { state.resting.push_back(resting) } else { spent.push(resting) }
        }
        let next = state.resting.iter().map(|resting| resting.until.min(now + ROUND_INTERVAL)).min();
        if next.is_none() {
            state.sweep = None;
        }
        drop(state);
        drop(spent);
        next
    }
}

/// Looks at the resting connections for as long as there are any.
async fn sweep(idle: Weak<Idle>) {
    let look = || idle.upgrade()?.close_spent();
    while let Some(next) = look() {
        sleep_until(next).await;
    }
}

/// Whether the connection is good for another request: the server has neither closed it nor sent bytes without a
/// request, which would be taken for the next answer.
fn is_silent(stream: &mut Stream) -> bool {
    // The read is unconstrained: a task that has done much already would be told that nothing came.
    let read = tokio::task::unconstrained(stream.read(&mut [0])).now_or_never();
    if let Some(Ok(1..)) = read {
        debug!("a server said something on a connection without a request: closed");
    }
    read.is_none()
}

#[cfg(test)]
mod tests {
    use pingora::protocols::l4::stream::Stream as L4;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn target(port: u16) -> Target {
        Target::at(([127, 0, 0, 1], port).into(), "legacy")
    }

    /// A connection and its server's end.
    async fn connection() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Box::new(L4::from(stream)), server)
    }

    /// What it says first; `None` if it is closed.
    async fn heard(server: &mut TcpStream) -> Option<u8> {
        server.read_u8().await.ok()
    }

    async fn say(mut stream: Stream, word: u8) {
        stream.write_all(&[word]).await.unwrap();
        stream.flush().await.unwrap();
    }

    #[tokio::test]
    async fn the_newest_of_a_server_is_taken_first() {
        let idle = Idle::new(10);
        let ((one, mut first), (two, mut second), (three, _third)) =
            (connection().await, connection().await, connection().await);
        idle.keep(&target(1), 0, one, LONG);
        idle.keep(&target(1), 0, two, LONG);
        idle.keep(&target(2), 0, three, LONG);
        say(idle.take(&target(1), 0).unwrap(), 2).await;
        say(idle.take(&target(1), 0).unwrap(), 1).await;
        assert_eq!((heard(&mut first).await, heard(&mut second).await), (Some(1), Some(2)));
        assert!(idle.take(&target(1), 0).is_none());
        assert!(idle.take(&target(2), 0).is_some());
    }

    #[tokio::test]
    async fn a_connection_made_with_other_certificates_serves_no_request() {
        let idle = Idle::new(10);
        let (one, _first) = connection().await;
        idle.keep(&target(1), 0, one, LONG);
        assert!(idle.take(&target(1), 1).is_none());
        assert!(idle.take(&target(1), 0).is_some());
    }

    #[tokio::test]
    async fn one_too_many_closes_the_one_that_rested_longest() {
        let idle = Idle::new(1);
        let ((one, mut first), (two, _second)) = (connection().await, connection().await);
        idle.keep(&target(1), 0, one, LONG);
        idle.keep(&target(2), 0, two, LONG);
        assert_eq!(heard(&mut first).await, None);
        assert!(idle.take(&target(1), 0).is_none());
        assert!(idle.take(&target(2), 0).is_some());
    }

    #[tokio::test]
    async fn what_a_server_said_unasked_answers_no_request() {
        let idle = Idle::new(10);
        let (one, mut first) = connection().await;
        idle.keep(&target(1), 0, one, LONG);
        first.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // Until its bytes have arrived it is as good as any other.
        while let Some(stream) = idle.take(&target(1), 0) {
            idle.keep(&target(1), 0, stream, LONG);
            tokio::task::yield_now().await;
        }
        // Closed with unread bytes: a reset or an end.
        assert_eq!(heard(&mut first).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_its_server_closed_is_let_go_within_a_round() {
        let idle = Idle::new(10);
        let (one, mut first) = connection().await;
        let began = Instant::now();
        idle.keep(&target(1), 0, one, LONG);
        first.shutdown().await.unwrap();
        assert_eq!(heard(&mut first).await, None);
        assert!(began.elapsed() <= 2 * ROUND_INTERVAL, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn rest_is_over_when_it_is_over_and_another_one_is_watched_as_well() {
        let idle = Idle::new(10);
        for _ in 0..2 {
            let (one, mut first) = connection().await;
            let began = Instant::now();
            idle.keep(&target(1), 0, one, 3 * ROUND_INTERVAL);
            assert_eq!(heard(&mut first).await, None);
            assert_eq!(began.elapsed().as_secs(), 3 * ROUND_INTERVAL.as_secs());
        }
    }
}
