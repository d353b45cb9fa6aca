//! Why a server cannot be spoken with. A handshake that accepts everything and sends no request finds out what the
//! server has.
//!
//! One answer for polls, what passes through and checks of health, remembered for a moment. Must not know: requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::timeout;

use super::certificates::Papers;
use super::egress::Way;
use super::refusal::Refusal;
#[cfg(feature = "openssl")]
use super::{refusal, with_openssl};
use crate::config;
use crate::upstream::target::Target;

/// How long a finding is believed: failures come many at a time.
const BELIEVED_TIME: Duration = Duration::from_secs(5);

/// The longest that a failed request waits for its reason.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Most servers that are remembered.
const SERVERS_MAX: usize = 64;

/// Finds out what is wrong with the servers of one upstream.
pub(super) struct Diagnosis {
    upstream: Arc<config::Upstream>,
    papers: Arc<Papers>,
    way: Arc<Way>,
    known: Mutex<HashMap<Target, (Instant, Option<Refusal>)>>,
}

impl Diagnosis {
    pub(super) fn new(upstream: Arc<config::Upstream>, papers: Arc<Papers>, way: Arc<Way>) -> Arc<Diagnosis> {
        Arc::new(Diagnosis { upstream, papers, way, known: Mutex::default() })
    }

    /// Returns why TLS with this server failed, or, if the upstream has no `tls`, whether it should have it; `None` if
    /// a handshake shows nothing. `name` is the name that the server has to prove.
    pub(super) async fn of(&self, server: &Target, name: &str) -> Option<Refusal> {
        if let Some((at, found)) = self.known.lock().get(server)
            && at.elapsed() < BELIEVED_TIME
        {
            return found.clone();
        }
        let found = timeout(LOOK_MAX, self.look(server, name)).await.ok().flatten();
        let mut known = self.known.lock();
        if known.len() >= SERVERS_MAX {
            known.clear();
        }
        known.insert(server.clone(), (Instant::now(), found.clone()));
        found
    }

    #[cfg(feature = "openssl")]
    async fn look(&self, server: &Target, name: &str) -> Option<Refusal> {
        let connection = self.way.reach(server, true).await.ok()?;
        let Some(tls) = self.upstream.tls.clone() else {
            return with_openssl::shakes_hands(connection, name).await.then(refusal::speaks_tls);
        };
        // The system has many authorities, and they are read from files, which blocks.
        let papers = self.papers.clone();
        let everything = tokio::task::spawn_blocking(move || papers.for_diagnosis(&tls)).await.ok()??;
        everything.diagnose(connection, name).await
    }

    #[cfg(not(feature = "openssl"))]
    async fn look(&self, _: &Target, _: &str) -> Option<Refusal> {
        let _ = (&self.upstream, &self.papers, &self.way);
        None
    }
}
