//! The requests of a probe, one after the other, as the relay would write them.
//!
//! Must not know: what the answers mean.

use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::destination::Destination;
use super::{Question, Refusal, pollable, workaround};
use crate::poll::{self, Login};
use crate::resource::{KeyParts, ResourceKey, Validators};
use crate::upstream::{Answer, Ask, Client, Document, Failure, FetchError};

/// Most bytes of a body over `poll.max_body`, whose length is reported.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Most bytes of bodies that differ; with more than that no further poll is made. One URL of many has its part.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// A page of another site, as Origin says it.
const OTHER_ORIGIN: &str = "https://probe.example";

/// A phone's browser.
const MOBILE_AGENT: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like \
                            Gecko) Version/17.0 Mobile/15E148 Safari/604.1";

/// What a browser's navigation accepts.
const PAGE: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// What the upstream answered.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Unconditional, with all headers of the question.
    pub(super) polls: Vec<Answer>,
    /// Why there is no further poll: the answer is no document, or did not come.
    pub(super) ended: Option<FetchError>,
    /// The answer to the validators of the last poll; `None` if it had none.
    pub(super) conditional: Option<Answer>,
    /// The trials, each with one request.
    pub(super) trials: Vec<Trial>,
    /// One more poll after the trials: whether the data changed meanwhile.
    pub(super) after: Option<Answer>,
    /// A WebSocket handshake was answered 101.
    pub(super) has_socket: bool,
    /// The time from the first poll to the last.
    pub(super) looked: Duration,
    /// The body is longer than `poll.max_body`, bytes.
    pub(super) too_large: Option<usize>,
}

/// How one request differed from the polls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Without(Vec<HeaderName>),
    With(HeaderName, &'static str),
}

/// One request that differed from the polls.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) said: Said,
    pub(super) answer: Answer,
}

struct Asker<'a> {
    client: &'a Client,
    destination: &'a Destination,
    login: Login,
    /// One request at a time, of whatever URL.
    turn: &'a Semaphore,
    max_body: usize,
    /// How many URLs are asked about in this run.
    urls: usize,
}

impl Asker<'_> {
    async fn fetch(
        &self,
        headers: &[(HeaderName, HeaderValue)],
        validators: Option<&Validators>,
    ) -> Result<Answer, FetchError> {
        let mut ask = request(self.destination, headers, validators);
        ask.max_body = self.max_body;
        ask.document = Document::Unknown { complete_within: self.destination.route.first_answer };
        self.send(&ask).await
    }

    async fn send(&self, ask: &Ask) -> Result<Answer, FetchError> {
        let _turn = self.turn.acquire().await;
        self.login.fetch(self.client, ask).await
    }
}

/// Asks everything.
///
/// # Errors
/// The upstream cannot be used, or a request of it failed.
pub(super) async fn ask(
    destination: &Destination,
    question: &Question,
    turn: &Semaphore,
    urls: usize,
) -> Result<Observed, Refusal> {
    let client = Client::new(destination.route.upstream.clone()).map_err(Refusal::Start)?;
    let login = Login::of(&destination.route);
    let mut asker =
        Asker { client: &client, destination, login, turn, max_body: destination.route.poll.max_body, urls };
    let mut observed = Observed::default();
    polls(&mut asker, question, &mut observed).await?;
    // A resource that each GET takes something from is not polled any further.
    if pollable::unpollable(&observed.polls, &destination.route).is_some() {
        return Ok(observed);
    }
    observed.has_socket = has_socket(&asker, &question.headers).await;
    let Some(last) = observed.polls.last().filter(|last| last.status.is_success()).cloned() else {
        return Ok(observed);
    };
    let validators = Validators {
        etag: last.headers.get(header::ETAG).cloned(),
        last_modified: last.headers.get(header::LAST_MODIFIED).cloned(),
    };
    if validators.etag.is_some() || validators.last_modified.is_some() {
        let answer = asker.fetch(&question.headers, Some(&validators)).await;
        observed.conditional = Some(answer.map_err(|error| Refusal::Unreachable(error, None))?);
    }
    for (said, headers) in trials_of(&question.headers, &destination.route.poll.accept) {
        // A form of it that is no document, or too large, says nothing of the polled one.
        if let Ok(answer) = asker.fetch(&headers, None).await {
            observed.trials.push(Trial { said, answer });
        }
    }
    observed.after = asker.fetch(&question.headers, None).await.ok();
    Ok(observed)
}

async fn polls(asker: &mut Asker<'_>, question: &Question, observed: &mut Observed) -> Result<(), Refusal> {
    let mut began = Instant::now();
    let mut kept = 0;
    for number in 0..question.polls.max(1) {
        if number > 0 {
            sleep(question.every).await;
        }
        let mut result = asker.fetch(&question.headers, None).await;
        if number == 0
            && matches!(&result, Err(FetchError { failure: Failure::TooLarge { .. }, .. }))
            && asker.max_body < BODY_BYTES_MAX
        {
            asker.max_body = BODY_BYTES_MAX;
            result = asker.fetch(&question.headers, None).await;
            observed.too_large = result.as_ref().ok().map(|answer| answer.body.len());
        }
        if number == 0 {
            began = Instant::now();
        }
        match result {
            Ok(mut answer) => {
                // Bodies that are equal are one in memory.
                match observed.polls.last().filter(|before| before.body == answer.body) {
                    Some(before) => answer.body = before.body.clone(),
                    None => kept += answer.body.len(),
                }
                observed.polls.push(answer);
                if number > 0 && kept > KEPT_BYTES_MAX / asker.urls.max(1) {
                    break;
                }
            }
            Err(error) if is_an_answer(&error.failure) => {
                observed.ended = Some(error);
                break;
            }
            Err(error) => {
                let lines = workaround::lines(&asker.destination.route.upstream, &error).await;
                return Err(Refusal::Unreachable(error, lines));
            }
        }
    }
    observed.looked = began.elapsed();
    Ok(())
}

/// The API is there, and what it does with this URL cannot be polled.
fn is_an_answer(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::NoDocument { .. }
            | Failure::HeldBack { .. }
            | Failure::FirstByteTimeout { .. }
            | Failure::TooLarge { .. }
    )
}

/// Whether the API has a WebSocket of its own at this URL.
async fn has_socket(asker: &Asker<'_>, headers: &[(HeaderName, HeaderValue)]) -> bool {
    if asker.destination.route.upstream.http2 {
        return false;
    }
    let mut ask = request(asker.destination, headers, None);
    let handshake = [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_KEY, "cG9sbGNhc3QtcHJvYmUtMDE="),
    ];
    ask.headers.extend(handshake.map(|(name, value)| (name, HeaderValue::from_static(value))));
    ask.document = Document::Unknown { complete_within: asker.destination.route.first_answer };
    match asker.send(&ask).await {
        // A poll expects no other protocol: the client of polls ends such a connection at once.
        Err(FetchError { failure: Failure::Framing { found }, .. }) => {
            found.starts_with(StatusCode::SWITCHING_PROTOCOLS.as_str())
        }
        _ => false,
    }
}

/// Returns the headers of further requests that the polls did not have.
fn variations() -> [(HeaderName, &'static str); 7] {
    [
        (header::ACCEPT_LANGUAGE, "fr,de;q=0.9,es;q=0.8,ja;q=0.7"),
        (HeaderName::from_static("x-requested-with"), "XMLHttpRequest"),
        (header::USER_AGENT, MOBILE_AGENT),
        (header::ORIGIN, OTHER_ORIGIN),
        (header::ACCEPT, "*/*"),
        (header::ACCEPT, "application/json"),
        (header::ACCEPT, PAGE),
    ]
}

/// Returns the trials: without each header, without all of them, then with headers that the polls do not have.
fn trials_of(
    headers: &[(HeaderName, HeaderValue)],
    accept: &HeaderValue,
) -> Vec<(Said, Vec<(HeaderName, HeaderValue)>)> {
    let mut names: Vec<HeaderName> = Vec::new();
    for (name, _) in headers {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let each: Vec<Vec<HeaderName>> = names.iter().map(|name| vec![name.clone()]).collect();
    let fewer = match names.len() {
        0 | 1 => each,
        _ => std::iter::once(names.clone()).chain(each).collect(),
    };
    let without = fewer.into_iter().map(|without| {
        let left = headers.iter().filter(|(name, _)| !without.contains(name)).cloned().collect();
        (Said::Without(without), left)
    });
    let others = variations().into_iter().filter(|(name, value)| {
        // A header that the question or the poll has itself is no variation.
        !(names.contains(name) || *name == header::ACCEPT && accept.as_bytes() == value.as_bytes())
    });
    let with = others.map(|(name, value)| {
        let more = (name.clone(), HeaderValue::from_static(value));
        (Said::With(name, value), headers.iter().cloned().chain([more]).collect())
    });
    without.chain(with).collect()
}

fn request(
    destination: &Destination,
    headers: &[(HeaderName, HeaderValue)],
    validators: Option<&Validators>,
) -> Ask {
    let key = ResourceKey::new(KeyParts {
        route: destination.route.index,
        proto: destination.proto,
        host: destination.host.clone(),
        path: destination.path.clone(),
        query: destination.query.clone(),
        class: headers.to_vec(),
        vary: Vec::new(),
    });
    poll::poll(&key, &destination.route, validators, 0)
}
