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
pub(super) struct Sessions(Mutex<Known>);

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
        match self.0.lock().clock {
            Some((time_us, at)) => time_us.saturating_add(micros(at.elapsed())),
            None => SystemTime::UNIX_EPOCH.elapsed().map_or(0, micros),
        }
    }

    /// Whether a session lives, as the last beat tells.
    pub(super) fn lives(&self, session: &str) -> bool {
        let now = self.now_us();
        self.0.lock().ends.get(session).is_some_and(|end| *end > now)
    }

    /// Renews a session, or begins one.
    pub(super) async fn beat(
        &self,
        (bucket, connection): (&Bucket, &Connection),
        session: &str,
        lease: Duration,
        join: bool,
    ) -> Result<Beaten, Failed> {
        let key = key(session);
        let before = self.0.lock().own.get(session).copied();
        let expected = match (join, before) {
            (true, _) => bucket.newest(connection, &key).await?.revision,
            (false, Some(sign)) => sign.revision,
            (false, None) => return self.look(bucket, connection, session, false).await,
        };
        let value = lease.as_millis().to_string().into();
        let Some(revision) = bucket.put(connection, &key, expected, value).await? else {
            self.0.lock().own.remove(session);
            return self.look(bucket, connection, session, false).await;
        };
        let taken = bucket.newest(connection, &key).await?;
        if taken.revision == revision {
            self.0.lock().clock = Some((taken.time_us, Instant::now()));
        }
        // The engine took the sign too late: what was believed dead is not to live again.
        let lapsed = !join && before.is_some_and(|sign| taken.time_us > sign.end_us);
        if lapsed || taken.revision != revision {
            self.remove(bucket, connection, session).await?;
            return self.look(bucket, connection, session, false).await;
        }
        let end_us = taken.time_us.saturating_add(micros(lease));
        self.0.lock().own.insert(session.to_owned(), Sign { revision, end_us });
        self.look(bucket, connection, session, true).await
    }

    /// Ends a session.
    pub(super) async fn remove(
        &self,
        bucket: &Bucket,
        connection: &Connection,
        session: &str,
    ) -> Result<(), Failed> {
        {
            let mut known = self.0.lock();
            known.own.remove(session);
            known.ends.remove(session);
        }
        bucket.remove(connection, &key(session)).await
    }

    /// Looks which sessions live, and removes the others.
    async fn look(
        &self,
        bucket: &Bucket,
        connection: &Connection,
        session: &str,
        is_alive: bool,
    ) -> Result<Beaten, Failed> {
        let tokens = bucket.keys(connection, BELOW).await?;
        let reading = tokens.iter().map(async |token| {
            let entry = bucket.newest(connection, &format!("{BELOW}.{token}")).await?;
            Ok::<_, Failed>(read(token, &entry))
        });
        let found = try_join_all(reading).await?;
        let now = self.now_us();
        let (live, lapsed): (BTreeMap<_, _>, BTreeMap<_, _>) =
            found.into_iter().flatten().partition(|(_, end)| *end > now);
        for session in lapsed.keys() {
            bucket.remove(connection, &key(session)).await?;
        }
        let mut known = self.0.lock();
        known.ends.clone_from(&live);
        let is_alive = is_alive && live.contains_key(session);
        Ok(Beaten { is_alive, time_ms: now / 1000, live: live.into_keys().collect() })
    }
}

/// A session, and when it ends. Returns `None` if it has gone meanwhile, or is none.
fn read(token: &str, entry: &Entry) -> Option<(String, u64)> {
    let session = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let lease_ms: u64 = std::str::from_utf8(&entry.bytes).ok()?.parse().ok()?;
    Some((session, entry.time_us.saturating_add(lease_ms.saturating_mul(1000))))
}

fn key(session: &str) -> String {
    format!("{BELOW}.{}", URL_SAFE_NO_PAD.encode(session))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
