//! The one loop that connects, hears, and connects again.
//!
//! It says `Back` when everything attended is heard again, and `Lost` at the first sign that something may have been
//! missed, and for each attempt that fails. Waits grow from 0.2 to 5 seconds, each ± 50 %, until a pair of connections has lasted.
//! Must not know: commands, what is heard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use redis::aio::PubSubStream;
use redis::{Msg, Value};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::dial::Dialer;
use super::pair::Pair;
use super::shared::Shared;
use crate::cluster::engine::{Event, Failed, Loss};

const WAIT_MIN: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A pair that lasted so long was no failed attempt: the next wait is the shortest one.
const LASTED: Duration = Duration::from_secs(10);
/// A failure is logged at most this often.
const LOG_SPACING: Duration = Duration::from_secs(60);

/// Keeps an engine connected until the task is aborted.
pub(super) async fn run(shared: Arc<Shared>, mut dialer: Dialer) {
    let mut wait = WAIT_MIN;
    let mut logged: Option<Instant> = None;
    loop {
        let (failed, lasted) = match connected(&shared, &mut dialer).await {
            Ok((pair, messages)) => {
                let since = Instant::now();
                tracing::info!(engine = %dialer.place(), "the engine of the cluster is there");
                let failed = hear(&shared, &pair, messages, dialer.lease()).await;
                shared.pair.lock().take();
                shared.tell(Event::Lost(failed.loss));
                (failed, since.elapsed())
            }
            Err(failed) => {
                shared.tell(Event::Lost(failed.loss));
                (failed, Duration::ZERO)
            }
        };
        if lasted >= LASTED {
            wait = WAIT_MIN;
        }
        if logged.is_none_or(|at| at.elapsed() >= LOG_SPACING) {
            logged = Some(Instant::now());
            let (engine, reason) = (dialer.place(), failed.loss.label());
            tracing::warn!(%engine, reason, "the engine of the cluster is lost: {failed}");
        }
        sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
        wait = (wait * 2).min(WAIT_MAX);
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
    shared.tell(Event::Back);
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
                if pair.unproven_since().is_some_and(|since| since.elapsed() > lease) {
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
        return shared.tell(Event::Became { name, sealed: payload });
    }
    if let Some(took) = pair.returned(&payload) {
        shared.tell(Event::Returned(took));
    }
    let (want, message) = wanted(payload);
    shared.tell(Event::Said { want, message })
}

/// The number in front of a want.
fn wanted(payload: bytes::Bytes) -> (Option<u64>, bytes::Bytes) {
    let digits = payload.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&payload[..digits]).ok().and_then(|digits| digits.parse().ok());
    match number {
        Some(number) if payload.get(digits) == Some(&b' ') => (Some(number), payload.slice(digits + 1..)),
        _ => (None, payload),
    }
}
