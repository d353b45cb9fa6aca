//! Exceptions: why a key has no snapshot for a while (contract §1, §11).
//!
//! Must not know: why it is so, what a request gets instead.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::time::Instant;

use crate::resource::ResourceKey;

/// What a request may not have as a snapshot for a while, and why.
#[derive(Debug, Clone)]
pub struct Exception {
    /// Why the resource is not polled.
    pub kind: ExceptionKind,
    /// The reason in words, for clients.
    pub reason: String,
    until: Instant,
    /// How long it was remembered this time.
    span: Duration,
}

/// The kinds of exceptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExceptionKind {
    /// The answer is longer than `max_body`, is media or multipart, or has no end or no beginning (contract §1).
    Uncoverable,
    /// The API's own event stream (contract §1).
    OwnStream,
    /// The answer is one user's, and `share` is unset (contract §11).
    NotShareable,
    /// The upstream's 404 or 410 lasted longer than `gone_after` (contract §5).
    Gone,
    /// Its user was away for longer than `max_session_polls` (contract §11). A program that reconnects by itself is no
    /// sign of the user.
    SessionIdle,
    /// A poll got 401 or 403. That says nothing about a client, so plain requests go to the API (contract §3).
    Denied,
}

impl ExceptionKind {
    /// Whether it lasts twice as long when it is found again.
    pub(super) fn grows(self) -> bool {
        matches!(self, ExceptionKind::Uncoverable | ExceptionKind::OwnStream)
    }
}

/// How long an exception is remembered at first (contract §1).
pub const EXCEPTION_TIME_MIN: Duration = Duration::from_secs(60);

/// The longest that an exception is remembered which is found again and again (contract §1).
pub const EXCEPTION_TIME_MAX: Duration = Duration::from_secs(600);

/// The exceptions of all keys.
pub(super) struct Exceptions {
    by_key: DashMap<ResourceKey, Exception>,
    count_max: AtomicUsize,
}

impl Exceptions {
    pub(super) fn new(count_max: usize) -> Exceptions {
        Exceptions { by_key: DashMap::new(), count_max: AtomicUsize::new(count_max) }
    }

    /// From now on so many are remembered.
    pub(super) fn resize(&self, count_max: usize) {
        self.count_max.store(count_max, Ordering::Relaxed);
    }

    /// Returns the exception of a key that holds now.
    pub(super) fn get(&self, key: &ResourceKey) -> Option<Exception> {
        // An exception that is over is kept for as long as it lasted: if it is found again meanwhile, it lasts longer.
        let now = Instant::now();
        self.by_key.get(key).filter(|exception| now < exception.until).map(|exception| exception.clone())
    }

    /// Forgets an exception of one kind.
    pub(super) fn forget(&self, key: &ResourceKey, is_over: impl Fn(ExceptionKind) -> bool) {
        if !self.by_key.is_empty() {
            self.by_key.remove_if(key, |_, exception| is_over(exception.kind));
        }
    }

    /// Remembers an exception, and returns for how long. At the bound a new one is not remembered: an exception only
    /// saves work.
    pub(super) fn put(&self, key: &ResourceKey, kind: ExceptionKind, reason: &str) -> Duration {
        let now = Instant::now();
        if self.by_key.len() >= self.count_max.load(Ordering::Relaxed) {
            self.by_key.retain(|_, exception| exception.until > now);
            if self.by_key.len() >= self.count_max.load(Ordering::Relaxed) {
                return EXCEPTION_TIME_MIN;
            }
        }
        let made = |span| Exception { kind, reason: reason.to_owned(), until: now + span, span };
        match self.by_key.entry(key.clone()) {
            Entry::Occupied(mut entry) => {
                let before = entry.get();
                let stays = kind.grows() && before.kind.grows() && now < before.until + before.span;
                let span = if stays { (before.span * 2).min(EXCEPTION_TIME_MAX) } else { EXCEPTION_TIME_MIN };
                entry.insert(made(span));
                span
            }
            Entry::Vacant(entry) => {
                drop(entry.insert(made(EXCEPTION_TIME_MIN)));
                EXCEPTION_TIME_MIN
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::route::key;

    #[tokio::test(start_paused = true)]
    async fn what_stays_uncoverable_is_asked_about_ever_more_seldom() {
        let (exceptions, key) = (Exceptions::new(10), key("/a"));
        for minutes in [1, 2, 4, 8, 10, 10] {
            let span = exceptions.put(&key, ExceptionKind::Uncoverable, "audio");
            assert_eq!(span, Duration::from_secs(60 * minutes));
            tokio::time::advance(span - Duration::from_secs(1)).await;
            assert!(exceptions.get(&key).is_some());
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(exceptions.get(&key).is_none(), "it is over");
        }
        // It was the API's own stream all the time.
        assert_eq!(exceptions.put(&key, ExceptionKind::OwnStream, "event-stream"), EXCEPTION_TIME_MAX);
        tokio::time::advance(3 * EXCEPTION_TIME_MAX).await;
        assert_eq!(exceptions.put(&key, ExceptionKind::Uncoverable, "audio"), EXCEPTION_TIME_MIN, "long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_ends_what_was_remembered() {
        let (exceptions, key) = (Exceptions::new(10), key("/a"));
        exceptions.put(&key, ExceptionKind::Uncoverable, "audio");
        exceptions.forget(&key, ExceptionKind::grows);
        assert_eq!(exceptions.put(&key, ExceptionKind::Uncoverable, "audio"), EXCEPTION_TIME_MIN);
        exceptions.put(&key, ExceptionKind::NotShareable, "private");
        exceptions.forget(&key, ExceptionKind::grows);
        assert!(exceptions.get(&key).is_some(), "that it is one user's is another question");
    }
}
