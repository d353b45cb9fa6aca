//! Which server of an upstream gets the next request: names become addresses again and again, unhealthy
//! servers are left out, weights are respected.
//! Must not know: requests, connections, how a server's health is found out.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use http::Extensions;
use parking_lot::Mutex;
use pingora::lb::discovery::ServiceDiscovery;
use pingora::lb::health_check::HealthCheck;
use pingora::lb::selection::RoundRobin;
use pingora::lb::{Backend, Backends, LoadBalancer};
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::failure::Failure;
use super::new_error::NewError;
use super::target::{Addresses, Site, Target};
use crate::config;

/// Most addresses taken from one name.
const ADDRESSES_MAX: usize = 64;

/// The selector keeps a slot per unit of weight; more than this says nothing more.
const WEIGHT_MAX: usize = 1000;

/// A name that takes longer to resolve counts as failed.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(5);

/// As long as nothing was ever resolved, requests ask for a resolution, but no more often than this.
const RESOLUTION_SPACING: Duration = Duration::from_secs(1);

/// How a host name becomes addresses.
#[async_trait]
pub(super) trait Resolver: Send + Sync {
    /// All addresses of `host`.
    ///
    /// # Errors
    /// Whatever keeps the name from being resolved.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's resolver.
pub(super) struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// The servers of one upstream.
pub(super) struct Targets {
    balancer: LoadBalancer<RoundRobin>,
    /// When the last resolution began. Held during one: the balancer's updates must not overlap.
    resolution: tokio::sync::Mutex<Option<Instant>>,
    has_names: bool,
    /// The server that every request gets: one address is known, and no check can find it unhealthy.
    only: ArcSwapOption<Target>,
    has_check: bool,
}

impl Targets {
    /// Nothing is resolved yet.
    ///
    /// # Errors
    /// [`NewError::Server`] for an address that is not `host:port`.
    pub(super) fn new(
        upstream: &config::Upstream,
        resolver: Arc<dyn Resolver>,
        health_check: Option<Box<dyn HealthCheck + Send + Sync>>,
    ) -> Result<Self, NewError> {
        let mut servers = Vec::new();
        for server in &upstream.servers {
            let place = Place::parse(&server.address, upstream.proxy.is_some());
            let place = place.ok_or_else(|| NewError::Server {
                upstream: upstream.name.clone(),
                address: server.address.clone(),
            })?;
            servers.push((place, server.weight.clamp(1, WEIGHT_MAX)));
        }
        let has_names = servers.iter().any(|(place, _)| place.is_name());
        let names = Names::new(upstream.name.clone(), servers, resolver);
        let mut balancer = LoadBalancer::from_backends(Backends::new(Box::new(names)));
        let has_check = health_check.is_some();
        if let Some(check) = health_check {
            balancer.set_health_check(check);
        }
        let (resolution, only) = (tokio::sync::Mutex::new(None), ArcSwapOption::empty());
        Ok(Self { balancer, resolution, has_names, only, has_check })
    }

    /// Whether resolving again can give anything new.
    pub(super) fn has_names(&self) -> bool {
        self.has_names
    }

    /// Resolves all names once; a name that cannot be resolved keeps its last addresses.
    pub(super) async fn resolve(&self) {
        let mut began = self.resolution.lock().await;
        self.resolve_locked(&mut began).await;
    }

    async fn resolve_locked(&self, began: &mut Option<Instant>) {
        // Set before the wait: an abandoned attempt counts, or every request would start another lookup.
        *began = Some(Instant::now());
        if let Err(error) = self.balancer.update().await {
            warn!(%error, "resolution failed");
        }
        let known = self.balancer.backends().get_backend();
        let only = known.first().filter(|_| known.len() == 1 && !self.has_check);
        self.only.store(only.and_then(target_of).map(Arc::new));
    }

    /// Returns how many addresses are known, and how many of them are not found unhealthy.
    pub(super) fn count(&self) -> (usize, usize) {
        let known = self.balancer.backends().get_backend();
        (known.len(), known.iter().filter(|backend| self.balancer.backends().ready(backend)).count())
    }

    /// Checks the health of all servers once.
    pub(super) async fn check_health(&self) {
        self.balancer.backends().run_health_check(true).await;
    }

    /// The server for the next request where one address is known, and it is healthy: there is nothing to choose, and the
    /// walk of [`pick`](Self::pick) would copy the target for each request.
    pub(super) fn the_only(&self) -> Option<Target> {
        if let Some(only) = &*self.only.load() {
            return Some(Target::clone(only));
        }
        self.only_of(&self.balancer.backends().get_backend())
    }

    fn only_of(&self, known: &BTreeSet<Backend>) -> Option<Target> {
        let only = known.first().filter(|only| known.len() == 1 && self.balancer.backends().ready(only))?;
        target_of(only)
    }

    /// The server for the next request, none of `tried`.
    ///
    /// # Errors
    /// [`Failure::NoServer`] if no address is known, healthy and not tried.
    pub(super) async fn pick(&self, tried: &[Target]) -> Result<Target, Failure> {
        let known = self.known().await;
        if tried.is_empty()
            && let Some(target) = self.only_of(&known)
        {
            return Ok(target);
        }
        let is_new = |backend: &Backend| backend.ext.get().is_some_and(|target| !tried.contains(target));
        let is_good =
            |backend: &Backend| backend.ext.get().is_some_and(|target: &Target| !target.is_doubtful());
        // The round robin is shared, so the walk of one request may see a server twice and miss another:
        // give it room before falling back to the plain list.
        let chosen = self
            .balancer
            .select_with(b"", known.len().saturating_mul(2), |backend, healthy| {
                healthy && is_new(backend) && is_good(backend)
            })
            .or_else(|| {
                let ready = known.iter().filter(|it| self.balancer.backends().ready(it) && is_new(it));
                ready.max_by_key(|backend| is_good(backend)).cloned()
            });
        chosen.as_ref().and_then(target_of).ok_or_else(|| Failure::NoServer {
            reason: match known.len() {
                0 => "no server name resolves to an address".to_owned(),
                count if tried.is_empty() => format!("unhealthy: all {count} addresses"),
                count => format!("tried or unhealthy: all {count} addresses"),
            },
        })
    }

    /// The known addresses; the first call resolves them.
    async fn known(&self) -> Arc<BTreeSet<Backend>> {
        let known = self.balancer.backends().get_backend();
        if !known.is_empty() {
            return known;
        }
        let mut began = self.resolution.lock().await;
        let is_due = began.is_none_or(|at| at.elapsed() >= RESOLUTION_SPACING);
        if is_due && self.balancer.backends().get_backend().is_empty() {
            self.resolve_locked(&mut began).await;
        }
        self.balancer.backends().get_backend()
    }
}

/// The server that a load balancer's backend stands for; `None` if it is none of this upstream's.
pub(super) fn target_of(backend: &Backend) -> Option<Target> {
    backend.ext.get::<Target>().cloned()
}

/// A configured server.
enum Place {
    /// `host:port`, taken apart.
    Inet { host: Arc<str>, port: u16 },
    /// A target that is known from the start: a socket, or a name that a proxy resolves.
    Fixed(Target),
}

impl Place {
    /// `is_proxied`: names are not resolved here.
    fn parse(address: &str, is_proxied: bool) -> Option<Self> {
        if let Some(path) = address.strip_prefix("unix:") {
            let site = Site::Unix(Path::new(path).into());
            return Some(Self::Fixed(Target { site, host: "localhost".into(), addresses: None }));
        }
        let (host, port) = address.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(host) => host.parse::<IpAddr>().ok().map(|_| host)?,
            None if host.is_empty() || host.contains([':', '/', '@', ' ']) => return None,
            None => host,
        };
        let host = host.into();
        Some(match is_proxied {
            true => Self::Fixed(Target { site: Site::Named(port), host, addresses: None }),
            false => Self::Inet { host, port },
        })
    }

    fn literal(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet { host, port } => Some(SocketAddr::new(host.parse().ok()?, *port)),
            Self::Fixed(_) => None,
        }
    }

    /// Whether it has to be resolved.
    fn is_name(&self) -> bool {
        matches!(self, Self::Inet { .. }) && self.literal().is_none()
    }

    fn host(&self) -> &Arc<str> {
        match self {
            Self::Inet { host, .. } | Self::Fixed(Target { host, .. }) => host,
        }
    }
}

/// The configured servers as the balancer sees them: each address of a name has the name's weight.
struct Names {
    upstream: String,
    servers: Vec<(Place, usize)>,
    resolver: Arc<dyn Resolver>,
    /// By index of the server. Literals are in here from the start.
    last_good: Mutex<HashMap<usize, Vec<SocketAddr>>>,
    /// By index of the server.
    addresses: Vec<Arc<Addresses>>,
}

impl Names {
    fn new(upstream: String, servers: Vec<(Place, usize)>, resolver: Arc<dyn Resolver>) -> Self {
        let literals = servers.iter().enumerate();
        let literals = literals.filter_map(|(index, (place, _))| Some((index, vec![place.literal()?])));
        let last_good = Mutex::new(literals.collect());
        let addresses = servers.iter().map(|_| Arc::default()).collect();
        Self { upstream, servers, resolver, last_good, addresses }
    }

    /// All names at once, so that a slow one delays the others by no more than `LOOKUP_TIME_MAX`.
    async fn look_up(&self) {
        let mut lookups = JoinSet::new();
        for (index, (place, _)) in self.servers.iter().enumerate() {
            if let Place::Inet { host, port } = place
                && place.is_name()
            {
                let (resolver, host, port) = (self.resolver.clone(), host.clone(), *port);
                lookups.spawn(async move {
                    let found = timeout(LOOKUP_TIME_MAX, resolver.resolve(&host, port)).await;
                    let found = found.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                    (index, found)
                });
            }
        }
        while let Some(done) = lookups.join_next().await {
            match done {
                Ok((index, found)) => self.keep(index, found),
                Err(error) => warn!(upstream = %self.upstream, %error, "a name lookup ended early"),
            }
        }
    }

    fn keep(&self, index: usize, found: io::Result<Vec<SocketAddr>>) {
        let (upstream, host) = (&self.upstream, self.servers[index].0.host());
        let mut last_good = self.last_good.lock();
        match found {
            Ok(mut found) if !found.is_empty() => {
                found.sort();
                found.dedup();
                found.truncate(ADDRESSES_MAX);
                let before = last_good.insert(index, found.clone());
                if before.is_some_and(|before| before != found) {
                    info!(%upstream, %host, addresses = ?found, "the name has other addresses now");
                }
            }
            failed => {
                let error = failed.err().unwrap_or_else(|| io::Error::other("the name has no address"));
                let kept = last_good.get(&index).map_or(0, Vec::len);
                warn!(%upstream, %host, %error, kept, "the name cannot be resolved; its last addresses stay");
            }
        }
    }
}

#[async_trait]
impl ServiceDiscovery for Names {
    async fn discover(&self) -> pingora::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        self.look_up().await;
        // By address, because two servers may resolve to the same one: it then gets both weights.
        let mut found: HashMap<SocketAddr, (usize, Target)> = HashMap::new();
        let last_good = self.last_good.lock();
        for (index, (place, weight)) in self.servers.iter().enumerate() {
            if let Place::Fixed(target) = place {
                found.insert(stand_in(index), (*weight, target.clone()));
            }
            let known = last_good.get(&index).map_or(&[][..], Vec::as_slice);
            self.addresses[index].set(known);
            let addresses = (known.len() > 1).then(|| self.addresses[index].clone());
            for address in known {
                let (site, host) = (Site::Inet(*address), place.host().clone());
                let target = Target { site, host, addresses: addresses.clone() };
                found.entry(*address).or_insert((0, target)).0 += weight;
            }
        }
        let backends = found.into_iter().map(|(address, (weight, target))| {
            let mut ext = Extensions::new();
            ext.insert(target);
            Backend { addr: PingoraAddr::Inet(address), weight, ext }
        });
        Ok((backends.collect(), HashMap::new()))
    }
}

/// Returns the address that stands in the balancer for a server without one: one of 0.0.0.0/8, which no server has.
fn stand_in(index: usize) -> SocketAddr {
    let number = u32::try_from(index).unwrap_or(u32::MAX) & 0x00ff_ffff;
    SocketAddr::new(Ipv4Addr::from(number).into(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::client::tests::upstream_of;

    #[test]
    fn servers_are_host_and_port() {
        let parsed = |text| match Place::parse(text, false)? {
            Place::Inet { host, port } => Some((host.to_string(), port)),
            Place::Fixed(target) => panic!("{target}"),
        };
        assert_eq!(parsed("legacy.internal:3001"), Some(("legacy.internal".to_owned(), 3001)));
        assert_eq!(parsed("[::1]:80"), Some(("::1".to_owned(), 80)));
        for wrong in ["legacy", ":80", "::1:80", "[legacy]:80", "a:b", "a:99999", "http://a:80"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    /// Answers what the test put in; no entry: an error.
    #[derive(Default)]
    struct Script(Mutex<HashMap<String, Vec<SocketAddr>>>);

    impl Script {
        fn say(&self, host: &str, addresses: &[&str]) {
            let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
            self.0.lock().insert(host.to_owned(), addresses);
        }

        fn fail(&self, host: &str) {
            self.0.lock().remove(host);
        }
    }

    #[async_trait]
    impl Resolver for Script {
        async fn resolve(&self, host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
            if host == "hangs.test" {
                std::future::pending::<()>().await;
            }
            self.0.lock().get(host).cloned().ok_or_else(|| io::Error::other("no such host"))
        }
    }

    async fn picks(targets: &Targets, count: usize) -> HashMap<String, usize> {
        let mut picked = HashMap::new();
        for _ in 0..count {
            let target = targets.pick(&[]).await.unwrap();
            *picked.entry(target.to_string()).or_default() += 1;
        }
        picked
    }

    fn counts<const N: usize>(of: [(&str, usize); N]) -> HashMap<String, usize> {
        of.into_iter().map(|(address, count)| (address.to_owned(), count)).collect()
    }

    #[tokio::test]
    async fn weights_are_respected() {
        let mut upstream = upstream_of(&["10.0.0.1:80", "10.0.0.2:80"]);
        upstream.servers[1].weight = 3;
        let targets = Targets::new(&upstream, Arc::new(SystemResolver), None).unwrap();
        assert_eq!(picks(&targets, 40).await, counts([("10.0.0.1:80", 10), ("10.0.0.2:80", 30)]));
    }

    #[tokio::test]
    async fn weights_of_zero_and_millions_are_bounded() {
        let mut upstream = upstream_of(&["10.0.0.1:80", "10.0.0.2:80"]);
        upstream.servers[0].weight = 0;
        upstream.servers[1].weight = usize::MAX;
        let targets = Targets::new(&upstream, Arc::new(SystemResolver), None).unwrap();
        let picked = picks(&targets, WEIGHT_MAX + 1).await;
        assert_eq!(picked, counts([("10.0.0.1:80", 1), ("10.0.0.2:80", WEIGHT_MAX)]));
    }

    #[tokio::test]
    async fn a_name_follows_its_addresses_and_keeps_the_last_good_ones() {
        let script = Arc::new(Script::default());
        script.say("a.test", &["10.0.0.1:80"]);
        script.say("b.test", &["10.0.1.1:80"]);
        let targets = Targets::new(&upstream_of(&["a.test:80", "b.test:80"]), script.clone(), None).unwrap();
        assert_eq!(picks(&targets, 2).await, counts([("10.0.0.1:80", 1), ("10.0.1.1:80", 1)]));

        script.fail("a.test");
        script.say("b.test", &["10.0.1.2:80"]);
        targets.resolve().await;
        assert_eq!(picks(&targets, 2).await, counts([("10.0.0.1:80", 1), ("10.0.1.2:80", 1)]));

        script.say("a.test", &["10.0.0.2:80", "10.0.0.3:80"]);
        script.say("b.test", &[]);
        targets.resolve().await;
        let moved = counts([("10.0.0.2:80", 1), ("10.0.0.3:80", 1), ("10.0.1.2:80", 1)]);
        assert_eq!(picks(&targets, 3).await, moved);
        assert_eq!(&*targets.pick(&[]).await.unwrap().host, "a.test");
    }

    #[tokio::test(start_paused = true)]
    async fn an_unresolved_upstream_is_looked_up_again_but_not_by_every_request() {
        let script = Arc::new(Script::default());
        let targets = Targets::new(&upstream_of(&["a.test:80"]), script.clone(), None).unwrap();
        assert_eq!(targets.pick(&[]).await.unwrap_err().class(), "no-server");
        script.say("a.test", &["10.0.0.1:80"]);
        assert_eq!(targets.pick(&[]).await.unwrap_err().class(), "no-server");
        tokio::time::advance(RESOLUTION_SPACING).await;
        assert_eq!(targets.pick(&[]).await.unwrap().to_string(), "10.0.0.1:80");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_hangs_does_not_hold_the_others_for_long() {
        let script = Arc::new(Script::default());
        script.say("a.test", &["10.0.0.1:80"]);
        let servers = upstream_of(&["hangs.test:80", "10.0.0.2:80", "a.test:80"]);
        let targets = Targets::new(&servers, script, None).unwrap();
        let began = Instant::now();
        assert_eq!(picks(&targets, 2).await, counts([("10.0.0.1:80", 1), ("10.0.0.2:80", 1)]));
        assert_eq!(began.elapsed().as_secs(), LOOKUP_TIME_MAX.as_secs());
    }

    #[tokio::test]
    async fn literals_need_no_resolver() {
        let script = Arc::new(Script::default());
        let targets = Targets::new(&upstream_of(&["10.0.0.1:80", "[::1]:80"]), script, None).unwrap();
        assert!(!targets.has_names());
        assert_eq!(picks(&targets, 2).await, counts([("10.0.0.1:80", 1), ("[::1]:80", 1)]));
    }

    #[tokio::test]
    async fn a_tried_address_is_not_picked_again() {
        let upstream = upstream_of(&["10.0.0.1:80", "10.0.0.2:80"]);
        let targets = Targets::new(&upstream, Arc::new(SystemResolver), None).unwrap();
        let first = targets.pick(&[]).await.unwrap();
        let second = targets.pick(std::slice::from_ref(&first)).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(targets.pick(&[first, second]).await.unwrap_err().class(), "no-server");
    }

    #[tokio::test]
    async fn a_doubtful_address_is_picked_only_when_no_other_one_is_left() {
        let script = Arc::new(Script::default());
        script.say("a.test", &["10.0.0.1:80", "10.0.0.2:80"]);
        let targets = Targets::new(&upstream_of(&["a.test:80"]), script, None).unwrap();
        let loser = targets.pick(&[]).await.unwrap();
        let Site::Inet(address) = loser.site else { panic!("{loser}") };
        let other = targets.pick(std::slice::from_ref(&loser)).await.unwrap();
        loser.addresses.as_ref().unwrap().note_winner("10.0.0.9:80".parse().unwrap(), &[address]);
        for _ in 0..4 {
            assert_eq!(targets.pick(&[]).await.unwrap(), other);
        }
        assert_eq!(targets.pick(&[other]).await.unwrap(), loser);
    }

    #[tokio::test]
    async fn sockets_and_what_a_proxy_resolves_are_servers_without_a_lookup() {
        let script = Arc::new(Script::default());
        let mut upstream = upstream_of(&["unix:/run/b.sock", "10.0.0.1:80", "unix:/run/a.sock"]);
        upstream.servers[0].weight = 2;
        let targets = Targets::new(&upstream, script.clone(), None).unwrap();
        assert!(!targets.has_names());
        let wanted = [("unix:/run/a.sock", 1), ("10.0.0.1:80", 1), ("unix:/run/b.sock", 2)];
        assert_eq!(picks(&targets, 4).await, counts(wanted));

        let mut upstream = upstream_of(&["a.test:80", "b.test:80", "10.0.0.1:80"]);
        upstream.proxy = Some(Arc::new(config::Proxy::parse("socks5://proxy:1080").unwrap()));
        let targets = Targets::new(&upstream, script, None).unwrap();
        assert!(!targets.has_names());
        assert_eq!(
            picks(&targets, 3).await,
            counts([("a.test:80", 1), ("b.test:80", 1), ("10.0.0.1:80", 1)])
        );
    }
}
