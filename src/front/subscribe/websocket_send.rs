//! What WebSocket clients say, on its way to the upstream (contract §6, `websocket.send`): one
//! request a message, in order, with the class's credentials.
//!
//! Must not know: frames.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use crate::config::upstream_path::Pattern;
use crate::config::{Route, Send};
use crate::fanout::{MessageQueue, Messages, messages};
use crate::frame::websocket;
use crate::front::covered_request::CoveredRequest;
use crate::front::passthrough::writes;
use crate::front::services::Shared;
use crate::metrics::RefusalReason;
use crate::resource::{ResourceKey, stays, upstream_target};
use crate::upstream::{Ask, Client, Document};

/// Most bytes read of the upstream's answer to a message.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The way of one resource's messages to the upstream.
pub(super) struct Courier {
    shared: Arc<Shared>,
    route: Arc<Route>,
    client: Arc<Client>,
    target: String,
    /// The resource that the client follows.
    resource: ResourceKey,
    /// The client's.
    address: Option<IpAddr>,
    host: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// What keeps its class's connections apart.
    class: Option<u64>,
}

/// One client's messages, in order.
struct Outbox {
    courier: Courier,
    shard: u16,
}

impl CoveredRequest<'_> {
    /// A queue for this client's messages, and the task that empties it. It ends with the client.
    pub(super) fn outbox(&self, shard: u16) -> Option<Messages> {
        let key = self.ctx.key.as_ref()?;
        let courier = Courier::new(&self.front.shared, &self.route, key, &key.parts().path, self.ctx.client)?;
        let (messages, queue) = messages();
        tokio::spawn(Outbox { courier, shard }.run(queue));
        Some(messages)
    }
}

impl Outbox {
    async fn run(self, mut queue: MessageQueue) {
        let Courier { shared, route, .. } = &self.courier;
        while let Some((member, message)) = queue.recv().await {
            if let Err(reason) = self.courier.send(message.bytes.clone()).await {
                shared.metrics.refusals.with_label_values(&["websocket-send-failed"]).inc();
                tracing::debug!(route = %route.path, "a client's message was not taken: {reason}");
                if route.websocket.send.as_ref().is_some_and(|send| send.errors) {
                    let text = websocket::text(&json!({ "error": reason }).to_string());
                    shared.fanout.tell(self.shard, member, text);
                }
            }
        }
    }
}

impl Courier {
    /// Returns `None` if the route takes no messages, or none for this path. `path`: the resource's, in canonical form.
    pub(super) fn new(
        shared: &Arc<Shared>,
        route: &Arc<Route>,
        key: &ResourceKey,
        path: &str,
        address: Option<IpAddr>,
    ) -> Option<Courier> {
        let send = route.websocket.send.as_ref()?;
        let mut headers = vec![(header::CONTENT_TYPE, send.content_type.clone())];
        headers.extend(key.parts().class.iter().cloned());
        headers.extend(send.headers.iter().cloned());
        Some(Courier {
            shared: shared.clone(),
            class: crate::poll::connections(&route.upstream, &key.parts().class),
            host: crate::poll::host(&route.upstream, key.parts().host.as_deref()),
            resource: key.clone(),
            address,
            target: target(shared, route, send, path)?,
            client: shared.clients.get(&route.upstream.name)?.clone(),
            route: route.clone(),
            headers,
        })
    }

    /// One message as one request; gives the upstream's status.
    pub(super) async fn send(&self, message: Bytes) -> Result<StatusCode, String> {
        let Some(send) = &self.route.websocket.send else {
            return Err("the route takes no messages".to_owned());
        };
        let Some(_place) = self.client.passing.enter() else {
            self.shared.metrics.refused(RefusalReason::UpstreamRequests);
            return Err("the upstream has as many requests as it may have (max_requests)".to_owned());
        };
        let mut ask = Ask {
            method: send.method.clone(),
            path_and_query: self.target.clone(),
            host: self.host.clone(),
            headers: self.headers.clone(),
            body: message,
            timeout: self.route.upstream.total_timeout,
            max_body: ANSWER_BYTES_MAX,
            class: self.class,
            document: Document::Any,
            claim: None,
        };
        let parts = self.resource.parts();
        let relay = &self.shared.relay;
        relay.say_forwarded(&mut ask, parts.proto, parts.host.as_deref(), &self.route.upstream);
        match self.client.fetch(&ask).await {
            Ok(answer) if answer.status.is_success() || answer.status.is_redirection() => {
                let (asked, answered) = ((&send.method, &*self.target), (answer.status, &answer.headers));
                let told =
                    writes::sent(&self.shared, &self.route, &self.resource, self.address, asked, answered);
                if let Some(telling) = told {
                    telling.tell().await;
                }
                Ok(answer.status)
            }
            Ok(answer) => Err(format!("the upstream answered {}", answer.status)),
            Err(error) => Err(format!("upstream {:?}: {}", error.upstream, error.failure.for_clients())),
        }
    }
}

/// The path of `send` with this resource's parameters. Returns `None` if one of them would be read as more than the part
/// of the path that it is.
fn target(shared: &Shared, route: &Route, send: &Send, path: &str) -> Option<String> {
    if send.path.is_empty() {
        return upstream_target(route, path, None);
    }
    let values = shared.routes.parameters(route, path);
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (&**name, &**value)).collect();
    let pattern = Pattern::of(&send.path);
    pattern.fill(&values).filter(|target| stays(&pattern, target, route.exact_spelling))
}
