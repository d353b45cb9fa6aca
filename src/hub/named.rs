//! What clients of one topic say they have seen. Each name stays open until a look-up on the other nodes finds it, or a
//! poll that began after it was said confirms what is held here.
//!
//! Pure. Must not know: nodes, topics, how a name is looked up.

use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;

use super::poll_number::PollNumber;

/// Names that are remembered until they are looked up: with more of them a poll has to say.
const NAMES_MAX: usize = 32;

/// What a topic knows of other nodes.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Changes while `names` is locked.
    pub(super) is_shared: AtomicBool,
    /// Never locked before the view, which is locked first where both are.
    pub(super) names: Mutex<Names>,
}

/// What one client names.
#[derive(Debug, Clone, Copy)]
pub enum Name<'a> {
    /// A version, or its tag.
    Tag([u8; 6]),
    /// An item of a feed.
    Item(&'a str),
    /// A name that is no version.
    Other,
}

/// A client's claim to be told only what is not older than what it named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named {
    /// The first poll that began after it was said.
    poll: PollNumber,
    /// The place of the name among those that are open. `None` if only a poll can say.
    ticket: Option<u64>,
}

impl Named {
    /// What only this poll, or a later one, confirms.
    pub(super) fn by_poll(poll: PollNumber) -> Named {
        Named { poll, ticket: None }
    }

    /// The poll that confirms it at the latest.
    pub(super) fn poll(self) -> PollNumber {
        self.poll
    }
}

/// The names that are open when a look-up begins.
#[derive(Debug, Clone, Default)]
pub struct OpenNames {
    /// Names that were said up to this one are among them.
    until: u64,
    /// Tags of versions.
    tags: Vec<[u8; 6]>,
    /// On a feed: items.
    items: Vec<Box<str>>,
    /// One of them is no name that a look-up finds: only a poll can say.
    needs_poll: bool,
}

impl OpenNames {
    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.items.is_empty() && !self.needs_poll
    }

    /// The items that are open.
    pub fn items(&self) -> impl Iterator<Item = &str> {
        self.items.iter().map(|id| &**id)
    }
}

/// What clients named that is neither found nor confirmed.
#[derive(Debug, Default)]
pub(super) struct Names {
    open: Vec<Open>,
    /// How often something was said that is to be looked up.
    said: u64,
    /// The last look-up that began knows of what was said up to this one.
    looked_up: u64,
    /// The newest poll that a name waits for which no look-up finds.
    other: PollNumber,
}

#[derive(Debug)]
struct Open {
    what: What,
    ticket: u64,
    /// The newest poll that one of the clients waits for that said it.
    poll: PollNumber,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    Tag([u8; 6]),
    Item(Box<str>),
}

impl Names {
    /// Notes a name. `poll`: the first poll that begins after this. `confirmed`: the last poll that confirmed what is
    /// held.
    pub(super) fn say(&mut self, name: Name<'_>, poll: PollNumber, confirmed: PollNumber) -> Named {
        self.forget(confirmed);
        let what = match name {
            Name::Tag(tag) => What::Tag(tag),
            Name::Item(id) => What::Item(id.into()),
            Name::Other => return self.say_other(poll),
        };
        // A look-up that has begun reads what may be older than what this client has seen.
        let looked_up = self.looked_up;
        if let Some(open) = self.open.iter_mut().find(|open| open.what == what && open.ticket > looked_up) {
            open.poll = open.poll.max(poll);
            return Named { poll, ticket: Some(open.ticket) };
        }
        if self.open.len() >= NAMES_MAX {
            return self.say_other(poll);
        }
        self.said += 1;
        self.open.push(Open { what, ticket: self.said, poll });
        Named { poll, ticket: Some(self.said) }
    }

    fn say_other(&mut self, poll: PollNumber) -> Named {
        self.said += 1;
        self.other = self.other.max(poll);
        Named::by_poll(poll)
    }

    /// Whether a client still has to wait.
    pub(super) fn is_open(&self, named: Named, confirmed: PollNumber) -> bool {
        let is_found = || named.ticket.is_some_and(|t| self.open.iter().all(|open| open.ticket != t));
        confirmed < named.poll && !is_found()
    }

    /// The newest poll that an open name waits for; 0 if nothing is open.
    pub(super) fn awaited(&self) -> PollNumber {
        self.open.iter().map(|open| open.poll).max().unwrap_or_default().max(self.other)
    }

    /// How often something was said that is to be looked up.
    pub(super) fn said(&self) -> u64 {
        self.said
    }

    /// What is open now: a look-up begins.
    pub(super) fn begin_look_up(&mut self, confirmed: PollNumber) -> OpenNames {
        self.forget(confirmed);
        self.looked_up = self.said;
        let mut names =
            OpenNames { until: self.said, needs_poll: self.other > confirmed, ..OpenNames::default() };
        for open in &self.open {
            match &open.what {
                What::Tag(tag) => names.tags.push(*tag),
                What::Item(id) => names.items.push(id.clone()),
            }
        }
        names
    }

    /// A look-up has ended that began with these names: those that it found are open no longer. Returns whether it found
    /// all of them.
    pub(super) fn end_look_up(&mut self, names: &OpenNames, tags: &[[u8; 6]], items: &[&str]) -> bool {
        let mut found_all = !names.needs_poll;
        self.open.retain(|open| {
            let is_found = match &open.what {
                _ if open.ticket > names.until => return true,
                What::Tag(tag) => tags.contains(tag),
                What::Item(id) => items.contains(&&**id),
            };
            found_all &= is_found;
            !is_found
        });
        found_all
    }

    /// Forgets what a poll has confirmed: its clients see that by the number of the poll.
    fn forget(&mut self, confirmed: PollNumber) {
        self.open.retain(|open| open.poll > confirmed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Name<'_> = Name::Tag([1; 6]);
    const B: Name<'_> = Name::Tag([2; 6]);

    fn look_up(names: &mut Names, found: &[u8]) -> bool {
        let open = names.begin_look_up(0);
        let tags: Vec<[u8; 6]> = found.iter().map(|n| [*n; 6]).collect();
        names.end_look_up(&open, &tags, &[])
    }

    #[test]
    fn more_names_than_are_remembered_need_a_poll() {
        let mut names = Names::default();
        for n in 0..NAMES_MAX {
            names.say(Name::Tag([n as u8; 6]), 1, 0);
        }
        names.say(Name::Tag([0; 6]), 1, 0);
        assert!(!names.begin_look_up(0).needs_poll, "it is among them");
        let named = names.say(Name::Item("a"), 1, 0);
        assert_eq!(named.ticket, None);
        let open = names.begin_look_up(0);
        assert!(open.needs_poll);
        assert_eq!((open.tags.len(), open.items.len()), (NAMES_MAX, 0));
    }

    #[test]
    fn a_look_up_that_finds_one_name_lets_no_other_in() {
        let mut names = Names::default();
        let a = names.say(A, 3, 0);
        assert!(!look_up(&mut names, &[2]));
        let b = names.say(B, 3, 0);
        assert!(!look_up(&mut names, &[2]), "the first one is still open");
        assert_eq!((names.is_open(a, 0), names.is_open(b, 0)), (true, false));
        assert!(!names.is_open(a, 3), "a poll confirms it");
    }

    #[test]
    fn a_look_up_that_had_begun_finds_no_name_that_is_said_now() {
        let mut names = Names::default();
        names.say(A, 1, 0);
        let open = names.begin_look_up(0);
        let again = names.say(A, 2, 0);
        assert!(names.end_look_up(&open, &[[1; 6]], &[]));
        assert!(names.is_open(again, 0), "it may have recurred meanwhile");
        assert!(look_up(&mut names, &[1]));
        assert!(!names.is_open(again, 0));
        assert_eq!(names.awaited(), 0);
    }

    #[test]
    fn a_name_that_only_a_poll_finds_waits_for_it() {
        let mut names = Names::default();
        let other = names.say(Name::Other, 5, 0);
        assert!(!look_up(&mut names, &[1, 2]));
        assert!(names.is_open(other, 4));
        assert!(!names.is_open(other, 5));
        assert!(names.begin_look_up(5).is_empty(), "it is confirmed");
    }

    #[test]
    fn what_a_poll_confirmed_takes_no_room() {
        let mut names = Names::default();
        for n in 0..NAMES_MAX {
            names.say(Name::Tag([n as u8; 6]), 1, 0);
        }
        let named = names.say(Name::Item("a"), 2, 1);
        assert!(named.ticket.is_some());
        assert_eq!(names.open.len(), 1);
    }
}
