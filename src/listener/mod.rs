//! A socket until there is a request: accepting, the PROXY header, TLS, the loops of HTTP/1 and HTTP/2 around
//! Pingora's, deadlines, and the way of a connection out of Pingora and back.
//!
//! It is generic over the application behind it. Must not know: what requests mean.

pub(super) mod accept_rate;
mod certificates;
pub(super) mod client_certificate;
mod connections;
pub(super) mod control;
mod deadlines;
pub(super) mod descriptors;
mod give_back;
pub(super) mod guarded_stream;
mod http1;
pub(super) mod http2;
mod http2_control;
mod http2_goaway;
mod http2_parked;
mod http2_windows;
mod http2_writes;
mod lingering_close;
mod preamble;
mod protocol;
pub(super) mod proxy_protocol;
mod raw_body;
pub(crate) mod raw_head;
pub(super) mod service;
pub(super) mod takeover;
mod tls;
pub(super) mod trusted_proxies;
mod turns;
