//! A client's messages on their way to the task that acts on them: few, and small together. When there is no room for more, the
//! client is not read until there is: its socket is the queue.
//!
//! Must not know: what a message says.

use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::member_id::MemberId;

/// Most messages of one client that wait or are acted on.
pub const MESSAGES_MAX: usize = 16;

/// Most bytes of these messages. While there are fewer, one more message is taken.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Where a member's messages go.
#[derive(Debug)]
pub struct Messages(Box<Way>);

#[derive(Debug)]
struct Way {
    sender: mpsc::Sender<(MemberId, Message)>,
    room: Arc<Mutex<Load>>,
}

/// The queue of messages, each with the client that sent it.
pub type MessageQueue = mpsc::Receiver<(MemberId, Message)>;

/// The messages of one client that wait, or are being acted on.
#[derive(Debug, Default)]
struct Load {
    messages: usize,
    bytes: usize,
    /// Wakes the member that is not read for want of room.
    waiter: Option<Waker>,
}

impl Load {
    fn is_full(&self) -> bool {
        self.messages >= MESSAGES_MAX || self.bytes >= MESSAGE_BYTES_MAX
    }
}

/// One message.
#[derive(Debug)]
pub struct Message {
    /// The message, as it came.
    pub bytes: Bytes,
    /// The room of the message, given back when this is dropped.
    pub place: MessagePlace,
}

/// The room that a message takes until this is dropped.
#[derive(Debug)]
pub struct MessagePlace {
    bytes: usize,
    room: Arc<Mutex<Load>>,
}

/// The two ends of one client's messages.
pub fn messages() -> (Messages, MessageQueue) {
    // The room bounds what the queue holds.
    let (sender, queue) = mpsc::channel(MESSAGES_MAX);
    (Messages(Box::new(Way { sender, room: Arc::default() })), queue)
}

impl Messages {
    /// Hands one message over. It may be called only while there is room.
    pub(super) fn push(&self, member: MemberId, bytes: Bytes) {
        let mut load = self.0.room.lock();
        load.messages += 1;
        load.bytes += bytes.len();
        drop(load);
        let place = MessagePlace { bytes: bytes.len(), room: self.0.room.clone() };
        // The task that acts on them may have ended, and the connection is about to end.
        let _ = self.0.sender.try_send((member, Message { bytes, place }));
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.room.lock().is_full()
    }

    /// Returns true if there is no room; then the waker is woken as soon as there is.
    pub(super) fn waits(&self, waker: impl FnOnce() -> Waker) -> bool {
        let mut load = self.0.room.lock();
        let is_full = load.is_full();
        if is_full && load.waiter.is_none() {
            load.waiter = Some(waker());
        }
        is_full
    }
}

impl Drop for MessagePlace {
    fn drop(&mut self) {
        let mut load = self.room.lock();
        load.messages -= 1;
        load.bytes -= self.bytes;
        let waiter = if load.is_full() { None } else { load.waiter.take() };
        drop(load);
        waiter.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    const MEMBER: MemberId = MemberId { slot: 0, serial: 0 };

    fn fill(messages: &Messages, bytes: usize) -> usize {
        let mut count = 0;
        while !messages.is_full() {
            messages.push(MEMBER, Bytes::from(vec![0; bytes]));
            count += 1;
        }
        count
    }

    #[test]
    fn sixteen_small_messages_wait_and_few_large_ones() {
        for (bytes, wanted) in [(0, 16), (10, 16), (40_000, 2), (65_536, 1)] {
            let (messages, _queue) = messages();
            assert_eq!(fill(&messages, bytes), wanted, "{bytes}");
        }
    }

    #[test]
    fn a_sender_that_waits_for_room_is_woken_once_there_is() {
        let (messages, mut queue) = messages();
        let woken = Arc::new(Count::default());
        assert!(!messages.waits(|| woken.clone().into()), "there is room");
        fill(&messages, 1);
        assert!(messages.waits(|| woken.clone().into()));
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        let (_, first) = queue.try_recv().unwrap();
        assert!(messages.is_full(), "it is not done yet");
        drop(first);
        drop(queue.try_recv().unwrap());
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert_eq!(fill(&messages, 1), 2);
    }
}
