//! Tells an upstream that a subject came first to a resource, or went last (`presence.notify`): best effort, a few tries,
//! and nothing of a subject that is back within `presence.notify.debounce`.
//!
//! One short-lived task for each subject that has something to be told, so that what is told of one subject keeps its order.
//! Nothing of a client's goes along but its name: a client that has left must not lend its credentials. Must not know:
//! how followers are counted.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

use super::exchange::Exchange;
use super::forwarded;
use super::request::{USER_AGENT, host};
use super::services::Services;
use crate::config::upstream_path::Pattern;
use crate::config::{PresenceNotify, Route};
use crate::hub::PresenceListener;
use crate::identity::Principal;
use crate::resource::{KeyParts, ResourceKey, stays, tidied};
use crate::upstream::{Ask, Class, Document, Priority};

/// How often it is tried to tell the upstream of one change.
const TRIES_MAX: u32 = 3;

/// The first wait between two tries; each is twice as long as the one before, and up to half of it less at random.
const RETRY_WAIT_MIN: Duration = Duration::from_millis(500);

/// Most requests that tell something, at once.
const REQUESTS_MAX: usize = 16;

/// A subject of a resource.
type Subject = (ResourceKey, Arc<Principal>);

/// Tells upstreams of subjects that come and go.
pub struct PresenceNotifier(Arc<Notices>);

struct Notices {
    services: Weak<Services>,
    runtime: Handle,
    places: Semaphore,
    waiting: Mutex<Waiting>,
}

/// The subjects of which something is to be told.
#[derive(Default)]
struct Waiting {
    of: HashMap<Subject, Change>,
    /// How many there are, by the numbers of their routes.
    of_routes: HashMap<usize, usize>,
}

/// The last change of a subject that is not told yet.
#[derive(Clone, Copy)]
struct Change {
    is_there: bool,
    at: Instant,
}

impl PresenceNotifier {
    /// Returns what tells upstreams, in tasks of this runtime.
    pub fn new(services: &Arc<Services>, runtime: Handle) -> PresenceNotifier {
        PresenceNotifier(Arc::new(Notices {
            services: Arc::downgrade(services),
            runtime,
            places: Semaphore::new(REQUESTS_MAX),
            waiting: Mutex::default(),
        }))
    }
}

impl Notices {
    /// Tells what became of a subject until there is nothing more to tell. `told`: what the upstream was told last.
    async fn tell(&self, subject: Subject, route: Arc<Route>, mut told: bool) {
        while let Some(is_there) = self.settled(&subject, &route, told).await {
            let is_told = self.try_to_tell(&subject, &route, is_there).await;
            self.count(if is_told { "told" } else { "failed" });
            // What failed is not tried again when the next change comes: that is another one.
            told = is_there;
        }
    }

    /// Waits until a subject has been as it is for `debounce`. Returns whether it is there; `None` if that is what was told.
    async fn settled(&self, subject: &Subject, route: &Route, told: bool) -> Option<bool> {
        let debounce = notify(route).map(|notify| notify.debounce).unwrap_or_default();
        loop {
            let at = {
                let mut waiting = self.waiting.lock();
                let change = *waiting.of.get(subject)?;
                let at = change.at + debounce;
                let is_settled = at <= Instant::now();
                if change.is_there == told && is_settled {
                    waiting.remove(subject, route.index);
                    return None;
                }
                if is_settled {
                    return Some(change.is_there);
                }
                at
            };
            sleep_until(at).await;
        }
    }

    async fn try_to_tell(&self, subject: &Subject, route: &Arc<Route>, is_there: bool) -> bool {
        let mut wait = RETRY_WAIT_MIN;
        for turn in 1..=TRIES_MAX {
            let failure = match self.request(subject, route, is_there).await {
                Ok(status) if status.is_success() || status.is_redirection() => return true,
                Ok(status) => (format!("it answered {status}"), is_final(status)),
                Err(reason) => (reason, false),
            };
            let (reason, is_final) = failure;
            tracing::debug!(route = %route.path, turn, "the upstream was not told of presence: {reason}");
            if is_final || turn == TRIES_MAX {
                break;
            }
            sleep(wait.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
            wait *= 2;
        }
        false
    }

    async fn request(
        &self,
        subject: &Subject,
        route: &Arc<Route>,
        is_there: bool,
    ) -> Result<StatusCode, String> {
        // It is never closed.
        let _place = self.places.acquire().await.map_err(|error| error.to_string())?;
        let services = self.services.upgrade().ok_or("the process ends")?;
        let ask = ask(subject, route, is_there).ok_or("a part of the path does not stay in its place")?;
        let priority = Priority { class: Class::Refresh, weight: 1, patience: Some(route.poll.timeout) };
        let exchange = Exchange::beside_polls(&services, route.clone(), priority);
        exchange.claim.admitted().await;
        let source = services.source(route).map_err(|error| error.failure.to_string())?;
        let turn = source.turn(priority).await.map_err(|error| error.failure.to_string())?;
        let exchanged = exchange.run(ask, turn).await.map_err(|error| error.failure.to_string())?;
        Ok(exchanged.answer.status)
    }

    fn count(&self, outcome: &str) {
        if let Some(services) = self.services.upgrade() {
            services.metrics.presence_notices.with_label_values(&[outcome]).inc();
        }
    }
}

impl PresenceListener for PresenceNotifier {
    fn changed(&self, key: &ResourceKey, route: &Arc<Route>, principal: &Arc<Principal>, is_there: bool) {
        let Some(notify) = notify(route) else { return };
        let notifier = &self.0;
        let subject = (key.clone(), principal.clone());
        let change = Change { is_there, at: Instant::now() };
        let mut waiting = notifier.waiting.lock();
        if let Some(known) = waiting.of.get_mut(&subject) {
            *known = change;
            return;
        }
        let of_route = waiting.of_routes.entry(route.index).or_default();
        if *of_route >= notify.queue {
            drop(waiting);
            return notifier.count("dropped");
        }
        *of_route += 1;
        waiting.of.insert(subject.clone(), change);
        drop(waiting);
        let (notifier, route) = (notifier.clone(), route.clone());
        notifier.runtime.clone().spawn(async move { notifier.tell(subject, route, !is_there).await });
    }
}

impl Waiting {
    fn remove(&mut self, subject: &Subject, route: usize) {
        self.of.remove(subject);
        if let Some(count) = self.of_routes.get_mut(&route) {
            *count -= 1;
            if *count == 0 {
                self.of_routes.remove(&route);
            }
        }
    }
}

/// Whether the same request would get the same answer again.
fn is_final(status: StatusCode) -> bool {
    let may_pass = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    status.is_client_error() && !may_pass.contains(&status)
}

fn notify(route: &Route) -> Option<&PresenceNotify> {
    route.presence.as_ref()?.notify.as_ref()
}

/// The request. Returns `None` if a value of the resource's path would be read as more than the part that it is.
fn ask((key, principal): &Subject, route: &Route, is_there: bool) -> Option<Ask> {
    let (parts, upstream) = (key.parts(), &route.upstream);
    let mut headers: Vec<(HeaderName, HeaderValue)> = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::USER_AGENT, HeaderValue::from_static(USER_AGENT)),
    ];
    headers.extend(forwarded::fields(upstream, parts.proto, parts.host.as_deref()));
    // What the operator says replaces what we would.
    headers.retain(|(name, _)| !route.poll.headers.iter().any(|(set, _)| set == name));
    headers.extend(route.poll.headers.iter().cloned());
    Some(Ask {
        method: Method::POST,
        path_and_query: target(&notify(route)?.path, route, &parts.path)?,
        host: host(upstream, parts.host.as_deref()),
        headers,
        body: Bytes::from(Value::Object(said(parts, principal, route, is_there)).to_string()),
        timeout: route.poll.timeout.min(upstream.total_timeout).max(Duration::from_millis(1)),
        max_body: route.poll.max_body,
        class: None,
        document: Document::Any,
        claim: None,
    })
}

/// What the upstream is told.
fn said(parts: &KeyParts, principal: &Principal, route: &Route, is_there: bool) -> Map<String, Value> {
    let is_bare = route.authenticate.as_ref().is_some_and(|authenticate| authenticate.is_bare());
    let mut said = principal.named(is_bare);
    let resource = match &parts.query {
        Some(query) => format!("{}?{query}", parts.path),
        None => parts.path.clone(),
    };
    said.insert("resource".to_owned(), Value::from(resource));
    said.insert("event".to_owned(), Value::from(if is_there { "joined" } else { "left" }));
    said
}

fn target(notify: &str, route: &Route, path: &str) -> Option<String> {
    let (own, path, pattern) = (Pattern::of(&route.path), tidied(path), Pattern::of(notify));
    let target = pattern.fill(&own.values(&path)?)?;
    stays(&pattern, &target, route.exact_spelling).then_some(target)
}
