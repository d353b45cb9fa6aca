//! A server that is asked about each client: what nginx calls `auth_request`.
//!
//! Its answers count for a while, for equal headers. An unclear answer refuses the client. Must not know: what the
//! client asks for.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use lru::LruCache;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{Asking, Denied, Identity, Principal, Way};
use crate::config::identity::Forward;
use crate::resource::{Digest, Digester};
use crate::upstream::{Ask, Client, Document};

/// Most answers that are remembered.
const REMEMBERED_ANSWERS_MAX: usize = 16 * 1024;

/// Most questions on their way at a time. Further ones wait for their turn within the same timeout.
const QUESTIONS_MAX: usize = 64;

/// Most bytes of an answer's body, which is not used.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Whether servers may read different values of a header, one the first field's and another the last one's. Cookies in
/// several fields are one list (RFC 9113 §8.2.3), as are proxies.
fn is_ambiguous(name: &HeaderName, headers: &HeaderMap) -> bool {
    let is_list = matches!(name.as_str(), "cookie" | "x-forwarded-for" | "forwarded");
    !is_list && headers.get_all(name).iter().count() > 1
}

type Verdict = Result<Identity, Denied>;

/// A server that is asked.
pub(super) struct Oracle {
    pub(super) rules: Arc<Forward>,
    client: Option<Arc<Client>>,
    digester: Digester,
    answers: Mutex<LruCache<Digest, (Verdict, Instant)>>,
    asking: Semaphore,
}

impl Oracle {
    pub(super) fn new(rules: Arc<Forward>, client: Option<Arc<Client>>) -> Oracle {
        let size = NonZeroUsize::new(REMEMBERED_ANSWERS_MAX).unwrap_or(NonZeroUsize::MIN);
        Oracle {
            rules,
            client,
            digester: Digester::default(),
            answers: Mutex::new(LruCache::new(size)),
            asking: Semaphore::new(QUESTIONS_MAX),
        }
    }

    /// Whether this client asks.
    pub(super) fn is_asked_by(&self, client: Option<&Arc<Client>>) -> bool {
        match (&self.client, client) {
            (Some(own), Some(client)) => Arc::ptr_eq(own, client),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Returns the client that sends these headers. `None` if it sends none of those that are asked about.
    pub(super) async fn ask(&self, headers: &HeaderMap, asking: Asking) -> Option<Verdict> {
        if self.rules.headers.iter().any(|name| is_ambiguous(name, headers)) {
            let detail = "a header that says who asks is there twice";
            return Some(Err(Denied::unproven("malformed", detail)));
        }
        let sent: Vec<(HeaderName, HeaderValue)> = self
            .rules
            .headers
            .iter()
            .flat_map(|name| headers.get_all(name).iter().map(|value| (name.clone(), value.clone())))
            .collect();
        if sent.is_empty() {
            return None;
        }
        let parts = sent.iter().flat_map(|(name, value)| [name.as_str().as_bytes(), value.as_bytes()]);
        let digest = self.digester.of(parts);
        if let Some((verdict, until)) = self.answers.lock().get(&digest)
            && Instant::now() < *until
        {
            return Some(verdict.clone());
        }
        if asking == Asking::Forbidden {
            return Some(Err(Denied::unasked()));
        }
        let verdict = self.verdict(sent, digest).await;
        let remembered = match &verdict {
            Err(denied) if denied.status == StatusCode::SERVICE_UNAVAILABLE => None,
            _ => Some(self.rules.cache.mul_f64(0.8 + 0.4 * fastrand::f64())),
        };
        let mut answer = verdict;
        if let Some(remembered) = remembered {
            let until = Instant::now() + remembered;
            if let Ok(identity) = &mut answer {
                // The answer counts until then, and is asked for again.
                identity.expires = Some(until);
            }
            self.answers.lock().put(digest, (answer.clone(), until));
        }
        Some(answer)
    }

    /// Asks the server.
    async fn verdict(&self, headers: Vec<(HeaderName, HeaderValue)>, digest: Digest) -> Verdict {
        let unknown = |detail: &str| Denied::unknown("forward", detail);
        let Some(client) = &self.client else {
            return Err(unknown("the server that lets clients in is not there"));
        };
        let asking = async {
            let _turn = self.asking.acquire().await;
            let ask = Ask {
                method: Method::GET,
                path_and_query: self.rules.path.clone(),
                host: client.config().host.clone().unwrap_or_default(),
                headers,
                body: Bytes::new(),
                timeout: self.rules.timeout,
                max_body: ANSWER_BYTES_MAX,
                class: None,
                document: Document::Any,
                claim: None,
            };
            client.fetch(&ask).await
        };
        let answer = match tokio::time::timeout(self.rules.timeout, asking).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                tracing::warn!("no server could be asked whether to let a client in: {error}");
                return Err(unknown("the server that lets clients in does not answer"));
            }
            Err(_) => return Err(unknown("the server that lets clients in takes too long")),
        };
        match answer.status {
            status if status.is_success() => {
                let mut named = answer.headers.get_all(&self.rules.subject).iter();
                let first = named.next().and_then(|name| name.to_str().ok());
                if named.next().is_some() {
                    return Err(unknown("the server that lets clients in names two subjects"));
                }
                let subject = first.filter(|name| !name.is_empty()).map(str::to_owned);
                let subject = subject.unwrap_or_else(|| format!("credentials {digest}"));
                Ok(Identity::of(Principal::of(Way::Forward, Some(&self.rules.issuer()), &subject)))
            }
            StatusCode::UNAUTHORIZED => Err(Denied::unproven("forward", "the credentials are not accepted")),
            StatusCode::FORBIDDEN => Err(Denied::forbidden("forward", "this is not for these credentials")),
            status => {
                tracing::warn!("asked whether to let a client in, {} said {status}", client.config().name);
                Err(unknown("the server that lets clients in has trouble"))
            }
        }
    }
}
