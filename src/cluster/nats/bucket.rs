//! The bucket of a cluster: one stream of JetStream that keeps the last value of each key, asked by its requests.
//!
//! A value is replaced only where its revision is still the one that was read: that is what makes verbs atomic here. The
//! layout is that of NATS' key-value buckets, so that its tools can show it. Must not know: what is stored.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value as Json, json};
use tokio::sync::Mutex;

use super::connection::{Connection, HEADER_BYTES_MAX};
use crate::cluster::engine::{Failed, Loss};

/// A value lives for so long without being replaced, or longer where a record says so.
const AGE_MIN: Duration = Duration::from_secs(3600);
/// With so many servers or more the bucket has as many copies.
const COPIES_COUNT: usize = 3;

const STREAM_UNKNOWN_CODE: u64 = 10_059;
const STREAM_EXISTS_CODE: u64 = 10_058;
const MESSAGE_UNKNOWN_CODE: u64 = 10_037;
/// A value has another revision than expected; servers with copies have further words for it.
const OTHER_REVISION_CODES: [u64; 3] = [10_071, 10_164, 10_163];
/// Memory, storage or a limit of the account is used up.
const USED_UP: [u64; 5] = [10_023, 10_028, 10_047, 10_002, 10_077];

/// The bucket of a cluster.
pub(super) struct Bucket {
    stream: String,
    /// What the subject of every key begins with.
    prefix: String,
    copies: usize,
    age: Mutex<Duration>,
}

/// A value of a key.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// Of the value; 0 if there is none.
    pub(super) revision: u64,
    /// When the engine took it: µs since 1970 by its clock.
    pub(super) time_us: u64,
    /// The value; empty if there is none.
    pub(super) bytes: Bytes,
}

impl Bucket {
    pub(super) fn new(cluster: &str, servers: usize) -> Bucket {
        let name = format!("pollcast-{}", token(cluster));
        let copies = if servers >= COPIES_COUNT { COPIES_COUNT } else { 1 };
        Bucket {
            stream: format!("KV_{name}"),
            prefix: format!("$KV.{name}."),
            copies,
            age: Mutex::new(AGE_MIN),
        }
    }

    /// Makes the bucket if it is not there.
    pub(super) async fn ensure(&self, connection: &Connection) -> Result<(), Failed> {
        let mut age = self.age.lock().await;
        let found = self.request(connection, "STREAM.INFO", &json!({})).await?;
        match found {
            Ok(info) => *age = age_of(&info),
            Err(error) if error.code == STREAM_UNKNOWN_CODE => {
                match self.request(connection, "STREAM.CREATE", &self.config(AGE_MIN)).await? {
                    Err(error) if error.code != STREAM_EXISTS_CODE => {
                        return Err(connection.fail(error.failed()));
                    }
                    Ok(_) | Err(_) => *age = AGE_MIN,
                }
            }
            Err(error) => return Err(connection.fail(error.failed())),
        }
        Ok(())
    }

    /// Has values live for at least so long. What else an operator has set of the bucket stays.
    pub(super) async fn keep(&self, connection: &Connection, keep: Duration) -> Result<(), Failed> {
        let mut age = self.age.lock().await;
        if *age >= keep {
            return Ok(());
        }
        let found = self.request(connection, "STREAM.INFO", &json!({})).await?;
        let info = found.map_err(|error| connection.fail(error.failed()))?;
        *age = age_of(&info);
        if *age >= keep {
            return Ok(());
        }
        let mut config = info.get("config").cloned().unwrap_or_default();
        config["max_age"] = json!(nanoseconds(keep));
        match self.request(connection, "STREAM.UPDATE", &config).await? {
            Ok(_) => *age = keep,
            Err(error) => return Err(connection.fail(error.failed())),
        }
        Ok(())
    }

    /// A value of this age is written again, so that the bucket does not forget it.
    pub(super) async fn renewed_after(&self) -> Duration {
        *self.age.lock().await / 3
    }

    fn config(&self, age: Duration) -> Json {
        json!({
            "name": self.stream,
            "subjects": [format!("{}>", self.prefix)],
            "retention": "limits",
            "storage": "memory",
            "discard": "new",
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msg_size": -1,
            "max_msgs_per_subject": 1,
            "max_age": nanoseconds(age),
            "num_replicas": self.copies,
        })
    }

    /// The newest value of a key. The copy that leads is asked: another one may have an older value.
    pub(super) async fn get(&self, connection: &Connection, key: &str) -> Result<Entry, Failed> {
        let wanted = json!({ "last_by_subj": format!("{}{key}", self.prefix) });
        let found = match self.request(connection, "STREAM.MSG.GET", &wanted).await? {
            Ok(found) => found,
            Err(error) if error.code == MESSAGE_UNKNOWN_CODE => return Ok(Entry::default()),
            Err(error) => return Err(connection.fail(error.failed())),
        };
        let read = || {
            let message = found.get("message")?;
            let bytes = STANDARD.decode(message.get("data").map_or(Some(""), Json::as_str)?).ok()?;
            let time_us = microseconds(message.get("time")?.as_str()?)?;
            Some(Entry { revision: message.get("seq")?.as_u64()?, time_us, bytes: bytes.into() })
        };
        read().ok_or_else(|| connection.fail(unexpected("a message that cannot be read")))
    }

    /// Replaces the value of a key whose revision is `expected`, 0 where there is none. Returns the new revision, or
    /// `None` if it has another one.
    pub(super) async fn put(
        &self,
        connection: &Connection,
        key: &str,
        expected: u64,
        bytes: Bytes,
    ) -> Result<Option<u64>, Failed> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", expected.to_string());
        let subject = format!("{}{key}", self.prefix);
        let answer = connection.ask(subject, Some(headers), bytes).await?;
        match read_answer(&answer.payload) {
            Ok(answer) => match answer.get("seq").and_then(Json::as_u64) {
                Some(revision) => Ok(Some(revision)),
                None => Err(connection.fail(unexpected("a write without its revision"))),
            },
            Err(error) if OTHER_REVISION_CODES.contains(&error.code) => Ok(None),
            Err(error) => Err(connection.fail(error.failed())),
        }
    }

    /// Removes the value of a key of this revision, and older ones.
    pub(super) async fn remove(
        &self,
        connection: &Connection,
        key: &str,
        revision: u64,
    ) -> Result<(), Failed> {
        let filter = json!({ "filter": format!("{}{key}", self.prefix), "seq": revision.saturating_add(1) });
        match self.request(connection, "STREAM.PURGE", &filter).await? {
            Ok(_) => Ok(()),
            Err(error) => Err(connection.fail(error.failed())),
        }
    }

    /// Stores a value of so many bytes, reads and removes it: whatever would refuse the others is told now.
    pub(super) async fn try_out(&self, connection: &Connection, bytes: usize) -> Result<(), Failed> {
        let key = format!("p.{:016x}", fastrand::u64(..));
        let Some(revision) = self.put(connection, &key, 0, vec![0; bytes].into()).await? else {
            return Err(connection.fail(unexpected("another revision of a new key")));
        };
        self.get(connection, &key).await?;
        self.remove(connection, &key, revision).await
    }

    /// The keys below a prefix, without it.
    pub(super) async fn keys(&self, connection: &Connection, below: &str) -> Result<Vec<String>, Failed> {
        let start = format!("{}{below}.", self.prefix);
        let wanted = json!({ "subjects_filter": format!("{start}>") });
        let info = match self.request(connection, "STREAM.INFO", &wanted).await? {
            Ok(info) => info,
            Err(error) => return Err(connection.fail(error.failed())),
        };
        let subjects = info.get("state").and_then(|state| state.get("subjects")).and_then(Json::as_object);
        let keys = subjects.into_iter().flatten().filter_map(|(subject, _)| subject.strip_prefix(&start));
        Ok(keys.map(str::to_owned).collect())
    }

    /// How many copies of it there are to be.
    pub(super) fn copies(&self) -> usize {
        self.copies
    }

    /// The most bytes that a value may have.
    pub(super) fn value_bytes_max(connection: &Connection) -> usize {
        connection.payload_bytes_max().saturating_sub(HEADER_BYTES_MAX)
    }

    async fn request(
        &self,
        connection: &Connection,
        verb: &str,
        body: &Json,
    ) -> Result<Result<Json, Refused>, Failed> {
        let subject = format!("$JS.API.{verb}.{}", self.stream);
        let answer = connection.ask(subject, None, body.to_string().into()).await?;
        Ok(read_answer(&answer.payload))
    }
}

/// What JetStream did not do.
struct Refused {
    /// JetStream's number of the error.
    code: u64,
    description: String,
}

impl Refused {
    fn failed(self) -> Failed {
        let loss = match self.code {
            code if USED_UP.contains(&code) => Loss::Memory,
            // The bucket is gone: it is made again with the next connection.
            STREAM_UNKNOWN_CODE => Loss::Connection,
            _ => Loss::Protocol,
        };
        Failed { loss, message: format!("JetStream: {} ({})", self.description, self.code) }
    }
}

fn read_answer(payload: &[u8]) -> Result<Json, Refused> {
    let answer: Json = serde_json::from_slice(payload)
        .map_err(|error| Refused { code: 0, description: format!("no JSON: {error}") })?;
    let Some(error) = answer.get("error") else { return Ok(answer) };
    let code = error.get("err_code").and_then(Json::as_u64).unwrap_or_default();
    let description = error.get("description").and_then(Json::as_str).unwrap_or("no reason said");
    Err(Refused { code, description: description.to_owned() })
}

/// How long the values of a bucket live.
fn age_of(info: &Json) -> Duration {
    let age = info.get("config").and_then(|config| config.get("max_age")).and_then(Json::as_u64);
    // 0 says without an end.
    age.filter(|age| *age > 0).map_or(Duration::MAX, Duration::from_nanos)
}

fn nanoseconds(age: Duration) -> u64 {
    u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)
}

/// A time as JetStream writes it (RFC 3339), in µs since 1970.
fn microseconds(text: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    u64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_micros()).ok()
}

fn unexpected(what: &str) -> Failed {
    Failed { loss: Loss::Protocol, message: format!("JetStream answered {what}") }
}

/// A name as one token of a subject.
pub(super) fn token(name: &str) -> String {
    let plain = |c: char| match c {
        c if c.is_ascii_alphanumeric() || c == '-' => c.to_string(),
        c => format!("_{:02x}", u32::from(c)),
    };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_tokens_that_differ_as_they_do() {
        assert_eq!(token("default"), "default");
        assert_eq!(token("a.b"), "a_2eb");
        assert_eq!(token("a_2eb"), "a_5f2eb");
    }

    #[test]
    fn times_are_read_to_the_microsecond() {
        assert_eq!(microseconds("2026-11-30T00:00:00.123456789Z"), Some(1_795_996_800_123_456));
        assert_eq!(microseconds("yesterday"), None);
    }
}
