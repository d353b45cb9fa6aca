//! The slow 304 (contract §3, `hold_not_modified`): an ordinary conditional poll that would be
//! answered 304 waits a moment for a change.
//!
//! It waits in its task: holds are short, and clients that do not know of them may be anything. Which
//! client holds what is known by digests only. Must not know: how the answer is made.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, Version as HttpVersion, header};
use lru::LruCache;
use parking_lot::Mutex;
use pingora::Result;
use tokio::sync::Notify;
use tokio::time::sleep_until;

use crate::fanout::{self, Staying, draining};
use crate::frame::{Coding, Format};
use crate::front::covered::Cover;
use crate::front::request::transport_choice::has_token;
use crate::front::subscribe::{seat, staying};
use crate::front::{Fate, refuse};
use crate::hub::{Attend, Delivery, Resume, Subscription};
use crate::resource::{ResourceKey, Version};
use crate::transport::{self, Expulsion};

/// Clients that are remembered; the one that was not seen for longest is forgotten.
const CLIENTS: usize = 16 * 1024;

/// Holds of one client at a time on HTTP/1: browsers open six connections to a host.
const HOLDS_HTTP1: usize = 2;

/// Holds of one client at a time on HTTP/2.
const HOLDS_HTTP2: usize = 32;

/// A hold is halved at most this often.
const HALVINGS: u32 = 6;

/// So many holds that the client waited for double the next one again.
const PATIENT: u32 = 8;

/// Address, User-Agent and class of a client, as a digest with a key of this process.
type ClientId = [u8; 16];

/// Which clients hold what.
pub struct Holds {
    clients: Mutex<LruCache<ClientId, Client>>,
    key: [u8; 32],
}

#[derive(Default)]
struct Client {
    held: Vec<Hold>,
    halvings: u32,
    /// Holds since the last abandoned one.
    patient: u32,
}

struct Hold {
    /// Id of the topic.
    topic: u64,
    http1: bool,
    release: Arc<Notify>,
}

/// A place among the client's holds; free again when dropped, which counts as abandoned unless
/// `done` was called.
struct Place<'a> {
    holds: &'a Holds,
    client: ClientId,
    release: Arc<Notify>,
    length: Duration,
    done: bool,
}

impl Holds {
    /// A list in which no request is held yet.
    pub fn new() -> Holds {
        let mut key = [0; 32];
        key.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
        let most = NonZeroUsize::new(CLIENTS).unwrap_or(NonZeroUsize::MIN);
        Holds { clients: Mutex::new(LruCache::new(most)), key }
    }

    /// Returns `None` if the client holds enough. An older hold of the same resource is released.
    fn enter(&self, client: ClientId, topic: u64, http1: bool, length: Duration) -> Option<Place<'_>> {
        let mut clients = self.clients.lock();
        let known = clients.get_or_insert_mut(client, Client::default);
        for older in known.held.extract_if(.., |hold| hold.topic == topic) {
            older.release.notify_one();
        }
        let most = if http1 { HOLDS_HTTP1 } else { HOLDS_HTTP2 };
        if known.held.iter().filter(|hold| hold.http1 == http1).count() >= most {
            return None;
        }
        let release = Arc::new(Notify::new());
        known.held.push(Hold { topic, http1, release: release.clone() });
        let length = length / (1 << known.halvings);
        Some(Place { holds: self, client, release, length, done: false })
    }
}

impl Default for Holds {
    fn default() -> Holds {
        Holds::new()
    }
}

impl Place<'_> {
    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut clients = self.holds.clients.lock();
        let Some(client) = clients.peek_mut(&self.client) else {
            return;
        };
        client.held.retain(|hold| !Arc::ptr_eq(&hold.release, &self.release));
        if !self.done {
            client.halvings = (client.halvings + 1).min(HALVINGS);
            client.patient = 0;
            return;
        }
        client.patient += 1;
        if client.patient >= PATIENT {
            client.patient = 0;
            client.halvings = client.halvings.saturating_sub(1);
        }
    }
}

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

impl Cover<'_> {
    /// Waits for a change of what the client has, where the route wants it and the client may be
    /// held. `hold`: what it stays by, beside its identity. Breaks if that ended, or the client left.
    pub(in crate::front) async fn slow_304(
        &mut self,
        key: &ResourceKey,
        version: Version,
        hold: Option<Arc<fanout::Hold>>,
    ) -> Result<ControlFlow<Fate>> {
        const GO_ON: Result<ControlFlow<Fate>> = Ok(ControlFlow::Continue(()));
        let Some(length) = self.route.hold_not_modified.filter(|_| self.may_wait()) else {
            return GO_ON;
        };
        let shared = self.front.shared.clone();
        let Ok(mut seat) = seat(self.front, self.ctx, Some(&self.route), false) else {
            return GO_ON;
        };
        if let Some(identity) = &self.ctx.identity {
            seat = seat.with_pass(shared.subjects.pass(identity));
        }
        if let Some(hold) = hold {
            seat = seat.held_by(hold);
        }
        let Ok(attendance) = self.attend(key, Attend::Follow) else {
            return GO_ON;
        };
        let client = self.client_id(key, &shared.slow_304.key);
        let http1 = !self.session.is_http2();
        let Some(place) = shared.slow_304.enter(client, attendance.topic().id(), http1, length) else {
            return GO_ON;
        };
        let subscription =
            Subscription::new(attendance, None, Format::Body(Coding::Plain), Resume::From(version));
        let end = self.wait(subscription, staying(&shared, &seat), &place).await;
        shared.metrics.slow_304.with_label_values(&[&self.route.path, end.label()]).inc();
        match end {
            End::Abandoned => {
                self.ctx.answer = "abandoned";
                self.session.set_keepalive(None);
                return Ok(ControlFlow::Break(Fate::Answered));
            }
            End::Expelled(why @ (Expulsion::Expired | Expulsion::Revoked)) => {
                place.done();
                return Ok(ControlFlow::Break(refuse::expelled(self.session, self.ctx, why).await?));
            }
            End::Drain => self.session.set_keepalive(None),
            // What it gets by itself is right for it.
            End::Expelled(Expulsion::Forbidden) => {}
            End::Changed | End::Unchanged | End::Released => {}
        }
        place.done();
        GO_ON
    }

    fn may_wait(&self) -> bool {
        self.method == Method::GET
            && self.version != HttpVersion::HTTP_10
            && !self.unconfirmed
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
                _ = self.session.downstream_session.read_body_or_idle(true) => return End::Abandoned,
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

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(8);
    const ANN: ClientId = [1; 16];
    const BOB: ClientId = [2; 16];

    #[test]
    fn a_clients_third_hold_is_refused_on_http1() {
        let holds = Holds::new();
        let _one = holds.enter(ANN, 1, true, LONG).unwrap();
        let two = holds.enter(ANN, 2, true, LONG).unwrap();
        assert!(holds.enter(ANN, 3, true, LONG).is_none());
        assert!(holds.enter(BOB, 3, true, LONG).is_some());
        assert!(holds.enter(ANN, 4, false, LONG).is_some());
        two.done();
        assert!(holds.enter(ANN, 3, true, LONG).is_some());
    }

    #[test]
    fn a_newer_hold_takes_the_place_of_the_older() {
        let holds = Holds::new();
        let older = holds.enter(ANN, 1, true, LONG).unwrap();
        let _other = holds.enter(ANN, 2, true, LONG).unwrap();
        let _newer = holds.enter(ANN, 1, true, LONG).unwrap();
        older.done();
        assert!(holds.enter(ANN, 3, true, LONG).is_none(), "the older one frees no place of the newer");
    }

    #[test]
    fn an_abandoned_hold_halves_the_next_and_patience_doubles_it() {
        let holds = Holds::new();
        let length = || holds.enter(ANN, 1, true, LONG).unwrap();
        drop(length());
        drop(length());
        for _ in 0..PATIENT {
            let place = length();
            assert_eq!(place.length, LONG / 4);
            place.done();
        }
        let place = length();
        assert_eq!(place.length, LONG / 2);
        place.done();
    }
}
