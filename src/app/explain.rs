//! What becomes of a request in a process that has just begun with a configuration, for `pollcast explain`. Nothing is bound
//! or connected to.
//!
//! Must not know: what becomes of requests.

use std::io;
use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::watch;

use super::cluster::Cluster;
use super::generation;
use crate::config::Config;
use crate::fanout::Drain;
use crate::front::{self, Asked, Explanation};
use crate::metrics::Metrics;

/// Explains a request. The inner error says why what is asked is none.
///
/// # Errors
/// A certificate or an upstream of the configuration cannot be used, or threads cannot be started.
pub fn explain(mut config: Config, asked: &Asked) -> io::Result<Result<Explanation, String>> {
    // A fresh process has no other node to hear of, and one shard says as much as many.
    config.cluster = None;
    config.threads.shards = 1;
    let metrics = Metrics::new().map_err(io::Error::other)?;
    let cluster = Cluster::start(&config, &metrics)?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let ending = watch::Sender::<Drain>::new(None);
    let shared = generation::shared(Arc::new(config), metrics, &cluster, &runtime, ending.subscribe())?;
    let shared = Arc::new(shared);
    let explained = runtime.block_on(async {
        shared.gates.read_files().await;
        front::explain(&shared, asked).await
    });
    shared.fanout.stop();
    Ok(explained)
}
