//! Lines of the log that were lost: the log is the process's, so all applications of it show the same count.
//!
//! Must not know: how lines are written.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, Opts};

static LOST: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new(
        "pollcast_log_lines_lost_total",
        "Lines of the log that were dropped: full, unwritten (their reader is gone).",
    );
    let lost = IntCounterVec::new(opts, &["reason"]).expect("the name and the label are valid");
    for reason in ["full", "unwritten"] {
        lost.with_label_values(&[reason]);
    }
    lost
});

/// Why a line was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLoss {
    /// `log.buffer` lines wait for the reader.
    Full,
    /// It could not be written.
    Unwritten,
}

/// Counts lines that were dropped.
pub fn log_lines_lost(reason: LogLoss, lines: usize) {
    let label = match reason {
        LogLoss::Full => "full",
        LogLoss::Unwritten => "unwritten",
    };
    LOST.with_label_values(&[label]).inc_by(lines as u64);
}

/// The metric, for a registry.
pub(super) fn collector() -> IntCounterVec {
    LOST.clone()
}
