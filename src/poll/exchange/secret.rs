//! Secrets that others rotate: values of headers in files, read again when the files change.
//!
//! A file that cannot be read, or holds no value, keeps the last good one. Must not know: what is polled with it.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::time::{Instant, timeout};

use super::{Allowance, Exchange};
use crate::config::{Auth, Config, Route, SecretFile};
use crate::poll::supervisor::Source;
use crate::upstream::{Answer, Ask, FetchError};

/// A file is looked at before polls, at most this often.
const LOOK_SPACING: Duration = Duration::from_secs(1);

/// How long a poll waits for a file that is on a disk that hangs.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

static AUTHORIZATION: HeaderName = header::AUTHORIZATION;

/// The files that polls have secrets in.
#[derive(Default)]
pub(in crate::poll) struct Secrets {
    watched: HashMap<(PathBuf, &'static str), Arc<Watched>>,
}

/// One file, and what it held last.
struct Watched {
    file: SecretFile,
    state: Mutex<State>,
    failures: IntCounter,
}

struct State {
    /// Sensitive.
    value: HeaderValue,
    /// Of the file that the value is from. `None` if it has to be read again.
    mark: Option<Mark>,
    looked_at: Option<Instant>,
    fails: bool,
}

/// What is another for a file that was written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Secrets {
    /// `failures` counts looks at files that gave no value.
    pub(in crate::poll) fn new(config: &Config, failures: &IntCounter) -> Secrets {
        let mut secrets = Secrets::default();
        for file in config.routes.iter().flat_map(|route| files(route)).map(|(_, file)| file) {
            let watched = || {
                let value = file.first.clone();
                let state = State { value, mark: None, looked_at: None, fails: false };
                Arc::new(Watched { file: file.clone(), state: Mutex::new(state), failures: failures.clone() })
            };
            secrets.watched.entry((file.path.clone(), file.before)).or_insert_with(watched);
        }
        secrets
    }

    fn of(&self, file: &SecretFile) -> Option<&Arc<Watched>> {
        self.watched.get(&(file.path.clone(), file.before))
    }
}

/// The headers of a route's polls that stand in files.
fn files(route: &Route) -> impl Iterator<Item = (&HeaderName, &SecretFile)> {
    let auth = match &route.poll.auth {
        Some(Auth::File(file)) => Some((&AUTHORIZATION, &**file)),
        _ => None,
    };
    route.poll.header_files.iter().map(|(name, file)| (name, &**file)).chain(auth)
}

impl Watched {
    /// The value of the file as far as is known; it is looked at if that was some time ago, or `at_once`.
    async fn value(self: &Arc<Self>, at_once: bool) -> HeaderValue {
        {
            let mut state = self.state.lock();
            let is_fresh = state.looked_at.is_some_and(|at| at.elapsed() < LOOK_SPACING);
            if is_fresh && !at_once {
                return state.value.clone();
            }
            state.looked_at = Some(Instant::now());
        }
        let watched = self.clone();
        let looking = tokio::task::spawn_blocking(move || watched.look());
        if timeout(LOOK_TIMEOUT, looking).await.is_err() {
            self.failed("takes too long to be read");
        }
        self.state.lock().value.clone()
    }

    /// Reads the file if it is another one than before.
    fn look(&self) {
        let mark = match std::fs::metadata(&self.file.path) {
            Ok(found) => Mark {
                device: found.dev(),
                inode: found.ino(),
                bytes: found.size(),
                modified: (found.mtime(), found.mtime_nsec()),
                changed: (found.ctime(), found.ctime_nsec()),
            },
            Err(error) => return self.failed(&format!("cannot be read: {error}")),
        };
        if self.state.lock().mark == Some(mark) {
            return;
        }
        match self.file.read() {
            Ok(value) => {
                let mut state = self.state.lock();
                let is_new = state.value != value;
                (state.value, state.mark, state.fails) = (value, Some(mark), false);
                drop(state);
                if is_new {
                    tracing::info!(file = %self.file.path.display(), "a secret of polls was read again");
                }
            }
            Err(reason) => self.failed(&reason),
        }
    }

    /// Keeps the last good value.
    fn failed(&self, reason: &str) {
        self.failures.inc();
        let mut state = self.state.lock();
        state.mark = None;
        if !std::mem::replace(&mut state.fails, true) {
            drop(state);
            let file = self.file.path.display();
            tracing::warn!(%file, "a file with a secret of polls {reason}; the last value that it had is sent");
        }
    }
}

impl Exchange {
    /// Gives a request the values of files as they are now. Returns whether one is another than before.
    pub(super) async fn freshen(&self, ask: &mut Ask, at_once: bool) -> bool {
        let mut is_new = false;
        for (name, file) in files(&self.route) {
            let Some(watched) = self.stakes.secrets.of(file) else { continue };
            let value = watched.value(at_once).await;
            for field in ask.headers.iter_mut().filter(|field| field.0 == *name && field.1 != value) {
                field.1 = value.clone();
                is_new = true;
            }
        }
        is_new
    }

    /// The answer to a request, or to it once more where it was refused and a file holds another value meanwhile.
    pub(super) async fn unless_rotated(
        &self,
        source: &dyn Source,
        ask: &mut Ask,
        allowance: &mut Allowance,
        answer: Answer,
    ) -> Result<Answer, FetchError> {
        if answer.status != StatusCode::UNAUTHORIZED || !self.freshen(ask, true).await {
            return Ok(answer);
        }
        let _turn = source.turn(self.priority).await?;
        self.timed(source, ask, allowance).await
    }
}
