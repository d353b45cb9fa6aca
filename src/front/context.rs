//! What is known of one request, from its head to its log line.
//!
//! Must not know: how any of it is decided.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use http::StatusCode;
use pingora::protocols::SocketDigest;

use super::answer::trial::Trial;
use super::application::Front;
use super::passthrough::deadlines::Deadlines;
use super::progress::InProgress;
use super::request::client_address::household;
use super::services::Shared;
use super::subscribe::cursor_wait::CursorHold;
use super::subscribe::fallback::AskFirst;
use crate::config::Route;
use crate::identity::Identity;
use crate::metrics::{Bypass, RefusalReason};
use crate::otlp::Span;
use crate::resource::ResourceKey;
use crate::upstream::{Bond, Client, Place, Server};

/// What is known of one request.
pub struct Context {
    pub(super) started: Instant,
    pub(super) client: Option<IpAddr>,
    pub(super) route: Option<Arc<Route>>,
    /// Where it passes through to.
    pub(super) upstream: Option<Arc<Client>>,
    /// The path and query that go to the upstream, when they are not the client's.
    pub(super) target: Option<String>,
    /// The key of a covered URL that passes through, for its validators.
    pub(super) key: Option<ResourceKey>,
    /// Why it passes through, if it does.
    pub(super) bypass: Option<Bypass>,
    /// Why it is refused, if it is.
    pub(super) refused: Option<RefusalReason>,
    /// It is held while the API says that nothing is new.
    pub(super) cursor_hold: Option<Box<CursorHold>>,
    /// It tries whether the API holds it.
    pub(super) trial: Option<Trial>,
    /// How it was answered: a label.
    pub(super) answer: &'static str,
    /// Its connection left Pingora; the log line is written by what has it now.
    pub(super) taken: bool,
    /// The status of an answer that Pingora has not seen.
    pub(super) status: Option<StatusCode>,
    /// The identity of the client, where its route has `authenticate`.
    pub(super) identity: Option<Identity>,
    /// A number for whom it is from, as far as that is known.
    pub(super) subject: Option<u64>,
    /// An earlier request of this connection, or this one, was counted for `limits.accept_rate`.
    pub(super) let_in: bool,
    pub(super) connects: usize,
    /// The claim of this client's connection on upstream connections of its own, once it has authenticated one.
    pub(super) bond: Option<Bond>,
    /// The upstream connection that it passes through on, where others may use it afterwards.
    pub(super) connection: Option<Arc<SocketDigest>>,
    /// Its connection from the pool was unfit, and nothing was sent on it: it needs a new one.
    pub(super) wants_new: bool,
    /// The head of its answer could not be read: it is asked once more over a connection whose heads are normalized.
    pub(super) normalizes: bool,
    /// The server of a request that passes through.
    pub(super) server: Option<Server>,
    /// Whether the API is asked before pollcast answers.
    pub(super) ask_first: AskFirst,
    /// The path, as it is covered, of a request that asks the API first or that has another one there.
    pub(super) path: Option<String>,
    /// Its span, if it passes through and is recorded.
    pub(super) span: Option<Span>,
    /// When it was sent on.
    pub(super) sent: Option<Instant>,
    pub(super) passing: bool,
    /// Its place among those that pass through to the upstream.
    pub(super) place: Option<Place>,
    /// Its waits for the upstream's answer, and for its own body.
    pub(super) deadlines: Option<Deadlines>,
    /// Bytes of its body that have passed.
    pub(super) passed: usize,
    /// Its place among the requests in progress, while it has one.
    pub(super) in_progress: Option<InProgress>,
    pub(super) head_sent: bool,
    pub(super) body_read: bool,
    pub(super) shared: Arc<Shared>,
    /// What was there when it came: it keeps to one generation of the configuration.
    pub(super) front: Arc<Front>,
}

impl Context {
    /// Notes the client that the request is from. What the connection remembers of another client's upstream connection is not this
    /// one's (contract §10).
    pub(super) fn is_from(&mut self, client: Option<IpAddr>) {
        if self.client != client {
            self.bond = None;
        }
        self.client = client;
    }

    /// Of a request that has just come.
    pub(super) fn new(front: Arc<Front>) -> Context {
        let shared = front.shared.clone();
        shared.active.fetch_add(1, Ordering::SeqCst);
        Context {
            started: Instant::now(),
            client: None,
            route: None,
            upstream: None,
            target: None,
            key: None,
            bypass: None,
            refused: None,
            cursor_hold: None,
            trial: None,
            answer: "refused",
            taken: false,
            status: None,
            identity: None,
            subject: None,
            let_in: false,
            connects: 0,
            bond: None,
            connection: None,
            wants_new: false,
            normalizes: false,
            server: None,
            ask_first: AskFirst::No,
            path: None,
            span: None,
            sent: None,
            passing: false,
            place: None,
            deadlines: None,
            passed: 0,
            in_progress: None,
            head_sent: false,
            body_read: false,
            shared,
            front,
        }
    }
}

impl Context {
    /// Counts it among the requests that pass through.
    pub(super) fn passes(&mut self) {
        if !std::mem::replace(&mut self.passing, true) {
            self.shared.metrics.passthrough_active.inc();
        }
    }

    /// Counts it among them no longer.
    pub(super) fn pauses(&mut self) {
        if std::mem::take(&mut self.passing) {
            self.shared.metrics.passthrough_active.dec();
        }
    }
}

impl Context {
    /// Counts the request.
    ///
    /// # Errors
    /// The limit that leaves no room, as the metric says it.
    pub(super) fn enter(&mut self) -> Result<(), RefusalReason> {
        let address = self.client.map(household);
        self.in_progress = Some(self.shared.progress.enter(&self.shared.config.limits, address)?);
        Ok(())
    }

    /// The head of an answer with this status goes out now.
    pub(super) fn head_goes_out(&mut self, status: StatusCode) {
        if status == StatusCode::SWITCHING_PROTOCOLS {
            self.in_progress = None;
        }
        self.head_sent |= !status.is_informational();
        self.may_leave();
    }

    /// All of its body is read.
    pub(super) fn body_is_read(&mut self) {
        self.body_read = true;
        self.may_leave();
    }

    fn may_leave(&mut self) {
        if self.head_sent && self.body_read {
            self.in_progress = None;
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.shared.active.fetch_sub(1, Ordering::SeqCst);
        self.pauses();
    }
}
