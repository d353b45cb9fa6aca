//! The password of an engine's user.
//!
//! Must not know: engines.

use crate::config::{Cluster, SecretFile};

/// The password that counts now. A file that cannot be read keeps the first value. Returns `None` if there is none.
pub(super) async fn read(cluster: &Cluster) -> Option<String> {
    let mut password = cluster.password.as_ref().map(|password| password.0.clone());
    if let Some(file) = cluster.password_file.clone() {
        let reading = tokio::task::spawn_blocking(move || file.read());
        match reading.await {
            Ok(Ok(value)) => password = Some(SecretFile::password(&value).into_owned()),
            Ok(Err(reason)) => {
                tracing::warn!("the file of cluster.password {reason}; its first value is used")
            }
            Err(_) => {}
        }
    }
    password.filter(|password| !password.is_empty())
}
