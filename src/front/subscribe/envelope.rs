//! A WebSocket of many resources (contract §6, `pollcast.v1`): its handshake, and a task that acts on what
//! the client says.
//!
//! The shard writes; this only says what is to be followed. Must not know: frames of resources.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::envelope_messages::{complaint, is_json, reply, without_data};
use super::envelope_subscribe::{Asked, Followed};
use super::websocket_handshake::{self, PROTOCOL};
use super::websocket_send::Courier;
use crate::config::Route;
use crate::fanout::{ClientPermit, Following, MemberId, MessagePlace, MessageQueue, Owner, messages};
use crate::frame::{Format, PatchKind};
use crate::front::access::admit::Visitor;
use crate::front::access::client_limit::permit;
use crate::front::application::Front;
use crate::front::connection::Connection;
use crate::front::context::Context;
use crate::front::covered_request::CoveredRequest;
use crate::front::decision::{Decision, Departure, Refusal};
use crate::front::request::{presence_choice, transport_choice};
use crate::hub::{Attendance, Resume, Subscription, Topic, View};
use crate::metrics::RefusalReason;
use crate::transport::{Envelope, Transport};

/// New tokens of one client (`auth`) at once, and the time from one to the next after that: each may cost a question to
/// an authentication server.
const AUTH_BURST_MAX: u32 = 5;
const AUTH_SPACING: Duration = Duration::from_secs(1);

impl CoveredRequest<'_> {
    /// The envelope protocol on a covered URL: that resource is followed at once.
    pub(super) fn envelope(&mut self, attendance: Attendance, view: &View, permit: ClientPermit) -> Decision {
        let greeting = match websocket_handshake::greeting(self.connection.head(), None) {
            ControlFlow::Continue(greeting) => greeting,
            ControlFlow::Break(decision) => return decision,
        };
        let target = self.connection.head().uri.path_and_query().map(|target| target.as_str());
        let name: Arc<str> = target.unwrap_or_default().into();
        let shard = self.front.shared.fanout.choose();
        let entitlement = permit.entitlement().cloned().unwrap_or_default();
        entitlement.note_counted_for(Owner::Route(self.route.index));
        self.ctx
            .subject
            .into_iter()
            .for_each(|subject| entitlement.note_counted_for(Owner::Subject(subject)));
        let visitor = Visitor { entitlement, ..Visitor::of(self.front, &self.connection, self.ctx) };
        let client = EnvelopeClient::new(visitor, shard);
        let topic = attendance.topic().clone();
        let path = topic.key().parts().path.clone();
        // What it is followed by is the connection's.
        let principal = self.ctx.identity.as_ref().map(|identity| identity.principal.clone());
        let presence = presence_choice::asks(&self.route, &self.headers, self.query.as_deref());
        client.note(
            &name,
            Followed::Admitted { topic: topic.clone(), path, revocable: None, principal, presence },
        );
        let resume = if self.route.feed.is_some() { self.resume() } else { Resume::Start };
        let subscription = self.subscribe(attendance, Some(shard), Format::Envelope(None), resume, view);
        let following = vec![(name, 0, subscription)];
        client.open(greeting, following, permit)
    }
}

/// The envelope protocol at its own address, without a resource to begin with.
pub(in crate::front) fn serve(front: &Front, connection: &Connection<'_>, ctx: &mut Context) -> Decision {
    let request = connection.head();
    if !(transport_choice::is_websocket(&request.headers)
        && websocket_handshake::offers_ours(&request.headers))
    {
        let detail = "here is a WebSocket with the subprotocol pollcast.v1";
        let mut more = websocket_handshake::refusal(StatusCode::UPGRADE_REQUIRED);
        more.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        return Refusal::of(RefusalReason::Handshake, StatusCode::UPGRADE_REQUIRED, detail)
            .with(more)
            .decision();
    }
    let visitor = Visitor::of(front, connection, ctx);
    let permit = match permit(&front.shared, ctx, None, true) {
        Ok(permit) => permit,
        Err(reason) => return Decision::refuse_for_now(None, false, reason),
    };
    let greeting = match websocket_handshake::greeting(request, None) {
        ControlFlow::Continue(greeting) => greeting,
        ControlFlow::Break(decision) => return decision,
    };
    let shard = front.shared.fanout.choose();
    EnvelopeClient::new(visitor, shard).open(greeting, Vec::new(), permit)
}

/// One client's side of the protocol.
pub(in crate::front) struct EnvelopeClient {
    pub(in crate::front) visitor: Arc<Visitor>,
    /// The same, for resources that are being admitted: those that were admitted by an older token are checked again.
    pub(in crate::front) latest: Arc<Mutex<Arc<Visitor>>>,
    pub(in crate::front) shard: u16,
    pub(in crate::front) followed: Arc<Mutex<HashMap<Arc<str>, Followed>>>,
    /// Messages that went to the upstream in the second that began then.
    sent: (Instant, u32),
    /// When the next new token would be due if they came evenly.
    auth_due: Instant,
}

impl EnvelopeClient {
    fn new(visitor: Visitor, shard: u16) -> EnvelopeClient {
        let visitor = Arc::new(visitor);
        let latest = Arc::new(Mutex::new(visitor.clone()));
        EnvelopeClient {
            visitor,
            latest,
            shard,
            followed: Arc::default(),
            sent: (Instant::now(), 0),
            auth_due: Instant::now(),
        }
    }

    fn note(&self, name: &Arc<str>, followed: Followed) {
        self.followed.lock().insert(name.clone(), followed);
    }

    /// Has the connection handed to its shard, and listens to it until it ends.
    fn open(
        self,
        greeting: Bytes,
        following: Vec<(Arc<str>, usize, Subscription)>,
        permit: ClientPermit,
    ) -> Decision {
        let rules = crate::config::Websocket::default();
        let envelope = Envelope::new(rules.ping, rules.pong, rules.max_message, Instant::now())
            .of_frames(rules.frame_rate, rules.max_fragments);
        let (messages, queue) = messages();
        let departure = Departure {
            shard: self.shard,
            greeting,
            transport: Transport::Envelope(Box::new(envelope)),
            following: Following::Many(following),
            permit: Some(permit.with_entitlement(self.visitor.entitlement.clone())),
            messages: Some(messages),
            answered: None,
        };
        tokio::spawn(self.listen(queue));
        Decision::HandOver(Box::new(departure))
    }

    async fn listen(mut self, mut queue: MessageQueue) {
        let mut expulsions = self.visitor.shared.fanout.expulsions();
        // The member, once it has said something: before that all it follows is its connection's own.
        let mut known = None;
        loop {
            let message = tokio::select! {
                message = queue.recv() => message,
                Ok(()) = expulsions.changed(), if known.is_some() => {
                    known.into_iter().for_each(|member| self.part_from_forbidden(member));
                    continue;
                }
            };
            let Some((member, message)) = message else { return };
            known = Some(member);
            self.renew();
            let said: Value = match serde_json::from_slice(&message.bytes) {
                Ok(said @ Value::Object(_)) => said,
                Ok(_) => {
                    self.complain(member, &Value::Null, 400, "a message is a JSON object with an op");
                    continue;
                }
                Err(error) => {
                    self.complain(member, &Value::Null, 400, &format!("this is no JSON: {error}"));
                    continue;
                }
            };
            match said["op"].as_str() {
                Some("subscribe") => self.subscribe(member, &said),
                Some("unsubscribe") => self.unsubscribe(member, &said),
                Some("refresh") => self.refresh(member, &said, message.place),
                Some("send") => self.send(member, &said, message.place),
                Some("auth") => {
                    self.next_auth().await;
                    self.auth(member, &said).await;
                }
                _ => {
                    let detail = "op is one of subscribe, unsubscribe, refresh, send, auth";
                    self.complain(member, &said, 400, detail);
                }
            }
        }
    }

    /// Acts under the configuration that counts now.
    fn renew(&mut self) {
        if let Some(visitor) = self.visitor.renewed() {
            self.visitor = Arc::new(visitor);
            *self.latest.lock() = self.visitor.clone();
        }
    }

    /// Waits for the turn of one more token. What the client says meanwhile waits, too.
    async fn next_auth(&mut self) {
        let now = Instant::now();
        let due = self.auth_due.max(now);
        self.auth_due = due + AUTH_SPACING;
        sleep(due.saturating_duration_since(now + AUTH_SPACING * (AUTH_BURST_MAX - 1))).await;
    }

    pub(in crate::front) fn tell(&self, member: MemberId, message: Bytes) {
        self.visitor.shared.fanout.tell(self.shard, member, message);
    }

    /// An error never ends the connection (contract §6).
    pub(super) fn complain(&self, member: MemberId, said: &Value, status: u16, detail: &str) {
        self.tell(member, complaint(said, status, detail));
    }

    pub(in crate::front) fn subscribe(&self, member: MemberId, said: &Value) {
        let Some(name) = said["resource"].as_str() else {
            return self.complain(member, said, 400, "resource is missing: a path with an optional query");
        };
        let delta = match said["delta"].as_str().map(PatchKind::of_word) {
            None => None,
            Some(Some(kind)) => Some(kind),
            Some(None) => {
                return self.complain(member, said, 400, "delta is json-patch or merge-patch");
            }
        };
        let name: Arc<str> = name.into();
        let most = self.visitor.shared.config.limits.resources_per_client;
        let mut followed = self.followed.lock();
        let again = followed.contains_key(&name);
        if !again && followed.len() >= most {
            drop(followed);
            self.visitor.shared.metrics.refused(RefusalReason::ResourcesPerClient);
            let detail = format!("this connection follows {most} resources (limits.resources_per_client)");
            return self.complain(member, said, 429, &detail);
        }
        followed.insert(name.clone(), Followed::Asked);
        drop(followed);
        if again {
            self.visitor.shared.fanout.unfollow(self.shard, member, name.clone());
        }
        let since = said["since"].as_str().filter(|since| since.len() <= 1024).map(str::to_owned);
        let presence = said["presence"].as_bool() == Some(true);
        let asked = Asked { name, since, delta, presence, said: without_data(said) };
        let (latest, followed, shard) = (self.latest.clone(), self.followed.clone(), self.shard);
        // Beside the others: a cold resource must not hold up those after it.
        tokio::spawn(async move { asked.admit(&latest, &followed, shard, member).await });
    }

    fn unsubscribe(&self, member: MemberId, said: &Value) {
        let name: Arc<str> = said["resource"].as_str().unwrap_or_default().into();
        if self.followed.lock().remove(&name).is_none() {
            return self.complain(member, said, 404, "this resource is not followed here");
        }
        self.visitor.shared.fanout.unfollow(self.shard, member, name);
    }

    fn admitted(&self, said: &Value) -> Option<(Arc<Route>, Arc<Topic>, String)> {
        match self.followed.lock().get(said["resource"].as_str()?)? {
            // A reload may have given the topic a newer form of its route.
            Followed::Admitted { topic, path, .. } => {
                Some((topic.route().clone(), topic.clone(), path.clone()))
            }
            Followed::Asked => None,
        }
    }

    /// One poll beside the schedule, at most two an interval; what it brings comes to all followers.
    fn refresh(&self, member: MemberId, said: &Value, place: MessagePlace) {
        let Some((route, topic, _)) = self.admitted(said) else {
            return self.complain(member, said, 404, "this resource is not followed here");
        };
        let young = topic.view().ended_at.is_some_and(|at| at.elapsed() < route.poll.interval / 2);
        let (shared, shard, said) = (self.visitor.shared.clone(), self.shard, without_data(said));
        tokio::spawn(async move {
            if !young {
                let number = topic.want_refresh();
                let ended = topic.wait_for(|view| view.ended >= number || view.closing.is_some());
                // Whatever it waited for, the reply says what is known then.
                let _ = timeout(route.first_answer, ended).await;
            }
            drop(place);
            let version = topic.view().frame.as_ref().map(|frame| frame.version().to_string());
            shared.fanout.tell(shard, member, reply(&said, json!({ "status": 200, "version": version })));
        });
    }

    fn send(&mut self, member: MemberId, said: &Value, place: MessagePlace) {
        let Some((route, topic, path)) = self.admitted(said) else {
            return self.complain(member, said, 404, "this resource is not followed here");
        };
        let Some(send) = &route.websocket.send else {
            return self.complain(member, said, 405, "this route takes no messages (websocket.send)");
        };
        if self.sent.0.elapsed().as_secs() >= 1 {
            self.sent = (Instant::now(), 0);
        }
        self.sent.1 += 1;
        if self.sent.1 > send.rate {
            return self.complain(member, said, 429, "too many messages a second (websocket.send.rate)");
        }
        let body = match &said["data"] {
            Value::String(text) if !is_json(&send.content_type) => text.clone(),
            data => data.to_string(),
        };
        let Some(courier) =
            Courier::new(&self.visitor.shared, &route, topic.key(), &path, self.visitor.address)
        else {
            return self.complain(member, said, 502, "the upstream is not there");
        };
        let (shared, shard, said) = (self.visitor.shared.clone(), self.shard, without_data(said));
        tokio::spawn(async move {
            let message = match courier.send(Bytes::from(body)).await {
                Ok(status) => reply(&said, json!({ "status": status.as_u16() })),
                Err(reason) => {
                    shared.metrics.refusals.with_label_values(&["websocket-send-failed"]).inc();
                    complaint(&said, 502, &reason)
                }
            };
            drop(place);
            shared.fanout.tell(shard, member, message);
        });
    }
}
