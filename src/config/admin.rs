//! The admin listener: where it is, and what it asks of a request.
//!
//! Must not know: what it answers.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::secret::Secret;

/// The operators' own listener, which answers `/metrics`, `/live`, `/ready` and `/resources`. It is off unless the
/// file has `admin`.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// Where it listens. Clients must not be able to reach it.
    pub address: AdminAddress,
    /// The token that a request must carry as `Authorization: Bearer <token>`, but for `/live` and `/ready`. `None` if
    /// no request needs one (default).
    pub token: Option<Secret>,
    /// Names that it answers to without a token, besides addresses and `localhost`; lower case.
    pub hosts: Vec<String>,
}

/// Where the admin surface is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket that only the user of the process can connect to.
    Unix(PathBuf),
}
