//! Which server of an upstream gets the next request: names become addresses again and again, unhealthy
//! servers are left out, weights are respected.
//! Must not know: requests, connections, how a server's health is found out.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

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

use super::failure::{Failure, NewError};
use crate::config;

/// Most addresses taken from one name.
const MAX_ADDRESSES: usize = 64;

/// The selector keeps a slot per unit of weight; more than this says nothing more.
const MAX_WEIGHT: usize = 1000;

/// A name that takes longer to resolve counts as failed.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// As long as nothing was ever resolved, requests ask for a resolution, but no more often than this.
const RETRY_RESOLUTION: Duration = Duration::from_secs(1);

/// A server at one of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub address: SocketAddr,
    /// Host name or IP literal as configured, without port and brackets.
    pub host: Arc<str>,
}

impl Target {
    /// The target that a load balancer's backend stands for; none: it is not one of ours.
    pub(super) fn of(backend: &Backend) -> Option<Self> {
        let address = *backend.addr.as_inet()?;
        let host = backend.ext.get::<Arc<str>>()?.clone();
        Some(Self { address, host })
    }

    /// `host:port` as a Host header says it.
    pub(super) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => self.address.to_string(),
            false => format!("{}:{}", self.host, self.address.port()),
        }
    }
}

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
            let place = Place::parse(&server.address).ok_or_else(|| NewError::Server {
                upstream: upstream.name.clone(),
                address: server.address.clone(),
            })?;
            servers.push((place, server.weight.clamp(1, MAX_WEIGHT)));
        }
        let has_names = servers.iter().any(|(place, _)| place.literal().is_none());
        let names = Names::new(upstream.name.clone(), servers, resolver);
        let mut balancer = LoadBalancer::from_backends(Backends::new(Box::new(names)));
        if let Some(check) = health_check {
            balancer.set_health_check(check);
        }
        Ok(Self { balancer, resolution: tokio::sync::Mutex::new(None), has_names })
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
    }

    /// Checks the health of all servers once.
    pub(super) async fn check_health(&self) {
        self.balancer.backends().run_health_check(true).await;
    }

    /// The server for the next request, none of `tried`.
    ///
    /// # Errors
    /// [`Failure::NoServer`] if no address is known, healthy and not tried.
    pub(super) async fn pick(&self, tried: &[SocketAddr]) -> Result<Target, Failure> {
        let known = self.known().await;
        if let Some(only) = the_only(&known)
            && tried.is_empty()
            && self.balancer.backends().ready(only)
            && let Some(target) = Target::of(only)
        {
            // Nothing to choose: the walk would copy it and note that it was seen, for each request.
            return Ok(target);
        }
        let is_tried = |backend: &Backend| backend.addr.as_inet().is_some_and(|at| tried.contains(at));
        // The round robin is shared, so the walk of one request may see a server twice and miss another:
        // give it room before falling back to the plain list.
        let chosen = self
            .balancer
            .select_with(b"", known.len().saturating_mul(2), |backend, healthy| healthy && !is_tried(backend))
            .or_else(|| {
                let mut ready = known.iter().filter(|it| self.balancer.backends().ready(it));
                ready.find(|backend| !is_tried(backend)).cloned()
            });
        chosen.as_ref().and_then(Target::of).ok_or_else(|| Failure::NoServer {
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
        let is_due = began.is_none_or(|at| at.elapsed() >= RETRY_RESOLUTION);
        if is_due && self.balancer.backends().get_backend().is_empty() {
            self.resolve_locked(&mut began).await;
        }
        self.balancer.backends().get_backend()
    }
}

/// The one address, where there are no others.
fn the_only(known: &BTreeSet<Backend>) -> Option<&Backend> {
    known.first().filter(|_| known.len() == 1)
}

/// A configured server: `host:port`, taken apart.
struct Place {
    host: Arc<str>,
    port: u16,
}

impl Place {
    fn parse(address: &str) -> Option<Self> {
        let (host, port) = address.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(host) => host.parse::<IpAddr>().ok().map(|_| host)?,
            None if host.is_empty() || host.contains([':', '/', '@', ' ']) => return None,
            None => host,
        };
        Some(Self { host: host.into(), port })
    }

    fn literal(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.parse().ok()?, self.port))
    }
}

/// The configured servers as the balancer sees them: each address of a name has the name's weight.
struct Names {
    upstream: String,
    servers: Vec<(Place, usize)>,
    resolver: Arc<dyn Resolver>,
    /// By index of the server. Literals are in here from the start.
    last_good: Mutex<HashMap<usize, Vec<SocketAddr>>>,
}

impl Names {
    fn new(upstream: String, servers: Vec<(Place, usize)>, resolver: Arc<dyn Resolver>) -> Self {
        let literals = servers.iter().enumerate();
        let literals = literals.filter_map(|(index, (place, _))| Some((index, vec![place.literal()?])));
        let last_good = Mutex::new(literals.collect());
        Self { upstream, servers, resolver, last_good }
    }

    /// All names at once, so that a slow one delays the others by no more than `LOOKUP_LIMIT`.
    async fn look_up(&self) {
        let mut lookups = JoinSet::new();
        for (index, (place, _)) in self.servers.iter().enumerate() {
            if place.literal().is_none() {
                let (resolver, host, port) = (self.resolver.clone(), place.host.clone(), place.port);
                lookups.spawn(async move {
                    let found = timeout(LOOKUP_LIMIT, resolver.resolve(&host, port)).await;
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
        let (upstream, host) = (&self.upstream, &self.servers[index].0.host);
        let mut last_good = self.last_good.lock();
        match found {
            Ok(mut found) if !found.is_empty() => {
                found.sort();
                found.dedup();
                found.truncate(MAX_ADDRESSES);
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
        let mut found: HashMap<SocketAddr, (usize, Arc<str>)> = HashMap::new();
        let last_good = self.last_good.lock();
        for (index, (place, weight)) in self.servers.iter().enumerate() {
            for address in last_good.get(&index).into_iter().flatten() {
                found.entry(*address).or_insert_with(|| (0, place.host.clone())).0 += weight;
            }
        }
        let backends = found.into_iter().map(|(address, (weight, host))| {
            let mut ext = Extensions::new();
            ext.insert(host);
            Backend { addr: PingoraAddr::Inet(address), weight, ext }
        });
        Ok((backends.collect(), HashMap::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::client::tests::upstream_of;

    #[test]
    fn servers_are_host_and_port() {
        let parsed = |text| Place::parse(text).map(|place| (place.host.to_string(), place.port));
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
            *picked.entry(target.address.to_string()).or_default() += 1;
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
        let picked = picks(&targets, MAX_WEIGHT + 1).await;
        assert_eq!(picked, counts([("10.0.0.1:80", 1), ("10.0.0.2:80", MAX_WEIGHT)]));
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
        tokio::time::advance(RETRY_RESOLUTION).await;
        assert_eq!(targets.pick(&[]).await.unwrap().address.to_string(), "10.0.0.1:80");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_hangs_does_not_hold_the_others_for_long() {
        let script = Arc::new(Script::default());
        script.say("a.test", &["10.0.0.1:80"]);
        let servers = upstream_of(&["hangs.test:80", "10.0.0.2:80", "a.test:80"]);
        let targets = Targets::new(&servers, script, None).unwrap();
        let began = Instant::now();
        assert_eq!(picks(&targets, 2).await, counts([("10.0.0.1:80", 1), ("10.0.0.2:80", 1)]));
        assert_eq!(began.elapsed().as_secs(), LOOKUP_LIMIT.as_secs());
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
        let first = targets.pick(&[]).await.unwrap().address;
        let second = targets.pick(&[first]).await.unwrap().address;
        assert_ne!(first, second);
        assert_eq!(targets.pick(&[first, second]).await.unwrap_err().class(), "no-server");
    }
}
