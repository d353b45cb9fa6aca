//! Sets of keys (RFC 7517) from a file or a URL: read again from time to time, and at once when a token
//! names a key that is not there.
//!
//! A set that cannot be read leaves the last one in place. Must not know: tokens.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse};
use parking_lot::RwLock;
use tokio::time::{Instant, timeout};

use super::key::{Candidate, Family};
use crate::config::identity::{Jwks, JwksSource};
use crate::upstream::{Ask, Client, Document};

/// Most bytes of a set.
const SET_BYTES_MAX: usize = 256 * 1024;

/// Most keys of a set that are tried.
const KEYS_MAX: usize = 64;

/// A set is read for unknown keys no more often than this: any client can invent one.
const READ_SPACING: Duration = Duration::from_secs(5);

/// How long a client waits for a set in a file.
const FILE_WAIT_MAX: Duration = Duration::from_secs(3);

/// One set.
pub(super) struct KeySet {
    pub(super) source: Jwks,
    client: Option<Arc<Client>>,
    keys: RwLock<Arc<Vec<Candidate>>>,
    /// How often it changed; 0 if it was never read.
    generation: AtomicU64,
    /// What was last read.
    text: RwLock<Bytes>,
    /// When the address was last asked. The task that asks holds the lock meanwhile.
    tried: tokio::sync::Mutex<Option<Instant>>,
}

impl KeySet {
    pub(super) fn new(source: Jwks, client: Option<Arc<Client>>) -> KeySet {
        KeySet {
            source,
            client,
            keys: RwLock::default(),
            generation: AtomicU64::new(0),
            text: RwLock::default(),
            tried: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn keys(&self) -> Arc<Vec<Candidate>> {
        self.keys.read().clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.generation() > 0
    }

    /// Reads it now, unless that was done a moment ago. A request that comes meanwhile waits for the same reading.
    pub(super) async fn renew(&self) {
        let reading = async {
            let mut tried = self.tried.lock().await;
            if tried.is_none_or(|at| at.elapsed() >= READ_SPACING) {
                // The time is noted first: a request that gives up in between has tried, too.
                *tried = Some(Instant::now());
                self.read().await;
            }
        };
        // A request that waits too long goes on with the keys that there are.
        let _ = timeout(self.wait_max(), reading).await;
    }

    /// How long a client waits for this set: for one at an address as long as its server may take (`total_timeout`).
    fn wait_max(&self) -> Duration {
        self.client.as_ref().map_or(FILE_WAIT_MAX, |client| client.config().total_timeout)
    }

    /// Whether one of these clients, by name, asks for it, or none has to.
    pub(super) fn is_asked_by(&self, clients: &HashMap<String, Arc<Client>>) -> bool {
        match (&self.source.source, &self.client) {
            (JwksSource::File(_), _) => true,
            (JwksSource::Url { server, .. }, Some(own)) => {
                clients.get(&server.name).is_some_and(|client| Arc::ptr_eq(own, client))
            }
            (JwksSource::Url { .. }, None) => false,
        }
    }

    /// Keeps a set new for as long as it is needed.
    pub(super) async fn keep(set: Weak<KeySet>) {
        while let Some(set) = set.upgrade() {
            {
                // Held until it is read: a request that comes meanwhile waits for this reading, too.
                let mut tried = set.tried.lock().await;
                *tried = Some(Instant::now());
                set.read().await;
            }
            // The spread keeps processes from asking at the same time.
            let spread = 0.9 + 0.2 * fastrand::f64();
            let wait = if set.is_loaded() { set.source.refresh } else { READ_SPACING };
            drop(set);
            tokio::time::sleep(wait.mul_f64(spread)).await;
        }
    }

    /// Reads it, if it is a file.
    pub(super) async fn read_file(&self) {
        if matches!(self.source.source, JwksSource::File(_)) {
            self.read().await;
        }
    }

    async fn read(&self) {
        let read = match &self.source.source {
            JwksSource::File(path) => {
                let file = path.clone();
                let read = tokio::task::spawn_blocking(move || contents(&file)).await;
                let read = read.unwrap_or_else(|_| Err(std::io::Error::other("the reading broke off")));
                read.map_err(|error| format!("{}: {error}", path.display()))
            }
            JwksSource::Url { path, .. } => self.fetch(path).await,
        };
        let parsed = read.and_then(|text: Bytes| Ok((parse(&text)?, text)));
        match parsed {
            Ok((keys, text)) => {
                if *self.text.read() != text || !self.is_loaded() {
                    *self.keys.write() = Arc::new(keys);
                    *self.text.write() = text;
                    self.generation.fetch_add(1, Ordering::SeqCst);
                }
            }
            Err(reason) => tracing::warn!("a key set could not be read, the last one stays: {reason}"),
        }
    }

    async fn fetch(&self, path: &str) -> Result<Bytes, String> {
        let client = self.client.as_ref().ok_or("no server is there to ask for it")?;
        let upstream = client.config();
        let ask = Ask {
            method: Method::GET,
            path_and_query: path.to_owned(),
            host: upstream.host.clone().unwrap_or_default(),
            headers: vec![(header::ACCEPT, HeaderValue::from_static("application/json, */*;q=0.1"))],
            body: Bytes::new(),
            timeout: upstream.total_timeout,
            max_body: SET_BYTES_MAX,
            class: None,
            document: Document::Any,
            claim: None,
        };
        let answer = client.fetch(&ask).await.map_err(|error| error.to_string())?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            status => Err(format!("{} answered {status}", upstream.name)),
        }
    }
}

/// Reads a file, unless it is too long.
fn contents(path: &Path) -> std::io::Result<Bytes> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SET_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

pub(super) fn parse(text: &[u8]) -> Result<Vec<Candidate>, String> {
    let set: JwkSet = serde_json::from_slice(text).map_err(|error| format!("it is no key set: {error}"))?;
    let keys: Vec<Candidate> = set.keys.iter().filter_map(candidate).take(KEYS_MAX).collect();
    if keys.is_empty() {
        return Err("it has no public key that signs".to_owned());
    }
    Ok(keys)
}

/// A key of a set, if it is a public one for signatures.
fn candidate(jwk: &Jwk) -> Option<Candidate> {
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|of| *of == PublicKeyUse::Signature)
        && jwk.common.key_operations.as_ref().is_none_or(|of| of.contains(&KeyOperations::Verify));
    let families: &'static [Family] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[Family::Rsa],
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => &[Family::Ec256],
            EllipticCurve::P384 => &[Family::Ec384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[Family::Ed],
        // A published secret proves nothing.
        _ => return None,
    };
    let key = signs.then(|| DecodingKey::from_jwk(jwk).ok()).flatten()?;
    let algorithm = jwk.common.key_algorithm.map(|algorithm| algorithm.to_string());
    Some(Candidate { id: jwk.common.key_id.clone(), families, algorithm, key })
}
