//! Long-polls, event streams and WebSockets (contract §4 to §7).
//!
//! | module | claim it holds |
//! |---|---|
//! | `compression` | §3, §5, §6: compressed once for everybody, read by strict decoders |
//! | `delta` | §4, §5: patches over event streams and long-polls |
//! | `envelope` | §6: many resources on one WebSocket |
//! | `long_poll` | §4: held polls: what ends them, and the connection's next request |
//! | `many` | many resources on one event stream |
//! | `native` | §1, §6, §11: the API's own WebSockets and event streams, and push forms that ask it first |
//! | `rotation` | §5: streams that end after `max_age` |
//! | `slow_clients` | §7: clients that stop reading, among many that do not |
//! | `sse` | §5, §7: event streams: the head, resuming, control events, slow and vanished clients |
//! | `storms` | §5, §7: more clients than there may be, at once or for long, on a connection or without descriptors |
//! | `websocket` | §6: WebSockets: messages, pings, hostile frames, close codes, `send` |

pub mod compression;
pub mod delta;
pub mod envelope;
pub mod long_poll;
pub mod many;
pub mod native;
pub mod rotation;
pub mod slow_clients;
pub mod sse;
pub mod storms;
pub mod websocket;
