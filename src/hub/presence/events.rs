//! What is told of those who follow a resource: the whole of it, and what changed since it was last told.
//!
//! Must not know: who is told, when.

use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use super::followers::Followers;
use crate::config::Route;
use crate::frame::PresenceEvent;
use crate::identity::Principal;

/// Those who follow a resource, as they were told at one moment.
#[derive(Debug)]
pub struct Roll {
    /// Its place in the order of what was told of the resource.
    pub(super) seq: u64,
    count: usize,
    /// The count of the roll before.
    count_before: usize,
    /// `None` where clients are told no names.
    named: Option<Named>,
    whole: OnceLock<Arc<PresenceEvent>>,
    change: OnceLock<Arc<PresenceEvent>>,
}

#[derive(Debug)]
struct Named {
    all: Vec<Value>,
    joined: Vec<Value>,
    left: Vec<Value>,
    is_complete: bool,
}

impl Roll {
    /// Before anything was told.
    pub(super) fn first() -> Roll {
        Roll::of(0, 0, 0, None)
    }

    /// What is told next. What is news in the account is none afterwards.
    pub(super) fn next(before: &Roll, followers: &mut Followers, route: &Route) -> Roll {
        let (joined, left) = followers.take_news();
        let named = has_names(route).then(|| Named {
            joined: names(joined.iter(), route),
            left: names(left.iter(), route),
            ..Named::of(followers, route)
        });
        Roll::of(before.seq + 1, followers.count(), before.count, named)
    }

    fn of(seq: u64, count: usize, count_before: usize, named: Option<Named>) -> Roll {
        let (whole, change) = (OnceLock::new(), OnceLock::new());
        Roll { seq, count, count_before, named, whole, change }
    }

    /// The event for one who was told nothing yet, or not the roll before this one.
    pub(super) fn whole(&self) -> Arc<PresenceEvent> {
        let event = || {
            let mut data = self.event(&[], &[]);
            self.named.iter().for_each(|named| named.put(&mut data));
            Arc::new(PresenceEvent::new(Value::Object(data)))
        };
        self.whole.get_or_init(event).clone()
    }

    /// The event for one who was told the roll before this one. Returns `None` if nothing changed.
    pub(super) fn change(&self) -> Option<Arc<PresenceEvent>> {
        let (joined, left) =
            self.named.as_ref().map_or((&[][..], &[][..]), |named| (&named.joined[..], &named.left[..]));
        if self.count == self.count_before && joined.is_empty() && left.is_empty() {
            return None;
        }
        let event = || Arc::new(PresenceEvent::new(Value::Object(self.event(joined, left))));
        Some(self.change.get_or_init(event).clone())
    }

    fn event(&self, joined: &[Value], left: &[Value]) -> Map<String, Value> {
        let mut data = Map::new();
        data.insert("count".to_owned(), json!(self.count));
        data.insert("joined".to_owned(), json!(joined));
        data.insert("left".to_owned(), json!(left));
        data
    }
}

impl Named {
    fn of(followers: &Followers, route: &Route) -> Named {
        let all = names(followers.subjects(), route);
        Named { all, joined: Vec::new(), left: Vec::new(), is_complete: followers.is_complete() }
    }

    fn put(&self, data: &mut Map<String, Value>) {
        data.insert("subjects".to_owned(), json!(self.all));
        if !self.is_complete {
            data.insert("truncated".to_owned(), json!(true));
        }
    }
}

/// The answer to one who asks who follows a resource.
pub(super) fn answer(followers: &Followers, route: &Route) -> Value {
    let mut data = Map::new();
    data.insert("count".to_owned(), json!(followers.count()));
    if has_names(route) {
        Named::of(followers, route).put(&mut data);
    }
    Value::Object(data)
}

fn has_names(route: &Route) -> bool {
    route.presence.as_ref().is_some_and(|presence| presence.names)
}

/// Sorted, so that two answers about the same followers are the same.
fn names<'a>(principals: impl Iterator<Item = &'a Arc<Principal>>, route: &Route) -> Vec<Value> {
    let is_bare = route.authenticate.as_ref().is_some_and(|authenticate| authenticate.is_bare());
    let mut principals: Vec<&Arc<Principal>> = principals.collect();
    principals.sort_by(|one, other| (&one.subject, &one.issuer).cmp(&(&other.subject, &other.issuer)));
    principals.into_iter().map(|principal| Value::Object(principal.named(is_bare))).collect()
}
