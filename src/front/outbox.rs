//! What WebSocket clients say, on its way to the upstream (contract §6, `websocket.send`): one
//! request a message, in order, with the class's credentials.
//!
//! Must not know: frames.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use serde_json::json;
use tokio::sync::mpsc;

use super::cover::Cover;
use super::{Shared, writes};
use crate::config::{Route, Send};
use crate::fanout::{MemberId, Messages};
use crate::frame::websocket;
use crate::resource::ResourceKey;
use crate::upstream::{Ask, Client};

/// Messages of one client that may wait; more are dropped and counted.
const WAITING: usize = 16;

/// Most bytes read of the upstream's answer to a message.
const MAX_ANSWER: usize = 64 * 1024;

/// One client's way to the upstream.
struct Outbox {
    shared: Arc<Shared>,
    route: Arc<Route>,
    client: Arc<Client>,
    shard: u16,
    target: String,
    /// The resource that the client follows.
    resource: ResourceKey,
    host: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Cover<'_> {
    /// A queue for this client's messages, and the task that empties it. It ends with the client.
    pub(super) fn outbox(&self, shard: u16, send: &Send) -> Option<Messages> {
        let key = self.ctx.key.as_ref()?;
        let client = self.ctx.upstream.clone()?;
        let mut headers = vec![(header::CONTENT_TYPE, send.content_type.clone())];
        headers.extend(key.parts().class.iter().cloned());
        headers.extend(send.headers.iter().cloned());
        let outbox = Outbox {
            shared: self.front.shared.clone(),
            route: self.route.clone(),
            host: crate::relay::host(&self.route.upstream, key.parts().host.as_deref()),
            resource: key.clone(),
            target: self.send_target(send, &key.parts().path),
            client,
            shard,
            headers,
        };
        let (messages, queue) = mpsc::channel(WAITING);
        tokio::spawn(outbox.run(queue));
        Some(messages)
    }

    /// The path of `send` with this resource's parameters.
    fn send_target(&self, send: &Send, path: &str) -> String {
        let mut target = send.path.clone();
        for (name, value) in self.front.shared.routes.parameters(path) {
            target = target.replace(&format!("{{{name}}}"), &value);
            target = target.replace(&format!("{{*{name}}}"), &value);
        }
        target
    }
}

impl Outbox {
    async fn run(self, mut queue: mpsc::Receiver<(MemberId, Bytes)>) {
        while let Some((member, message)) = queue.recv().await {
            if let Err(reason) = self.send(message).await {
                self.shared.metrics.refusals.with_label_values(&["websocket-send-failed"]).inc();
                tracing::debug!(route = %self.route.path, "a client's message was not taken: {reason}");
                if self.route.websocket.send.as_ref().is_some_and(|send| send.errors) {
                    let text = websocket::text(&json!({ "error": reason }).to_string());
                    self.shared.fanout.tell(self.shard, member, text);
                }
            }
        }
    }

    async fn send(&self, message: Bytes) -> Result<(), String> {
        let Some(send) = &self.route.websocket.send else {
            return Ok(());
        };
        let ask = Ask {
            method: send.method.clone(),
            path_and_query: self.target.clone(),
            host: self.host.clone(),
            headers: self.headers.clone(),
            body: message,
            timeout: self.route.upstream.total_timeout,
            max_body: MAX_ANSWER,
        };
        match self.client.fetch(&ask).await {
            Ok(answer) if answer.status.is_success() || answer.status.is_redirection() => {
                writes::sent(&self.shared, &self.route, &self.resource, &self.target, &answer.headers);
                Ok(())
            }
            Ok(answer) => Err(format!("the upstream answered {}", answer.status)),
            Err(error) => Err(error.to_string()),
        }
    }
}
