//! How the task of an HTTP/2 connection writes: its streams hand what is new to the library first, and then the connection
//! writes what all of them have handed over, in as few records of TLS and calls of the kernel as it takes.
//!
//! Must not know: frames, what is written.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// The writes of one connection.
#[derive(Debug, Default)]
pub(super) struct Writes {
    task: AtomicWaker,
    /// The thread on which streams hand over now, or 0. What is woken from that thread is polled in the same turn of the
    /// task anyway.
    in_streams: AtomicUsize,
    /// Whether something was woken from that thread meanwhile.
    has_woken: AtomicBool,
    /// Small writes are kept until nothing more comes.
    gathers: AtomicBool,
}

impl Writes {
    /// The streams of the connection have their turn, and the connection has its own behind them.
    pub(super) fn begin(&self) {
        self.has_woken.store(false, Ordering::SeqCst);
        self.in_streams.store(this_thread(), Ordering::SeqCst);
    }

    /// So many streams have handed something over. `waits`: others may hand over no more for now. Returns whether they need
    /// another turn: what one gives up may be another's.
    pub(super) fn come_from(&self, streams: usize, waits: bool) -> bool {
        if streams > 1 {
            self.gathers.store(true, Ordering::SeqCst);
        }
        waits && self.has_woken.load(Ordering::SeqCst)
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
        self.in_streams.store(0, Ordering::SeqCst);
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
        // Another thread tells of something that this turn may have gone past.
        if self.in_streams.load(Ordering::SeqCst) == this_thread() {
            self.has_woken.store(true, Ordering::SeqCst);
        } else {
            self.task.wake();
        }
    }
}

/// A number that no other living thread has, and none has 0.
fn this_thread() -> usize {
    thread_local! {
        static PLACE: u8 = const { 0 };
    }
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}
