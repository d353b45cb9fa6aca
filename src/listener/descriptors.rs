//! Open files: how many a full house takes, and how many are kept back from clients.
//!
//! A system gives the lowest free number to a new file, so the number of a connection says how full the
//! table is. Where it is nearly full, a new connection is closed: without that the clients would take
//! what polls need to reach their upstreams, and all streams would go stale.
//! Must not know: what a connection is for.

use std::os::fd::RawFd;

use crate::config::Config;
use crate::metrics::Metrics;

/// Files of the process itself, and the connections that one listener and the admin may have waiting.
const OWN_FILES_MAX: u64 = 128;

/// Connections of one upstream, of polls and of what passes through, that are reckoned with.
const UPSTREAM_CONNECTIONS_MAX: u64 = 128;

/// The part of the table that clients do not get, within bounds.
const KEPT: (u64, u64, u64) = (8, 16, 512);

/// How far clients may fill the table of open files.
#[derive(Debug, Clone, Copy)]
pub struct Descriptors {
    /// The first number that is not for clients.
    kept: u64,
}

impl Descriptors {
    /// `limit`: RLIMIT_NOFILE of the process.
    pub fn new(limit: u64) -> Descriptors {
        let (part, least, most) = KEPT;
        Descriptors { kept: limit.saturating_sub((limit / part).clamp(least, most)) }
    }

    /// By the limit that holds now; where the system does not tell it, there is none.
    pub fn of_process() -> Descriptors {
        Descriptors::new(rlimit::Resource::NOFILE.get_soft().unwrap_or(u64::MAX))
    }

    /// Whether a client may have the file of this number.
    pub fn admit(self, fd: RawFd) -> bool {
        // A stream without a file of its own has a negative one.
        u64::try_from(fd).map_or(true, |fd| fd < self.kept)
    }
}

/// Counts a connection that is closed without a word, since there are no open files left for it: to an
/// EventSource a broken connection is a reason to come back, as no status is.
pub(crate) fn count_refused(metrics: &Metrics) {
    metrics.refusals.with_label_values(&["descriptors"]).inc();
}

/// What to tell an operator whose system allows fewer open files than the configuration may need.
/// `limit`: RLIMIT_NOFILE of the process, raised as far as it goes.
pub fn shortage(config: &Config, limit: u64) -> Option<String> {
    let clients = config.limits.clients as u64;
    let needed = clients + OWN_FILES_MAX + UPSTREAM_CONNECTIONS_MAX * config.upstreams.len() as u64;
    (needed > limit).then(|| {
        format!(
            "limits.clients ({clients}) and connections to upstreams need up to {needed} open files, and the \
             system allows {limit}: further clients will be turned away at that; raise it (systemd: \
             LimitNOFILE={needed}, shell: ulimit -n {needed}, container: --ulimit nofile={needed}) or lower \
             limits.clients"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::tests::route;

    #[test]
    fn an_eighth_of_the_table_is_kept_back_within_bounds() {
        for (limit, first) in [(64, 48), (1024, 896), (65_536, 65_024), (10, 0)] {
            let descriptors = Descriptors::new(limit);
            assert!(first == 0 || descriptors.admit(first - 1), "{limit}");
            assert!(!descriptors.admit(first), "{limit}");
        }
        assert!(Descriptors::new(u64::MAX).admit(RawFd::MAX));
        assert!(Descriptors::new(64).admit(-1));
    }

    #[test]
    fn a_shortage_names_both_numbers_and_what_to_do() {
        // 1000 clients, one upstream.
        let config = route::config(route::route());
        assert_eq!(shortage(&config, 1256), None);
        let told = shortage(&config, 1255).expect("one too few");
        for part in
            ["limits.clients (1000)", "1256 open files", "allows 1255", "LimitNOFILE=1256", "ulimit -n 1256"]
        {
            assert!(told.contains(part), "{part:?} in {told}");
        }
    }
}
