//! One server that may be asked: its address, its name, and the other addresses of that name.
//!
//! Must not know: how it is chosen, how it is reached.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// An address that failed, or was slower than another one of its name, is tried last for so long.
const DOUBT_TIME: Duration = Duration::from_secs(60);

/// Addresses of one name that one connection tries at most.
const RACERS_MAX: usize = 8;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Site {
    Inet(SocketAddr),
    /// The path of a Unix socket.
    Unix(Arc<Path>),
    /// The port; the host's name is resolved by the proxy on the way.
    Named(u16),
}

/// A server at one of its addresses.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The address.
    pub site: Site,
    /// Host name or IP literal as configured, without port and brackets; `localhost` for a Unix socket.
    pub host: Arc<str>,
    /// All addresses of the host, where there are several.
    pub addresses: Option<Arc<Addresses>>,
}

impl Target {
    /// A server at one address that is the only one of its host.
    #[cfg(test)]
    pub(super) fn at(address: SocketAddr, host: &str) -> Target {
        Target { site: Site::Inet(address), host: host.into(), addresses: None }
    }

    /// `host:port` as a Host header says it.
    pub(super) fn authority(&self) -> String {
        let port = match &self.site {
            Site::Inet(address) => address.port(),
            Site::Named(port) => *port,
            Site::Unix(_) => return self.host.to_string(),
        };
        match self.host.contains(':') {
            true => format!("[{}]:{port}", self.host),
            false => format!("{}:{port}", self.host),
        }
    }

    /// Whether this address of its host failed a moment ago, or was slower than another one.
    pub(super) fn is_doubtful(&self) -> bool {
        match (&self.site, &self.addresses) {
            (Site::Inet(address), Some(addresses)) => addresses.is_doubtful(*address),
            _ => false,
        }
    }

    /// Notes what a health check found.
    pub(super) fn note_health(&self, is_healthy: bool) {
        if let (Site::Inet(address), Some(addresses)) = (&self.site, &self.addresses) {
            addresses.note_health(*address, is_healthy);
        }
    }
}

/// Names the place, for operators.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.site {
            Site::Inet(address) => address.fmt(f),
            Site::Unix(path) => write!(f, "unix:{}", path.display()),
            Site::Named(_) => f.write_str(&self.authority()),
        }
    }
}

/// Targets are equal if site and host are: other addresses of the host make no other server.
impl PartialEq for Target {
    fn eq(&self, other: &Target) -> bool {
        (&self.site, &self.host) == (&other.site, &other.host)
    }
}

impl Eq for Target {}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.site, &self.host).hash(state);
    }
}

/// The addresses of one name, and what connections found out about them.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    state: Mutex<State>,
    /// Some are doubtful. Spares each choice of an address the lock.
    has_doubts: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    known: Vec<SocketAddr>,
    doubtful: HashMap<SocketAddr, Instant>,
    /// Addresses that failed their health check.
    unhealthy: HashSet<SocketAddr>,
}

impl Addresses {
    /// Notes what the name resolves to.
    pub(super) fn set(&self, known: &[SocketAddr]) {
        let mut state = self.state.lock();
        state.known = known.to_vec();
        state.doubtful.retain(|address, _| known.contains(address));
        state.unhealthy.retain(|address| known.contains(address));
    }

    fn is_doubtful(&self, address: SocketAddr) -> bool {
        self.has_doubts.load(Ordering::Relaxed)
            && self.state.lock().doubtful.get(&address).is_some_and(|at| at.elapsed() < DOUBT_TIME)
    }

    fn note_health(&self, address: SocketAddr, is_healthy: bool) {
        let unhealthy = &mut self.state.lock().unhealthy;
        match is_healthy {
            true => unhealthy.remove(&address),
            false => unhealthy.insert(address),
        };
    }

    /// The address that is tried first if none is asked for: the first one that is not doubtful.
    pub(super) fn best(&self) -> Option<SocketAddr> {
        let state = self.state.lock();
        let is_good = |address: &&SocketAddr| !state.is_doubtful(**address);
        state.known.iter().find(is_good).or(state.known.first()).copied()
    }

    /// The order in which a connection tries them: `first`, then the families in turn, doubtful ones last, and none
    /// that failed its health check (RFC 8305 §4).
    pub(super) fn order(&self, first: SocketAddr) -> Vec<SocketAddr> {
        let state = self.state.lock();
        let mut others: Vec<SocketAddr> = state.known.clone();
        others.retain(|address| *address != first && !state.unhealthy.contains(address));
        others.sort_by_key(|address| state.is_doubtful(*address));
        let (same, other): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|address| address.is_ipv6() == first.is_ipv6());
        let (mut same, mut other) = (same.into_iter(), other.into_iter());
        let mut order = vec![first];
        loop {
            let before = order.len();
            order.extend(other.next());
            order.extend(same.next());
            if order.len() == before || order.len() >= RACERS_MAX {
                order.truncate(RACERS_MAX);
                return order;
            }
        }
    }

    /// Notes which address was connected to, and which ones had been tried before it.
    pub(super) fn note_winner(&self, winner: SocketAddr, before: &[SocketAddr]) {
        let mut state = self.state.lock();
        state.doubtful.remove(&winner);
        state.doubtful.retain(|_, at| at.elapsed() < DOUBT_TIME);
        state.doubtful.extend(before.iter().map(|address| (*address, Instant::now())));
        self.has_doubts.store(!state.doubtful.is_empty(), Ordering::Relaxed);
    }
}

impl State {
    fn is_doubtful(&self, address: SocketAddr) -> bool {
        self.doubtful.get(&address).is_some_and(|at| at.elapsed() < DOUBT_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        format!("{text}:80").parse().unwrap()
    }

    fn addresses(of: &[&str]) -> Addresses {
        let addresses = Addresses::default();
        addresses.set(&of.iter().map(|text| address(text)).collect::<Vec<_>>());
        addresses
    }

    fn order(addresses: &Addresses, first: &str) -> Vec<String> {
        addresses.order(address(first)).iter().map(|address| address.ip().to_string()).collect()
    }

    #[test]
    fn families_take_turns_behind_the_first() {
        let addresses = addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "[fd00::1]", "[fd00::2]"]);
        assert_eq!(order(&addresses, "10.0.0.2"), ["10.0.0.2", "fd00::1", "10.0.0.1", "fd00::2", "10.0.0.3"]);
        assert_eq!(
            order(&addresses, "[fd00::1]"),
            ["fd00::1", "10.0.0.1", "fd00::2", "10.0.0.2", "10.0.0.3"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_lost_is_tried_last_for_a_while_and_what_won_counts_again_at_once() {
        let addresses = addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        addresses.note_winner(address("10.0.0.3"), &[address("10.0.0.1"), address("10.0.0.2")]);
        assert_eq!(addresses.best(), Some(address("10.0.0.3")));
        assert_eq!(order(&addresses, "10.0.0.1"), ["10.0.0.1", "10.0.0.3", "10.0.0.2"]);
        addresses.note_winner(address("10.0.0.1"), &[]);
        assert_eq!(addresses.best(), Some(address("10.0.0.1")));
        assert!(addresses.is_doubtful(address("10.0.0.2")));
        tokio::time::advance(DOUBT_TIME).await;
        assert!(!addresses.is_doubtful(address("10.0.0.2")));
    }

    #[test]
    fn nothing_is_tried_that_failed_its_health_check_or_is_gone() {
        let addresses = addresses(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        addresses.note_health(address("10.0.0.2"), false);
        assert_eq!(order(&addresses, "10.0.0.1"), ["10.0.0.1", "10.0.0.3"]);
        addresses.note_health(address("10.0.0.2"), true);
        assert_eq!(order(&addresses, "10.0.0.1"), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        addresses.set(&[address("10.0.0.1")]);
        assert_eq!(order(&addresses, "10.0.0.1"), ["10.0.0.1"]);
    }

    #[test]
    fn hundreds_of_addresses_are_not_tried_all() {
        let many: Vec<String> = (0..200).map(|number| format!("10.0.0.{number}")).collect();
        let many = addresses(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(many.order(address("10.0.0.1")).len(), RACERS_MAX);
    }

    #[test]
    fn a_server_is_named_as_a_host_header_has_it() {
        let target = |site, host: &str| Target { site, host: host.into(), addresses: None };
        let of = |text: &str| Site::Inet(text.parse().unwrap());
        assert_eq!(target(of("10.0.0.1:80"), "api").authority(), "api:80");
        assert_eq!(target(of("[::1]:80"), "::1").authority(), "[::1]:80");
        assert_eq!(target(Site::Named(443), "api").authority(), "api:443");
        let unix = target(Site::Unix(Path::new("/run/a.sock").into()), "localhost");
        assert_eq!((unix.authority(), unix.to_string()), ("localhost".into(), "unix:/run/a.sock".into()));
    }
}
