//! Lengths of time and sizes that bounds are counted in.
//!
//! Must not know: any key.

use std::time::Duration;

use super::super::defaults::GIB;

/// One tebibyte, bytes.
pub const TIB: usize = GIB << 10;

/// One millisecond.
pub const MILLISECOND: Duration = Duration::from_millis(1);

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);

/// One minute.
pub const MINUTE: Duration = Duration::from_secs(60);

/// One hour.
pub const HOUR: Duration = Duration::from_secs(60 * 60);

/// One day.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);
