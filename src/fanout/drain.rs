//! The drain of the process as tasks see it.
//!
//! Must not know: what a client is told.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The drain as tasks see it: `None` until it begins; then its window, and the range of reconnect delays.
pub type Drain = Option<(Duration, (Duration, Duration))>;

/// Tells tasks of the drain.
pub type Ending = watch::Receiver<Drain>;

/// Waits until the drain begins.
pub async fn draining(ending: &mut Ending) -> (Duration, (Duration, Duration)) {
    match ending.wait_for(Option::is_some).await.ok().and_then(|drain| *drain) {
        Some(drain) => drain,
        // The sender is gone: no drain will begin.
        None => std::future::pending().await,
    }
}

/// A random place in the drain's window, and a random reconnect delay.
pub(super) fn plan(window: Duration, (least, most): (Duration, Duration)) -> (Instant, Duration) {
    let at = Instant::now() + window.mul_f64(fastrand::f64());
    (at, least + most.saturating_sub(least).mul_f64(fastrand::f64()))
}
