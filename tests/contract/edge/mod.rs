//! The edge (contract §12): connections, framing, limits, addresses of clients.
//!
//! | module | claim it holds |
//! |---|---|
//! | `client_address` | §12: which peers are believed about the address of a client |
//! | `framing` | §12: request smuggling, unread bodies, broken answers |
//! | `hosts` | §12: which hosts are served, one reading of each field name, HTTP/2 in the form of HTTP/1 |
//! | `http2` | §1, §5: HTTP/2 beside HTTP/1, with and without TLS, and what one client may cost |
//! | `http2_bodies` | §12: bodies of HTTP/2 requests that stop coming |
//! | `http2_writes` | §5: a change is one record of TLS for all streams of a connection |
//! | `limits` | §5, §12: resources, heads, bodies, frames and requests in flight: each limit, its answer, its metric |
//! | `memory` | §10, §12: snapshots, requests in progress, bodies and messages that wait: what bounds them |
//! | `memory_measured` | §12: what a stranger has held for what it sends, as a table |
//! | `proxy_protocol` | §12: what load balancers say about their clients before anything else |
//! | `revocation` | §12: clients whose certificates were revoked |
//! | `support` | no claims: configurations for the tests of the edge |
//! | `tls` | §12: versions, certificates and clients' certificates of a listener |

pub mod client_address;
pub mod framing;
pub mod hosts;
pub mod http2;
pub mod http2_bodies;
pub mod http2_writes;
pub mod limits;
pub mod memory;
pub mod memory_measured;
pub mod proxy_protocol;
pub mod revocation;
pub mod support;
pub mod tls;
