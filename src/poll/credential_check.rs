//! What a client gets with its own credentials, where it shares a resource only if that is the same
//! (`share: authorize`, contract §11).
//!
//! Nothing of the operator's goes along: no `poll.headers`, no `poll.auth`, no cookies of the poller's. A
//! client that has no right of its own must not borrow one. Must not know: the request that waits for it, what follows.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, StatusCode};

use super::exchange::Exchange;
use super::request;
use super::services::Services;
use super::supervisor::Relay;
use crate::change::Detector;
use crate::hub::Topic;
use crate::resource::{KeyParts, ResourceKey, Version};
use crate::upstream::classify::{Terms, Verdict, judge};
use crate::upstream::{Answer, Class, Priority};

/// What the upstream said to a client's own credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// The state of this name.
    Version(Version),
    /// This is not for them.
    Refused(StatusCode),
    /// Nothing that can be compared.
    Unknown(String),
}

impl Relay {
    /// Asks for a topic's resource with a client's own credentials, which no other client gets to see. It takes
    /// its turn in the upstream's budget behind what clients follow.
    pub async fn own(&self, topic: Arc<Topic>, credentials: Vec<(HeaderName, HeaderValue)>) -> Own {
        let asking = ask(self.services().clone(), topic, credentials);
        // On the relay's own threads, where the connections of polls live.
        match self.spawn(asking).await {
            Ok(own) => own,
            Err(_) => Own::Unknown("the process ends".to_owned()),
        }
    }
}

/// The exchange, and what its answer is beside what is published.
async fn ask(services: Arc<Services>, topic: Arc<Topic>, credentials: Vec<(HeaderName, HeaderValue)>) -> Own {
    let route = topic.route().clone();
    let parts = KeyParts { class: credentials, ..topic.key().parts().clone() };
    let Some(own) = services.settings().own_route(route.index) else {
        return Own::Unknown("the route does not ask who may share".to_owned());
    };
    let ask = request::poll(&ResourceKey::new(parts), &own, None, 0);
    let patience = Some(route.poll.timeout);
    let priority = Priority { class: Class::Refresh, weight: 1, patience };
    let exchange = Exchange::beside_polls(&services, own, priority);
    exchange.claim.admitted().await;
    let turn = match services.source(&route) {
        Ok(source) => source.turn(priority).await,
        Err(error) => Err(error),
    };
    let exchanged = match turn {
        Ok(turn) => exchange.run(ask, turn).await,
        Err(error) => Err(error),
    };
    match exchanged {
        Ok(exchanged) => compared(&services, &topic, &exchanged.answer).await,
        Err(error) => Own::Unknown(error.failure.to_string()),
    }
}

/// What an answer is beside what is published.
async fn compared(services: &Services, topic: &Topic, answer: &Answer) -> Own {
    let (view, route) = (topic.view(), topic.route().clone());
    let published = view.frame.as_ref().map(|frame| frame.snapshot.clone());
    let known_type = published.as_ref().and_then(|snapshot| snapshot.media_type.clone());
    let terms = Terms { route: &route, private: true, known_type: known_type.as_ref() };
    match judge(answer, &terms) {
        Verdict::Data(content) => {
            let mut detector = Detector::new(&route.change);
            let (namer, bytes) = (services.namer.clone(), content.body.len());
            let detect = move || detector.snapshot(*content, published.as_deref(), &namer);
            match services.compute.run(bytes, detect).await {
                Ok(snapshot) => Own::Version(snapshot.version),
                Err(unfit) => Own::Unknown(unfit.reason),
            }
        }
        Verdict::Denied | Verdict::Refused | Verdict::Gone => Own::Refused(answer.status),
        Verdict::Failed { reason, .. } | Verdict::Unfit { reason, .. } => Own::Unknown(reason),
        Verdict::Uncoverable(found) => Own::Unknown(found.to_string()),
        Verdict::NotShareable(reason) => Own::Unknown(reason.to_owned()),
        Verdict::NotModified | Verdict::SessionRotated => {
            Own::Unknown("the upstream's answer cannot be compared".to_owned())
        }
    }
}
