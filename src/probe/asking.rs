//! The requests of a probe, one after the other, as the relay would write them.
//!
//! Must not know: what the answers mean.

use http::{HeaderName, HeaderValue, header};
use tokio::time::sleep;

use super::aim::Aim;
use super::{Question, Refusal};
use crate::config::Auth;
use crate::relay;
use crate::resource::{KeyParts, ResourceKey, Validators};
use crate::upstream::{Answer, Ask, Client, FetchError};

/// What the upstream answered.
pub(super) struct Observed {
    /// Unconditional, with all headers of the question; at least one.
    pub(super) polls: Vec<Answer>,
    /// With the validators of the last poll; none: it had none.
    pub(super) conditional: Option<Answer>,
    /// Without some of the headers.
    pub(super) trials: Vec<Trial>,
    /// One more poll after the trials: whether the data changed meanwhile.
    pub(super) after: Option<Answer>,
}

/// One request with fewer credentials.
pub(super) struct Trial {
    pub(super) without: Vec<HeaderName>,
    pub(super) answer: Answer,
}

/// Asks everything.
///
/// # Errors
/// The upstream cannot be used, or a request of it failed.
pub(super) async fn ask(aim: &Aim, question: &Question) -> Result<Observed, Refusal> {
    let client = Client::new(aim.route.upstream.clone()).map_err(Refusal::Start)?;
    let fetch = async |headers: &[(HeaderName, HeaderValue)], validators: Option<&Validators>| {
        client.fetch(&request(aim, headers, validators)).await
    };
    let unreachable = |error: FetchError| Refusal::Unreachable(error);
    let mut polls = Vec::with_capacity(question.polls);
    for number in 0..question.polls.max(1) {
        if number > 0 {
            sleep(question.every).await;
        }
        polls.push(fetch(&question.headers, None).await.map_err(unreachable)?);
    }
    let validators = polls.last().map(|last| Validators {
        etag: last.headers.get(header::ETAG).cloned(),
        last_modified: last.headers.get(header::LAST_MODIFIED).cloned(),
    });
    let validators = validators.filter(|known| known.etag.is_some() || known.last_modified.is_some());
    let conditional = match &validators {
        Some(known) => Some(fetch(&question.headers, Some(known)).await.map_err(unreachable)?),
        None => None,
    };
    let mut trials = Vec::new();
    for without in trials_of(&question.headers) {
        let left: Vec<_> =
            question.headers.iter().filter(|(name, _)| !without.contains(name)).cloned().collect();
        let answer = fetch(&left, None).await.map_err(unreachable)?;
        trials.push(Trial { without, answer });
    }
    let after = match trials.is_empty() {
        true => None,
        false => Some(fetch(&question.headers, None).await.map_err(unreachable)?),
    };
    Ok(Observed { polls, conditional, trials, after })
}

/// Without each header, and without all of them.
fn trials_of(headers: &[(HeaderName, HeaderValue)]) -> Vec<Vec<HeaderName>> {
    let mut names: Vec<HeaderName> = Vec::new();
    for (name, _) in headers {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let each: Vec<Vec<HeaderName>> = names.iter().map(|name| vec![name.clone()]).collect();
    match names.len() {
        0 | 1 => each,
        _ => std::iter::once(names).chain(each).collect(),
    }
}

fn request(aim: &Aim, headers: &[(HeaderName, HeaderValue)], validators: Option<&Validators>) -> Ask {
    let key = ResourceKey::new(KeyParts {
        route: aim.route.index,
        proto: aim.proto,
        host: aim.host.clone(),
        path: aim.path.clone(),
        query: aim.query.clone(),
        class: headers.to_vec(),
        vary: Vec::new(),
    });
    let mut ask = relay::poll(&key, &aim.route, validators, 0);
    if let Some(Auth::Static(value)) = &aim.route.poll.auth {
        ask.headers.retain(|(name, _)| name != header::AUTHORIZATION);
        ask.headers.push((header::AUTHORIZATION, value.clone()));
    }
    ask
}
