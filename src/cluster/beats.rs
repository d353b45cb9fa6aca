//! Signs of life: three times a lease, and four times a second while there is something to say.
//!
//! Must not know: what is done on the engine besides.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::engine::Failed;
use super::message::{Beat, ENTRIES_MAX, Said, Unchanged};
use super::node::Node;
use super::resource_counts::Seats;
use super::seal::Name;
use crate::poll::backplane::{Role, Want};

/// How often unchanged polls are told.
const SAID_EVERY: Duration = Duration::from_millis(250);

/// Beats until the task is aborted. The session is renewed in time, however much there is to say.
pub(super) async fn run(node: Arc<Node>) {
    tokio::join!(renew(&node), say(&node));
}

async fn renew(node: &Node) {
    let mut ticks = interval(node.beat_interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // What fails is told by the engine: it is lost then.
        if node.beats() && node.renew().await.is_ok() {
            node.succeed();
        }
    }
}

async fn say(node: &Node) {
    let mut ticks = interval(SAID_EVERY.min(node.beat_interval()));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = node.beat_now.notified() => {}
        }
        if !node.beats() {
            said = None;
            continue;
        }
        let is_due = said.is_none_or(|at| at.elapsed() + SAID_EVERY / 2 >= node.beat_interval());
        if node.beat(is_due).await.is_ok() && is_due {
            said = Some(Instant::now());
        }
    }
}

impl Node {
    /// Whether there is an engine to tell.
    fn beats(&self) -> bool {
        self.state.lock().is_connected && !self.has_parted.load(Ordering::Acquire)
    }

    async fn beat(&self, is_due: bool) -> Result<(), Failed> {
        self.join().await?;
        if is_due {
            self.count_seats();
        }
        let (session, unchanged) = self.next_unchanged();
        if is_due || !unchanged.is_empty() {
            let mut chunks = unchanged.chunks(ENTRIES_MAX);
            self.say_beat(&session, chunks.next().unwrap_or_default().to_vec()).await?;
            for chunk in chunks {
                self.say_beat(&session, chunk.to_vec()).await?;
            }
        }
        if is_due {
            self.divide_budgets();
            self.tell_lost_wants();
            self.keep().await?;
            self.drop_untaken().await?;
        }
        Ok(())
    }

    /// Renews the session. One that lapsed is replaced.
    async fn renew(&self) -> Result<(), Failed> {
        self.join().await?;
        let session = self.state.lock().session.clone();
        let beaten = self.engine.beat(&session, self.settings.lease, false).await?;
        if beaten.is_alive {
            self.told_members(beaten.time_ms, &beaten.live);
            return Ok(());
        }
        self.has_lapsed(&session);
        self.join().await
    }

    pub(super) async fn say_beat(&self, session: &str, unchanged: Vec<Unchanged>) -> Result<(), Failed> {
        let seats = self.state.lock().seats.all;
        let beat = Beat {
            build: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.name(),
            is_leaving: self.is_leaving.load(Ordering::Acquire),
            seats,
            unchanged,
            upstreams: self.upstreams_said(),
        };
        self.say(session, Said::Beat(beat)).await
    }

    /// Counts what this node holds, for what it says of itself.
    pub(super) fn count_seats(&self) {
        let mut seats = Seats::default();
        let mut state = self.state.lock();
        for resource in state.resources.values() {
            if matches!(resource.state.lock().role, Role::Holder { .. }) {
                seats.all += 1;
                *seats.by_upstream.entry(resource.upstream).or_default() += 1;
            }
        }
        state.seats = seats;
    }

    /// Takes the polls that found nothing new.
    fn next_unchanged(&self) -> (String, Vec<Unchanged>) {
        let mut state = self.state.lock();
        let unchanged = std::mem::take(&mut state.todo.unchanged);
        let unchanged = unchanged.into_iter().map(|(name, (order, settled, ended))| Unchanged {
            resource: name.number(),
            order,
            settled,
            age: ended.elapsed(),
        });
        (state.session.clone(), unchanged.collect())
    }

    /// Wants that the engine has, and no message told of: it was lost.
    fn tell_lost_wants(&self) {
        let resources: Vec<_> = self.state.lock().resources.values().cloned().collect();
        for resource in resources {
            let want = {
                let mut state = resource.state.lock();
                let want = state.unheard_want.take().filter(|want| *want > state.heard_want);
                state.heard_want = state.heard_want.max(want.unwrap_or_default());
                want
            };
            if let Some(want) = want {
                resource.inbox.tell_want(want, Want::Poll);
            }
        }
    }

    /// Lets the records live on that this node holds and has not written to for a while.
    async fn keep(&self) -> Result<(), Failed> {
        let mut due: Vec<(Duration, Vec<Name>)> = Vec::new();
        for resource in self.state.lock().resources.values() {
            let mut state = resource.state.lock();
            if !matches!(state.role, Role::Holder { .. }) || state.kept_at.elapsed() < resource.keep / 3 {
                continue;
            }
            state.kept_at = Instant::now();
            match due.iter_mut().find(|(keep, _)| *keep == resource.keep) {
                Some((_, names)) => names.push(resource.name),
                None => due.push((resource.keep, vec![resource.name])),
            }
        }
        for (keep, names) in due {
            self.engine.keep(&names, keep).await?;
        }
        Ok(())
    }
}
