//! Who is let in, and by what: the route's `authenticate` held against a request, the answer to those who
//! are not, and what the others stay by (contract §11).
//!
//! Must not know: what they are let in to.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::Shared;
use crate::config::Route;
use crate::fanout::{Hold, Pass};
use crate::identity::{Denied, Identity, Proof};
use crate::transport::Expulsion;

/// Subjects are looked through for those without streams when there are this many more than after the last
/// time.
const SPARE: usize = 1024;

/// Who asks, where the route wants to know; none: it does not.
///
/// # Errors
/// The request does not prove it, or what it asks for is not for them.
pub(super) async fn identify(
    shared: &Shared,
    route: &Route,
    path: &str,
    proof: &Proof<'_>,
) -> Result<Option<Identity>, Denied> {
    let Some(gate) = shared.gates.of(route) else {
        return Ok(None);
    };
    let result = gate.identify(proof, &shared.routes.parameters(route, path)).await;
    let outcome = match &result {
        Ok(_) => "let_in",
        Err(denied) => denied.reason,
    };
    shared.metrics.authentications.with_label_values(&[route.path.as_str(), outcome]).inc();
    result.map(Some)
}

/// The fields of a refusal (RFC 6750 §3).
pub(super) fn challenge(denied: &Denied) -> HeaderMap {
    let mut headers = HeaderMap::new();
    match denied.status {
        StatusCode::UNAUTHORIZED => {
            let error = match denied.reason {
                // RFC 6750 §3.1: who shows nothing is told nothing.
                "nothing" => "Bearer".to_owned(),
                _ => {
                    let detail: String = denied.detail.chars().filter(|c| *c != '"' && *c != '\\').collect();
                    format!("Bearer error=\"invalid_token\", error_description=\"{detail}\"")
                }
            };
            let plain = HeaderValue::from_static("Bearer");
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::try_from(error).unwrap_or(plain));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        _ => {}
    }
    headers
}

/// The subjects that have streams.
#[derive(Default)]
pub struct Subjects {
    holds: DashMap<Arc<str>, Weak<Hold>>,
    hasher: RandomState,
    /// How many there were when they were last looked through.
    looked: std::sync::atomic::AtomicUsize,
}

impl Subjects {
    /// What all streams of an identity stay by.
    pub(super) fn pass(&self, identity: &Identity) -> Arc<Pass> {
        Pass::new(identity.expires, vec![self.hold(&identity.subject)])
    }

    pub(super) fn hold(&self, subject: &Arc<str>) -> Arc<Hold> {
        use std::sync::atomic::Ordering::Relaxed;
        if self.holds.len() > self.looked.load(Relaxed) + SPARE {
            self.holds.retain(|_, hold| hold.strong_count() > 0);
            self.looked.store(self.holds.len(), Relaxed);
        }
        let mut known = self.holds.entry(subject.clone()).or_default();
        known.upgrade().unwrap_or_else(|| {
            let hold = Arc::new(Hold::default());
            *known = Arc::downgrade(&hold);
            hold
        })
    }

    /// A number for whom a request is from: its identity, or those with equal class values; none: nobody
    /// in particular.
    pub(super) fn asker(
        &self,
        identity: Option<&Identity>,
        class: &[(HeaderName, HeaderValue)],
    ) -> Option<u64> {
        match identity {
            Some(identity) => Some(self.hasher.hash_one(&*identity.subject)),
            None => (!class.is_empty()).then(|| self.hasher.hash_one(class)),
        }
    }
}

/// Ends all streams of a subject; gives how many there were. Who comes again is asked again who it is.
pub fn end_subject(shared: &Shared, subject: &str) -> usize {
    let Some((_, hold)) = shared.subjects.holds.remove(subject) else {
        return 0;
    };
    let Some(hold) = hold.upgrade() else { return 0 };
    // One of them is ours.
    let count = Arc::strong_count(&hold).saturating_sub(1);
    hold.let_go(Expulsion::Revoked);
    shared.fanout.expel();
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_as_long_as_it_has_streams() {
        let subjects = Subjects::default();
        let ann: Arc<str> = "ann".into();
        let first = subjects.hold(&ann);
        assert!(Arc::ptr_eq(&first, &subjects.hold(&ann)));
        first.let_go(Expulsion::Revoked);
        drop(first);
        assert_eq!(subjects.hold(&ann).is_let_go(), None, "who comes again is somebody new");
        for n in 0..5 * SPARE {
            subjects.hold(&format!("user {n}").into());
        }
        assert!(subjects.holds.len() <= 2 * SPARE + 2, "{}", subjects.holds.len());
    }

    #[test]
    fn a_challenge_says_what_is_wrong_with_a_token_and_nothing_else() {
        let denied = |reason, detail: &str| Denied {
            status: StatusCode::UNAUTHORIZED,
            detail: detail.to_owned(),
            reason,
        };
        let said = |denied| challenge(&denied)[header::WWW_AUTHENTICATE].to_str().unwrap().to_owned();
        assert_eq!(said(denied("nothing", "x")), "Bearer");
        let wanted = "Bearer error=\"invalid_token\", error_description=\"no iss\"";
        assert_eq!(said(denied("claims", "no \"iss\"")), wanted);
    }
}
