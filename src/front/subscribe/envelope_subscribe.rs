//! One more resource for a client of many: admitted as if it had been asked for alone, then followed.
//!
//! Must not know: what else the client says.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use super::envelope_messages::complaint;
use crate::fanout::{MemberId, Revocable};
use crate::frame::{Format, PatchKind};
use crate::front::access::admit::{Admitted, Refused, Visitor, Way};
use crate::hub::{Resume, Subscription, Topic};
use crate::identity::Principal;

/// A resource that a client wants to follow.
pub(super) struct Asked {
    pub(super) name: Arc<str>,
    pub(super) since: Option<String>,
    pub(super) delta: Option<PatchKind>,
    /// Whether it is told who else follows.
    pub(super) presence: bool,
    pub(super) said: Value,
}

impl Asked {
    pub(super) async fn admit(
        self,
        latest: &Mutex<Arc<Visitor>>,
        followed: &Mutex<HashMap<Arc<str>, Followed>>,
        shard: u16,
        member: MemberId,
    ) {
        loop {
            let visitor = latest.lock().clone();
            let admitted = visitor.admit(&self.name, Way::WebSocket).await;
            let followed = followed.lock();
            // A new token may have come meanwhile.
            if Arc::ptr_eq(&visitor, &latest.lock()) {
                return self.admitted(admitted, &visitor, followed, shard, member);
            }
        }
    }

    fn admitted(
        self,
        admitted: Result<Admitted, Refused>,
        visitor: &Visitor,
        mut followed: MutexGuard<'_, HashMap<Arc<str>, Followed>>,
        shard: u16,
        member: MemberId,
    ) {
        if !followed.contains_key(&self.name) {
            // It was unsubscribed meanwhile.
            return;
        }
        match admitted {
            Ok(mut admitted) => {
                admitted.take_seat(&visitor.shared);
                let Admitted { route, attendance, path, revocable, principal } = admitted;
                let topic = attendance.topic().clone();
                let delta = self.delta.filter(|_| route.delta.enabled && route.feed.is_none());
                let resume = match self.since {
                    None => Resume::Start,
                    Some(since) if route.feed.is_some() => Resume::Item(since.into()),
                    Some(since) => Resume::from_state(&since),
                };
                let format = Format::Envelope(delta);
                let mut subscription = Subscription::new(attendance, Some(shard), format, resume);
                if self.presence {
                    subscription.watch_presence();
                }
                let presence = self.presence;
                followed.insert(
                    self.name.clone(),
                    Followed::Admitted { topic, path, revocable, principal, presence },
                );
                visitor.shared.fanout.follow(shard, member, self.name, subscription);
                if visitor.entitlement.until().is_some() {
                    visitor.shared.fanout.renewed(shard, member);
                }
            }
            Err(Refused { status, detail }) => {
                followed.remove(&self.name);
                let message = complaint(&self.said, status.as_u16(), &detail);
                visitor.shared.fanout.tell(shard, member, message);
            }
        }
    }
}

/// A resource that the client follows, or is about to.
#[derive(Clone)]
pub(in crate::front) enum Followed {
    Asked,
    Admitted {
        topic: Arc<Topic>,
        path: String,
        revocable: Option<Arc<Revocable>>,
        /// The client, where the route asks who it is.
        principal: Option<Arc<Principal>>,
        /// Whether it is told who else follows.
        presence: bool,
    },
}
