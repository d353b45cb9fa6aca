//! How the task of an HTTP/2 connection writes: its streams hand what is new to the library first, and then the connection
//! writes what all of them have handed over, in as few records of TLS and calls of the kernel as it takes.
//!
//! Must not know: frames, what is written.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The writes of one connection.
#[derive(Debug, Default)]
pub(super) struct Writes {
    task: AtomicWaker,
    /// Streams hand over now: what that wakes is polled in the same turn of the task anyway.
    in_streams: AtomicBool,
    /// Small writes are kept until nothing more comes.
    gathers: AtomicBool,
}

impl Writes {
    /// The streams of the connection have their turn, and the connection has its own behind them.
    pub(super) fn begin(&self) {
        self.in_streams.store(true, Ordering::SeqCst);
    }

    /// So many streams have handed something over.
    pub(super) fn come_from(&self, streams: usize) {
        if streams > 1 {
            self.gathers.store(true, Ordering::SeqCst);
        }
    }

    /// Whether more is about to be written.
    pub(super) fn gather(&self) -> bool {
        self.gathers.load(Ordering::SeqCst)
    }

    /// Gives the connection its turns, until it has brought something. `waker` wakes by this.
    pub(super) async fn serve<T>(
        &self,
        waker: &Waker,
        mut connection: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> T {
        poll_fn(|context| self.poll_connection(context, waker, &mut connection)).await
    }

    fn poll_connection<T>(
        &self,
        context: &mut Context<'_>,
        waker: &Waker,
        connection: &mut impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.task.register(context.waker());
        self.in_streams.store(false, Ordering::SeqCst);
        let mut context = Context::from_waker(waker);
        let polled = connection(&mut context);
        if polled.is_pending() && self.gathers.swap(false, Ordering::SeqCst) {
            // It has no more to write: what was kept goes out.
            return connection(&mut context);
        }
        polled
    }
}

impl Wake for Writes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.in_streams.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}
