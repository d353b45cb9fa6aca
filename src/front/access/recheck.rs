//! Followers of `share: authorize` (contract §11): the credentials by which they stay, about which the API is
//! asked from time to time.
//!
//! The credentials are kept for as long as a client follows by them. Must not know: how a client is admitted at first.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use http::{HeaderName, HeaderValue};
use tokio::time::sleep;

use super::checks::{Found, jittered};
use super::own_answer::check_again;
use super::reason::Reason;
use crate::fanout::Revocable;
use crate::front::services::{Present, Shared};
use crate::hub::Topic;
use crate::metrics::RefusalReason;
use crate::resource::Digest;
use crate::transport::Expulsion;

/// A check that cannot be made is tried again this often, for as long as the last one counts once more.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// How often it is checked whether a client still follows by some credentials.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);

/// Most bytes of followers' credentials.
const CREDENTIALS_BYTES_MAX: usize = 64 << 20;

/// Has the API asked about these credentials again for as long as a client follows by them.
///
/// # Errors
/// There is no room for more credentials.
pub(super) fn watch(
    shared: &Arc<Shared>,
    topic: &Arc<Topic>,
    digest: Digest,
    credentials: Vec<(HeaderName, HeaderValue)>,
) -> Result<Arc<Revocable>, Reason> {
    let bytes = credentials.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let revocable = Arc::new(Revocable::default());
    {
        let mut watched = shared.checks.followers.0.lock();
        // Another client may have come first.
        if let Some(revocable) = watched.revocables.get(&digest).and_then(Weak::upgrade)
            && revocable.revoked().is_none()
        {
            return Ok(revocable);
        }
        if watched.bytes + bytes > CREDENTIALS_BYTES_MAX {
            shared.metrics.refused(RefusalReason::CredentialsBytes);
            return Err(Reason::CredentialsFull);
        }
        watched.bytes += bytes;
        watched.revocables.insert(digest, Arc::downgrade(&revocable));
    }
    let watch = Watch {
        charge: Charge {
            present: shared.present.clone(),
            digest,
            bytes,
            revocable: Arc::downgrade(&revocable),
        },
        topic: Arc::downgrade(topic),
        credentials,
    };
    tokio::spawn(watch.run(topic.route().recheck));
    Ok(revocable)
}

/// Bytes of credentials, given back when dropped, and the place by which others find what may be revoked.
struct Charge {
    present: Arc<Present>,
    digest: Digest,
    bytes: usize,
    revocable: Weak<Revocable>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        let Some(shared) = self.present.get() else { return };
        let mut watched = shared.checks.followers.0.lock();
        watched.bytes = watched.bytes.saturating_sub(self.bytes);
        // A newer one may have its place.
        if watched
            .revocables
            .get(&self.digest)
            .is_some_and(|revocable| Weak::ptr_eq(revocable, &self.revocable))
        {
            watched.revocables.remove(&self.digest);
        }
    }
}

/// Asks again for as long as a client follows by these credentials.
struct Watch {
    charge: Charge,
    topic: Weak<Topic>,
    credentials: Vec<(HeaderName, HeaderValue)>,
}

impl Watch {
    async fn run(self, recheck: Duration) {
        let mut due = Instant::now() + jittered(recheck);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            sleep(left.min(LOOK_INTERVAL)).await;
            if self.charge.revocable.strong_count() == 0 {
                return;
            }
            if left > LOOK_INTERVAL {
                continue;
            }
            let (Some(shared), Some(topic)) = (self.charge.present.get(), self.topic.upgrade()) else {
                return;
            };
            let last = Instant::now() + recheck;
            let found = loop {
                match check_again(&shared, &topic, &self.credentials).await {
                    Found::Failed if Instant::now() + RETRY_INTERVAL < last => sleep(RETRY_INTERVAL).await,
                    found => break found,
                }
            };
            shared.checks.remember(self.charge.digest, found, recheck);
            if found != Found::Same {
                if let Some(revocable) = self.charge.revocable.upgrade() {
                    revocable.revoke(Expulsion::Forbidden);
                    shared.fanout.expel();
                }
                return;
            }
            due = Instant::now() + jittered(recheck);
        }
    }
}
