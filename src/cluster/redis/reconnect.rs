//! Connecting to Redis, and hearing it until something fails.
//!
//! `Back` is told when everything attended is heard again. Must not know: commands, when to try again.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSubStream;
use redis::{Msg, Value};
use tokio::time::{MissedTickBehavior, interval};

use super::dial::Dialer;
use super::pair::Pair;
use super::shared::Shared;
use crate::cluster::engine::{Event, Failed, Loss};
use crate::cluster::reconnect::Connect;
use crate::cluster::subscription::Queue;

/// Redis, to be connected to again and again.
pub(super) struct Redial {
    pub(super) shared: Arc<Shared>,
    pub(super) dialer: Dialer,
}

impl Connect for Redial {
    type Connection = (Arc<Pair>, PubSubStream);

    fn place(&self) -> String {
        self.dialer.place().to_owned()
    }

    async fn connect(&mut self) -> Result<Self::Connection, Failed> {
        connected(&self.shared, &mut self.dialer).await
    }

    async fn hear(&mut self, (pair, messages): Self::Connection) -> Failed {
        let failed = hear(&self.shared, &pair, messages, self.dialer.lease()).await;
        self.shared.pair.lock().take();
        failed
    }

    fn queue(&self) -> &Queue {
        &self.shared.queue
    }
}

/// New connections, on which everything attended is heard.
async fn connected(shared: &Arc<Shared>, dialer: &mut Dialer) -> Result<(Arc<Pair>, PubSubStream), Failed> {
    let (pair, messages) = dialer.dial().await?;
    let pair = Arc::new(pair);
    pair.subscribe(vec![shared.keys.all()]).await?;
    // From here on a new resource subscribes by itself; the ones before are in the set.
    *shared.pair.lock() = Some(pair.clone());
    let attended: Vec<String> = shared.attended.lock().iter().map(|name| shared.keys.record(name)).collect();
    if let Err(failed) = pair.subscribe(attended).await {
        shared.pair.lock().take();
        return Err(failed);
    }
    shared.queue.tell(Event::Back);
    Ok((pair, messages))
}

/// Passes on what is heard, until something fails.
async fn hear(shared: &Shared, pair: &Pair, mut messages: PubSubStream, lease: Duration) -> Failed {
    let mut looks = interval(lease / 4);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            failed = pair.failed() => return failed,
            message = messages.next() => {
                let Some(message) = message else {
                    return Failed { loss: Loss::Connection, message: "the subscription ended".to_owned() };
                };
                if !heard(shared, pair, message) {
                    let message = "more messages came than are held at once".to_owned();
                    return Failed { loss: Loss::Overflow, message };
                }
            }
            _ = looks.tick() => {
                // With messages still to be read it is this node that is slow, not the engine.
                if pair.unproven.since().is_some_and(|since| since.elapsed() > lease) {
                    let message = format!("what this node says has not come back within {lease:?} (cluster.lease)");
                    return Failed { loss: Loss::Subscription, message };
                }
            }
        }
    }
}

/// Returns whether there was room for it.
fn heard(shared: &Shared, pair: &Pair, message: Msg) -> bool {
    let name = shared.keys.resource(message.get_channel_name().as_bytes());
    // By value: a copy of a large record would be made otherwise.
    let payload: bytes::Bytes = match message.get_payload::<Value>() {
        Ok(Value::BulkString(bytes)) => bytes.into(),
        _ => return true,
    };
    if let Some(name) = name {
        return shared.queue.tell(Event::Became { name, sealed: payload });
    }
    shared.queue.tell_message(&pair.unproven, payload)
}
