//! One upstream's connections and the exchanges on them: choose a server, connect or take a pooled
//! connection, write one request, read one whole response within its bounds.
//! Must not know: resources, versions, what counts as data, subscribers.

mod body;
mod bridge;
mod certificates;
mod connector;
mod diagnosis;
mod dialer;
mod egress;
mod error_text;
mod exchange;
mod first_byte_stream;
mod health_check;
mod idle;
mod normalized_stream;
mod passthrough;
mod proxy;
mod proxy_answer;
mod race;
mod refusal;
#[cfg(feature = "openssl")]
mod rejected_certificate;
mod standing;
#[cfg(test)]
pub(super) mod tests;
#[cfg(feature = "openssl")]
mod tls_stream;
mod unshared_connections;
#[cfg_attr(not(feature = "openssl"), path = "client/without_openssl.rs")]
mod with_openssl;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::ACCEPT_ENCODING;
use parking_lot::Mutex;
use pingora::lb::health_check::HealthCheck;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::breaker::Breaker;
use super::budget::{Gate, NoTurn, Turn};
use super::failure::{Failure, FetchError};
use super::new_error::NewError;
use super::schedule::Quota;
use super::servers::{Resolver, SystemResolver, Targets};
use super::target::Target;
use super::{Answer, Ask, BodyClaim, Document, InFlight, Priority};
use crate::config;
use crate::metrics::Metrics;
use connector::Link;
pub use first_byte_stream::began_no_answer;
use health_check::{Probe, ROUND_INTERVAL_MIN};
pub use passthrough::{Chosen, Server, unreached, wants_credentials, workarounds};
pub use refusal::Workaround;
pub use standing::Standing;
use unshared_connections::Retired;
pub use unshared_connections::{Bond, Whose};

/// Most servers that one request tries to connect to.
const CONNECT_ATTEMPTS_MAX: usize = 3;

/// How long an upstream whose coded bodies cannot be decoded is asked for none.
const UNCODED_TIME: Duration = Duration::from_secs(600);

/// One configured upstream: its servers and its connection pool for polls.
pub struct Client {
    link: Arc<Link>,
    targets: Targets,
    gate: Arc<Gate>,
    breaker: Mutex<Breaker>,
    /// Polls ask for no codings until then, as its coded bodies could not be decoded.
    uncoded_until: Mutex<Option<Instant>>,
    /// Counts the polls in flight.
    polling: InFlight,
    /// Counts the requests that pass through.
    pub passing: InFlight,
    /// The connections of pass-through that must not serve other clients.
    retired: Retired,
    /// When an answer last began within `first_byte_timeout`, of a poll or of a request that passed through.
    in_time: Mutex<Option<Instant>>,
}

impl Client {
    /// Reads the CA file and prepares connections; nothing is resolved or connected yet. Needs no runtime.
    ///
    /// # Errors
    /// [`NewError`] for certificates or addresses that cannot be used.
    pub fn new(upstream: Arc<config::Upstream>) -> Result<Arc<Self>, NewError> {
        Self::with_resolver(upstream, Arc::new(SystemResolver))
    }

    pub(super) fn with_resolver(
        upstream: Arc<config::Upstream>,
        resolver: Arc<dyn Resolver>,
    ) -> Result<Arc<Self>, NewError> {
        let link = Arc::new(Link::new(upstream)?);
        let check = link.upstream.health_check.clone().map(|check| {
            let probe: Box<dyn HealthCheck + Send + Sync> = Box::new(Probe { link: link.clone(), check });
            probe
        });
        let targets = Targets::new(&link.upstream, resolver, check)?;
        let gate = Arc::new(Gate::new(link.upstream.budget));
        let breaker = Mutex::new(Breaker::new(link.upstream.breaker));
        let (polling, passing) = (InFlight::new(None), InFlight::new(link.upstream.max_requests));
        let (uncoded_until, in_time, retired) = (Mutex::new(None), Mutex::new(None), Retired::default());
        Ok(Arc::new(Self { link, targets, gate, breaker, uncoded_until, polling, passing, retired, in_time }))
    }

    /// Returns the configuration of this upstream.
    pub fn config(&self) -> &config::Upstream {
        &self.link.upstream
    }

    /// Returns the gate of its polls.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Resolves the servers' names at once and every `resolve_interval`, and checks their health, until
    /// `stop` turns true or its sender is gone.
    pub async fn watch_servers(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let watch = async {
            self.targets.resolve().await;
            // Both run side by side: a resolver that hangs must not stop the health checks.
            tokio::join!(self.keep_resolving(), self.keep_checking(), self.gate.drive());
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = watch => {}
        }
    }

    /// Looks at the files of `tls` every `reload` and whenever `told`, until `stop` turns true or its sender is
    /// gone.
    pub async fn watch_files(
        self: Arc<Self>,
        mut stop: watch::Receiver<bool>,
        told: watch::Receiver<()>,
        metrics: Metrics,
    ) {
        self.link.way.count_failures(&metrics.secret_file_failures);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.link.papers.clone().keep(told, metrics) => {}
        }
    }

    async fn keep_resolving(&self) {
        while self.targets.has_names() {
            sleep(self.config().resolve_interval.max(ROUND_INTERVAL_MIN)).await;
            self.targets.resolve().await;
        }
        std::future::pending().await
    }

    async fn keep_checking(&self) {
        while let Some(check) = &self.config().health_check {
            self.targets.check_health().await;
            sleep(check.interval.max(ROUND_INTERVAL_MIN)).await;
        }
    }

    /// Checks the health of all servers once; without `health_check` nothing happens.
    pub async fn check_health(&self) {
        self.targets.check_health().await;
    }

    /// Waits for a poll's turn (contract §10). The caller holds it until the poll is over.
    ///
    /// # Errors
    /// [`Failure::NoTurn`] or [`Failure::Quota`] when the patience of `priority` ends first, [`Failure::Open`] while
    /// the upstream as a whole counts as down.
    pub async fn turn(&self, priority: Priority) -> Result<Option<Turn>, FetchError> {
        if let Err(wait) = self.breaker.lock().admit(Instant::now()) {
            return Err(self.failed(None, Failure::Open { wait }));
        }
        let refused = |no: NoTurn| match no {
            NoTurn::Budget { patience, waiting } => Failure::NoTurn { limit: patience, waiting },
            NoTurn::Quota { wait } => Failure::Quota { wait },
        };
        self.gate.turn(priority).await.map_err(|no| self.failed(None, refused(no)))
    }

    /// How long no poll has a turn because of the upstream's own quota; `None` if one has.
    pub fn quota_wait(&self) -> Option<Duration> {
        self.gate.quota_wait()
    }

    /// Notes how many more polls, of all together, the upstream says it will answer.
    pub fn learn(&self, quota: Quota) {
        self.gate.learn(quota);
    }

    /// As [`Client::fetch`], for a poll that has had its turn: how it ends counts for the upstream as a
    /// whole.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn poll(&self, ask: &Ask) -> Result<Answer, FetchError> {
        let began = Instant::now();
        let _in_flight = self.polling.enter();
        let was_down = self.is_down();
        let result = self.fetch_readable(ask).await;
        let result = result.map_err(|error| self.held_back(ask, error, began, was_down));
        let mut breaker = self.breaker.lock();
        match &result {
            Ok(answer) if !answer.status.is_server_error() => breaker.succeeded(),
            Err(error) if error.failure.is_answer() => breaker.succeeded(),
            Err(FetchError { failure: Failure::HeldBack { .. }, .. }) => {}
            _ => breaker.failed(Instant::now()),
        }
        drop(breaker);
        let status = result.as_ref().map(|answer| answer.status).ok();
        if status.is_some_and(|status| !status.is_server_error())
            || result.as_ref().is_err_and(|error| error.failure.is_answer())
        {
            self.answered(Duration::ZERO);
        }
        result
    }

    /// Notes that an answer began so long after its request was sent.
    pub fn answered(&self, after: Duration) {
        if after <= self.config().first_byte_timeout {
            *self.in_time.lock() = Some(Instant::now());
        }
    }

    /// Tells an answer that the API holds back from an API that is slow (contract §1): of a resource without a
    /// snapshot, while the upstream counts as well and another request to it was answered in time since this one began.
    fn held_back(&self, ask: &Ask, error: FetchError, began: Instant, was_down: bool) -> FetchError {
        let Failure::FirstByteTimeout { limit } = error.failure else { return error };
        let is_unknown = matches!(ask.document, Document::Unknown { .. });
        let others_are_answered = self.in_time.lock().is_some_and(|at| at >= began);
        if is_unknown && others_are_answered && !was_down && !self.is_down() {
            return FetchError { failure: Failure::HeldBack { limit }, ..error };
        }
        error
    }

    /// As [`Client::fetch`]; where the body is not what its coding says, it is asked for once more without codings
    /// (contract §10), and if that helps, this upstream is asked for none for a while.
    async fn fetch_readable(&self, ask: &Ask) -> Result<Answer, FetchError> {
        let asks_for_codings =
            ask.headers.iter().any(|(name, value)| *name == ACCEPT_ENCODING && value != "identity");
        if !asks_for_codings {
            return self.fetch(ask).await;
        }
        let began = Instant::now();
        let is_known = self.uncoded_until.lock().is_some_and(|until| began < until);
        if is_known {
            return self.fetch(&without_codings(ask, ask.timeout)).await;
        }
        let waited = ask.claim.as_ref().map_or(Duration::ZERO, |claim| claim.waited());
        let first = self.fetch(ask).await;
        let is_unreadable = |result: &Result<Answer, FetchError>| {
            result.as_ref().is_err_and(|error| {
                matches!(error.failure, Failure::Encoding { .. } | Failure::NotCoded { .. })
            })
        };
        let waited = ask.claim.as_ref().map_or(Duration::ZERO, |claim| claim.waited()) - waited;
        let spent = began.elapsed().saturating_sub(waited);
        let left = ask.timeout.min(self.config().total_timeout).saturating_sub(spent);
        if !is_unreadable(&first) || left.is_zero() {
            return first;
        }
        let second = self.fetch(&without_codings(ask, left)).await;
        if second.is_ok() {
            let until = Instant::now() + UNCODED_TIME;
            let is_news = self.uncoded_until.lock().replace(until).is_none();
            if is_news {
                let upstream = &self.config().name;
                warn!(%upstream, "bodies are not what their Content-Encoding says; polls ask for no codings now");
            }
            return second;
        }
        first
    }

    /// Returns how many polls wait for their turn.
    pub fn waiting(&self) -> usize {
        self.gate.waiting()
    }

    /// Whether the upstream as a whole counts as down.
    pub fn is_down(&self) -> bool {
        self.breaker.lock().is_open()
    }

    /// One exchange: exactly Host and `ask.headers` go out, and a whole, decoded response comes back. A
    /// server that cannot be connected to is replaced by another one; an idempotent request on a reused
    /// connection that dies before the first byte of the response is sent once more on a new one.
    ///
    /// Dropping the future closes the connection (HTTP/2: resets the stream).
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn fetch(&self, ask: &Ask) -> Result<Answer, FetchError> {
        let began = Instant::now();
        let limit = ask.timeout.min(self.config().total_timeout);
        let mut server: Option<Target> = None;
        let outcome = {
            // The future is pinned here, as it is large and would be copied into the timeout.
            let fetching = pin!(self.fetch_from_any(ask, &mut server));
            BodyClaim::timeout(ask.claim.as_ref(), limit, fetching).await
        };
        match outcome.unwrap_or(Err(Failure::TotalTimeout { limit })) {
            Ok(answer) => Ok(Answer { elapsed: began.elapsed(), ..answer }),
            Err(failure) => Err(self.failed(server, failure)),
        }
    }

    /// `server` is set to the server that is asked, which is named if the time runs out.
    async fn fetch_from_any(&self, ask: &Ask, server: &mut Option<Target>) -> Result<Answer, Failure> {
        let mut tried = Vec::new();
        self.link.way.freshen().await;
        let mut target = self.targets.pick(&tried).await?;
        loop {
            *server = Some(target.clone());
            let failure = match self.link.ask(&target, ask).await {
                Err(failure) if failure.is_before_request() => failure,
                other => return other,
            };
            tried.push(target);
            if tried.len() == CONNECT_ATTEMPTS_MAX {
                return Err(failure);
            }
            match self.targets.pick(&tried).await {
                Ok(next) => target = next,
                Err(_) => return Err(failure),
            }
        }
    }

    fn failed(&self, server: Option<Target>, failure: Failure) -> FetchError {
        let server = server.map(|target| target.to_string());
        FetchError { upstream: self.config().name.clone(), server, failure }
    }
}

/// Returns the same request for a body without codings.
fn without_codings(ask: &Ask, timeout: Duration) -> Ask {
    let mut ask = Ask { timeout, ..ask.clone() };
    for (name, value) in &mut ask.headers {
        if *name == ACCEPT_ENCODING {
            *value = HeaderValue::from_static("identity");
        }
    }
    ask
}
