//! The waits of all requests that pass through, looked at together: a task and a timer for each request would cost more than
//! all else that is noted of it, and next to no wait ever comes to its end.
//!
//! Must not know: what a wait is for, what its end does.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use slab::Slab;
use tokio::time::{Instant, sleep};

/// Waits end no more than this too late.
const TICK: Duration = Duration::from_millis(100);

/// So many ticks without any wait end the looking, until there is another one.
const IDLE_TICKS_MAX: u32 = 50;

/// Something that is ended when its time is over.
pub(super) trait Wait: Send + Sync {
    /// When its time is over; `None` if it waits for nothing.
    fn until(&self) -> Option<Instant>;

    /// Its time is over. It may have more of it afterwards.
    fn end(&self, now: Instant);
}

/// All waits of a process.
pub struct DeadlineWatch(Mutex<Watched>);

struct Watched {
    waits: Slab<Arc<dyn Wait>>,
    /// No wait is over before then.
    nearest: Option<Instant>,
    is_looked_at: bool,
}

/// A wait among those that are looked at. It is forgotten when this is dropped.
pub(super) struct Place {
    watch: Arc<DeadlineWatch>,
    key: usize,
}

impl Default for DeadlineWatch {
    fn default() -> DeadlineWatch {
        DeadlineWatch(Mutex::new(Watched { waits: Slab::new(), nearest: None, is_looked_at: false }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What it holds is let go of outside of the lock.
        let wait = self.watch.0.lock().waits.try_remove(self.key);
        drop(wait);
    }
}

impl DeadlineWatch {
    /// Looks at a wait from now on. Inside of a runtime.
    pub(super) fn add(self: &Arc<Self>, wait: Arc<dyn Wait>) -> Place {
        let mut watched = self.0.lock();
        watched.nearest = earlier(watched.nearest, wait.until());
        let key = watched.waits.insert(wait);
        let starts = !std::mem::replace(&mut watched.is_looked_at, true);
        drop(watched);
        if starts {
            tokio::spawn(look(Looking { watch: self.clone(), has_ended: false }));
        }
        Place { watch: self.clone(), key }
    }

    /// Ends what is over. Returns whether there is any wait.
    fn end_late(&self, now: Instant) -> bool {
        let mut watched = self.0.lock();
        if watched.nearest.is_some_and(|nearest| nearest <= now) {
            let mut nearest = None;
            for (_, wait) in &watched.waits {
                if wait.until().is_some_and(|until| until <= now) {
                    wait.end(now);
                }
                nearest = earlier(nearest, wait.until());
            }
            watched.nearest = nearest;
        }
        !watched.waits.is_empty()
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// The task that looks. Its end, whatever it ends by, lets another one begin.
struct Looking {
    watch: Arc<DeadlineWatch>,
    has_ended: bool,
}

impl Looking {
    /// Ends if there is no wait: one that comes now finds that nothing looks.
    fn ends(&mut self) -> bool {
        let mut watched = self.watch.0.lock();
        if watched.waits.is_empty() {
            watched.is_looked_at = false;
            self.has_ended = true;
        }
        self.has_ended
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        if !self.has_ended {
            self.watch.0.lock().is_looked_at = false;
        }
    }
}

async fn look(mut looking: Looking) {
    let mut idle_ticks = 0;
    while idle_ticks < IDLE_TICKS_MAX || !looking.ends() {
        sleep(TICK).await;
        let has_waits = looking.watch.end_late(Instant::now());
        idle_ticks = if has_waits { 0 } else { idle_ticks + 1 };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counted {
        until: Mutex<Option<Instant>>,
        again: Option<Duration>,
        ends: Arc<AtomicUsize>,
    }

    impl Wait for Counted {
        fn until(&self) -> Option<Instant> {
            *self.until.lock()
        }

        fn end(&self, now: Instant) {
            *self.until.lock() = self.again.map(|again| now + again);
            self.ends.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn wait(after: Duration, again: Option<Duration>) -> (Arc<dyn Wait>, Arc<AtomicUsize>) {
        let ends = Arc::new(AtomicUsize::new(0));
        let until = Mutex::new(Some(Instant::now() + after));
        (Arc::new(Counted { until, again, ends: ends.clone() }), ends)
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_wait_ends_in_its_time_and_one_that_is_forgotten_does_not() {
        let watch = Arc::new(DeadlineWatch::default());
        let ((late, lates), (early, earlies), (gone, gones)) =
            (wait(SECOND * 9, None), wait(SECOND, None), wait(SECOND, None));
        let _late = watch.add(late);
        sleep(SECOND / 2).await;
        let _early = watch.add(early);
        drop(watch.add(gone));
        let ended = || [&lates, &earlies, &gones].map(|ends| ends.load(Ordering::SeqCst));
        sleep(SECOND / 4).await;
        assert_eq!(ended(), [0, 0, 0]);
        sleep(SECOND / 4 + TICK * 2).await;
        assert_eq!(ended(), [0, 1, 0]);
        sleep(SECOND * 9).await;
        assert_eq!(ended(), [1, 1, 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_may_go_on_and_one_after_a_long_pause_is_seen() {
        let watch = Arc::new(DeadlineWatch::default());
        let (again, ends) = wait(SECOND, Some(SECOND * 5));
        let place = watch.add(again);
        sleep(SECOND * 8).await;
        assert_eq!(ends.load(Ordering::SeqCst), 2);
        drop(place);
        sleep(TICK * (IDLE_TICKS_MAX + 5)).await;
        assert!(!watch.0.lock().is_looked_at, "nothing is there to be looked at");
        let (next, ends) = wait(SECOND, None);
        let _place = watch.add(next);
        sleep(SECOND * 2).await;
        assert_eq!(ends.load(Ordering::SeqCst), 1);
    }
}
