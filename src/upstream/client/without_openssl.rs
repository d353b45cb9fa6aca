//! In place of `with_openssl.rs` in a build without OpenSSL: rustls does what it can, and the configuration refuses what it
//! cannot.
//!
//! Must not know: what OpenSSL would do.

use std::convert::Infallible;
use std::sync::Arc;

use super::refusal::Refusal;
use crate::config;
use crate::config::upstream_tls::{Identity, NEEDS_OPENSSL};

/// A connection that is secured.
pub(super) type Secured<S> = S;

/// No terms exist in this build.
#[derive(Debug)]
pub(super) struct Terms(Infallible);

impl Terms {
    /// # Errors
    /// Always: nothing asks for them in this build.
    pub(super) fn new(
        _: &config::UpstreamTls,
        _: Option<&[Vec<u8>]>,
        _: Option<&Identity>,
    ) -> Result<Arc<Terms>, String> {
        Err(NEEDS_OPENSSL.to_owned())
    }

    pub(super) fn allows_http2(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn broke(&self, _: &std::io::Error) {
        match self.0 {}
    }

    pub(super) fn refused(&self) -> Option<Refusal> {
        match self.0 {}
    }

    pub(super) async fn secure<S>(&self, _: S, _: &str, _: bool) -> Result<Secured<S>, Refusal> {
        match self.0 {}
    }
}
