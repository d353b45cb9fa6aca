//! The slow 304 (contract §3, `hold_not_modified`): an ordinary conditional poll that would be
//! answered 304 waits a moment for a change.
//!
//! It waits in its task: holds are short, and clients that do not know of them may be anything. Which
//! client holds what is known by digests only. Must not know: how the answer is made.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Method, Version as HttpVersion, header};
use tokio::time::sleep_until;

use super::holds::{ClientId, Place};
use crate::fanout::{Staying, draining};
use crate::frame::{Coding, Format};
use crate::front::access::client_limit::{permit, staying};
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::Decision;
use crate::front::request::transport_choice::has_token;
use crate::hub::{Attend, Delivery, Resume, Subscription};
use crate::resource::{ResourceKey, Version};
use crate::transport::Expulsion;
use crate::{fanout, transport};

/// How a hold ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Changed,
    Unchanged,
    /// By a newer one of the same client.
    Released,
    /// The client left.
    Abandoned,
    /// What let the client in does so no longer.
    Expelled(Expulsion),
    Drain,
}

impl End {
    fn label(self) -> &'static str {
        match self {
            End::Changed => "changed",
            End::Unchanged => "unchanged",
            End::Released => "released",
            End::Abandoned => "abandoned",
            End::Expelled(why) => transport::End::Expelled(why).reason(),
            End::Drain => "drain",
        }
    }
}

impl CoveredRequest<'_> {
    /// Waits for a change of what the client has, where the route wants it and the client may be
    /// held. `revocable`: what entitles it beside its identity. Breaks if that was revoked, or the client left.
    pub(in crate::front) async fn slow_304(
        &mut self,
        key: &ResourceKey,
        version: Version,
        revocable: Option<Arc<fanout::Revocable>>,
    ) -> ControlFlow<Decision> {
        const GO_ON: ControlFlow<Decision> = ControlFlow::Continue(());
        let Some(length) = self.route.hold_not_modified.filter(|_| self.may_wait()) else {
            return GO_ON;
        };
        let shared = self.front.shared.clone();
        let Ok(mut permit) = permit(&self.front.shared, self.ctx, Some(&self.route), false) else {
            return GO_ON;
        };
        if let Some(identity) = &self.ctx.identity {
            permit = permit.with_entitlement(shared.subjects.entitlement(&self.route, identity));
        }
        if let Some(revocable) = revocable {
            permit = permit.until_revoked(revocable);
        }
        let Ok(attendance) = self.attend(key, Attend::Follow) else {
            return GO_ON;
        };
        let client = self.client_id(key, &shared.slow_304.key);
        let http1 = !self.connection.is_http2();
        let Some(place) = shared.slow_304.enter(client, attendance.topic().id(), http1, length) else {
            return GO_ON;
        };
        let subscription =
            Subscription::new(attendance, None, Format::Body(Coding::Plain), Resume::From(version));
        let end = self.wait(subscription, staying(&shared, &permit), &place).await;
        shared.metrics.slow_304.with_label_values(&[&self.route.path, end.label()]).inc();
        match end {
            End::Abandoned => {
                self.ctx.answer = "abandoned";
                self.connection.ends_afterwards();
                return ControlFlow::Break(Decision::Abandon);
            }
            End::Expelled(why @ (Expulsion::Expired | Expulsion::Revoked)) => {
                place.done();
                return ControlFlow::Break(Decision::expel(why));
            }
            End::Drain => self.connection.ends_afterwards(),
            // What it gets by itself is right for it.
            End::Expelled(Expulsion::Forbidden) => {}
            End::Changed | End::Unchanged | End::Released => {}
        }
        place.done();
        GO_ON
    }

    pub(super) fn may_wait(&self) -> bool {
        self.method == Method::GET
            && self.version != HttpVersion::HTTP_10
            && !self.writes.is_unconfirmed
            && !is_navigation(&self.headers)
            && !self.front.shared.is_draining()
    }

    fn client_id(&self, key: &ResourceKey, secret: &[u8; 32]) -> ClientId {
        let mut hasher = blake3::Hasher::new_keyed(secret);
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(self.ctx.client.map(|address| address.to_string()).unwrap_or_default().as_bytes());
        add(self.headers.get(header::USER_AGENT).map(|v| v.as_bytes()).unwrap_or_default());
        for (name, value) in &key.parts().class {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
        let mut id = ClientId::default();
        hasher.finalize_xof().fill(&mut id);
        id
    }

    async fn wait(&mut self, mut subscription: Subscription, mut stay: Staying, place: &Place<'_>) -> End {
        let deadline = Instant::now() + place.length.mul_f64(1.0 - fastrand::f64() / 16.0);
        let mut views = subscription.topic().views();
        let mut ending = self.front.shared.ending.clone();
        loop {
            let view = views.borrow_and_update();
            while let Some(delivery) = subscription.next(&view) {
                let quiet = matches!(&delivery, Delivery::Condition(condition) if !condition.state.is_gone());
                if !quiet {
                    return End::Changed;
                }
            }
            tokio::select! {
                // First: nothing is told to a client that may not stay.
                biased;
                why = stay.is_over() => return End::Expelled(why),
                () = views.changed() => {}
                () = self.connection.has_gone() => return End::Abandoned,
                () = place.release.notified() => return End::Released,
                () = sleep_until(deadline.into()) => return End::Unchanged,
                _ = draining(&mut ending) => return End::Drain,
            }
        }
    }
}

/// Whether a person waits for a page.
fn is_navigation(headers: &HeaderMap) -> bool {
    let says = |name: &str, token: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(token.as_bytes()))
    };
    says("sec-fetch-mode", "navigate")
        || says("sec-fetch-dest", "document")
        || has_token(headers, header::UPGRADE_INSECURE_REQUESTS, "1")
}
