//! A follower's position in a topic: what it has seen, and what it is to get next.
//!
//! No private queue, never blocks the publisher. Must not know: how a delivery is written.

use std::sync::Arc;

use tokio::sync::watch;

use super::named::{Name, Named};
use super::presence::{Presence, Roll};
use super::topic::Topic;
use super::view::{Closing, View};
use super::{Attend, Attendance};
use crate::frame::{Batch, Chain, Condition, Format, Frame, PresenceEvent, State};
use crate::resource::{Version, version_of_tag};

/// Where a follower comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// The follower has nothing: it gets the state, or on a feed the latest items, as many as `replay` says.
    Start,
    /// It says that it has this version.
    From(Version),
    /// It says that it has this version, and a poll that began after its request has ended: nothing more is waited for.
    FromConfirmed(Version),
    /// It says that it has a state with this tag, which is none that is known.
    Tag([u8; 6]),
    /// On a feed: it says that it has this item, or the page of this version.
    Item(Box<str>),
    /// It names something that is no version, such as the upstream's own tag of an answer that passed through. Where other
    /// nodes publish the resource, too, it may have come from there, and a poll has to confirm what is held.
    Other,
}

impl Resume {
    /// Where a follower of states comes from that names this.
    pub fn from_state(id: &str) -> Resume {
        version_of_tag(id).map_or(Resume::Other, Resume::From)
    }

    /// What the follower names.
    fn name(&self) -> Name<'_> {
        match self {
            Resume::From(version) | Resume::FromConfirmed(version) => Name::Tag(version.tag()),
            Resume::Tag(tag) => Name::Tag(*tag),
            Resume::Item(id) => Name::Item(id),
            Resume::Start | Resume::Other => Name::Other,
        }
    }

    /// The same as far as it means anything here: one process alone never had a state of another name, so that its client
    /// has another one, or none.
    fn at(self, topic: &Topic) -> Resume {
        match self {
            Resume::Other if !topic.is_shared() => Resume::Start,
            resume => resume,
        }
    }
}

/// What a follower gets next.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// The latest content.
    Frame(Arc<Frame>),
    /// What changed since the version it has.
    Patches(Chain),
    /// Items of a feed.
    Items(Arc<Batch>),
    /// What became of the resource: fresh, stale or gone.
    Condition(Arc<Condition>),
    /// Who follows the resource, for a follower that asked for it.
    Presence(Arc<PresenceEvent>),
    /// The state that it has cannot be continued; what follows stands for itself.
    Reset(&'static str),
    /// The topic ends.
    Closing(Closing),
}

impl Delivery {
    /// Whether it is content, rather than words about it.
    pub fn is_content(&self) -> bool {
        matches!(self, Delivery::Frame(_) | Delivery::Patches(_) | Delivery::Items(_))
    }
}

/// A follower's position. It is small, as ten thousands of them wait in a shard.
pub struct Subscription {
    attendance: Attendance,
    /// `None` if it lives in a task and watches the view itself.
    shard: Option<u16>,
    format: Format,
    told: Told,
    /// Whether the follower reads patches and came with an unknown version: it is told so before it gets the state.
    unknown: bool,
    seen: Option<Version>,
    /// What it named and is not held here, which has to be found or confirmed before the follower is told anything
    /// (contract §2). `None` if it named nothing of the kind.
    named: Option<Box<Named>>,
    seen_seq: u64,
    condition_seq: u64,
    /// The position of a follower of items, or of one that comes from a state of which only the tag is known. It is
    /// boxed, as few have one.
    place: Option<Box<Place>>,
}

/// A position that is no version.
#[derive(Debug)]
enum Place {
    /// The state with this tag, if the upstream turns out to have it.
    State([u8; 6]),
    /// On a feed: the same.
    Page([u8; 6]),
    /// On a feed before its first page: the item that the follower says it has, or none.
    Item(Option<Box<str>>),
    /// On a feed: after the item of this number.
    After(u64),
}

/// What the follower was last told about the resource's condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// It was told nothing, or that the resource is fresh again.
    Well,
    Stale,
    Gone,
}

impl Subscription {
    /// Takes a position. An unknown version asks for one confirming poll, which starts after
    /// `attendance` began.
    pub fn new(attendance: Attendance, shard: Option<u16>, format: Format, resume: Resume) -> Subscription {
        debug_assert!(attendance.kind == Attend::Follow);
        let topic = attendance.topic();
        // The format is registered before the view is read, so that whatever is published from now on is encoded in it.
        topic.reads(format);
        if let Some(shard) = shard {
            topic.join_shard(shard);
        }
        if let Some(frame) = &topic.view().frame {
            frame.encode(format, None);
            frame.settle();
        }
        let resume = resume.at(topic);
        let known = match &resume {
            Resume::Start => true,
            Resume::From(version) | Resume::FromConfirmed(version) => topic.has_held(*version),
            Resume::Tag(_) | Resume::Other => false,
            Resume::Item(id) => topic.knows_position(id),
        };
        let is_awaited = match &resume {
            Resume::From(version) => !topic.is_not_newer(*version),
            Resume::FromConfirmed(_) => false,
            Resume::Start | Resume::Tag(_) | Resume::Item(_) | Resume::Other => !known,
        };
        let mut named = None;
        if is_awaited {
            let mut confirm = attendance.next_poll;
            let has_cursor = topic.route().feed.as_ref().is_some_and(|feed| feed.cursor.is_some());
            if let (Resume::Item(id), true) = (&resume, has_cursor) {
                topic.miss(id);
                // The poll that asks the upstream about it starts after this.
                confirm = confirm.max(topic.started() + 1);
            }
            named = Some(Box::new(topic.want_confirmed_for(confirm, resume.name())));
        }
        let is_feed = topic.route().feed.is_some();
        let (seen, place) = match resume {
            Resume::Start | Resume::Other => (None, is_feed.then_some(Place::Item(None))),
            Resume::From(version) | Resume::FromConfirmed(version) => (Some(version), None),
            Resume::Tag(tag) => (None, Some(if is_feed { Place::Page(tag) } else { Place::State(tag) })),
            Resume::Item(id) => (None, Some(Place::Item(Some(id)))),
        };
        Subscription {
            shard,
            format,
            told: Told::Well,
            unknown: !known && format.patches().is_some(),
            seen,
            named,
            seen_seq: 0,
            condition_seq: 0,
            place: place.map(Box::new),
            attendance,
        }
    }

    /// The resource that is followed.
    pub fn topic(&self) -> &Arc<Topic> {
        self.attendance.topic()
    }

    /// The format in which the subscriber gets states.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether what the follower named still has to be found or confirmed.
    pub fn is_unconfirmed(&self, view: &View) -> bool {
        self.named.as_ref().is_some_and(|named| self.topic().is_unconfirmed_for(**named, view))
    }

    /// Notes that the follower says anew what it has. Returns false if that version is not known, or has to be
    /// confirmed.
    pub fn resume_from(&mut self, version: Version) -> bool {
        if !self.topic().is_not_newer(version) {
            return false;
        }
        self.seen = Some(version);
        (self.seen_seq, self.named, self.unknown) = (0, None, false);
        true
    }

    /// The version that the follower has; `None` if it is not known.
    pub fn seen(&self) -> Option<Version> {
        self.seen
    }

    /// Has the follower told who else follows, where its route has `presence`.
    pub fn watch_presence(&mut self) {
        let shard = self.shard;
        self.attendance.seat_mut().into_iter().for_each(|seat| seat.watch(shard));
    }

    /// The presence that the follower is told of. Returns `None` if it did not ask for it.
    pub fn watched_presence(&self) -> Option<&Arc<Presence>> {
        self.attendance.seat()?.watched()
    }

    /// What changes whenever [`Subscription::next_presence`] may have something. Returns `None` as above.
    pub fn presence_rolls(&self) -> Option<watch::Receiver<Arc<Roll>>> {
        self.attendance.seat()?.rolls()
    }

    /// Returns what the follower is to be told of the presence next, if it asked for it. Only the latest counts.
    pub fn next_presence(&mut self) -> Option<Delivery> {
        self.attendance.seat_mut()?.next().map(Delivery::Presence)
    }

    /// Notes that the follower is not there any longer, although its position is.
    pub fn leave_presence(&mut self) {
        self.attendance.beside = None;
    }

    /// Returns what comes next, if anything does. Only the latest content counts (conflation), and the follower gets
    /// nothing if it has that already.
    pub fn next(&mut self, view: &View) -> Option<Delivery> {
        if let Some(closing) = view.closing {
            return Some(Delivery::Closing(closing));
        }
        if let Some(condition) = self.next_condition(view) {
            return Some(Delivery::Condition(condition));
        }
        if self.is_unconfirmed(view) || matches!(view.condition.state, State::Gone { .. }) {
            return None;
        }
        self.named = None;
        let frame = view.frame.as_ref()?;
        if frame.seq <= self.seen_seq {
            return None;
        }
        match self.place.as_deref() {
            None => {}
            Some(Place::State(tag)) => {
                let has_it = frame.version().tag() == *tag;
                self.seen = has_it.then(|| frame.version());
                self.place = None;
            }
            Some(_) => return self.next_items(frame),
        }
        if self.seen == Some(frame.version()) {
            self.seen_seq = frame.seq;
            self.unknown = false;
            return None;
        }
        if std::mem::take(&mut self.unknown) {
            // The state itself comes with the next look, and as a whole: what the follower had is
            // forgotten, even if that state has recurred meanwhile.
            self.seen = None;
            return Some(Delivery::Reset("unknown-version"));
        }
        self.seen_seq = frame.seq;
        let had = self.seen.replace(frame.version());
        let chain = self.format.patches().zip(had);
        match chain.and_then(|(kind, had)| self.topic().chain(view, had, kind)) {
            Some(chain) => Some(Delivery::Patches(chain)),
            None => Some(Delivery::Frame(frame.clone())),
        }
    }

    fn next_items(&mut self, frame: &Arc<Frame>) -> Option<Delivery> {
        let batch = frame.batch.as_ref()?;
        let until = batch.until();
        let topic = self.attendance.topic();
        let place = self.place.as_deref_mut()?;
        let replay = topic.route().feed.as_ref().map_or(0, |feed| feed.replay);
        let (after, is_known) = match place {
            Place::After(after) => (*after, true),
            Place::Item(id) => match id.take().map(|id| topic.item_position(&id)) {
                None => (topic.earliest_item(until, replay), true),
                Some(Some(after)) => (after, true),
                Some(None) => (topic.earliest_item(until, replay), false),
            },
            Place::Page(tag) | Place::State(tag) => match frame.version().tag() == *tag {
                true => (until, true),
                false => (topic.earliest_item(until, replay), false),
            },
        };
        *place = Place::After(after);
        if !is_known {
            return Some(Delivery::Reset("unknown-cursor"));
        }
        let batch = match batch.items().first() {
            Some(first) if first.seq == after + 1 => Some(batch.clone()),
            _ => topic
                .items_after(after, until)
                .map(|missed| Arc::new(Batch::new(missed, until, topic.rules()))),
        };
        let Some(batch) = batch else {
            // The follower's position is forgotten, or the upstream lost items: it gets what there is.
            *place = Place::After(topic.earliest_item(until, usize::MAX));
            return Some(Delivery::Reset("overflow"));
        };
        *place = Place::After(until.max(after));
        self.seen_seq = frame.seq;
        self.seen = Some(frame.version());
        (!batch.is_empty()).then_some(Delivery::Items(batch))
    }

    fn next_condition(&mut self, view: &View) -> Option<Arc<Condition>> {
        let condition = &view.condition;
        if condition.seq <= self.condition_seq {
            return None;
        }
        self.condition_seq = condition.seq;
        let now = match condition.state {
            State::Fresh => Told::Well,
            State::Stale { .. } => Told::Stale,
            State::Gone { .. } => Told::Gone,
        };
        if now == Told::Gone && self.format.tells_conditions() {
            // When a resource that was gone is back, its state is sent even if it is the old one (contract §5). A
            // follower that was not told that it was gone would only get the same state twice.
            self.seen = None;
        }
        // A failure that began and ended between two looks is no news.
        let news = now != self.told;
        self.told = now;
        news.then(|| condition.clone())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let topic = self.attendance.topic();
        topic.reads_no_more(self.format);
        if let Some(shard) = self.shard {
            topic.leave_shard(shard);
        }
    }
}
