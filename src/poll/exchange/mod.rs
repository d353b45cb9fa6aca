//! How one poll's exchange is made: its requests, each in its turn, until there is an answer that is
//! about the resource.
//!
//! `redirect` says where an answer sends the poll, `token`, `digest`, `secret` and `cookies` what it says about
//! itself, `login` says it for what is no poll, `batches` are the polls that wait for others, `batch` asks for many resources at once, `batch_split` takes the
//! answer apart, and `quarantine` keeps names alone that are refused. Must not know: what an
//! answer means for the resource, when the next poll is due.

mod answer;
pub(super) mod batch;
mod batch_failure;
mod batch_split;
mod batches;
mod cookies;
mod digest;
mod fresh_secret;
#[cfg(fuzzing)]
pub(super) mod fuzzing;
mod login;
mod quarantine;
mod redirect;
mod secret;
mod token;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use http::{HeaderName, StatusCode, header};
use tokio::time::Instant;

pub(super) use answer::{Exchanged, Tag};
pub(super) use batches::{Batches, Item, on_grid};
pub(super) use cookies::Jars;
use cookies::Keep;
use digest::Asked;
pub(super) use digest::Guests;
pub use login::Login;
pub(super) use secret::Secrets;
pub(super) use token::Tokens;
use token::{Grant, Token};

use super::forwarded;
use super::services::Services;
use super::source::Source;
use crate::config::{Auth, Route, Share};
use crate::resource::{ResourceKey, matches_pattern};
use crate::upstream::{Answer, Ask, BodyClaim, Failure, FetchError, Priority, Turn};

/// One poll's way to its answer.
pub(super) struct Exchange {
    pub(super) services: Arc<Services>,
    pub(super) route: Arc<Route>,
    /// The poll's place in the budget, for the requests after the first one.
    pub(super) priority: Priority,
    /// The resource that is polled; `None` if it is several at once.
    pub(super) resource: Option<ResourceKey>,
    /// The poll carries a client's credentials.
    pub(super) private: bool,
    /// The target that the validators in the request came from; `None` stands for the request's own.
    pub(super) settled: Option<String>,
    /// Set once a request carried cookies of the poller's own.
    pub(super) carried_jar: AtomicBool,
    /// Where the memory of its bodies is charged.
    pub(super) claim: Arc<BodyClaim>,
}

/// Where an answer sends the poll.
enum Next {
    /// To another target of the same upstream.
    Target(String),
    /// Nowhere: it is the answer. Inside: why it was not followed, although it sends elsewhere.
    Answer(Option<String>),
}

/// The time that the requests of one poll may take together; waiting for turns and for room does not count.
struct Allowance {
    limit: Duration,
    left: Duration,
}

impl Exchange {
    /// One request beside the polls of a resource, with nothing of a poll's state.
    pub(super) fn beside_polls(services: &Arc<Services>, route: Arc<Route>, priority: Priority) -> Exchange {
        Exchange {
            services: services.clone(),
            route,
            priority,
            resource: None,
            private: true,
            settled: None,
            carried_jar: AtomicBool::new(false),
            claim: services.bodies.claim(),
        }
    }

    /// Makes the requests of a poll. `turn`: the first one's.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn run(&self, ask: Ask, turn: Option<Turn>) -> Result<Exchanged, FetchError> {
        let source = &*self.source()?;
        let own = ask.path_and_query.clone();
        let mut validators = Vec::new();
        let mut ask = ask;
        if self.services.says_forwarded() {
            forwarded::add_standard(&mut ask);
        }
        ask.headers.retain(|field| {
            let is_validator = is_validator(&field.0);
            if is_validator {
                validators.push(field.clone());
            }
            !is_validator
        });
        let mut allowance = Allowance { limit: ask.timeout, left: ask.timeout };
        let mut turn = Some(turn);
        let (mut head_bytes, mut body_bytes) = (0, 0);
        for followed in 0..=self.route.poll.follow_redirects {
            let turn = match turn.take() {
                Some(first) => first,
                None => source.turn(self.priority).await?,
            };
            // An entity tag says nothing about what lies under another URL.
            let conditional =
                !validators.is_empty() && self.settled.as_ref().unwrap_or(&own) == &ask.path_and_query;
            // What is said to this target alone is taken back afterwards.
            let said = ask.headers.len();
            if conditional {
                ask.headers.extend_from_slice(&validators);
            }
            let mut answer = self.request(source, &mut ask, &mut allowance, turn).await?;
            ask.headers.truncate(said);
            answer.head_bytes += head_bytes;
            answer.body_bytes += body_bytes;
            match self.next(&ask, &answer, followed) {
                Next::Target(target) => ask.path_and_query = target,
                Next::Answer(unfollowed) => {
                    let settled = (ask.path_and_query != own).then_some(ask.path_and_query);
                    return Ok(Exchanged { answer, conditional, settled, tag: None, unfollowed });
                }
            }
            (head_bytes, body_bytes) = (answer.head_bytes, answer.body_bytes);
        }
        let most = self.route.poll.follow_redirects;
        Err(self.failed(Failure::Redirect { reason: format!("more than {most} redirects") }))
    }

    /// One request, and another one with another token if that is what it takes.
    async fn request(
        &self,
        source: &dyn Source,
        ask: &mut Ask,
        allowance: &mut Allowance,
        turn: Option<Turn>,
    ) -> Result<Answer, FetchError> {
        self.freshen(ask, false).await;
        let (grant, token) = match &self.route.poll.auth {
            None => (None, None),
            Some(Auth::Digest(_)) => return Box::pin(self.as_guest(source, ask, allowance, turn)).await,
            Some(Auth::File(file)) => {
                ask.headers.push((header::AUTHORIZATION, file.first.clone()));
                self.freshen(ask, false).await;
                (None, None)
            }
            Some(Auth::Static(value)) => {
                ask.headers.push((header::AUTHORIZATION, value.clone()));
                (None, None)
            }
            Some(Auth::ClientCredentials(_)) => {
                let grant = self.services.settings().tokens.grant(self.route.index);
                let token = self.token(grant.as_ref()).await?;
                ask.headers.push(token.field());
                (grant, Some(token))
            }
        };
        let answer = self.timed(source, ask, allowance).await?;
        drop(turn);
        let (Some(grant), Some(token)) = (grant, token) else {
            return Box::pin(self.unless_rotated(source, ask, allowance, answer)).await;
        };
        if answer.status != StatusCode::UNAUTHORIZED {
            grant.accepted(&token);
            return Ok(answer);
        }
        let without = |reason| self.failed(Failure::Token { reason });
        let Some(token) = grant.token_instead_of(&token).await.map_err(without)? else {
            return Ok(answer);
        };
        // In the place of the one that was refused.
        ask.headers.pop();
        ask.headers.push(token.field());
        let _turn = source.turn(self.priority).await?;
        let repeated = self.timed(source, ask, allowance).await?;
        if repeated.status != StatusCode::UNAUTHORIZED {
            grant.accepted(&token);
        }
        Ok(repeated)
    }

    /// One request with Digest authentication, and others where the server says what it wants to see.
    async fn as_guest(
        &self,
        source: &dyn Source,
        ask: &mut Ask,
        allowance: &mut Allowance,
        mut turn: Option<Turn>,
    ) -> Result<Answer, FetchError> {
        let refused = |reason| self.failed(Failure::Refused { reason });
        let Some(guest) = self.services.settings().guests.guest(self.route.index) else {
            return Err(refused("the password of poll.auth.digest is not known".to_owned()));
        };
        guest.freshen(false).await;
        let mut trying = guest.admit().await.map_err(refused)?;
        let said = ask.headers.len();
        let (mut repeats, mut is_rotated) = (0, false);
        loop {
            let proof = guest.proof(ask);
            ask.headers.extend(proof.as_ref().map(|proof| (header::AUTHORIZATION, proof.value.clone())));
            let answer = self.timed(source, ask, allowance).await?;
            ask.headers.truncate(said);
            drop(turn.take());
            if answer.status != StatusCode::UNAUTHORIZED {
                guest.accepted(proof.as_ref(), &answer.headers);
                return Ok(answer);
            }
            if trying.is_none() {
                trying = Some(guest.turn().await.map_err(refused)?);
            }
            let wait = self.route.poll.backoff.max;
            match guest.denied(proof.as_ref(), repeats > 0, &answer.headers, wait) {
                Asked::Again if repeats < digest::REPEATS_MAX => repeats += 1,
                Asked::Again | Asked::No => return Ok(answer),
                // Another program may have replaced it meanwhile.
                Asked::Refused(_) if !is_rotated && guest.freshen(true).await => {
                    (repeats, is_rotated) = (0, true);
                }
                Asked::Refused(wait) => return Err(refused(digest::refusal(wait))),
            }
            turn = source.turn(self.priority).await?;
        }
    }

    async fn token(&self, grant: Option<&Arc<Grant>>) -> Result<Token, FetchError> {
        let without = |reason| self.failed(Failure::Token { reason });
        match grant {
            Some(grant) => grant.token().await.map_err(without),
            None => Err(without("its credentials are not known".to_owned())),
        }
    }

    async fn timed(
        &self,
        source: &dyn Source,
        ask: &mut Ask,
        allowance: &mut Allowance,
    ) -> Result<Answer, FetchError> {
        if allowance.left.is_zero() {
            return Err(self.failed(Failure::TotalTimeout { limit: allowance.limit }));
        }
        ask.timeout = allowance.left;
        let said = ask.headers.len();
        self.add_cookies(ask);
        let (began, waited) = (Instant::now(), self.claim.waited());
        ask.claim = Some(self.claim.clone());
        let answer = source.fetch(ask).await;
        let spent = began.elapsed().saturating_sub(self.claim.waited() - waited);
        allowance.left = allowance.left.saturating_sub(spent);
        ask.headers.truncate(said);
        if let Ok(answer) = &answer {
            self.keep_cookies(ask, answer);
        }
        answer
    }

    /// Whether the poller has cookies of its own here.
    fn has_jar(&self) -> bool {
        self.route.poll.cookie_jar && !self.private
    }

    fn place<'a>(&'a self, ask: &'a Ask) -> cookies::Place<'a> {
        cookies::Place {
            resource: self.resource.as_ref(),
            upstream: &self.route.upstream.name,
            host: &ask.host,
            target: &ask.path_and_query,
        }
    }

    fn add_cookies(&self, ask: &mut Ask) {
        if self.has_jar()
            && !ask.headers.iter().any(|(name, _)| *name == header::COOKIE)
            && let Some(cookies) =
                self.services.jars.cookies(self.place(ask), SystemTime::now(), |name| self.keeps(name))
        {
            ask.headers.push((header::COOKIE, cookies));
            self.carried_jar.store(true, Ordering::Relaxed);
        }
    }

    fn keep_cookies(&self, ask: &Ask, answer: &Answer) {
        if self.has_jar() {
            let keeps = |name: &str| self.keeps(name);
            let forgotten =
                self.services.jars.keep(self.place(ask), &answer.headers, SystemTime::now(), keeps);
            self.services.metrics.jars_forgotten.inc_by(forgotten as u64);
        }
    }

    /// Where a cookie is kept. Where `share` is not `public`, one that may identify a user means that the answer is
    /// not shared at all: only those that mean nothing are kept.
    fn keeps(&self, name: &str) -> Keep {
        if self.route.ignore_cookies.iter().any(|pattern| matches_pattern(pattern, name)) {
            return Keep::ForUpstream;
        }
        match self.route.share {
            Share::Public | Share::Authorize => Keep::ForResource,
            Share::Unset | Share::By(_) => Keep::Nowhere,
        }
    }

    /// Where the answer sends the poll.
    fn next(&self, ask: &Ask, answer: &Answer, followed: usize) -> Next {
        let most = self.route.poll.follow_redirects;
        if most == 0 || !redirect::redirects(answer.status) {
            return Next::Answer(None);
        }
        let found = match followed < most {
            true => redirect::target(&answer.headers, &ask.path_and_query, &self.names(ask)),
            false => Err(format!("more than {most} redirects")),
        };
        match found {
            Ok(target) => Next::Target(target),
            Err(reason) => Next::Answer(Some(reason)),
        }
    }

    /// What the upstream may call itself.
    fn names<'a>(&'a self, ask: &'a Ask) -> redirect::Names<'a> {
        let said = |name: &str| {
            let field = ask.headers.iter().find(|(found, _)| found == name);
            field.and_then(|(_, value)| value.to_str().ok())
        };
        let upstream = &self.route.upstream;
        let scheme = if upstream.tls.is_some() { "https" } else { "http" };
        let hosts = [Some(ask.host.as_str()), said("x-forwarded-host"), upstream.host.as_deref()];
        let schemes = [Some(scheme), said("x-forwarded-proto")];
        redirect::Names {
            hosts: hosts.into_iter().flatten().collect(),
            schemes: schemes.into_iter().flatten().collect(),
            servers: upstream.servers.iter().map(|server| server.address.as_str()).collect(),
        }
    }

    fn source(&self) -> Result<Arc<dyn Source>, FetchError> {
        self.services.source(&self.route)
    }

    fn failed(&self, failure: Failure) -> FetchError {
        FetchError { upstream: self.route.upstream.name.clone(), server: None, failure }
    }
}

fn is_validator(name: &HeaderName) -> bool {
    *name == header::IF_NONE_MATCH || *name == header::IF_MODIFIED_SINCE
}
