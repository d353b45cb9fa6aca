//! pollcast inside the test's process, on ports of its own.
//!
//! Must not know: anything below `pollcast::app`. For signals and exit codes see `process`.

use std::path::Path;

use pollcast::app::App;

/// Starts pollcast with this configuration (`address: 127.0.0.1:0` asks for a free port); a
/// configuration with problems fails the test and shows them.
pub fn start(yaml: &str) -> App {
    let config = pollcast::config::load_str(yaml, "test.yaml", Path::new("."))
        .unwrap_or_else(|problems| panic!("the test's configuration is wrong:\n{problems}\n{yaml}"));
    pollcast::app::start(config).unwrap_or_else(|error| panic!("pollcast does not start: {error}"))
}
