//! The routes that clients' own credentials are checked by.
//!
//! Must not know: a check.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderName;

use crate::config::{Config, Route, Share};

/// Fields of `poll.headers` that only say which form of the answer is wanted.
const HARMLESS: [HeaderName; 3] =
    [http::header::ACCEPT, http::header::ACCEPT_LANGUAGE, http::header::USER_AGENT];

/// The routes that ask so, by their index, as they are polled then: nothing of the operator's.
pub(super) fn routes(config: &Config) -> HashMap<usize, Arc<Route>> {
    let asking = config.routes.iter().filter(|route| route.share == Share::Authorize);
    let own = asking.map(|route| {
        let mut own = (**route).clone();
        own.poll.headers.retain(|(name, _)| HARMLESS.contains(name));
        own.poll.header_files.clear();
        own.poll.auth = None;
        (route.index, Arc::new(own))
    });
    own.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_operators_is_in_what_clients_are_checked_by() {
        let text = "listeners: [{address: '127.0.0.1:0'}]\nupstreams: {a: {servers: ['127.0.0.1:1'], host: a.test}}\nroutes:\n\
                    - {path: /open, upstream: a, share: public}\n\
                    - {path: /asked, upstream: a, share: authorize, poll: {headers: {x-key: k, accept-language: de}, \
                    auth: {bearer: secret}}}\n";
        let config = crate::config::load_str(text, "test.yaml", std::path::Path::new(".")).unwrap();
        let own = routes(&config);
        assert_eq!(own.len(), 1);
        let (index, own) = own.iter().next().unwrap();
        assert_eq!(*index, config.routes.iter().find(|route| route.path == "/asked").unwrap().index);
        let names: Vec<&str> = own.poll.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["accept-language"]);
        assert!(own.poll.auth.is_none());
    }
}
