//! A look at Redis for `check --probe`: each right, what it does when memory is short, the largest value, its clock.
//!
//! It asks what the least rights allow, and more where the user may: what may not be asked stays unknown.
//! Must not know: what is made of the findings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use redis::aio::PubSubStream;
use redis::{Cmd, Value};
use tokio::time::timeout;

use super::Redis;
use super::dial::Dialer;
use super::keys::Keys;
use super::pair::Pair;
use super::reply::Reply;
use super::rights;
use crate::cluster::diagnosis::{Diagnosis, Eviction, Payload};
use crate::cluster::engine::Failed;
use crate::config::Cluster;

/// Between two looks at the clock.
const CLOCK_SPACING: Duration = Duration::from_millis(200);
/// The longest lease: no session ends later than this after it was renewed.
const LEASE_MAX: Duration = Duration::from_secs(60);
/// How long the engine remembers what its clock said at a look.
const MARK_KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

impl Redis {
    /// Looks at the first server of the configuration that can be reached.
    ///
    /// # Errors
    /// None can be reached, or it does not let the user in.
    pub async fn examine(cluster: &Arc<Cluster>) -> Result<Diagnosis, Failed> {
        let keys = Keys { space: format!("{{pollcast:{}}}", cluster.name) };
        let mut dialer = Dialer::new(cluster.clone(), keys.clone());
        let mut result = dialer.dial_untried().await;
        for _ in 1..cluster.servers.len() {
            if result.is_err() {
                result = dialer.dial_untried().await;
            }
        }
        let (pair, messages) = result?;
        let look = Look { pair: &pair, keys: &keys };
        let asked = Instant::now();
        let hello = look.fields(&["HELLO"]).await?;
        let round_trip = asked.elapsed();
        let said = |name: &str| hello.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let missing = rights::lacking(&pair, &keys).await?;
        let (clock_behind, clock_drift) = look.clock().await?;
        let is_allowed = missing.is_empty();
        Ok(Diagnosis {
            server: dialer.place().to_owned(),
            version: said("version").unwrap_or_default(),
            mode: said("mode").unwrap_or_default(),
            role: said("role").unwrap_or_default(),
            round_trip,
            eviction: look.eviction().await?,
            value_bytes_max: look.setting("proto-max-bulk-len").await?.and_then(|text| text.parse().ok()),
            subscriber_bytes_max: look
                .setting("client-output-buffer-limit")
                .await?
                .and_then(|text| subscriber_limits(&text)),
            payload: match is_allowed {
                // Last: what it breaks is asked nothing any more.
                true => look.payload(messages, cluster).await,
                false => Payload::Untried,
            },
            missing,
            clock_behind,
            clock_drift,
        })
    }
}

/// A look over one pair of connections.
struct Look<'a> {
    pair: &'a Pair,
    keys: &'a Keys,
}

impl Look<'_> {
    /// The answer to a command. Returns `None` if the engine refuses it.
    async fn ask(&self, words: &[&str]) -> Result<Option<Value>, Failed> {
        let replies = self.pair.ask(&[command(words)]).await?;
        Ok(replies.into_iter().next().filter(|reply| !matches!(reply, Value::ServerError(_))))
    }

    /// The pairs of an answer that is a list of names and values. What is no text is left out.
    async fn fields(&self, words: &[&str]) -> Result<Vec<(String, String)>, Failed> {
        let text = |value: &Value| match value {
            Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
            Value::SimpleString(text) => Some(text.clone()),
            _ => None,
        };
        let Some(Value::Array(values)) = self.ask(words).await? else { return Ok(Vec::new()) };
        let pairs = values.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?)));
        Ok(pairs.collect())
    }

    /// A setting, if the user may ask for it.
    async fn setting(&self, name: &str) -> Result<Option<String>, Failed> {
        Ok(self.fields(&["CONFIG", "GET", name]).await?.into_iter().next().map(|(_, value)| value))
    }

    async fn eviction(&self) -> Result<Option<Eviction>, Failed> {
        if let Some(policy) = self.setting("maxmemory-policy").await? {
            let bytes = self.setting("maxmemory").await?;
            let bytes_max = bytes.and_then(|text| text.parse().ok()).unwrap_or_default();
            return Ok(Some(Eviction { policy, bytes_max }));
        }
        let Some(told) = self.ask(&["INFO", "memory"]).await? else { return Ok(None) };
        let told = Reply::new(told).text()?;
        let line = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let bytes_max = line("maxmemory").and_then(|text| text.trim().parse().ok()).unwrap_or_default();
        Ok(line("maxmemory_policy").map(|policy| Eviction { policy: policy.trim().to_owned(), bytes_max }))
    }

    /// The engine's clock, since 1970.
    async fn time(&self) -> Result<Option<Duration>, Failed> {
        let Some(told) = self.ask(&["TIME"]).await? else { return Ok(None) };
        let mut fields = Reply::new(told).array()?;
        Ok(Some(Duration::from_secs(fields.number()?) + Duration::from_micros(fields.number()?)))
    }

    /// By how much the clock is behind what it said before, to nodes and to other looks; and how unevenly it runs.
    async fn clock(&self) -> Result<(Duration, Duration), Failed> {
        let (Some(first), began) = (self.time().await?, Instant::now()) else {
            return Ok(Default::default());
        };
        tokio::time::sleep(CLOCK_SPACING).await;
        let Some(now) = self.time().await? else { return Ok(Default::default()) };
        let drift = now.saturating_sub(first).abs_diff(began.elapsed());
        let micros = |text: String| text.parse().ok().map(Duration::from_micros);
        let key = format!("{}:t", self.keys.space);
        let mark = self.ask(&["HGET", &key, "t"]).await?;
        let mark = mark.and_then(|value| Reply::new(value).text().ok()).and_then(micros).unwrap_or_default();
        let said = first.max(mark);
        self.ask(&["HSET", &key, "t", &said.max(now).as_micros().to_string()]).await?;
        self.ask(&["PEXPIRE", &key, &MARK_KEEP.as_millis().to_string()]).await?;
        // A session ends one lease after the clock's time of its last renewal.
        let sessions = self.fields(&["ZRANGE", &self.keys.sessions(), "0", "-1", "WITHSCORES"]).await?;
        let ends = sessions.iter().filter_map(|(_, end)| end.parse::<f64>().ok()).fold(0.0, f64::max);
        let renewed =
            Duration::try_from_secs_f64(ends / 1000.0).unwrap_or_default().saturating_sub(LEASE_MAX);
        Ok((said.max(renewed).saturating_sub(now), drift))
    }

    /// Stores a value of the largest size, and publishes it to this look.
    async fn payload(&self, mut messages: PubSubStream, cluster: &Cluster) -> Payload {
        let place = format!("{}:p", self.keys.space);
        let value = vec![b'x'; cluster.max_value];
        let began = Instant::now();
        let mut commands: Vec<Cmd> = Vec::new();
        for words in [&["HSET", &place, "t"][..], &["PUBLISH", &place]] {
            let mut command = command(words);
            command.arg(&value[..]);
            commands.push(command);
        }
        commands.push(command(&["DEL", &place]));
        let tried = async {
            self.pair.subscribe(vec![place.clone()]).await.map_err(|failed| failed.message)?;
            let replies = self.pair.ask(&commands).await.map_err(|failed| failed.message)?;
            let refusal = replies.into_iter().find_map(|reply| match reply {
                Value::ServerError(error) => {
                    Some(format!("{} {}", error.code(), error.details().unwrap_or_default()))
                }
                _ => None,
            });
            if let Some(refusal) = refusal {
                return Err(refusal);
            }
            match timeout(cluster.timeout, messages.next()).await {
                Ok(Some(message)) if message.get_payload_bytes().len() == value.len() => Ok(began.elapsed()),
                Ok(Some(_)) => Err("it came back changed".to_owned()),
                Ok(None) => Err("the engine ended the subscription".to_owned()),
                Err(_) => Err(format!("it did not come back within {:?} (cluster.timeout)", cluster.timeout)),
            }
        };
        match tried.await {
            Ok(took) => Payload::Passed(took),
            Err(why) => Payload::Failed(why),
        }
    }
}

fn command(words: &[&str]) -> Cmd {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command
}

/// The limits of subscribers in `client-output-buffer-limit`: the hard one and the soft one. 0 is none.
fn subscriber_limits(text: &str) -> Option<(u64, u64)> {
    let mut words = text.split_whitespace().skip_while(|word| *word != "pubsub").skip(1);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_subscribers_are_found_among_the_others() {
        let text = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(subscriber_limits(text), Some((33_554_432, 8_388_608)));
        assert_eq!(subscriber_limits("normal 0 0 0"), None);
    }
}
