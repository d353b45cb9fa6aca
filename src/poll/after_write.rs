//! After a write: the first poll asks for its effect, and while there is none to be seen it is asked
//! again, since the upstream's replicas may lag (contract §9).
//!
//! Pure but for the clock. Must not know: the writers, the readers that wait.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::hub::Wave;

/// The pauses before the polls that repeat the first one.
const REPEAT_PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1600)];

/// A lag longer than this is left to the schedule.
const LAG_MAX: Duration = Duration::from_millis(2100);

/// So many writes in a row whose repeats find nothing show that the upstream lags no more.
const VAIN_MAX: u8 = 8;

/// Which routes have an upstream whose replicas lag, as far as was seen: how many writes it still counts, by the number
/// of the route.
#[derive(Debug, Default)]
pub(super) struct Lags(Mutex<HashMap<usize, u8>>);

impl Lags {
    /// Forgets the routes that are none any more.
    pub(super) fn keep(&self, is_route: impl Fn(usize) -> bool) {
        self.0.lock().retain(|route, _| is_route(*route));
    }

    /// Whether a repeat has found on the route what the first poll after a write had not.
    pub(super) fn lags(&self, route: usize) -> bool {
        self.0.lock().contains_key(&route)
    }

    fn note(&self, route: usize, found: bool) {
        let mut lags = self.0.lock();
        if found {
            lags.insert(route, VAIN_MAX);
        } else if let Some(left) = lags.get_mut(&route) {
            *left -= 1;
            if *left == 0 {
                lags.remove(&route);
            }
        }
    }
}

/// What a poll says about the writes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Effect,
    Nothing,
    /// It gave no data.
    Failed,
}

/// How far the polls for one write are.
#[derive(Debug)]
pub(super) struct Echo {
    /// The write they are for: number of the first poll that knows of it.
    wave: u64,
    repeats: usize,
    due: Option<Instant>,
    /// Its effect was found, or is asked for no longer.
    over: bool,
}

/// Of no write: there is nothing to ask for again.
impl Default for Echo {
    fn default() -> Echo {
        Echo { wave: 0, repeats: 0, due: None, over: true }
    }
}

impl Echo {
    /// When the next repeat is due. Returns `None` if the first poll has not ended, or there is nothing more.
    pub(super) fn due(&self, wave: u64) -> Option<Instant> {
        self.due.filter(|_| self.wave == wave && !self.over)
    }

    /// Takes in what a poll found. `take`: whether there may be a repeat. Returns whether readers wait no longer for
    /// the writes that the poll knows of.
    pub(super) fn hear(
        &mut self,
        number: u64,
        heard: Heard,
        wave: Wave,
        (lags, route): (&Lags, usize),
        take: impl FnOnce() -> bool,
    ) -> bool {
        if self.wave != wave.first {
            *self = Echo { wave: wave.first, over: wave.first == 0, ..Echo::default() };
        }
        if number < wave.first || self.over {
            return heard != Heard::Failed;
        }
        if heard == Heard::Effect {
            (self.over, self.due) = (true, None);
            if self.repeats > 0 {
                lags.note(route, true);
            }
            return true;
        }
        let now = Instant::now();
        let pause = REPEAT_PAUSES.get(self.repeats).filter(|_| now < wave.at + LAG_MAX && take());
        self.due = pause.map(|pause| now + *pause);
        if pause.is_none() {
            self.over = true;
            if self.repeats > 0 && heard == Heard::Nothing {
                lags.note(route, false);
            }
        }
        self.repeats += 1;
        heard == Heard::Nothing && (self.over || !lags.lags(route))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn wave(first: u64) -> Wave {
        Wave { first, at: Instant::now() }
    }

    /// One poll that shows no effect.
    fn in_vain(echo: &mut Echo, number: u64, wave: Wave, lags: &Lags) -> bool {
        echo.hear(number, Heard::Nothing, wave, (lags, 0), || true)
    }

    #[tokio::test(start_paused = true)]
    async fn it_repeats_three_times_and_then_lets_it_be() {
        let (mut echo, wave, lags) = (Echo::default(), wave(1), Lags::default());
        for (number, pause) in [(1, 100), (2, 400), (3, 1600)] {
            assert!(in_vain(&mut echo, number, wave, &lags), "readers wait for the first poll alone");
            assert_eq!(echo.due(1), Some(Instant::now() + pause * MS));
        }
        assert!(in_vain(&mut echo, 4, wave, &lags));
        assert_eq!(echo.due(1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn readers_wait_for_repeats_where_one_has_found_something() {
        let lags = Lags::default();
        let (mut echo, first) = (Echo::default(), wave(1));
        in_vain(&mut echo, 1, first, &lags);
        assert!(echo.hear(2, Heard::Effect, first, (&lags, 0), || true));
        assert!(lags.lags(0) && !lags.lags(1));
        let second = wave(3);
        for number in 3..6 {
            assert!(!in_vain(&mut echo, number, second, &lags), "{number}");
        }
        assert!(in_vain(&mut echo, 6, second, &lags), "the last one");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lag_that_is_not_seen_again_is_forgotten() {
        let (mut echo, lags) = (Echo::default(), Lags::default());
        lags.note(0, true);
        for write in 0..u64::from(VAIN_MAX) {
            assert!(lags.lags(0), "{write}");
            let wave = wave(10 * write + 1);
            for poll in 0..4 {
                in_vain(&mut echo, wave.first + poll, wave, &lags);
            }
        }
        assert!(!lags.lags(0));
    }

    #[tokio::test(start_paused = true)]
    async fn another_write_begins_anew() {
        let (mut echo, lags) = (Echo::default(), Lags::default());
        let first = wave(1);
        in_vain(&mut echo, 1, first, &lags);
        in_vain(&mut echo, 2, first, &lags);
        assert_eq!(echo.due(3), None, "its own first poll comes at once");
        in_vain(&mut echo, 3, wave(3), &lags);
        assert_eq!(echo.due(3), Some(Instant::now() + 100 * MS));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_long_ago_is_settled_by_one_poll() {
        let (mut echo, lags, wave) = (Echo::default(), Lags::default(), wave(1));
        lags.note(0, true);
        tokio::time::advance(LAG_MAX).await;
        assert!(in_vain(&mut echo, 1, wave, &lags));
        assert_eq!(echo.due(1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_write_there_is_nothing_to_repeat() {
        let (mut echo, never, lags) = (Echo::default(), wave(0), Lags::default());
        for number in 1..4 {
            assert!(in_vain(&mut echo, number, never, &lags));
            assert_eq!(echo.due(0), None, "{number}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_poll_settles_nothing_and_an_older_one_only_what_it_knows_of() {
        let (mut echo, lags, wave) = (Echo::default(), Lags::default(), wave(5));
        assert!(in_vain(&mut echo, 4, wave, &lags), "it started before this write, and after others");
        assert_eq!(echo.due(5), None);
        assert!(!echo.hear(5, Heard::Failed, wave, (&lags, 0), || true));
        assert!(echo.due(5).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn without_room_for_repeats_there_are_none_and_no_reader_waits_for_them() {
        let (mut echo, lags, wave) = (Echo::default(), Lags::default(), wave(1));
        lags.note(0, true);
        assert!(echo.hear(1, Heard::Nothing, wave, (&lags, 0), || false));
        assert_eq!(echo.due(1), None);
    }
}
