//! NATS with JetStream as an engine: the verbs as reads and replacements of values in a bucket.
//!
//! A replaced value is refused where another node was faster; then the verb looks again. What a holder wrote is said to
//! the others by a message of its own when the bucket has taken it: those that hear the bucket's subject itself would
//! hear refused writes, too. Must not know: what is sealed, how connections are made ([`dial`]).

mod bucket;
mod connection;
mod diagnosis;
mod dial;
mod sessions;
mod shared;
mod value;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::engine::{
    Beaten, Claim, ClaimOutcome, Claimed, Engine, Failed, Loss, Record, Taken, Write, Written,
};
use super::reconnect::run;
use super::seal::Name;
use super::subscription::{self, Events};
use crate::config::Cluster;
use crate::poll::backplane::Order;
use bucket::{Bucket, Entry};
use connection::Connection;
pub use diagnosis::NatsDiagnosis;
use dial::Dialer;
use shared::{Held, Shared};
use value::Value;

/// Most requests of one verb that are under way at once.
const REQUESTS_MAX: usize = 64;
/// How often a verb looks again when other nodes were faster.
const TRIES_MAX: usize = 16;
/// Longest wait before the first of them; each further one may wait for so much longer.
const RACE_SPACING: Duration = Duration::from_millis(2);
/// A budget's time of being full, in µs, cannot be further away than this many bursts.
const SECOND_MICROS: f64 = 1_000_000.0;

/// An engine that is NATS. Dropping it ends its connection.
pub struct Nats {
    shared: Arc<Shared>,
    reconnecting: JoinHandle<()>,
}

impl Nats {
    /// Begins to connect, and goes on with it until dropped. Must be called on the runtime that shall do the work.
    pub fn start(cluster: &Arc<Cluster>) -> (Nats, Events) {
        let (queue, events) = subscription::queue();
        let shared = Arc::new(Shared::new(&cluster.name, cluster.servers.len(), queue));
        let reconnecting = tokio::spawn(run(Dialer::new(cluster.clone(), shared.clone())));
        (Nats { shared, reconnecting }, events)
    }

    /// A record, and its revision.
    async fn record(&self, connection: &Connection, name: &Name) -> Result<(Value, u64), Failed> {
        let entry = self.shared.bucket.get(connection, &record_key(name)).await?;
        // What cannot be read was not written by a node: it is replaced like nothing.
        Ok((Value::read(entry.bytes).unwrap_or_default(), entry.revision))
    }

    /// Replaces a record. Returns whether its revision was still this one.
    async fn replace(
        &self,
        connection: &Connection,
        name: &Name,
        value: &Value,
        revision: u64,
    ) -> Result<bool, Failed> {
        let bytes = value.write(Bucket::value_bytes_max(connection));
        let taken = self.shared.bucket.put(connection, &record_key(name), revision, bytes).await?;
        let mut held = self.shared.held.lock();
        match taken {
            Some(revision) => {
                let (holder, fence) = (value.holder.clone(), value.fence);
                held.insert(*name, Held { revision, holder, fence, at: Instant::now() });
            }
            None => {
                held.remove(name);
            }
        }
        Ok(taken.is_some())
    }

    /// The number of a resource's newest want, and the revision that it stands in.
    async fn newest_want(&self, connection: &Connection, name: &Name) -> Result<(u64, u64), Failed> {
        let entry = self.shared.bucket.get(connection, &want_key(name)).await?;
        Ok((number(&entry), entry.revision))
    }

    async fn claim_one(
        &self,
        connection: &Connection,
        session: &str,
        claim: &Claim<'_>,
    ) -> Result<Claimed, Failed> {
        self.shared.bucket.keep(connection, claim.keep).await?;
        for tried in 0..TRIES_MAX {
            let (mut value, revision) = self.record(connection, &claim.name).await?;
            let (sessions, bucket) = (&self.shared.sessions, &self.shared.bucket);
            let holder = value.holder.as_str();
            let is_anothers = !holder.is_empty() && holder != session && holder != claim.from;
            let outcome = if !sessions.is_own_alive(session) {
                ClaimOutcome::Lapsed
            } else if is_anothers && sessions.lives(bucket, connection, holder).await? {
                ClaimOutcome::Refused
            } else {
                ClaimOutcome::Held
            };
            if outcome == ClaimOutcome::Held {
                // Larger than any fence that an engine ever gave, also if this one has lost what it knew.
                let least = value.fence.max(claim.floor).saturating_add(1);
                value.fence = least.max(sessions.now_us());
                session.clone_into(&mut value.holder);
                if !self.replace(connection, &claim.name, &value, revision).await? {
                    lost_race(tried).await;
                    continue;
                }
            }
            let (want, _) = self.newest_want(connection, &claim.name).await?;
            let mut record = head(&value, want);
            if value.order > claim.have {
                (record.content, record.condition) = (value.content, value.condition);
            }
            return Ok(Claimed { outcome, record });
        }
        Err(too_many())
    }

    async fn free_one(
        &self,
        connection: &Connection,
        (name, fence): (Name, u64),
        and_drop: bool,
    ) -> Result<bool, Failed> {
        for tried in 0..TRIES_MAX {
            let (value, revision) = self.record(connection, &name).await?;
            if revision == 0 || value.fence != fence {
                return Ok(false);
            }
            // A dropped record leaves its fence behind, until the bucket forgets it.
            let mut left = if and_drop { Value::default() } else { value };
            left.holder.clear();
            left.fence = fence;
            if self.replace(connection, &name, &left, revision).await? {
                self.shared.held.lock().remove(&name);
                return Ok(true);
            }
            lost_race(tried).await;
        }
        Err(too_many())
    }

    async fn keep_one(&self, connection: &Connection, name: &Name, after: Duration) -> Result<(), Failed> {
        let held = self.shared.held.lock().get(name).map(|held| held.at);
        // What this node wrote is not read again before it is due, and not all of it at once.
        let due = after.saturating_add(after.mul_f64(f64::from(name.bytes()[0]) / 512.0));
        if held.is_some_and(|at| at.elapsed() < due) {
            return Ok(());
        }
        let (value, revision) = self.record(connection, name).await?;
        if revision != 0 {
            // Another node's write renews it just as well.
            self.replace(connection, name, &value, revision).await?;
        }
        Ok(())
    }

    /// What the record of a write becomes, and the revision that it replaces; `Err` with the holder and its fence where
    /// the write is refused.
    async fn written(
        &self,
        connection: &Connection,
        write: &Write<'_>,
    ) -> Result<Result<(Value, u64), (String, u64)>, Failed> {
        let held = self.shared.held.lock().get(&write.name).cloned();
        let needs_rest = write.content.is_empty() || write.history > 0 || !write.items.is_empty();
        let (mut value, revision) = match held {
            Some(held) if !needs_rest && held.fence == write.order.fence => {
                let value = Value { holder: held.holder, fence: held.fence, ..Value::default() };
                (value, held.revision)
            }
            _ => {
                let (value, revision) = self.record(connection, &write.name).await?;
                if revision == 0 || value.fence != write.order.fence || value.order >= write.order {
                    return Ok(Err((value.holder, value.fence)));
                }
                (value, revision)
            }
        };
        value.order = write.order;
        value.condition = Bytes::copy_from_slice(write.condition);
        if !write.content.is_empty() {
            value.content = Bytes::copy_from_slice(write.content);
        }
        if !write.items.is_empty() {
            value.items.push((write.order, Bytes::copy_from_slice(write.items)));
            let history = usize::try_from(write.history).unwrap_or(usize::MAX).max(1);
            value.items.drain(..value.items.len().saturating_sub(history));
        }
        Ok(Ok((value, revision)))
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.reconnecting.abort();
        self.shared.end();
    }
}

#[async_trait]
impl Engine for Nats {
    async fn beat(&self, session: &str, lease: Duration, join: bool) -> Result<Beaten, Failed> {
        let connection = self.shared.connection()?;
        self.shared.sessions.beat((&self.shared.bucket, &connection), session, lease, join).await
    }

    async fn claim(&self, session: &str, claims: &[Claim<'_>]) -> Result<Vec<Claimed>, Failed> {
        let connection = self.shared.connection()?;
        at_once(claims.iter().map(|claim| self.claim_one(&connection, session, claim)).collect()).await
    }

    async fn write(&self, write: &Write<'_>) -> Result<Written, Failed> {
        let connection = self.shared.connection()?;
        self.shared.bucket.keep(&connection, write.keep).await?;
        for tried in 0..TRIES_MAX {
            let (value, revision) = match self.written(&connection, write).await? {
                Ok(found) => found,
                Err((holder, fence)) => return Ok(Written::Refused { holder, fence }),
            };
            if !self.replace(&connection, &write.name, &value, revision).await? {
                lost_race(tried).await;
                continue;
            }
            let told = if write.content.is_empty() { write.condition } else { write.content };
            self.tell(&[(write.name, Bytes::copy_from_slice(told))]).await?;
            let (want, _) = self.newest_want(&connection, &write.name).await?;
            return Ok(Written::Accepted { want });
        }
        Err(too_many())
    }

    async fn want(&self, name: &Name, message: &[u8], keep: Duration) -> Result<u64, Failed> {
        let connection = self.shared.connection()?;
        self.shared.bucket.keep(&connection, keep).await?;
        for tried in 0..TRIES_MAX {
            let (newest, revision) = self.newest_want(&connection, name).await?;
            // Larger than any number that an engine ever gave, also if this one has lost what it knew.
            let want = newest.saturating_add(1).max(self.shared.sessions.now_us());
            let value = want.to_string().into();
            if self.shared.bucket.put(&connection, &want_key(name), revision, value).await?.is_some() {
                let message = subscription::write_want(want, message);
                connection.publish(self.shared.subjects.all(), message).await?;
                return Ok(want);
            }
            lost_race(tried).await;
        }
        Err(too_many())
    }

    async fn free(&self, held: &[(Name, u64)], and_drop: bool) -> Result<Vec<bool>, Failed> {
        let connection = self.shared.connection()?;
        at_once(held.iter().map(|one| self.free_one(&connection, *one, and_drop)).collect()).await
    }

    async fn heads(&self, names: &[Name]) -> Result<Vec<Record>, Failed> {
        let mut heads = at_once(names.iter().map(|name| self.read(name)).collect()).await?;
        heads.iter_mut().for_each(|record| record.content = Bytes::new());
        Ok(heads)
    }

    async fn read(&self, name: &Name) -> Result<Record, Failed> {
        let connection = self.shared.connection()?;
        let (value, _) = self.record(&connection, name).await?;
        let (want, _) = self.newest_want(&connection, name).await?;
        let head = head(&value, want);
        Ok(Record { content: value.content, condition: value.condition, ..head })
    }

    async fn items(&self, name: &Name, after: Order, max: usize) -> Result<Vec<(Order, Bytes)>, Failed> {
        let connection = self.shared.connection()?;
        let (value, _) = self.record(&connection, name).await?;
        Ok(value.items.into_iter().filter(|(order, _)| *order > after).take(max).collect())
    }

    async fn keep(&self, names: &[Name], keep: Duration) -> Result<(), Failed> {
        let connection = self.shared.connection()?;
        self.shared.bucket.keep(&connection, keep).await?;
        let after = self.shared.bucket.renewed_after().await;
        at_once(names.iter().map(|name| self.keep_one(&connection, name, after)).collect()).await.map(drop)
    }

    async fn take(&self, upstream: &Name, rate: f64, burst: u32, requests: u32) -> Result<Taken, Failed> {
        let connection = self.shared.connection()?;
        let key = format!("u.{upstream}");
        let each = SECOND_MICROS / rate;
        let whole = each * f64::from(burst);
        for tried in 0..TRIES_MAX {
            let entry = self.shared.bucket.get(&connection, &key).await?;
            let now = self.shared.sessions.now_us() as f64;
            // A clock that was set back must not stop the polls for longer than a whole bucket takes.
            let full = (number(&entry) as f64).max(now).min(now + whole);
            let free = ((now + whole - full) / each + 0.000_001).floor();
            let granted = free.clamp(0.0, f64::from(requests));
            let full = full + granted * each;
            let value = format!("{full:.0}").into();
            if self.shared.bucket.put(&connection, &key, entry.revision, value).await?.is_some() {
                let wait = (full + each - (now + whole)).max(0.0).ceil();
                return Ok(Taken { granted: granted as u32, wait: Duration::from_micros(wait as u64) });
            }
            lost_race(tried).await;
        }
        Err(too_many())
    }

    async fn announce(&self, message: Bytes) -> Result<(), Failed> {
        let connection = self.shared.connection()?;
        connection.unproven.said(&message);
        connection.publish(self.shared.subjects.all(), message).await
    }

    async fn announce_write(&self, message: Bytes) -> Result<Option<u64>, Failed> {
        let connection = self.shared.connection()?;
        connection.publish(self.shared.subjects.all(), message).await?;
        // The server answers in the order in which it is asked. It has no number for this among those of the wants.
        self.newest_want(&connection, &Name::ALL).await?;
        Ok(None)
    }

    async fn tell(&self, told: &[(Name, Bytes)]) -> Result<(), Failed> {
        let connection = self.shared.connection()?;
        for (name, sealed) in told {
            connection.publish(self.shared.subjects.resource(name), sealed.clone()).await?;
        }
        Ok(())
    }

    async fn attend(&self, names: &[Name]) -> Result<(), Failed> {
        self.shared.attend(names).await
    }

    async fn leave(&self, names: &[Name]) -> Result<(), Failed> {
        self.shared.leave(names).await
    }

    async fn part(&self, session: &str) -> Result<(), Failed> {
        let connection = self.shared.connection()?;
        self.shared.sessions.remove(&self.shared.bucket, &connection, session).await
    }
}

/// Waits for all, of which at most [`REQUESTS_MAX`] are under way. The answers come in their order.
async fn at_once<T>(asking: Vec<impl Future<Output = Result<T, Failed>>>) -> Result<Vec<T>, Failed> {
    stream::iter(asking).buffered(REQUESTS_MAX).try_collect().await
}

/// Reads bytes of a bucket as a record, for the fuzz targets.
#[cfg(fuzzing)]
pub(super) fn read_value(bytes: &Bytes) {
    let _ = Value::read(bytes.clone());
}

fn record_key(name: &Name) -> String {
    format!("r.{name}")
}

fn want_key(name: &Name) -> String {
    format!("w.{name}")
}

/// A number that stands in a value; 0 where none does.
fn number(entry: &Entry) -> u64 {
    std::str::from_utf8(&entry.bytes).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn head(value: &Value, want: u64) -> Record {
    let (holder, fence, order) = (value.holder.clone(), value.fence, value.order);
    Record { holder, fence, order, want, ..Record::default() }
}

/// Waits for a moment, so that those who race for a value do not meet again.
async fn lost_race(tried: usize) {
    sleep(RACE_SPACING.mul_f64(fastrand::f64() * (1 + tried) as f64)).await;
}

fn too_many() -> Failed {
    Failed {
        loss: Loss::Protocol,
        message: format!("a value was replaced by others {TRIES_MAX} times in a row"),
    }
}
