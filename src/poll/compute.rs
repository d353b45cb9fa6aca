//! Work on large bodies, kept off the threads of the poll loops: parsing, comparing, encoding.
//!
//! As many at a time as there are cores; the rest waits for its turn. Must not know: what the work
//! is.

use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Bodies up to this many bytes are worked on at once: going elsewhere would take longer.
const INLINE_BYTES_MAX: usize = 64 * 1024;

/// The turns on the runtime's blocking threads.
pub(super) struct Compute {
    turns: Arc<Semaphore>,
}

impl Compute {
    pub(super) fn new() -> Compute {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Compute { turns: Arc::new(Semaphore::new(cores)) }
    }

    /// Does work on a body of so many bytes. A panic of the work goes on here.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        if bytes <= INLINE_BYTES_MAX {
            return work();
        }
        let turn = self.turns.clone().acquire_owned().await;
        let working = tokio::task::spawn_blocking(move || {
            // Held by the work and not by the task that waits for it, which may be gone first.
            let _turn = turn;
            work()
        });
        match working.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime ends, and this task with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn only_large_bodies_go_elsewhere() {
        let compute = Compute::new();
        let here = thread::current().id();
        assert_eq!(compute.run(INLINE_BYTES_MAX, || thread::current().id()).await, here);
        assert_ne!(compute.run(INLINE_BYTES_MAX + 1, || thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn no_more_work_than_there_are_turns() {
        let compute = Arc::new(Compute { turns: Arc::new(Semaphore::new(1)) });
        let (started, begins) = tokio::sync::oneshot::channel();
        let (end, ends) = std::sync::mpsc::sync_channel::<()>(0);
        let first = compute.clone();
        let first = tokio::spawn(async move {
            let work = move || started.send(()).is_ok() && ends.recv().is_ok();
            first.run(usize::MAX, work).await;
        });
        begins.await.unwrap();
        let second = compute.run(usize::MAX, || 2);
        tokio::pin!(second);
        assert!(futures_pending(&mut second).await);
        // The task that waited for the first may go: its turn ends with the work.
        first.abort();
        assert!(futures_pending(&mut second).await);
        end.send(()).unwrap();
        assert_eq!(second.await, 2);
    }

    async fn futures_pending<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
        tokio::select! {
            biased;
            _ = future => false,
            () = tokio::task::yield_now() => true,
        }
    }

    #[tokio::test]
    #[should_panic(expected = "on purpose")]
    async fn a_panic_of_the_work_is_one_of_its_owner() {
        Compute::new().run(usize::MAX, || panic!("on purpose")).await;
    }
}
