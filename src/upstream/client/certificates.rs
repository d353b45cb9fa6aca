//! The certificates that an upstream's connections trust and show. They are read from files at the start, and again
//! whenever these may have changed. A connection that was made before goes on, but serves no further request.
//!
//! Must not know: connections, requests.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use pingora::protocols::tls::CaType;
use pingora::tls::RootCertStore;
use pingora::utils::tls::{CertKey, WrappedX509};
use tokio::sync::watch;
use tokio::time::sleep;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error_text::Cause;
use super::with_openssl::Terms;
use crate::config;
use crate::config::upstream_tls::Identity;
use crate::metrics::Metrics;
use crate::upstream::new_error::NewError;
use crate::upstream::trust;

/// The certificates of one upstream.
pub(super) struct Papers {
    upstream: Arc<config::Upstream>,
    current: RwLock<Issue>,
    /// A digest of the files when they were last looked at, good or bad.
    seen: Mutex<blake3::Hash>,
}

/// The certificates that connections are made with.
#[derive(Clone)]
pub(super) struct Issue {
    /// The authorities that are trusted; `None` stands for the system's.
    pub(super) authorities: Option<Arc<CaType>>,
    /// The certificate that is shown to servers that ask.
    pub(super) identity: Option<Arc<CertKey>>,
    /// The same for OpenSSL; `None` where rustls makes the connections.
    pub(super) terms: Option<Arc<Terms>>,
    /// Keeps connections that were made with these apart from all others in a pool.
    pub(super) group: u64,
}

/// The result of a look at the files.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    /// New connections are made with it.
    New,
    /// The files cannot be used: the former ones stay.
    Bad(NewError),
}

/// The content of the files.
struct Material {
    authorities: Option<Vec<Vec<u8>>>,
    identity: Option<Identity>,
}

impl Papers {
    /// # Errors
    /// A file, or the system's roots, cannot be used.
    pub(super) fn new(upstream: Arc<config::Upstream>) -> Result<Papers, NewError> {
        let material = Material::read(&upstream)?;
        let uses_rustls = upstream.tls.as_ref().is_some_and(|tls| !tls.uses_openssl());
        if uses_rustls && material.authorities.is_none() {
            // Connections read the system's roots and panic if they cannot, so they are read here first.
            check_system_roots(&upstream)?;
        }
        let seen = material.fingerprint();
        let current = RwLock::new(material.issue(&upstream, seen)?);
        Ok(Papers { upstream, current, seen: Mutex::new(seen) })
    }

    pub(super) fn current(&self) -> Issue {
        self.current.read().clone()
    }

    /// Returns what a diagnosis of a server needs. It reads the files, so it blocks.
    #[cfg(feature = "openssl")]
    pub(super) fn for_diagnosis(&self, tls: &config::UpstreamTls) -> Option<Terms> {
        let authorities = trust::own_authorities(&self.upstream).ok()?;
        Terms::for_diagnosis(tls, authorities.as_deref())
    }

    /// Returns the number that keeps connections apart which were made with other files.
    pub(super) fn group(&self) -> u64 {
        self.current.read().group
    }

    /// Whether there are files to look at.
    fn has_files(&self) -> bool {
        self.upstream.tls.as_ref().is_some_and(|tls| tls.ca.is_some() || tls.identity.is_some())
    }

    /// Looks at the files. It reads them, so it blocks.
    pub(super) fn look(&self) -> Found {
        let read = Material::read(&self.upstream);
        let fingerprint = match &read {
            Ok(material) => material.fingerprint(),
            Err(bad) => blake3::hash(bad.to_string().as_bytes()),
        };
        let mut seen = self.seen.lock();
        if *seen == fingerprint {
            return Found::Nothing;
        }
        *seen = fingerprint;
        match read.and_then(|material| material.issue(&self.upstream, fingerprint)) {
            Ok(issue) => {
                *self.current.write() = issue;
                Found::New
            }
            Err(bad) => Found::Bad(bad),
        }
    }

    /// Looks at the files every `reload`, and whenever `told`; never returns.
    pub(super) async fn keep(self: Arc<Self>, mut told: watch::Receiver<()>, metrics: Metrics) {
        let Some(tls) = self.upstream.tls.as_ref().filter(|_| self.has_files()) else {
            return std::future::pending().await;
        };
        // The counters exist before they count, so that a scraper sees them grow from zero.
        let [new, bad] =
            ["new", "bad"].map(|outcome| metrics.certificate_reloads.with_label_values(&[outcome]));
        let pause = async || match tls.reload {
            Some(reload) => sleep(reload).await,
            None => std::future::pending().await,
        };
        loop {
            tokio::select! {
                () = pause() => {}
                // The other end is gone: the process ends.
                told = told.changed() => if told.is_err() { std::future::pending().await },
            }
            let papers = self.clone();
            let Ok(found) = tokio::task::spawn_blocking(move || papers.look()).await else { continue };
            let upstream = self.upstream.name.as_str();
            match found {
                Found::Nothing => {}
                Found::New => {
                    new.inc();
                    tracing::info!(upstream, "new certificates: the next connections are made with them");
                }
                Found::Bad(file) => {
                    bad.inc();
                    tracing::error!(upstream, "new certificates cannot be used, the old ones stay: {file}");
                }
            }
        }
    }
}

impl Material {
    fn read(upstream: &config::Upstream) -> Result<Material, NewError> {
        let authorities = trust::own_authorities(upstream)?;
        Ok(Material { authorities, identity: trust::own_identity(upstream)? })
    }

    /// Returns a digest that changes with any certificate or key.
    fn fingerprint(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let mut add = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        let chain = self.identity.iter().map(|(chain, _)| chain);
        for list in self.authorities.iter().chain(chain) {
            add(&[]);
            list.iter().for_each(|der| add(der));
        }
        self.identity.iter().for_each(|(_, key)| add(key));
        hasher.finalize()
    }

    fn issue(self, upstream: &config::Upstream, fingerprint: blake3::Hash) -> Result<Issue, NewError> {
        let terms = match upstream.tls.as_ref().filter(|tls| tls.uses_openssl()) {
            Some(tls) => {
                let terms = Terms::new(tls, self.authorities.as_deref(), self.identity.as_ref());
                Some(terms.map_err(|found| NewError::Terms { upstream: upstream.name.clone(), found })?)
            }
            None => None,
        };
        let authorities = match self.authorities.filter(|_| terms.is_none()) {
            Some(certificates) => Some(wrapped(upstream, certificates)?),
            None => None,
        };
        let identity = self.identity.map(|(chain, key)| Arc::new(CertKey::new(chain, key)));
        let mut hasher = DefaultHasher::new();
        (&upstream.name, fingerprint.as_bytes()).hash(&mut hasher);
        // All settings that trust depends on, each of them shown but the proxy's password.
        format!("{:?} {:?}", upstream.tls, upstream.proxy).hash(&mut hasher);
        let password = upstream.proxy.as_ref().and_then(|proxy| proxy.credentials.as_ref());
        password.map(|(_, password)| &password.0).hash(&mut hasher);
        Ok(Issue { authorities, identity, terms, group: hasher.finish() })
    }
}

/// The authorities in the form that connections take.
fn wrapped(upstream: &config::Upstream, certificates: Vec<Vec<u8>>) -> Result<Arc<CaType>, NewError> {
    let wrong = |found: String| unusable(upstream, found);
    let mut store = RootCertStore::empty();
    let mut wrapped = Vec::new();
    for der in certificates {
        let certificate = WrappedX509::try_new(der, |der| X509Certificate::from_der(der).map(|(_, it)| it))
            .map_err(|error| wrong(error.to_string()))?;
        // Without this check each connection would refuse the certificate.
        store.add((&certificate).into()).map_err(|error| wrong(error.to_string()))?;
        wrapped.push(certificate);
    }
    Ok(wrapped.into())
}

/// The authorities cannot be used.
fn unusable(upstream: &config::Upstream, found: String) -> NewError {
    let path = upstream.tls.as_ref().and_then(|tls| tls.ca.clone()).unwrap_or_default();
    NewError::CaContent { upstream: upstream.name.clone(), path, found }
}

fn check_system_roots(upstream: &config::Upstream) -> Result<(), NewError> {
    let unusable = |found: String| NewError::SystemRoots { upstream: upstream.name.clone(), found };
    let mut store = RootCertStore::empty();
    pingora::tls::load_platform_certs_incl_env_into_store(&mut store)
        .map_err(|error| unusable(Cause::of(error).to_string()))?;
    if store.is_empty() {
        return Err(unusable("there are none".to_owned()));
    }
    Ok(())
}
