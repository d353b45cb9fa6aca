//! The account of those who follow one resource: how many, which subjects, which of them may come back in a moment.
//!
//! Pure but for its clock, which comes in. Must not know: who is told of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use crate::identity::Principal;

/// A follower, by its subject if it has one.
pub(super) type Who = Option<Arc<Principal>>;

/// Those who follow one resource.
#[derive(Debug, Default)]
pub(super) struct Followers {
    /// All of them, those between two long-polls included.
    count: usize,
    /// How many followers each subject is.
    subjects: HashMap<Arc<Principal>, usize>,
    /// Followers whose subject found no room among these.
    unnamed: usize,
    /// Subjects that were not there when this was last told and are now (true), or the other way round (false).
    news: HashMap<Arc<Principal>, bool>,
    lingering: Lingering,
}

/// What became of a follower that comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entered {
    /// It was counted already, between two long-polls. Inside: whether its subject is known by name.
    Back(bool),
    /// It is one more, and has no subject.
    Unknown,
    /// It is one more of a subject that was there.
    Again,
    /// It is the first one of its subject.
    First,
    /// It is one more, and there is no room for its subject.
    NoRoom,
}

impl Entered {
    /// Whether the subject is known by name.
    pub(super) fn is_named(self) -> bool {
        matches!(self, Entered::Back(true) | Entered::Again | Entered::First)
    }
}

impl Followers {
    /// How many follow.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The subjects that are known by name.
    pub(super) fn subjects(&self) -> impl Iterator<Item = &Arc<Principal>> {
        self.subjects.keys()
    }

    /// Whether every subject is known by name.
    pub(super) fn is_complete(&self) -> bool {
        self.unnamed == 0
    }

    /// Notes one more. `lingers`: it comes by long-polls, one after the other.
    pub(super) fn enter(&mut self, who: &Who, lingers: bool, subjects_max: usize) -> Entered {
        if lingers && let Some(is_named) = self.lingering.take(who) {
            return Entered::Back(is_named);
        }
        self.count += 1;
        let Some(principal) = who else { return Entered::Unknown };
        if let Some(count) = self.subjects.get_mut(principal) {
            *count += 1;
            return Entered::Again;
        }
        if self.subjects.len() >= subjects_max {
            self.unnamed += 1;
            return Entered::NoRoom;
        }
        self.subjects.insert(principal.clone(), 1);
        self.note(principal, true);
        Entered::First
    }

    /// Notes that one is gone. Returns whether it was the last one of a subject that is known by name.
    pub(super) fn leave(&mut self, who: &Who, is_named: bool) -> bool {
        self.count = self.count.saturating_sub(1);
        let Some(principal) = who else { return false };
        if !is_named {
            self.unnamed = self.unnamed.saturating_sub(1);
            return false;
        }
        match self.subjects.get_mut(principal) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => {
                self.subjects.remove(principal);
                self.note(principal, false);
                true
            }
        }
    }

    /// Notes that one has its answer, and may ask again until then.
    pub(super) fn linger(&mut self, until: Instant, who: Who, is_named: bool) {
        self.lingering.add(until, who, is_named);
    }

    /// Takes the next one that did not come back in time. It has not left yet.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<(Who, bool)> {
        self.lingering.overdue(now)
    }

    /// When the next one is overdue.
    pub(super) fn overdue_at(&mut self) -> Option<Instant> {
        self.lingering.next()
    }

    /// Takes the subjects that came and that went since this was last called.
    pub(super) fn take_news(&mut self) -> (Vec<Arc<Principal>>, Vec<Arc<Principal>>) {
        let (came, went): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.news).into_iter().partition(|new| new.1);
        let principals = |news: Vec<(Arc<Principal>, bool)>| news.into_iter().map(|(one, _)| one).collect();
        (principals(came), principals(went))
    }

    /// A subject that came and went before it was told of is no news.
    fn note(&mut self, principal: &Arc<Principal>, is_there: bool) {
        if self.news.remove(principal).is_none() {
            self.news.insert(principal.clone(), is_there);
        }
    }
}

/// Those between two long-polls.
#[derive(Debug, Default)]
struct Lingering {
    /// In the order in which they are overdue; those that came back are among them until then.
    queue: VecDeque<(Instant, u64, Who)>,
    /// By their subjects, the oldest first: its number, and whether it is known by name.
    waiting: HashMap<Who, VecDeque<(u64, bool)>>,
    next: u64,
}

impl Lingering {
    fn add(&mut self, until: Instant, who: Who, is_named: bool) {
        self.next += 1;
        self.waiting.entry(who.clone()).or_default().push_back((self.next, is_named));
        self.queue.push_back((until, self.next, who));
    }

    /// Takes one of this subject that comes back. Followers without a subject are all alike.
    fn take(&mut self, who: &Who) -> Option<bool> {
        let waiting = self.waiting.get_mut(who)?;
        let (_, is_named) = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(who);
        }
        Some(is_named)
    }

    fn next(&mut self) -> Option<Instant> {
        while let Some((until, number, who)) = self.queue.front() {
            let oldest = self.waiting.get(who).and_then(VecDeque::front);
            if oldest.is_some_and(|(oldest, _)| oldest == number) {
                return Some(*until);
            }
            self.queue.pop_front();
        }
        None
    }

    fn overdue(&mut self, now: Instant) -> Option<(Who, bool)> {
        if self.next()? > now {
            return None;
        }
        let (_, _, who) = self.queue.pop_front()?;
        let is_named = self.take(&who)?;
        Some((who, is_named))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::Way;

    fn who(name: &str) -> Who {
        Some(Arc::new(Principal::of(Way::Jwt, None, name)))
    }

    fn news(followers: &mut Followers) -> (Vec<String>, Vec<String>) {
        let (came, went) = followers.take_news();
        let names = |all: Vec<Arc<Principal>>| {
            let mut names: Vec<String> = all.iter().map(|one| one.subject.to_string()).collect();
            names.sort();
            names
        };
        (names(came), names(went))
    }

    #[test]
    fn a_subject_comes_first_and_goes_last_once_however_often_it_follows() {
        let (ann, bob) = (who("ann"), who("bob"));
        let mut followers = Followers::default();
        assert_eq!(followers.enter(&ann, false, 9), Entered::First);
        assert_eq!(followers.enter(&ann, false, 9), Entered::Again);
        assert_eq!(followers.enter(&bob, false, 9), Entered::First);
        assert_eq!(followers.enter(&None, false, 9), Entered::Unknown);
        assert_eq!(
            (followers.count(), news(&mut followers).0),
            (4, vec!["ann".to_owned(), "bob".to_owned()])
        );
        assert!(!followers.leave(&ann, true));
        assert!(followers.leave(&bob, true));
        assert!(followers.leave(&ann, true));
        assert!(!followers.leave(&None, false));
        assert_eq!(
            (followers.count(), news(&mut followers).1),
            (0, vec!["ann".to_owned(), "bob".to_owned()])
        );
    }

    #[test]
    fn what_came_and_went_in_between_is_no_news() {
        let mut followers = Followers::default();
        followers.enter(&who("ann"), false, 9);
        followers.leave(&who("ann"), true);
        assert_eq!(news(&mut followers), (vec![], vec![]));
        followers.enter(&who("ann"), false, 9);
        followers.take_news();
        followers.leave(&who("ann"), true);
        followers.enter(&who("ann"), false, 9);
        assert_eq!(news(&mut followers), (vec![], vec![]));
    }

    #[test]
    fn subjects_beyond_the_bound_are_counted_and_not_named() {
        let mut followers = Followers::default();
        assert!(followers.enter(&who("ann"), false, 1).is_named());
        assert_eq!(followers.enter(&who("bob"), false, 1), Entered::NoRoom);
        assert_eq!((followers.count(), followers.is_complete()), (2, false));
        assert!(!followers.leave(&who("bob"), false));
        assert_eq!((followers.count(), followers.is_complete()), (1, true));
        assert_eq!(news(&mut followers), (vec!["ann".to_owned()], vec![]));
    }

    #[test]
    fn one_that_asks_again_in_time_has_never_left() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut followers = Followers::default();
        for client in [who("ann"), who("bob"), None] {
            let is_named = followers.enter(&client, true, 9).is_named();
            followers.linger(start + second, client, is_named);
        }
        assert_eq!(followers.enter(&who("ann"), true, 9), Entered::Back(true));
        assert_eq!(followers.enter(&who("ann"), true, 9), Entered::Again, "that is another one");
        assert_eq!(followers.enter(&None, true, 9), Entered::Back(false));
        assert_eq!(followers.overdue_at(), Some(start + second));
        assert_eq!(followers.overdue(start), None);
        assert_eq!(followers.overdue(start + second), Some((who("bob"), true)));
        assert!(followers.leave(&who("bob"), true));
        assert_eq!((followers.overdue_at(), followers.count()), (None, 3));
    }

    #[test]
    fn a_stream_takes_no_place_between_two_long_polls() {
        let start = Instant::now();
        let mut followers = Followers::default();
        followers.enter(&None, true, 9);
        followers.linger(start, None, false);
        assert_eq!(followers.enter(&None, false, 9), Entered::Unknown);
        assert_eq!(followers.overdue(start), Some((None, false)));
    }
}
