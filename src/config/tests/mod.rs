//! Claims about the configuration, held against texts with an environment of their own.

mod bad_files;
mod difference;
mod environment;
mod good_files;
mod hostile;
mod include;
mod presence;
mod reference;
mod secrets;
mod tls;

use std::path::Path;

use super::{Config, Problems, load};

/// The smallest file that loads.
const SMALLEST: &str = "\
listeners: [{ address: 0.0.0.0:8080 }]
upstreams: { api: { servers: [127.0.0.1:3000] } }
passthrough: api
";

/// As [`SMALLEST`], with one route whose settings follow.
const ROUTE: &str = "\
listeners: [{ address: 0.0.0.0:8080 }]
upstreams: { api: { servers: [127.0.0.1:3000], host: api.example.com } }
routes:
  - path: /prices
    upstream: api
";

fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Config, Problems> {
    let lookup = |name: &str| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    load::load_with(text, "pollcast.yaml", Path::new("/nonexistent"), &lookup)
}

#[track_caller]
fn loaded(text: &str) -> Config {
    load_text(text, &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

#[track_caller]
fn refused(text: &str) -> String {
    match load_text(text, &[]) {
        Ok(_) => panic!("this loads:\n{text}"),
        Err(problems) => problems.to_string(),
    }
}

/// The settings of the route of [`ROUTE`] under a text of settings.
#[track_caller]
fn route(settings: &str) -> super::Route {
    let config = loaded(&format!("{ROUTE}{settings}"));
    config.routes[0].as_ref().clone()
}
