//! Close codes of RFC 6455 §7.4.1 and of contract §6.
//!
//! Must not know: what is closed for which reason.

pub const GOING_AWAY: u16 = 1001;
pub const PROTOCOL: u16 = 1002;
pub const UNSUPPORTED: u16 = 1003;
pub const INVALID_DATA: u16 = 1007;
pub const POLICY: u16 = 1008;
pub const TOO_BIG: u16 = 1009;
pub const INTERNAL: u16 = 1011;
pub const RESTART: u16 = 1012;
pub const TRY_AGAIN: u16 = 1013;
pub const UNAUTHORIZED: u16 = 4401;
pub const FORBIDDEN: u16 = 4403;
pub const NOT_FOUND: u16 = 4404;
pub const TOO_MANY: u16 = 4429;
