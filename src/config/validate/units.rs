//! Lengths of time and sizes that bounds are counted in.
//!
//! Must not know: any key.

use std::time::Duration;

use super::super::defaults::GIB;

pub const TIB: usize = GIB << 10;

pub const MILLISECOND: Duration = Duration::from_millis(1);

pub const SECOND: Duration = Duration::from_secs(1);

pub const MINUTE: Duration = Duration::from_secs(60);

pub const HOUR: Duration = Duration::from_secs(60 * 60);

pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);
