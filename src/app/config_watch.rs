//! Whether the files of the configuration are others than before (`reload: { watch: true }`): written in place, replaced, or
//! reached by a link that points elsewhere, as Kubernetes does with its volumes.
//!
//! Their contents count, not their times: a file that is written again with the same content is none that is new. Must not
//! know: what is in the files.

use std::sync::Weak;
use std::time::Duration;

use super::reload::{ConfigFile, Reloader};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Has the configuration read again whenever its files are others than before, for as long as it says so. A file has to be
/// the same in two looks: one that is being written is not read.
pub(super) async fn watch(reloader: Weak<Reloader>) {
    let Some(source) = reloader.upgrade().and_then(|reloader| reloader.source()) else { return };
    let Some(files) = reloader.upgrade().map(|reloader| reloader.shared().config.files.clone()) else {
        return;
    };
    let mut taken = (source.file.digest, files.digest());
    let mut seen = None;
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some(reloader) = reloader.upgrade() else { return };
        let look = move || {
            let source = reloader.source()?;
            let config = reloader.shared().config.clone();
            // Files that were not read before make one more reload, which changes nothing.
            let now = (ConfigFile::digest(&source.file.path), config.files.digest());
            Some((reloader, config.reload.watch, now))
        };
        let Ok(Some((reloader, watches, now))) = tokio::task::spawn_blocking(look).await else { continue };
        let is_still = seen.replace(now) == Some(now);
        if !watches {
            // What it has when the watch begins has been read by then.
            taken = now;
        } else if is_still && taken != now {
            taken = now;
            tracing::info!("the configuration file is another one than before: reading it");
            // How it went is told where operators look.
            let _ = tokio::task::spawn_blocking(move || drop(reloader.reload(false))).await;
        }
    }
}
