//! After a write: the first poll asks for its effect, and while there is none to be seen it is asked
//! again, since the upstream's replicas may lag (contract §9).
//!
//! Pure but for the clock. Must not know: who wrote.

use std::time::Duration;

use tokio::time::Instant;

/// The pauses before the polls that repeat the first one.
const REPEATS: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1600)];

/// A lag longer than this is left to the schedule.
const PATIENCE: Duration = Duration::from_millis(2100);

/// How far the polls for one write are.
#[derive(Debug, Default)]
pub(super) struct Echo {
    /// The write they are for: number of the first poll that knows of it.
    written: u64,
    repeats: usize,
    due: Option<Instant>,
}

impl Echo {
    /// When the next repeat is due; none: the first poll has not ended, or there is nothing more.
    pub(super) fn due(&self, written: u64) -> Option<Instant> {
        self.due.filter(|_| self.written == written)
    }

    /// A poll that knows of the write showed no effect. True: none is waited for any longer.
    pub(super) fn unchanged(&mut self, written: u64, written_at: Instant) -> bool {
        if self.written != written {
            *self = Echo { written, repeats: 0, due: None };
        }
        let now = Instant::now();
        let pause = REPEATS.get(self.repeats).filter(|_| now < written_at + PATIENCE);
        self.repeats += 1;
        self.due = pause.map(|pause| now + *pause);
        self.due.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn it_repeats_three_times_and_then_lets_it_be() {
        let mut echo = Echo::default();
        let written_at = Instant::now();
        for pause in [100, 400, 1600] {
            assert!(!echo.unchanged(1, written_at));
            assert_eq!(echo.due(1), Some(Instant::now() + pause * MS));
        }
        assert!(echo.unchanged(1, written_at));
        assert_eq!(echo.due(1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn another_write_begins_anew() {
        let mut echo = Echo::default();
        echo.unchanged(1, Instant::now());
        echo.unchanged(1, Instant::now());
        assert_eq!(echo.due(2), None, "its own first poll comes at once");
        echo.unchanged(2, Instant::now());
        assert_eq!(echo.due(2), Some(Instant::now() + 100 * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_long_ago_is_settled_by_one_poll() {
        let mut echo = Echo::default();
        let written_at = Instant::now();
        tokio::time::advance(PATIENCE).await;
        assert!(echo.unchanged(1, written_at));
    }
}
