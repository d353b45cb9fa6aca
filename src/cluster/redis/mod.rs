//! Redis and Valkey (7.0 or later) as an engine: the verbs as scripts, over one connection for commands and one that hears.
//!
//! Must not know: what is sealed, how connections are made and kept ([`dial`], [`reconnect`]).

mod diagnosis;
mod dial;
mod keys;
mod pair;
mod reconnect;
mod reply;
mod rights;
mod shared;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use redis::{Cmd, Value};
use tokio::task::JoinHandle;

use super::engine::{
    Beaten, Claim, ClaimOutcome, Claimed, Engine, Failed, Loss, PIPELINE_MAX, Record, Taken, Write, Written,
};
use super::reconnect::run;
use super::seal::Name;
use super::subscription::{self, Events};
use crate::config::Cluster;
use crate::poll::backplane::Order;
use dial::Dialer;
use keys::Keys;
use pair::Script;
use reconnect::Redial;
use reply::Reply;
use shared::Shared;

/// Most resources that one node attends to.
const ATTENDED_MAX: usize = 1_000_000;
/// Bytes that are told in one go.
const PIPELINE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An engine that is Redis. Dropping it ends its connections.
pub struct Redis {
    shared: Arc<Shared>,
    reconnecting: JoinHandle<()>,
}

impl Redis {
    /// Begins to connect, and goes on with it until dropped. Must be called on the runtime that shall do the work.
    pub fn start(cluster: &Arc<Cluster>) -> (Redis, Events) {
        let (queue, events) = subscription::queue();
        let shared = Arc::new(Shared {
            keys: Keys { space: format!("{{pollcast:{}}}", cluster.name) },
            pair: Mutex::default(),
            attended: Mutex::default(),
            queue,
        });
        let dialer = Dialer::new(cluster.clone(), shared.keys.clone());
        let reconnecting = tokio::spawn(run(Redial { shared: shared.clone(), dialer }));
        (Redis { shared, reconnecting }, events)
    }

    /// Connects once, and says what is wrong if it cannot.
    ///
    /// # Errors
    /// The engine cannot be used; the message names what is missing.
    pub async fn probe(cluster: &Arc<Cluster>) -> Result<(), Failed> {
        let keys = Keys { space: format!("{{pollcast:{}}}", cluster.name) };
        let mut dialer = Dialer::new(cluster.clone(), keys.clone());
        let mut result = dialer.dial().await;
        for _ in 1..cluster.servers.len() {
            if result.is_err() {
                result = dialer.dial().await;
            }
        }
        let (pair, _) = result?;
        let missing = rights::missing(&pair, &keys).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!("the engine's user lacks the rights to: {}", missing.join(", "));
        Err(Failed { loss: Loss::Rights, message })
    }

    async fn script(&self, script: Script, keys: &[String], arguments: &[&[u8]]) -> Result<Reply, Failed> {
        let pair = self.shared.pair()?;
        pair.script(script, keys, arguments).await
    }

    /// Sends commands in pipelines of at most [`PIPELINE_MAX`], each within the time of one command.
    async fn pipelined(&self, commands: Vec<Cmd>) -> Result<Vec<Value>, Failed> {
        let pair = self.shared.pair()?;
        let mut replies = Vec::with_capacity(commands.len());
        for commands in commands.chunks(PIPELINE_MAX) {
            replies.extend(pair.pipeline(commands).await?);
        }
        Ok(replies)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.reconnecting.abort();
        // Its drivers end with it.
        self.shared.pair.lock().take();
    }
}

#[async_trait]
impl Engine for Redis {
    async fn beat(&self, session: &str, lease: Duration, join: bool) -> Result<Beaten, Failed> {
        let keys = [self.shared.keys.sessions()];
        let lease = lease.as_millis().to_string();
        let join: &[u8] = if join { b"1" } else { b"0" };
        let reply = self.script(Script::Beat, &keys, &[session.as_bytes(), lease.as_bytes(), join]).await?;
        let mut fields = reply.array()?;
        Ok(Beaten {
            is_alive: fields.number()? == 1,
            time_ms: fields.number()?,
            live: fields.array()?.texts()?,
        })
    }

    async fn claim(&self, session: &str, claims: &[Claim<'_>]) -> Result<Vec<Claimed>, Failed> {
        let pair = self.shared.pair()?;
        let sessions = self.shared.keys.sessions();
        let command = |claim: &Claim<'_>| {
            let keys = [sessions.clone(), self.shared.keys.record(&claim.name)];
            let fence = claim.have.fence.to_string();
            let (sequence, floor) = (claim.have.sequence.to_string(), claim.floor.to_string());
            let keep = claim.keep.as_millis().to_string();
            let arguments =
                [session, fence.as_str(), sequence.as_str(), claim.from, floor.as_str(), keep.as_str()];
            pair.evaluation(Script::Claim, &keys, &arguments.map(str::as_bytes))
        };
        let replies = self.pipelined(claims.iter().map(command).collect()).await?;
        replies.into_iter().map(|reply| claimed(Reply::new(reply))).collect()
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, Failed> {
        let keys = [self.shared.keys.record(&write.name), self.shared.keys.items(&write.name)];
        let numbers = [
            write.order.fence.to_string(),
            write.order.sequence.to_string(),
            write.history.max(1).to_string(),
            write.keep.as_millis().to_string(),
        ];
        let [fence, sequence, history, keep] = numbers.each_ref().map(|number| number.as_bytes());
        let channel = self.shared.keys.record(&write.name);
        let arguments =
            [fence, sequence, write.content, write.condition, write.items, history, keep, channel.as_bytes()];
        let mut fields = self.script(Script::Write, &keys, &arguments).await?.array()?;
        if fields.number()? == 1 {
            return Ok(Written::Accepted { want: fields.number()? });
        }
        Ok(Written::Refused { holder: fields.text()?, fence: fields.number()? })
    }

    async fn want(&self, name: &Name, message: &[u8], keep: Duration) -> Result<u64, Failed> {
        let keys = [self.shared.keys.record(name)];
        let (channel, keep) = (self.shared.keys.all(), keep.as_millis().to_string());
        self.script(Script::Want, &keys, &[message, channel.as_bytes(), keep.as_bytes()]).await?.number()
    }

    async fn free(&self, held: &[(Name, u64)], and_drop: bool) -> Result<Vec<bool>, Failed> {
        let pair = self.shared.pair()?;
        let command = |(name, fence): &(Name, u64)| {
            let keys = [self.shared.keys.record(name), self.shared.keys.items(name)];
            let drops: &[u8] = if and_drop { b"1" } else { b"0" };
            pair.evaluation(Script::Free, &keys, &[fence.to_string().as_bytes(), drops])
        };
        let replies = self.pipelined(held.iter().map(command).collect()).await?;
        replies.into_iter().map(|reply| Ok(Reply::new(reply).number()? == 1)).collect()
    }

    async fn heads(&self, names: &[Name]) -> Result<Vec<Record>, Failed> {
        let command = |name: &Name| {
            let mut command = redis::cmd("HMGET");
            command.arg(self.shared.keys.record(name)).arg(&["o", "f", "c", "s", "w", "k"]);
            command
        };
        let replies = self.pipelined(names.iter().map(command).collect()).await?;
        let record = |reply| {
            let mut fields = Reply::new(reply).array()?;
            let mut record = head(&mut fields)?;
            record.condition = fields.bytes()?;
            Ok(record)
        };
        replies.into_iter().map(record).collect()
    }

    async fn read(&self, name: &Name) -> Result<Record, Failed> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.shared.keys.record(name)).arg(&["o", "f", "c", "s", "w", "k", "b"]);
        let mut fields = self.shared.pair()?.command(&command).await?.array()?;
        let mut record = head(&mut fields)?;
        (record.condition, record.content) = (fields.bytes()?, fields.bytes()?);
        Ok(record)
    }

    async fn items(&self, name: &Name, after: Order, max: usize) -> Result<Vec<(Order, Bytes)>, Failed> {
        let mut command = redis::cmd("XRANGE");
        let from = format!("({}-{}", after.fence, after.sequence);
        command.arg(self.shared.keys.items(name)).arg(from).arg("+").arg("COUNT").arg(max);
        let mut entries = self.shared.pair()?.command(&command).await?.array()?;
        let mut items = Vec::new();
        while let Some(mut entry) = entries.next_array()? {
            let order = order_of(&entry.text()?).ok_or_else(reply::unexpected)?;
            let mut fields = entry.array()?;
            fields.text()?;
            items.push((order, fields.bytes()?));
        }
        Ok(items)
    }

    async fn keep(&self, names: &[Name], keep: Duration) -> Result<(), Failed> {
        let command = |name: &Name| {
            let mut command = redis::cmd("PEXPIRE");
            command.arg(self.shared.keys.record(name)).arg(keep.as_millis().to_string());
            command
        };
        self.pipelined(names.iter().map(command).collect()).await.map(drop)
    }

    async fn take(&self, upstream: &Name, rate: f64, burst: u32, requests: u32) -> Result<Taken, Failed> {
        let keys = [self.shared.keys.budget(upstream)];
        let numbers = [rate.to_string(), burst.to_string(), requests.to_string()];
        let reply =
            self.script(Script::Take, &keys, &numbers.each_ref().map(|number| number.as_bytes())).await?;
        let mut fields = reply.array()?;
        let granted = u32::try_from(fields.number()?).unwrap_or(requests).min(requests);
        Ok(Taken { granted, wait: Duration::from_micros(fields.number()?) })
    }

    async fn announce(&self, message: Bytes) -> Result<(), Failed> {
        let pair = self.shared.pair()?;
        pair.unproven.said(&message);
        let mut command = redis::cmd("PUBLISH");
        command.arg(self.shared.keys.all()).arg(message.as_ref());
        pair.command(&command).await.map(drop)
    }

    async fn announce_write(&self, message: Bytes) -> Result<Option<u64>, Failed> {
        let keys = [self.shared.keys.sessions()];
        let channel = self.shared.keys.all();
        self.script(Script::Tell, &keys, &[&message, channel.as_bytes()]).await?.number().map(Some)
    }

    async fn tell(&self, told: &[(Name, Bytes)]) -> Result<(), Failed> {
        let command = |(name, sealed): &(Name, Bytes)| {
            let mut command = redis::cmd("PUBLISH");
            command.arg(self.shared.keys.record(name)).arg(sealed.as_ref());
            command
        };
        let mut rest = told;
        while !rest.is_empty() {
            let mut bytes = 0;
            let is_room = |(_, sealed): &&(Name, Bytes)| {
                bytes += sealed.len();
                bytes <= PIPELINE_BYTES_MAX
            };
            let count = rest.iter().take_while(is_room).count().max(1);
            self.pipelined(rest[..count].iter().map(command).collect()).await?;
            rest = &rest[count..];
        }
        Ok(())
    }

    async fn attend(&self, names: &[Name]) -> Result<(), Failed> {
        {
            let mut attended = self.shared.attended.lock();
            if attended.len() + names.len() > ATTENDED_MAX {
                let message = format!("more than {ATTENDED_MAX} resources are attended to");
                return Err(Failed { loss: Loss::Overflow, message });
            }
            attended.extend(names);
        }
        self.shared.pair()?.subscribe(names.iter().map(|name| self.shared.keys.record(name)).collect()).await
    }

    async fn leave(&self, names: &[Name]) -> Result<(), Failed> {
        {
            let mut attended = self.shared.attended.lock();
            for name in names {
                attended.remove(name);
            }
        }
        self.shared
            .pair()?
            .unsubscribe(names.iter().map(|name| self.shared.keys.record(name)).collect())
            .await
    }

    async fn part(&self, session: &str) -> Result<(), Failed> {
        // A lease that has ended: the next beat of any node removes it, and no claim looks at it before.
        let keys = [self.shared.keys.sessions()];
        self.script(Script::Beat, &keys, &[session.as_bytes(), b"-1", b"0"]).await.map(drop)
    }
}

/// `o f c s w`, in this order.
fn head(fields: &mut reply::Fields) -> Result<Record, Failed> {
    let (holder, fence) = (fields.text()?, fields.number()?);
    let order = Order { fence: fields.number()?, sequence: fields.number()? };
    Ok(Record { holder, fence, order, want: fields.number()?, ..Record::default() })
}

fn claimed(reply: Reply) -> Result<Claimed, Failed> {
    let mut fields = reply.array()?;
    let outcome = match fields.signed()? {
        1 => ClaimOutcome::Held,
        0 => ClaimOutcome::Refused,
        _ => ClaimOutcome::Lapsed,
    };
    let mut record = head(&mut fields)?;
    (record.content, record.condition) = (fields.bytes()?, fields.bytes()?);
    Ok(Claimed { outcome, record })
}

/// An identifier of a stream's entry.
fn order_of(id: &str) -> Option<Order> {
    let (fence, sequence) = id.split_once('-')?;
    Some(Order { fence: fence.parse().ok()?, sequence: sequence.parse().ok()? })
}
