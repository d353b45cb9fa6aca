//! Secrets of polls that others rotate: values of headers and passwords in files, read again when the files change.
//!
//! Must not know: what is polled with it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderName, header};
use prometheus::IntCounter;

use crate::config::{Auth, Config, Route, SecretFile, SecretForm};
use crate::upstream::WatchedSecret;

static AUTHORIZATION: HeaderName = header::AUTHORIZATION;

/// The files that polls have secrets in.
#[derive(Default)]
pub(in crate::poll) struct Secrets {
    watched: HashMap<(PathBuf, SecretForm), Arc<WatchedSecret>>,
}

impl Secrets {
    /// `failures` counts looks at files that gave no value. What `before` knows of the same
    /// files is taken over.
    pub(in crate::poll) fn new(config: &Config, failures: &IntCounter, before: &Secrets) -> Secrets {
        let mut secrets = Secrets::default();
        let of_route = |route: &Arc<Route>| {
            let password = match &route.poll.auth {
                Some(Auth::Digest(credentials)) => credentials.file.clone(),
                Some(Auth::ClientCredentials(credentials)) => credentials.secret_file.clone(),
                _ => None,
            };
            let fields = files(route).map(|(_, file)| file.clone());
            fields.chain(password.map(|file| (*file).clone())).collect::<Vec<_>>()
        };
        for file in config.routes.iter().flat_map(of_route) {
            let key = (file.path.clone(), file.form.clone());
            let known = before.watched.get(&key).cloned();
            let watched = secrets
                .watched
                .entry(key)
                .or_insert_with(|| known.unwrap_or_else(|| WatchedSecret::new(file)));
            watched.count_failures(failures);
        }
        secrets
    }

    pub(super) fn of(&self, file: &SecretFile) -> Option<Arc<WatchedSecret>> {
        self.watched.get(&(file.path.clone(), file.form.clone())).cloned()
    }
}

/// The headers of a route's polls that stand in files.
pub(super) fn files(route: &Route) -> impl Iterator<Item = (&HeaderName, &SecretFile)> {
    let auth = match &route.poll.auth {
        Some(Auth::File(file)) => Some((&AUTHORIZATION, &**file)),
        _ => None,
    };
    route.poll.header_files.iter().map(|(name, file)| (name, &**file)).chain(auth)
}
