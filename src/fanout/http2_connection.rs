//! The streams of one HTTP/2 connection that have left their requests' tasks: a stream cannot leave its connection, so they
//! all live in the connection's task. A change costs it one turn, however many of its streams follow the resource.
//!
//! Must not know: how requests become streams, what a stream is about.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

use super::drain::Ending;
use super::http2_stream::{Calls, Http2Stream, Turn};
use super::http2_watch::Watches;

/// The streams of one connection.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "room for as many again would cost more than it saves")]
pub struct Http2Streams {
    streams: Vec<Box<Http2Stream>>,
    watches: Watches,
    /// Outputs that were begun in this turn.
    writes: usize,
    /// Is there as long as there are streams.
    called: Option<Called>,
    /// It may be too early, never too late.
    timer: Option<Pin<Box<Sleep>>>,
}

/// What wakes the task for all its streams.
struct Called {
    ending: Ending,
    /// It never ends.
    waiting: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Called {
    fn new(calls: Calls) -> Called {
        let Calls { ending, stay } = calls;
        let (mut drains, mut expulsions) = (ending.clone(), stay.expulsions);
        let waiting = Box::pin(async move {
            loop {
                // A sender that is gone tells nothing any more.
                let told = tokio::select! {
                    told = drains.changed() => told,
                    told = expulsions.changed() => told,
                };
                if told.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        });
        Called { ending, waiting }
    }
}

impl Http2Streams {
    /// Takes one more stream.
    pub fn add(&mut self, mut stream: Box<Http2Stream>) {
        let calls = stream.arrive(&mut self.watches);
        if self.called.is_none() {
            self.called = calls.map(Called::new);
        }
        self.streams.push(stream);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Serves the streams until one or more of them have ended. `begins` is called before each turn in which they write,
    /// and `wrote` behind it, with the number of streams that have begun to write something and whether a stream waits
    /// to write; it says whether another turn is needed. `waker` is woken in place of the task by what the library has for
    /// the streams.
    pub async fn serve(
        &mut self,
        waker: Option<&Waker>,
        begins: impl Fn(),
        wrote: impl Fn(usize, bool) -> bool,
    ) {
        let serving = poll_fn(|context| {
            if self.streams.is_empty() {
                return Poll::Pending;
            }
            begins();
            let served = self.poll_served(context, waker.unwrap_or(context.waker()));
            let waits = self.streams.iter().any(|stream| stream.waits());
            if wrote(std::mem::take(&mut self.writes), waits) {
                context.waker().wake_by_ref();
            }
            served
        });
        serving.await;
    }

    /// Gives each stream a turn. Ready when one or more of them have ended.
    fn poll_served(&mut self, context: &Context<'_>, waker: &Waker) -> Poll<()> {
        let before = self.streams.len();
        let mut context = Context::from_waker(context.waker());
        self.give_turns(&mut context, waker);
        // Time may have passed that an earlier wait of the timer did not count.
        if self.poll_timer(&mut context).is_ready() {
            self.give_turns(&mut context, waker);
            if self.poll_timer(&mut context).is_ready() {
                context.waker().wake_by_ref();
            }
        }
        if self.streams.is_empty() {
            *self = Http2Streams { writes: self.writes, ..Http2Streams::default() };
        }
        if self.streams.len() < before { Poll::Ready(()) } else { Poll::Pending }
    }

    fn give_turns(&mut self, context: &mut Context<'_>, waker: &Waker) {
        self.watches.look(context);
        let mut drain = None;
        if let Some(called) = &mut self.called {
            let (Poll::Ready(()) | Poll::Pending) = called.waiting.as_mut().poll(context);
            drain = *called.ending.borrow();
        }
        let (now, writes) = (Instant::now(), Cell::new(0));
        let mut context = Context::from_waker(waker);
        let mut index = 0;
        while index < self.streams.len() {
            let turn = Turn { watches: &self.watches, now, drain, writes: &writes };
            match self.streams[index].turn(&mut context, &turn) {
                None => index += 1,
                Some(reason) => self.streams.swap_remove(index).finish(reason, &mut self.watches),
            }
        }
        self.writes += writes.get();
    }

    /// Ready when a stream is to have a turn by now.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.streams.iter().filter_map(|stream| stream.deadline()).min();
        let Some(deadline) = deadline.map(tokio::time::Instant::from) else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() > deadline || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context)
    }
}
