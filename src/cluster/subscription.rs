//! What every engine does with what it hears: events wait in a queue with a bound, and what this node says to all has to
//! come back.
//!
//! Must not know: how an engine is spoken to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::engine::Event;

/// Most messages that wait for being looked at; with more, the engine counts as lost, since some would be missed.
const EVENTS_MAX: usize = 16_384;
/// Most bytes of them.
const EVENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Messages are told apart by their first bytes, which are random.
const MARK_BYTES: usize = 14;
/// Most messages of which the return is waited for at once.
const UNPROVEN_MAX: usize = 256;
/// Digits of the largest number of a want.
const WANT_DIGITS_MAX: usize = 20;

/// Where an engine puts its events.
pub(super) struct Queue {
    sender: mpsc::UnboundedSender<Event>,
    waiting: Arc<Waiting>,
}

/// What waits in [`Events`].
#[derive(Default)]
struct Waiting {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

/// What an engine tells, in order.
pub struct Events {
    receiver: mpsc::UnboundedReceiver<Event>,
    waiting: Arc<Waiting>,
}

/// An empty queue, and its other end.
pub(super) fn queue() -> (Queue, Events) {
    #[expect(clippy::disallowed_methods, reason = "its bound counts bytes, too: `Queue::tell` holds it")]
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::<Waiting>::default();
    (Queue { sender, waiting: waiting.clone() }, Events { receiver, waiting })
}

impl Events {
    /// The next event. Returns `None` when the engine was dropped.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await?;
        if let Some(bytes) = bytes_of(&event) {
            self.waiting.messages.fetch_sub(1, Ordering::AcqRel);
            self.waiting.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        Some(event)
    }
}

/// The bytes of an event that a peer caused. Returns `None` for what the engine itself tells, which is never refused.
fn bytes_of(event: &Event) -> Option<usize> {
    match event {
        Event::Said { message, .. } => Some(message.len()),
        Event::Became { sealed, .. } => Some(sealed.len()),
        Event::Back | Event::Lost(_) | Event::Returned(_) => None,
    }
}

impl Queue {
    /// Tells an event. Returns whether there was room for it.
    pub(super) fn tell(&self, event: Event) -> bool {
        if let Some(bytes) = bytes_of(&event) {
            let messages = self.waiting.messages.fetch_add(1, Ordering::AcqRel);
            let waiting = self.waiting.bytes.fetch_add(bytes, Ordering::AcqRel);
            if messages >= EVENTS_MAX || waiting + bytes > EVENT_BYTES_MAX {
                self.waiting.messages.fetch_sub(1, Ordering::AcqRel);
                self.waiting.bytes.fetch_sub(bytes, Ordering::AcqRel);
                return false;
            }
        }
        // Without a receiver the engine is being dropped.
        let _ = self.sender.send(event);
        true
    }

    /// Tells what was said to all nodes. Returns whether there was room for it.
    pub(super) fn tell_message(&self, own: &Unproven, payload: Bytes) -> bool {
        if let Some(took) = own.returned(&payload) {
            self.tell(Event::Returned(took));
        }
        let (number, message) = read_number(payload);
        self.tell(Event::Said { number, message })
    }
}

/// The number in front of a message that has one.
fn read_number(payload: Bytes) -> (Option<u64>, Bytes) {
    let digits = payload.iter().take(WANT_DIGITS_MAX).take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&payload[..digits]).ok().and_then(|digits| digits.parse().ok());
    match number {
        Some(number) if payload.get(digits) == Some(&b' ') => (Some(number), payload.slice(digits + 1..)),
        _ => (None, payload),
    }
}

/// A want as it is said to all nodes: its number, and the sealed message behind it.
#[cfg(feature = "nats")]
pub(super) fn write_want(number: u64, message: &[u8]) -> Bytes {
    let mut payload = bytes::BytesMut::from(number.to_string().as_bytes());
    payload.extend_from_slice(b" ");
    payload.extend_from_slice(message);
    payload.freeze()
}

/// What this node said to all and has not heard: by its return a subscription proves that it lives.
#[derive(Debug, Default)]
pub(super) struct Unproven(Mutex<VecDeque<([u8; MARK_BYTES], Instant)>>);

impl Unproven {
    /// This is said to all now, and has to come back.
    pub(super) fn said(&self, message: &[u8]) {
        let mut unproven = self.0.lock();
        if let Some(mark) = message.first_chunk()
            && unproven.len() < UNPROVEN_MAX
        {
            unproven.push_back((*mark, Instant::now()));
        }
    }

    /// This was heard. Returns how long it took if this node said it.
    fn returned(&self, message: &[u8]) -> Option<Duration> {
        let mark: &[u8; MARK_BYTES] = message.first_chunk()?;
        let mut unproven = self.0.lock();
        let at = unproven.iter().position(|(said, _)| said == mark)?;
        // One connection keeps the order: what was said before has been heard or never will be.
        let (_, said) = unproven.drain(..=at).next_back()?;
        Some(said.elapsed())
    }

    /// Since when the oldest message that was said has not come back.
    pub(super) fn since(&self) -> Option<Instant> {
        self.0.lock().front().map(|(_, said)| *said)
    }
}
