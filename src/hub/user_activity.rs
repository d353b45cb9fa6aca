//! When a user was last there: polls in a user's session must not keep it alive for ever
//! (contract §11, `max_session_polls`).
//!
//! Must not know: what a session is to the upstream.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::resource::{Digest, Digester, ResourceKey};

/// The users whose credentials are on the polls of some topic, by a digest of these, so that no client chooses how much
/// is remembered of it. The users that were away longest are forgotten.
pub(super) struct Users {
    digester: Digester,
    known: Mutex<LruCache<Digest, Arc<User>>>,
}

/// One user, by these credentials.
#[derive(Debug)]
pub(super) struct User(Mutex<Instant>);

impl Users {
    /// `most` is as many as there may be topics.
    pub(super) fn new(most: usize) -> Users {
        let most = NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
        Users { digester: Digester::default(), known: Mutex::new(LruCache::new(most)) }
    }

    /// From now on so many are remembered.
    pub(super) fn resize(&self, most: usize) {
        self.known.lock().resize(NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN));
    }

    /// The user of a new topic: a client that wants it is a sign of life. Returns `None` if it is no user's own.
    pub(super) fn begin(&self, key: &ResourceKey) -> Option<Arc<User>> {
        if !key.is_private() {
            return None;
        }
        let lines = key.parts().class.iter();
        let class = lines.flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
        let digest = self.digester.of(class);
        let mut users = self.known.lock();
        let user = users.get_or_insert(digest, || Arc::new(User(Mutex::new(Instant::now()))));
        user.seen();
        Some(user.clone())
    }
}

impl User {
    /// When it last asked for something.
    pub(super) fn seen_at(&self) -> Instant {
        *self.0.lock()
    }

    /// Notes a request of the user's own.
    pub(super) fn seen(&self) {
        *self.0.lock() = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::hub::tests::route::{key, private_key};

    #[tokio::test(start_paused = true)]
    async fn a_user_is_one_whatever_is_asked_for() {
        let users = Users::new(2);
        assert!(users.begin(&key("/a")).is_none(), "nobody's own");
        let first = users.begin(&private_key("/a")).unwrap();
        let began = *first.0.lock();
        tokio::time::advance(Duration::from_secs(9)).await;
        let second = users.begin(&private_key("/b")).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(*first.0.lock() - began, Duration::from_secs(9));
    }
}
