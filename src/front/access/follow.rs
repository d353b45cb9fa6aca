//! How a client that a route has let in comes to follow a resource (contract §3, §6, §9, §11): the key with all that the
//! upstream chooses by, the turn of a new resource, its limits, writes, the first view, and the client's own
//! credentials. A push form of its own and one resource of many take the same steps.
//!
//! Must not know: connections, which form the answer has.

use std::sync::Arc;

use super::admission::Client;
use super::authorize;
use super::checks::Look;
use super::reason::Reason;
use super::resource_limits::{Asker, attend, await_turn, would_attend};
use crate::config::{Route, Share};
use crate::fanout::Revocable;
use crate::frame::Format;
use crate::front::decision::Awaited;
use crate::front::freshness::{PriorWrites, first_view, is_enough_to_follow};
use crate::front::request::accept;
use crate::front::resource_key::{VARY_TURNS_MAX, chosen_by, full_key, selects};
use crate::front::services::Shared;
use crate::front::steps;
use crate::front::trace::Subject;
use crate::hub::{Attend, Attendance, Closing, ExceptionKind, Full, Topic, View};
use crate::metrics::VARY_USER_AGENT;
use crate::resource::ResourceKey;

/// A client that wants to follow a resource.
pub(in crate::front) struct Follow<'a> {
    pub(in crate::front) shared: &'a Arc<Shared>,
    pub(in crate::front) route: &'a Arc<Route>,
    /// The part of the key that does not depend on the upstream's `Vary`.
    pub(in crate::front) base: &'a ResourceKey,
    pub(in crate::front) client: Client<'a>,
    pub(in crate::front) asker: Asker,
    /// Whether it is to follow, or wants one answer.
    pub(in crate::front) attends: Attend,
    /// What it will be sent. `None` if that is one answer, which takes no memory of its own.
    pub(in crate::front) format: Option<Format>,
    /// Whether it waits where the upstream's answers cannot be covered for now.
    pub(in crate::front) waits_for_cover: bool,
}

/// A resource that a client may follow.
pub(in crate::front) struct Followable {
    pub(in crate::front) key: ResourceKey,
    pub(in crate::front) attendance: Attendance,
    /// What the client begins with.
    pub(in crate::front) view: Arc<View>,
    /// A poll that started after the request came has confirmed it.
    pub(in crate::front) is_confirmed: bool,
    /// What it may be followed by, where its route checks that.
    pub(in crate::front) revocable: Option<Arc<Revocable>>,
}

/// What a client that wants to follow a resource would come to.
pub(in crate::front) enum Foresight {
    /// It would wait for this first.
    After(Awaited),
    /// It would begin with this view.
    Known { key: ResourceKey, topic: Arc<Topic>, view: Arc<View> },
}

impl Follow<'_> {
    /// Attends to the resource, and makes its key again until it has all that the upstream chooses by.
    ///
    /// # Errors
    /// Why the client may not follow it.
    pub(in crate::front) async fn begin(&self, writes: &mut PriorWrites) -> Result<Followable, Reason> {
        let &Follow { shared, route, base, client, .. } = self;
        for _ in 0..VARY_TURNS_MAX {
            let key = full_key(shared, route, base, client.headers);
            self.excepted(&key)?;
            let (attendance, view, is_confirmed) = self.attended(&key, writes).await?;
            if !self.suits(&key, &view)? {
                continue;
            }
            let revocable = match route.share {
                // Boxed: most requests are not asked, and carry no room for it.
                Share::Authorize => {
                    Box::pin(authorize::admit(shared, route, attendance.topic(), client)).await?
                }
                Share::Public | Share::Unset | Share::By(_) => None,
            };
            return Ok(Followable { key, attendance, view, is_confirmed, revocable });
        }
        Err(Reason::EverNewVary)
    }

    /// What [`Follow::begin`] would come to, as far as that is known. Nothing is begun.
    ///
    /// # Errors
    /// Why the client may not follow the resource.
    pub(in crate::front) fn foresee(&self, writes: &mut PriorWrites) -> Result<Foresight, Reason> {
        let &Follow { shared, route, base, client, asker, attends, .. } = self;
        for _ in 0..VARY_TURNS_MAX {
            let key = full_key(shared, route, base, client.headers);
            shared.note_resource(&key);
            shared.note(Subject::Resource, || steps::of_key(&key));
            self.excepted(&key)?;
            would_attend(shared, asker, route, &key, attends).map_err(Reason::Full)?;
            let Some(topic) = shared.hub.get(&key) else {
                shared.note(Subject::State, || {
                    "no client has it polled: a poll begins with this one".to_owned()
                });
                return Ok(Foresight::After(Awaited::Poll));
            };
            let view = topic.view();
            shared.note(Subject::State, || steps::of_state(&topic, &view));
            if writes.would_wait(&topic) {
                return Ok(Foresight::After(Awaited::Write));
            }
            let is_excepted =
                shared.hub.exception(&key).is_some_and(|e| e.kind == ExceptionKind::Uncoverable);
            let is_known = is_excepted && view.ended > 0;
            if !is_known && !is_enough_to_follow(route, &topic, &view, topic.followers() > 0) {
                return Ok(Foresight::After(Awaited::Poll));
            }
            if !self.suits(&key, &view)? {
                continue;
            }
            return match authorize::known(shared, route, &key, client, Look::Closely) {
                Some(Ok(())) => Ok(Foresight::Known { key, topic, view }),
                Some(Err(reason)) => Err(reason),
                None => Ok(Foresight::After(Awaited::Check)),
            };
        }
        Err(Reason::EverNewVary)
    }

    /// Whether a view is the one that the client selects, and may be followed from. Returns false if the key has to be made
    /// again.
    ///
    /// # Errors
    /// Why the client may not follow the resource.
    fn suits(&self, key: &ResourceKey, view: &View) -> Result<bool, Reason> {
        let &Follow { shared, route, base, client, .. } = self;
        if let Some(names) = chosen_by(view)
            && !selects(shared, route, base, key, names, client.headers)
        {
            return Ok(false);
        }
        self.excepted(key)?;
        let has_room = self.format.is_none_or(|format| match shared.explains() {
            true => shared.hub.would_have_room_to_read(view, format),
            false => shared.hub.has_room_to_read(view, format),
        });
        if view.closing == Some(Closing::NoRoom) || !has_room {
            return Err(Reason::Full(Full::Bytes));
        }
        self.note_agent(view);
        Ok(true)
    }

    /// Attends to the resource, and waits for the view that the client begins with. Returns true with it if a poll that
    /// started after the request came has confirmed it.
    async fn attended(
        &self,
        key: &ResourceKey,
        writes: &mut PriorWrites,
    ) -> Result<(Attendance, Arc<View>, bool), Reason> {
        let &Follow { shared, route, asker, attends, .. } = self;
        // Polls up to this one started before the request came.
        let before = shared.hub.get(key).map_or(0, |topic| topic.started());
        await_turn(shared, asker, route, key).await.map_err(Reason::Full)?;
        let attendance = attend(shared, asker, route, key, attends).map_err(Reason::Full)?;
        writes.await_in_view(route, attendance.topic()).await;
        let known = attendance.topic().view();
        let exception = shared.hub.exception(key).map(|exception| exception.kind);
        let (view, is_confirmed) = match exception {
            // It is not polled for now.
            Some(ExceptionKind::Uncoverable) if known.ended > 0 => (known, false),
            _ => first_view(route, &attendance, before).await,
        };
        Ok((attendance, view, is_confirmed))
    }

    /// Looks at what is known against covering the key.
    fn excepted(&self, key: &ResourceKey) -> Result<(), Reason> {
        match self.shared.hub.exception(key) {
            None => Ok(()),
            // What a poll is refused says nothing yet: the next one is asked.
            Some(exception) if exception.kind == ExceptionKind::Denied => Ok(()),
            Some(exception) if exception.kind == ExceptionKind::Uncoverable && self.waits_for_cover => Ok(()),
            Some(exception) => Err(Reason::Exception(exception.kind, exception.reason)),
        }
    }

    /// Counts a push client of a resource whose API looks at the User-Agent: it gets the form for pollcast's own
    /// (contract §3).
    fn note_agent(&self, view: &View) {
        if chosen_by(view).is_some_and(|names| accept::depends_on_agent(self.route, names)) {
            let labels = [&*self.route.path, VARY_USER_AGENT];
            self.shared.metrics.not_obeyed.with_label_values(&labels).inc();
            self.shared.doubts.note_agent(self.route);
        }
    }
}
