//! Sessions of nodes as values of the bucket, and the engine's clock.
//!
//! The time at which the engine took a value is its own; the lease stands in the value. A session whose newest sign is
//! older than its lease has lapsed, whether or not it was removed. Must not know: resources.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::try_join_all;
use parking_lot::Mutex;

use super::bucket::{Bucket, Entry};
use super::connection::Connection;
use crate::cluster::engine::{Beaten, Failed};

/// Where sessions stand in the bucket.
const BELOW: &str = "s";

/// What a node knows of sessions and of the engine's clock.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    known: Mutex<Known>,
    /// One beat at a time: two would take each other's revision for another node's.
    beating: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    /// The engine's time at a moment of this node: µs since 1970.
    clock: Option<(u64, Instant)>,
    /// When each session ends that lived at the last beat.
    ends: BTreeMap<String, u64>,
    /// The signs of this node's own sessions.
    own: BTreeMap<String, Sign>,
}

/// The last sign of a session.
#[derive(Debug, Clone, Copy)]
struct Sign {
    revision: u64,
    end_us: u64,
}

impl Sessions {
    /// The engine's time, in µs since 1970; this node's where no beat has told it yet.
    pub(super) fn now_us(&self) -> u64 {
        match self.known.lock().clock {
            Some((time_us, at)) => time_us.saturating_add(micros(at.elapsed())),
            None => SystemTime::UNIX_EPOCH.elapsed().map_or(0, micros),
        }
    }

    /// Whether a session of this node lives, as its last beat tells.
    pub(super) fn is_own_alive(&self, session: &str) -> bool {
        let now = self.now_us();
        self.known.lock().own.get(session).is_some_and(|sign| sign.end_us > now)
    }

    /// Whether a session lives: one that is not known from the last beat is looked for.
    pub(super) async fn lives(
        &self,
        bucket: &Bucket,
        connection: &Connection,
        session: &str,
    ) -> Result<bool, Failed> {
        let now = self.now_us();
        if self.known.lock().ends.get(session).is_some_and(|end| *end > now) {
            return Ok(true);
        }
        let entry = bucket.get(connection, &key(session)).await?;
        let now = self.now_us();
        let Some(end) = end(&entry).filter(|end| *end > now) else { return Ok(false) };
        self.known.lock().ends.insert(session.to_owned(), end);
        Ok(true)
    }

    /// Renews a session, or begins one.
    pub(super) async fn beat(
        &self,
        (bucket, connection): (&Bucket, &Connection),
        session: &str,
        lease: Duration,
        join: bool,
    ) -> Result<Beaten, Failed> {
        let _one = self.beating.lock().await;
        let key = key(session);
        let before = self.known.lock().own.get(session).copied();
        let expected = match (join, before) {
            (true, _) => bucket.get(connection, &key).await?.revision,
            (false, Some(sign)) => sign.revision,
            (false, None) => return self.look(bucket, connection, (session, None)).await,
        };
        let value = lease.as_millis().to_string().into();
        let taken = bucket.put(connection, &key, expected, value).await?;
        self.known.lock().own.remove(session);
        let sign = taken.map(|revision| Awaited {
            revision,
            // A sign that the engine took too late does not bring back to life what others believe dead.
            before_us: before.filter(|_| !join).map_or(u64::MAX, |sign| sign.end_us),
        });
        self.look(bucket, connection, (session, sign)).await
    }

    /// Ends a session.
    pub(super) async fn remove(
        &self,
        bucket: &Bucket,
        connection: &Connection,
        session: &str,
    ) -> Result<(), Failed> {
        {
            let mut known = self.known.lock();
            known.own.remove(session);
            known.ends.remove(session);
        }
        let entry = bucket.get(connection, &key(session)).await?;
        bucket.remove(connection, &key(session), entry.revision).await
    }

    /// Looks which sessions live, and removes the others. With `sign`, which was just put, the session lives from now on.
    async fn look(
        &self,
        bucket: &Bucket,
        connection: &Connection,
        (session, sign): (&str, Option<Awaited>),
    ) -> Result<Beaten, Failed> {
        let tokens = bucket.keys(connection, BELOW).await?;
        let reading = tokens.iter().map(async |token| {
            Ok::<_, Failed>((token, bucket.get(connection, &format!("{BELOW}.{token}")).await?))
        });
        let found: Vec<_> = try_join_all(reading).await?;
        let found = found.into_iter().filter_map(|(token, entry)| Some((read(token, &entry)?, entry)));
        let found: Vec<((String, u64), Entry)> = found.collect();
        let own = found.iter().find(|((found, _), _)| found == session);
        let own = own.zip(sign).filter(|((_, entry), sign)| entry.revision == sign.revision);
        let mut is_alive = false;
        if let Some((((_, end_us), entry), sign)) = own {
            let mut known = self.known.lock();
            known.clock = Some((entry.time_us, Instant::now()));
            is_alive = entry.time_us <= sign.before_us;
            if is_alive {
                known.own.insert(session.to_owned(), Sign { revision: sign.revision, end_us: *end_us });
            }
        }
        let (now, has_clock) = (self.now_us(), self.known.lock().clock.is_some());
        let mut live = BTreeMap::new();
        for ((found, end), entry) in found {
            let is_dead = end <= now || (found == session && sign.is_some() && !is_alive);
            if !is_dead {
                live.insert(found, end);
            } else if has_clock {
                // One that was renewed meanwhile has a later revision, and stays.
                bucket.remove(connection, &key(&found), entry.revision).await?;
            }
        }
        self.known.lock().ends.clone_from(&live);
        let is_alive = is_alive && live.contains_key(session);
        Ok(Beaten { is_alive, time_ms: now / 1000, live: live.into_keys().collect() })
    }
}

/// A sign that was just put.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    revision: u64,
    /// The engine must have taken it by then.
    before_us: u64,
}

/// A session, and when it ends. Returns `None` if it has gone meanwhile, or is none.
fn read(token: &str, entry: &Entry) -> Option<(String, u64)> {
    let session = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    Some((session, end(entry)?))
}

fn end(entry: &Entry) -> Option<u64> {
    let lease_ms: u64 = std::str::from_utf8(&entry.bytes).ok()?.parse().ok()?;
    Some(entry.time_us.saturating_add(lease_ms.saturating_mul(1000)))
}

fn key(session: &str) -> String {
    format!("{BELOW}.{}", URL_SAFE_NO_PAD.encode(session))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
