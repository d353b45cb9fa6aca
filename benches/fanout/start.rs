//! How soon after its start the process answers a client.
//! Must not know: rounds and floors.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::measure;
use crate::process::{Role, configuration};
use crate::server::Pollcast;

/// Routes of the configuration.
const ROUTES: usize = 1_000;

/// The time from one attempt to connect to the next.
const ATTEMPT_SPACING: Duration = Duration::from_micros(200);

/// No answer after this time is a failure.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// From the start of the process to the whole answer of its first request, which is answered by a poll.
#[derive(Debug, Clone, Serialize)]
pub struct Start {
    pub routes: usize,
    /// Of each start, ascending.
    pub ms: Vec<f64>,
}

impl Start {
    /// The median.
    pub fn median_ms(&self) -> f64 {
        self.ms.get(self.ms.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

pub fn first_answers(program: &Path, starts: usize) -> Result<Start, String> {
    let feed = Role::start("origin", &200)?;
    let origin = feed.port()?;
    let mut ms = Vec::new();
    for _ in 0..starts {
        let began = Instant::now();
        let pollcast = Pollcast::spawn(program, "start", |port, admin| {
            routes(configuration((port, admin, origin), Duration::from_secs(1), false))
        })?;
        while measure::get(pollcast.port, "/r/0").map(|(status, _)| status) != Ok(200) {
            if began.elapsed() > START_TIME_MAX {
                return Err(format!("no answer within {START_TIME_MAX:?} of a start"));
            }
            std::thread::sleep(ATTEMPT_SPACING);
        }
        ms.push(began.elapsed().as_secs_f64() * 1e3);
    }
    ms.sort_by(f64::total_cmp);
    Ok(Start { routes: ROUTES, ms })
}

/// The configuration with more routes.
fn routes(mut configuration: String) -> String {
    let more = (1..ROUTES).fold(String::from("routes:\n"), |mut more, n| {
        // Writing to a String does not fail.
        let _ = writeln!(
            more,
            "  - path: \"/more/{n}/{{x}}\"\n    upstream: legacy\n    poll: {{ interval: 1s }}"
        );
        more
    });
    configuration = configuration.replace("routes:\n", &more);
    configuration
}
