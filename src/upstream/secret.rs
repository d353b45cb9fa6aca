//! Secrets that others rotate: files that are read again when they change.
//!
//! A file that cannot be read, or holds no such secret, keeps the last good value. Must not know: what it is sent to.

use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::time::{Instant, timeout};

use crate::config::SecretFile;

/// A file is looked at before it is used, at most this often.
const LOOK_SPACING: Duration = Duration::from_secs(1);

/// How long a request waits for a file that is on a disk that hangs.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// One file, and its last good content.
pub struct WatchedSecret {
    file: SecretFile,
    state: Mutex<State>,
    /// Counts looks at files that gave no value.
    failures: OnceLock<IntCounter>,
}

struct State {
    /// Sensitive.
    value: HeaderValue,
    /// The mark of the file that the value is from. `None` if it has to be read again.
    mark: Option<Mark>,
    looked_at: Option<Instant>,
    fails: bool,
}

/// A mark that differs for a file that was written or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl WatchedSecret {
    /// Watches a file with a secret.
    pub fn new(file: SecretFile) -> Arc<WatchedSecret> {
        let state = State { value: file.first.clone(), mark: None, looked_at: None, fails: false };
        Arc::new(WatchedSecret { file, state: Mutex::new(state), failures: OnceLock::new() })
    }

    /// Has looks that give no value counted.
    pub fn count_failures(&self, failures: &IntCounter) {
        // The first one stays: there is one set of metrics.
        let _ = self.failures.set(failures.clone());
    }

    /// The value of the file as far as is known; it is looked at if that was some time ago, or `at_once`.
    pub async fn value(self: &Arc<Self>, at_once: bool) -> HeaderValue {
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

    /// As [`WatchedSecret::value`], of a file that holds a password.
    pub async fn password(self: &Arc<Self>, at_once: bool) -> String {
        SecretFile::password(&self.value(at_once).await).into_owned()
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
                    tracing::info!(file = %self.file.path.display(), "a secret was read again");
                }
            }
            Err(reason) => self.failed(&reason),
        }
    }

    /// Keeps the last good value.
    fn failed(&self, reason: &str) {
        if let Some(failures) = self.failures.get() {
            failures.inc();
        }
        let mut state = self.state.lock();
        state.mark = None;
        if !std::mem::replace(&mut state.fails, true) {
            drop(state);
            let file = self.file.path.display();
            tracing::warn!(%file, "a file with a secret {reason}; the last value that it had is sent");
        }
    }
}
