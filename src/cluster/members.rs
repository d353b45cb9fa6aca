//! The nodes: which live, which one is preferred for a resource, which one takes over and when.
//!
//! Pure: the time comes with each call.
//! Must not know: engines, what a resource is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::seal::Name;

/// Most sessions that are looked at; an engine that tells of more is not believed.
pub const SESSIONS_MAX: usize = 1024;

/// A node that was fenced twice within this time, or cannot connect to the API, prefers nothing for [`CALM`].
const FENCED_WITHIN: Duration = Duration::from_secs(10);
const CALM: Duration = Duration::from_secs(60);

/// The sessions that live, as the last beat told.
#[derive(Debug, Clone)]
pub struct Members {
    own: String,
    /// The own node gives up what it holds.
    is_own_leaving: bool,
    lease: Duration,
    live: BTreeMap<String, Member>,
    fenced: Vec<Instant>,
    calm_until: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Member {
    since: Instant,
    hash: u64,
    is_leaving: bool,
}

/// What a mirror should do about its resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Succession {
    /// Its holder lives: nothing.
    Stay,
    /// Claim it now.
    Claim,
    /// Claim it at the next beat if no other node has by then.
    Wait,
    /// It may be taken from its holder, which lives: this node is preferred.
    Take,
}

impl Members {
    /// Nothing is known but the own session.
    pub fn new(own: &str, lease: Duration) -> Members {
        let (live, fenced) = (BTreeMap::new(), Vec::new());
        Members { own: own.to_owned(), is_own_leaving: false, lease, live, fenced, calm_until: None }
    }

    /// Another session of this node, after the old one lapsed.
    pub fn rejoin(&mut self, own: &str) {
        own.clone_into(&mut self.own);
    }

    /// Whether the own node gives up what it holds, with this session and each later one: it prefers nothing, and takes over
    /// only what no other node does.
    pub fn set_leaving(&mut self, is_leaving: bool) {
        self.is_own_leaving = is_leaving;
        if let Some(member) = self.live.get_mut(&self.own) {
            member.is_leaving = is_leaving;
        }
    }

    /// The own session.
    pub fn own(&self) -> &str {
        &self.own
    }

    /// Takes what a beat told. Returns whether the sessions are others than before.
    pub fn told(&mut self, live: &[String], now: Instant) -> bool {
        let before = self.live.len();
        let known = std::mem::take(&mut self.live);
        let mut is_new = false;
        for session in live.iter().take(SESSIONS_MAX) {
            let member = known.get(session).cloned().unwrap_or_else(|| {
                is_new = true;
                let is_leaving = *session == self.own && self.is_own_leaving;
                Member { since: now, hash: hash_of(session), is_leaving }
            });
            self.live.insert(session.clone(), member);
        }
        is_new || self.live.len() != before
    }

    /// A node said that it goes. Returns whether that was news.
    pub fn leaves(&mut self, session: &str) -> bool {
        let member = self.live.get_mut(session).filter(|member| !member.is_leaving);
        member.map(|member| member.is_leaving = true).is_some()
    }

    /// Whether a session lives and does not go.
    pub fn stays(&self, session: &str) -> bool {
        self.live.get(session).is_some_and(|member| !member.is_leaving)
    }

    /// Whether a session lives.
    pub fn lives(&self, session: &str) -> bool {
        self.live.contains_key(session)
    }

    /// How many live.
    pub fn count(&self) -> usize {
        self.live.len()
    }

    /// The sessions that live.
    pub fn sessions(&self) -> impl Iterator<Item = &str> {
        self.live.keys().map(String::as_str)
    }

    /// A write of this node was refused, or its session lapsed.
    pub fn fenced(&mut self, now: Instant) {
        self.fenced.retain(|at| now.duration_since(*at) < FENCED_WITHIN);
        self.fenced.push(now);
        if self.fenced.len() >= 2 {
            self.fenced.clear();
            self.calm_until = Some(now + CALM);
        }
    }

    /// This node let others take over since it cannot connect to the API: it takes nothing back at once.
    pub fn rests(&mut self, now: Instant) {
        self.calm_until = Some(now + CALM);
    }

    /// Whether this node takes what it is preferred for from those that live.
    fn is_calm(&self, now: Instant) -> bool {
        self.calm_until.is_none_or(|until| until <= now)
    }

    /// The session that a resource should be held by: the highest hash, of those that have lived for a lease.
    pub fn preferred(&self, name: &Name, now: Instant) -> Option<&str> {
        self.highest(name, |member| now.duration_since(member.since) >= self.lease)
    }

    fn highest(&self, name: &Name, counts: impl Fn(&Member) -> bool) -> Option<&str> {
        let staying = self.live.iter().filter(|(_, member)| !member.is_leaving && counts(member));
        let highest = staying.max_by_key(|(session, member)| (mixed(name.number(), member.hash), *session));
        highest.map(|(session, _)| session.as_str())
    }

    /// What to do about a resource that another session holds (empty: none does). `is_second_beat`: it was without a
    /// holder at the last beat already.
    pub fn succession(&self, name: &Name, holder: &str, is_second_beat: bool, now: Instant) -> Succession {
        if !self.lives(&self.own) {
            return Succession::Stay;
        }
        if self.stays(holder) {
            let is_own_turn = self.preferred(name, now) == Some(&self.own) && holder != self.own;
            return if is_own_turn && self.is_calm(now) { Succession::Take } else { Succession::Stay };
        }
        // A young node counts here: if it alone has a client of this resource, nothing else would poll it.
        let is_first = self.highest(name, |_| true) == Some(&self.own);
        if is_first || is_second_beat { Succession::Claim } else { Succession::Wait }
    }
}

/// A node's part of a session is what hashes, so that a node that joins again prefers what it did.
fn hash_of(session: &str) -> u64 {
    let node = session.split('.').next().unwrap_or_default();
    let hash = blake3::hash(node.as_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The finisher of SplitMix64: each bit of both decides about each bit of the result.
fn mixed(name: u64, node: u64) -> u64 {
    let mut mixed = name ^ node;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(1);

    fn names(count: usize) -> Vec<Name> {
        let name = |number: usize| {
            let mut bytes = [0; Name::BYTES];
            bytes.copy_from_slice(&blake3::hash(&number.to_le_bytes()).as_bytes()[..Name::BYTES]);
            Name::from_bytes(bytes)
        };
        (0..count).map(name).collect()
    }

    fn members(own: &str, sessions: &[&str], now: Instant) -> Members {
        let mut members = Members::new(own, LEASE);
        let live: Vec<String> = sessions.iter().map(|session| (*session).to_owned()).collect();
        assert_eq!(members.told(&live, now), !sessions.is_empty());
        members
    }

    #[test]
    fn all_nodes_prefer_the_same_one_and_each_has_its_part() {
        let now = Instant::now();
        let sessions = ["a.1", "b.1", "c.1"];
        let of_nodes = sessions.map(|own| members(own, &sessions, now));
        let later = now + LEASE;
        let mut parts = BTreeMap::<String, usize>::new();
        for name in names(3000) {
            let preferred = of_nodes[0].preferred(&name, later).unwrap();
            assert!(of_nodes.iter().all(|members| members.preferred(&name, later) == Some(preferred)));
            *parts.entry(preferred.to_owned()).or_default() += 1;
        }
        assert!(parts.values().all(|part| (900..=1100).contains(part)), "{parts:?}");
    }

    #[test]
    fn a_node_that_goes_changes_the_preference_of_its_own_resources_only() {
        let now = Instant::now();
        let (later, sessions) = (now + LEASE, ["a.1", "b.1", "c.1"]);
        let all = members("a.1", &sessions, now);
        let mut fewer = all.clone();
        assert!(fewer.leaves("c.1") && !fewer.leaves("c.1") && !fewer.leaves("d.1"));
        for name in names(500) {
            let before = all.preferred(&name, later).unwrap();
            let after = fewer.preferred(&name, later).unwrap();
            assert!(before == after || before == "c.1", "{before} became {after}");
        }
        // The same node with a new session prefers the same.
        let again = members("a.1", &["a.1", "b.1", "c.2"], now);
        let of_node = |session: Option<&str>| session.unwrap().split('.').next().unwrap().to_owned();
        for name in names(500) {
            assert_eq!(of_node(all.preferred(&name, later)), of_node(again.preferred(&name, later)));
        }
    }

    #[test]
    fn who_takes_over_and_when() {
        let now = Instant::now();
        let later = now + LEASE;
        let of_a = members("a.1", &["a.1", "b.1", "c.1"], now);
        let first = |members: &Members, wanted: &str| {
            names(1000).into_iter().find(|name| members.preferred(name, later) == Some(wanted)).unwrap()
        };
        let (own, others) = (first(&of_a, "a.1"), first(&of_a, "b.1"));
        for (name, holder, is_second, at, wanted) in [
            // Its holder lives.
            (&others, "b.1", false, later, Succession::Stay),
            (&own, "a.1", false, later, Succession::Stay),
            // It does, and this node should have it, as soon as both are old enough.
            (&own, "b.1", false, later, Succession::Take),
            (&own, "b.1", false, now, Succession::Stay),
            // It has gone, or was never there.
            (&own, "d.1", false, now, Succession::Claim),
            (&others, "d.1", false, now, Succession::Wait),
            (&others, "d.1", true, now, Succession::Claim),
            (&others, "", false, now, Succession::Wait),
            (&own, "", false, now, Succession::Claim),
        ] {
            assert_eq!(of_a.succession(name, holder, is_second, at), wanted, "{holder:?} {is_second}");
        }
        // A holder that goes is as good as gone, and the one that goes is no successor.
        let mut going = of_a.clone();
        going.leaves("b.1");
        let next = going.succession(&others, "b.1", false, later);
        let is_next = going.preferred(&others, later) == Some("a.1");
        assert_eq!(next, if is_next { Succession::Claim } else { Succession::Wait });
        // A node that goes itself takes nothing that another may have, and what none has at the second beat.
        let mut goes = of_a.clone();
        goes.set_leaving(true);
        for (name, holder, is_second, wanted) in [
            (&own, "b.1", false, Succession::Stay),
            (&own, "", false, Succession::Wait),
            (&own, "d.1", true, Succession::Claim),
        ] {
            assert_eq!(goes.succession(name, holder, is_second, later), wanted, "{holder:?} {is_second}");
        }
        // Its next session goes, too, until it joins again.
        goes.rejoin("a.2");
        goes.told(&["a.2".into(), "b.1".into(), "c.1".into()], now);
        assert!(!goes.stays("a.2") && goes.stays("b.1"));
        goes.set_leaving(false);
        assert!(goes.stays("a.2"));
        // A node whose own session does not live claims nothing.
        assert_eq!(members("d.1", &["a.1"], now).succession(&own, "", true, later), Succession::Stay);
    }

    #[test]
    fn a_node_that_let_others_take_over_takes_nothing_back_for_a_minute() {
        let now = Instant::now();
        let mut members = members("a.1", &["a.1", "b.1"], now);
        let at = now + LEASE;
        let own = names(100).into_iter().find(|name| members.preferred(name, at) == Some("a.1")).unwrap();
        members.rests(at);
        assert_eq!(members.succession(&own, "b.1", false, at), Succession::Stay);
        assert_eq!(
            members.succession(&own, "c.1", false, at),
            Succession::Claim,
            "what has no holder is claimed"
        );
        assert_eq!(members.succession(&own, "b.1", false, at + CALM), Succession::Take);
    }

    #[test]
    fn a_node_that_is_fenced_again_and_again_takes_nothing_for_a_minute() {
        let now = Instant::now();
        let mut members = members("a.1", &["a.1", "b.1"], now);
        let at = now + LEASE;
        let own = names(100).into_iter().find(|name| members.preferred(name, at) == Some("a.1")).unwrap();
        members.fenced(at);
        assert_eq!(members.succession(&own, "b.1", false, at), Succession::Take);
        members.fenced(at + FENCED_WITHIN);
        assert_eq!(members.succession(&own, "b.1", false, at + FENCED_WITHIN), Succession::Take);
        let again = at + FENCED_WITHIN + LEASE;
        members.fenced(again);
        assert_eq!(members.succession(&own, "b.1", false, again), Succession::Stay);
        assert_eq!(
            members.succession(&own, "c.1", false, again),
            Succession::Claim,
            "what has no holder is claimed"
        );
        assert_eq!(members.succession(&own, "b.1", false, again + CALM), Succession::Take);
    }
}
