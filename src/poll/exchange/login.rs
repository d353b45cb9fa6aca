//! One request as polls would make it, for what asks outside of the poll loops: `check --probe`.
//!
//! Must not know: turns, budgets.

use std::sync::Arc;

use http::{HeaderName, StatusCode, header};

use super::digest::{self, Asked, Guest};
use super::token::Grant;
use crate::config::{Auth, Route};
use crate::upstream::{Answer, Ask, Client, Failure, FetchError};

/// The credentials that the polls of a route carry.
pub struct Login(Kind);

enum Kind {
    Nothing,
    Field(http::HeaderValue),
    Digest(Box<Guest>),
    Token(Box<Grant>),
}

impl Login {
    /// Reads the credentials that the polls of a route carry (`poll.auth`).
    pub fn of(route: &Route) -> Login {
        Login(match &route.poll.auth {
            None => Kind::Nothing,
            Some(Auth::Static(value)) => Kind::Field(value.clone()),
            Some(Auth::File(file)) => Kind::Field(file.first.clone()),
            Some(Auth::Digest(credentials)) => {
                Kind::Digest(Box::new(Guest::new(&route.upstream.name, credentials.clone(), None)))
            }
            Some(Auth::ClientCredentials(credentials)) => {
                let server = Client::new(credentials.server.clone()).ok().map(|server| server as Arc<_>);
                Kind::Token(Box::new(Grant::new(credentials.clone(), server, None)))
            }
        })
    }

    /// Asks, with as many requests as it takes to show the credentials.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn fetch(&self, client: &Client, ask: &Ask) -> Result<Answer, FetchError> {
        let failed = |failure| FetchError { upstream: client.config().name.clone(), server: None, failure };
        let mut ask = ask.clone();
        let value = match &self.0 {
            Kind::Nothing => return client.fetch(&ask).await,
            Kind::Digest(guest) => return as_guest(guest, client, ask).await,
            Kind::Field(value) => (header::AUTHORIZATION, value.clone()),
            Kind::Token(grant) => {
                let token = grant.token().await.map_err(|reason| failed(Failure::Token { reason }))?;
                token.field()
            }
        };
        say(&mut ask, Some(value));
        client.fetch(&ask).await
    }
}

/// Replaces the credentials of a request.
fn say(ask: &mut Ask, field: Option<(HeaderName, http::HeaderValue)>) {
    ask.headers.retain(|(name, _)| *name != header::AUTHORIZATION);
    ask.headers.extend(field);
}

async fn as_guest(guest: &Guest, client: &Client, mut ask: Ask) -> Result<Answer, FetchError> {
    let failed = |reason| FetchError {
        upstream: client.config().name.clone(),
        server: None,
        failure: Failure::Refused { reason },
    };
    // A refused password is not tried again.
    let _trying = guest.admit().await.map_err(failed)?;
    let mut repeats = 0;
    loop {
        let proof = guest.proof(&ask);
        say(&mut ask, proof.as_ref().map(|proof| (header::AUTHORIZATION, proof.value.clone())));
        let answer = client.fetch(&ask).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            guest.accepted(proof.as_ref(), &answer.headers);
            return Ok(answer);
        }
        match guest.denied(proof.as_ref(), repeats > 0, &answer.headers, digest::REFUSED_WAIT_MAX) {
            Asked::Again if repeats < digest::REPEATS_MAX => repeats += 1,
            Asked::Again | Asked::No => return Ok(answer),
            Asked::Refused(wait) => return Err(failed(digest::refusal(wait))),
        }
    }
}
