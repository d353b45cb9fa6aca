//! Secrets of polls that others rotate: values of headers and passwords in files, read again when the files change.
//!
//! Must not know: what is polled with it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderName, StatusCode, header};
use prometheus::IntCounter;

use super::{Allowance, Exchange};
use crate::config::{Auth, Config, Route, SecretFile, SecretForm};
use crate::poll::supervisor::Source;
use crate::upstream::{Answer, Ask, FetchError, WatchedSecret};

static AUTHORIZATION: HeaderName = header::AUTHORIZATION;

/// The files that polls have secrets in.
#[derive(Default)]
pub(in crate::poll) struct Secrets {
    watched: HashMap<(PathBuf, SecretForm), Arc<WatchedSecret>>,
}

impl Secrets {
    /// `failures` counts looks at files that gave no value.
    pub(in crate::poll) fn new(config: &Config, failures: &IntCounter) -> Secrets {
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
            let watched = secrets.watched.entry(key).or_insert_with(|| WatchedSecret::new(file));
            watched.count_failures(failures);
        }
        secrets
    }

    pub(super) fn of(&self, file: &SecretFile) -> Option<&Arc<WatchedSecret>> {
        self.watched.get(&(file.path.clone(), file.form.clone()))
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
