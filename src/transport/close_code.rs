//! Close codes of RFC 6455 §7.4.1 and of contract §6.
//!
//! Must not know: what is closed for which reason.

/// The connection ends on purpose: the process drains, or `max_age` is over.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL: u16 = 1002;
/// The peer sent a kind of message that is not taken.
pub const UNSUPPORTED: u16 = 1003;
/// A text message was not UTF-8.
pub const INVALID_DATA: u16 = 1007;
/// The peer sent what it may not, or too much of it.
pub const POLICY: u16 = 1008;
/// A message was longer than is allowed.
pub const TOO_BIG: u16 = 1009;
/// Something failed here, or at the upstream.
pub const INTERNAL: u16 = 1011;
/// The service restarts: the client is to come back.
pub const RESTART: u16 = 1012;
/// The service is overloaded: the client is to come back later.
pub const TRY_AGAIN: u16 = 1013;
/// As HTTP's 401: the client is not, or no longer, authenticated.
pub const UNAUTHORIZED: u16 = 4401;
/// As HTTP's 403: the client may not follow this.
pub const FORBIDDEN: u16 = 4403;
/// As HTTP's 404 and 410: the resource is gone.
pub const NOT_FOUND: u16 = 4404;
/// As HTTP's 429: a limit of this client is reached.
pub const TOO_MANY: u16 = 4429;
