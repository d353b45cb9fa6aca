//! The proxy behind a listener: Pingora's, around the application of that listener.
//!
//! Must not know: how connections come in.

use std::net::TcpListener;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use tokio::runtime::Handle;

use super::application::{Entrance, Front};
use super::remembered;
use super::services::Shared;
use crate::config::{Limits, Listener};
use crate::listener::control::{Control, Prepared};
use crate::listener::service::{self, Behind, ListenError, Served, Watches};

/// Streams of an HTTP/2 connection that its client may open and reset before they were looked at:
/// more are an attack (CVE-2023-44487), and end the connection.
const RESETS_MAX: usize = 20;

/// Bytes of one HTTP/2 stream that wait for its connection to take them.
const HTTP2_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// A listener ready to run.
pub type Service = service::Service<HttpProxy<Entrance>>;

/// A listener, as a reload reaches it.
pub struct Entry {
    front: Arc<ArcSwap<Front>>,
    control: Control,
}

impl Entry {
    /// Reads the files of certificates that another configuration names for the listener.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn prepare(&self, listener: &Listener, limits: &Limits) -> Result<Prepared, ListenError> {
        self.control.prepare(listener, limits).map_err(ListenError::Certificate)
    }

    /// Has the connections and requests that come from now on served by this generation. `prepared`: what changes of the
    /// listener; `None` if nothing does.
    pub fn renew(&self, shared: &Arc<Shared>, prepared: Option<Prepared>) {
        prepared.into_iter().for_each(|prepared| self.control.apply(prepared));
        let renewed = self.front.load().renewed(shared);
        renewed.into_iter().for_each(|front| self.front.store(Arc::new(front)));
    }
}

/// Makes the service of a bound listener, and what a reload reaches it by. `place`: the listener's in the configuration.
///
/// # Errors
/// The socket cannot be made non-blocking, or a certificate cannot be used.
pub fn service(
    shared: Arc<Shared>,
    (place, listener): (usize, &Listener),
    socket: TcpListener,
    runtime: Handle,
    watches: Watches,
) -> Result<(Service, Entry), ListenError> {
    let home = Arc::new(OnceLock::new());
    let front = Front { shared: shared.clone(), listener: listener.clone(), place, home: home.clone() };
    let front = Arc::new(ArcSwap::from_pointee(front));
    let conf = ServerConf { threads: shared.config.threads.front, max_retries: 4, ..ServerConf::default() };
    // Without Pingora's modules: its own compression would be made, and asked, for each request.
    let mut proxy = HttpProxy::new(Entrance(front.clone()), Arc::new(conf));
    proxy.h2_options = Some(http2_options(&shared.config.limits));
    let behind = Behind {
        proxy: Arc::new(proxy),
        runtime,
        known: remembered::given_back,
        descriptors: shared.descriptors,
        connections: shared.connections.clone(),
        metrics: shared.metrics.clone(),
    };
    let Served { service, home: way_back, control } =
        service::service(behind, (listener, &shared.config.limits), socket, watches)?;
    // Set once: the lock was made above, and no connection has come yet.
    let _ = home.set(way_back);
    Ok((service, Entry { front, control }))
}

/// Bounds of one HTTP/2 connection; what one client can make the process do and hold follows from them.
fn http2_options(limits: &Limits) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(limits.http2_streams)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_send_buffer_size(HTTP2_BUFFER_BYTES_MAX)
        // At most 1 MiB.
        .max_header_list_size(limits.header_bytes as u32);
    options
}
