//! One look at NATS for `check --probe`: whether nodes can work with it.
//!
//! Must not know: what is said of the findings.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::dial::Dialer;
use super::shared::Shared;
use super::{Nats, subscription};
use crate::cluster::engine::Failed;
use crate::cluster::reconnect::Connect;
use crate::config::Cluster;

/// What one look at NATS found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsDiagnosis {
    /// The server that answered.
    pub server: String,
    /// Its version, as it says it.
    pub version: String,
    /// Copies of the bucket, as this configuration asks for them.
    pub copies: usize,
    /// The longest value that it takes, bytes.
    pub value_bytes_max: usize,
    /// After what time a value of `cluster.max_value` was stored and read.
    pub payload: Duration,
}

impl Nats {
    /// Connects as a node does, makes the bucket if it is not there, stores a value of the largest size, reads and
    /// removes it.
    ///
    /// # Errors
    /// The engine cannot be used; the message says why.
    pub async fn examine(cluster: &Arc<Cluster>) -> Result<NatsDiagnosis, Failed> {
        let (queue, _events) = subscription::queue();
        let shared = Arc::new(Shared::new(&cluster.name, cluster.servers.len(), queue));
        let mut dialer = Dialer::new(cluster.clone(), shared.clone());
        let mut dialed = dialer.dial().await;
        for _ in 1..cluster.servers.len() {
            if dialed.is_err() {
                dialed = dialer.dial().await;
            }
        }
        let mut hearing = dialed?;
        let connection = hearing.connection.clone();
        let began = Instant::now();
        let tried = shared.bucket.try_out(&connection, cluster.max_value).await;
        tried.map_err(|failed| hearing.reason(failed))?;
        let payload = began.elapsed();
        let (version, value_bytes_max) = (connection.version(), Bucket::value_bytes_max(&connection));
        let (server, copies) = (dialer.place(), shared.bucket.copies());
        shared.end();
        Ok(NatsDiagnosis { server, version, copies, value_bytes_max, payload })
    }
}
