//! The proxy application of one listener: what a request finds when it comes.
//!
//! Must not know: what becomes of requests.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use pingora::proxy::Session;

use super::request::client_address;
use super::services::Shared;
use crate::config::Listener;
use crate::fanout::Home;

/// The proxy application of one listener.
pub struct Front {
    pub(super) shared: Arc<Shared>,
    pub(super) listener: Listener,
    /// Where given-back connections go; set once the proxy around this exists.
    pub(super) home: Arc<OnceLock<Arc<dyn Home>>>,
}

impl Front {
    /// The address of a request's client.
    pub(super) fn client_of(&self, session: &Session) -> Option<IpAddr> {
        let peer = session.client_addr().and_then(|address| address.as_inet()).copied();
        client_address::client_address(peer, &session.req_header().headers, &self.listener)
    }
}
