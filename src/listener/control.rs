//! What a reload changes of a listener that goes on accepting: its certificates, its trusted proxies, the limits of its
//! connections. What connections of before were let in by stays as it is.
//!
//! Must not know: requests, what else a reload changes.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::certificates::BadFile;
use super::deadlines::Terms;
use super::preamble::Preamble;
use super::tls::{NewTls, Tls};
use crate::config::{Limits, Listener};
use crate::metrics::Metrics;

/// A listener, as a reload reaches it.
pub(crate) struct Control {
    pub(super) terms: Arc<ArcSwap<Terms>>,
    pub(super) preamble: Arc<Preamble>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) metrics: Metrics,
}

/// What a reload is about to change of a listener. Nothing is changed by making it.
pub struct Prepared {
    terms: Terms,
    listener: Listener,
    patience: Duration,
    tls: Option<NewTls>,
}

impl Control {
    /// Reads the files of certificates that another configuration names.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(crate) fn prepare(&self, listener: &Listener, limits: &Limits) -> Result<Prepared, BadFile> {
        // Whether there is TLS is a matter of the restart.
        let tls = listener.tls.as_ref().filter(|_| self.tls.is_some()).map(NewTls::read).transpose()?;
        Ok(Prepared {
            terms: Terms::of(limits, &self.metrics),
            listener: listener.clone(),
            patience: limits.first_byte_timeout,
            tls,
        })
    }

    /// From now on connections are accepted by this.
    pub(crate) fn apply(&self, prepared: Prepared) {
        let Prepared { terms, listener, patience, tls } = prepared;
        self.terms.store(Arc::new(terms));
        self.preamble.renew(&listener, patience);
        if let Some((own, new)) = self.tls.as_ref().zip(tls) {
            own.renew(new);
        }
    }
}
