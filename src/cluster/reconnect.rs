//! The one loop that connects to an engine, hears it, and connects again.
//!
//! It tells `Lost` at the first sign that something may have been missed, and for each attempt that fails. Waits grow
//! from 0.2 to 5 seconds, each ± 50 %, until a connection has lasted.
//! Must not know: engines, what is heard.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::engine::{Event, Failed};
use super::subscription::Queue;

const WAIT_MIN: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A connection that lasted so long was no failed attempt: the next wait is the shortest one.
const LASTING_MIN: Duration = Duration::from_secs(10);
/// A failure is logged at most this often.
const LOG_SPACING: Duration = Duration::from_secs(60);

/// One engine's way of connecting.
pub(super) trait Connect: Send {
    /// What is connected.
    type Connection: Send;

    /// The server that was tried last, for people.
    fn place(&self) -> String;

    /// Connects, hears everything attended again, and tells `Back`.
    fn connect(&mut self) -> impl Future<Output = Result<Self::Connection, Failed>> + Send;

    /// Passes on what is heard, until something fails; the verbs fail from then on.
    fn hear(&mut self, connection: Self::Connection) -> impl Future<Output = Failed> + Send;

    /// Where the events go.
    fn queue(&self) -> &Queue;
}

/// Keeps an engine connected until the task is aborted.
pub(super) async fn run(mut engine: impl Connect) {
    let mut wait = WAIT_MIN;
    let mut logged: Option<Instant> = None;
    loop {
        let (failed, lasted) = match engine.connect().await {
            Ok(connection) => {
                let since = Instant::now();
                tracing::info!(engine = %engine.place(), "the engine of the cluster is there");
                (engine.hear(connection).await, since.elapsed())
            }
            Err(failed) => (failed, Duration::ZERO),
        };
        engine.queue().tell(Event::Lost(failed.loss));
        if lasted >= LASTING_MIN {
            wait = WAIT_MIN;
        }
        if logged.is_none_or(|at| at.elapsed() >= LOG_SPACING) {
            logged = Some(Instant::now());
            let (engine, reason) = (engine.place(), failed.loss.label());
            tracing::warn!(%engine, reason, "the engine of the cluster is lost: {failed}");
        }
        sleep(wait.mul_f64(0.5 + fastrand::f64())).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}
