//! TLS with OpenSSL, for upstreams whose `tls` says what rustls cannot do: authorities as intranets have them.
//!
//! rustls wants certificates as they are issued in public: version 3, the name among the alternative ones, no authority
//! as a server. OpenSSL verifies what administrators' other programs verify with the same file.
//! Must not know: how the server is reached, what is said over the connection.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslVerifyMode, SslVersion};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::{X509CheckFlags, X509VerifyFlags};
use openssl::x509::{X509, X509Ref, X509StoreContextRef, X509VerifyResult};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::refusal::{self, Refusal};
use super::rejected_certificate::{Seen, VERDICT_OF_PINS};
pub(super) use super::tls_stream::Secured;
use crate::config;
use crate::config::Pin;
use crate::config::upstream_tls::Identity;

/// The ciphers of TLS 1.2 that rustls offers, too: with forward secrecy and authentication.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2";

/// All ciphers but those without encryption or certificate; short keys and old digests are allowed.
const LEGACY_CIPHERS: &str = "ALL:!aNULL:!eNULL:@SECLEVEL=0";

/// `SSL_OP_LEGACY_SERVER_CONNECT`: servers from before RFC 5746.
const LEGACY_SERVER_CONNECT: SslOptions = SslOptions::from_bits_retain(1 << 2);

/// A refusal of our certificate explains the connections that break within this time.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(1);

/// Whether a server speaks TLS at all. No request is sent.
pub(super) async fn shakes_hands<S: AsyncRead + AsyncWrite + Unpin>(connection: S, name: &str) -> bool {
    let ssl = || {
        let mut context = SslContextBuilder::new(SslMethod::tls_client())?;
        context.set_min_proto_version(Some(SslVersion::TLS1))?;
        context.set_cipher_list(LEGACY_CIPHERS)?;
        context.set_verify(SslVerifyMode::NONE);
        let mut ssl = Ssl::new(&context.build())?;
        if name.parse::<IpAddr>().is_err() {
            ssl.set_hostname(name)?;
        }
        Secured::new(ssl, connection)
    };
    let Ok(mut stream) = ssl() else { return false };
    stream.shake_hands().await.is_ok()
}

/// How a server is recognized as the one that is meant.
#[derive(Clone)]
enum Trust {
    /// By the authorities of `tls.ca`, or the system's, which certify its name.
    Authorities,
    /// By one of these pins alone.
    Pins(Vec<Pin>),
    /// `verify: false`.
    Anybody,
}

/// The terms of a handshake: what a server has to prove, and what it is shown.
pub(super) struct Terms {
    context: SslContext,
    trust: Trust,
    is_legacy: bool,
    /// Whether a server was met that does not speak HTTP/2.
    http1_only: AtomicBool,
    /// When a server last refused a connection that was made, and why.
    refused: Mutex<Option<(Instant, Refusal)>>,
}

impl Terms {
    /// For an upstream that [`uses_openssl`](config::UpstreamTls::uses_openssl).
    ///
    /// # Errors
    /// Says what OpenSSL cannot use.
    pub(super) fn new(
        tls: &config::UpstreamTls,
        authorities: Option<&[Vec<u8>]>,
        identity: Option<&Identity>,
    ) -> Result<Arc<Terms>, String> {
        let trust = match tls.verify {
            false => Trust::Anybody,
            true if tls.pin.is_empty() => Trust::Authorities,
            true => Trust::Pins(tls.pin.clone()),
        };
        let context = context(tls, authorities, identity).map_err(|error| error.to_string())?;
        let (http1_only, refused) = (AtomicBool::new(false), Mutex::new(None));
        Ok(Arc::new(Terms { context, trust, is_legacy: tls.legacy, http1_only, refused }))
    }

    /// Returns the terms of a diagnosis: every protocol is spoken, and no certificate is shown.
    pub(super) fn for_diagnosis(tls: &config::UpstreamTls, authorities: Option<&[Vec<u8>]>) -> Option<Terms> {
        let everything = config::UpstreamTls { legacy: true, ..tls.clone() };
        let terms = Arc::into_inner(Terms::new(&everything, authorities, None).ok()?)?;
        Some(Terms { is_legacy: tls.legacy, ..terms })
    }

    /// Whether HTTP/2 is still worth a try.
    pub(super) fn allows_http2(&self) -> bool {
        !self.http1_only.load(Ordering::Relaxed)
    }

    /// Shakes hands with a server that has to be `name`. With `http2` it has to speak that.
    ///
    /// # Errors
    /// Says why the server is not believed, or why there is no handshake. Nothing but the handshake was said.
    pub(super) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: S,
        name: &str,
        http2: bool,
    ) -> Result<Secured<S>, Refusal> {
        let seen = Arc::new(Mutex::new(None));
        let ssl = self.session(name, http2, seen.clone()).map_err(refusal::unusable)?;
        let mut stream = Secured::new(ssl, connection).map_err(refusal::unusable)?;
        if let Err(error) = stream.shake_hands().await {
            return Err(match seen.lock().take() {
                Some(seen) => refusal::of_certificate(&seen, name),
                None => refusal::of_handshake(&error),
            });
        }
        if let Trust::Pins(pins) = &self.trust
            && !stream.ssl().peer_certificate().is_some_and(|leaf| is_pinned(&leaf, pins))
        {
            return Err(refusal::not_pinned(None));
        }
        if http2 && stream.ssl().selected_alpn_protocol() != Some(b"h2") {
            self.http1_only.store(true, Ordering::Relaxed);
            return Err(refusal::no_http2());
        }
        Ok(stream)
    }

    /// Notes that a connection broke: with TLS 1.3 a server refuses a client's certificate after the handshake.
    pub(super) fn broke(&self, error: &io::Error) {
        tracing::debug!("a connection to a server broke: {error}");
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<openssl::ssl::Error>());
        if let Some(refusal) = inner.and_then(refusal::of_our_certificate) {
            *self.refused.lock() = Some((Instant::now(), refusal));
        }
    }

    /// Returns why a server refused a connection a moment ago, if one did.
    pub(super) fn refused(&self) -> Option<Refusal> {
        let refused = self.refused.lock();
        refused.as_ref().filter(|(at, _)| at.elapsed() < REFUSAL_TIME_MAX).map(|(_, refusal)| refusal.clone())
    }

    /// Shakes hands with a server and sends no request. Returns what is wrong with it by these terms, old protocols
    /// included.
    pub(super) async fn diagnose<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        connection: S,
        name: &str,
    ) -> Option<Refusal> {
        let seen = Arc::new(Mutex::new(None));
        let mut ssl = self.session(name, false, seen.clone()).ok()?;
        ssl.set_verify_callback(SslVerifyMode::PEER, {
            let (seen, address) = (seen.clone(), name.parse().ok());
            move |is_good, context| {
                if !is_good && !is_address_in_name(context, address) {
                    // The first one is what a connection fails with.
                    let mut seen = seen.lock();
                    *seen = seen.take().or_else(|| Seen::of(context));
                }
                true
            }
        });
        let mut stream = Secured::new(ssl, connection).ok()?;
        if let Err(error) = stream.shake_hands().await {
            return Some(refusal::of_handshake(&error)).filter(Refusal::is_certain);
        }
        let ssl = stream.ssl();
        let cipher = ssl.current_cipher().map_or("", |cipher| cipher.name());
        let old = refusal::of_protocol(ssl.version_str(), cipher).filter(|_| !self.is_legacy);
        let certificate = match &self.trust {
            Trust::Authorities => seen.lock().take().map(|seen| refusal::of_certificate(&seen, name)),
            Trust::Pins(pins) => ssl
                .peer_certificate()
                .filter(|leaf| !is_pinned(leaf, pins))
                .map(|leaf| refusal::not_pinned(leaf.to_der().ok().as_deref())),
            Trust::Anybody => None,
        };
        refusal::together(old, certificate)
    }

    fn session(&self, name: &str, http2: bool, seen: Arc<Mutex<Option<Seen>>>) -> Result<Ssl, ErrorStack> {
        let mut ssl = Ssl::new(&self.context)?;
        let name = name.trim_end_matches('.');
        let address: Option<IpAddr> = name.parse().ok();
        if address.is_none() {
            ssl.set_hostname(name)?;
        }
        if http2 {
            ssl.set_alpn_protos(b"\x02h2\x08http/1.1")?;
        }
        match self.trust.clone() {
            Trust::Anybody => ssl.set_verify(SslVerifyMode::NONE),
            Trust::Authorities => {
                let parameters = ssl.param_mut();
                parameters.set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
                match address {
                    Some(address) => parameters.set_ip(address)?,
                    None => parameters.set_host(name)?,
                }
                ssl.set_verify_callback(SslVerifyMode::PEER, move |is_good, context| {
                    if is_good || is_address_in_name(context, address) {
                        return true;
                    }
                    *seen.lock() = Seen::of(context);
                    false
                });
            }
            // With pins no other fault of the chain counts.
            Trust::Pins(pins) => ssl.set_verify_callback(SslVerifyMode::PEER, move |_, context| {
                let is_leaf = context.error_depth() == 0;
                if !is_leaf || context.current_cert().is_some_and(|leaf| is_pinned(leaf, &pins)) {
                    return true;
                }
                context.set_error(VERDICT_OF_PINS);
                *seen.lock() = Seen::of(context);
                false
            }),
        }
        Ok(ssl)
    }
}

/// Whether a certificate, or its key, is one of these.
fn is_pinned(certificate: &X509Ref, pins: &[Pin]) -> bool {
    let Ok(der) = certificate.to_der() else { return false };
    let found = refusal::pins_of(&der);
    found.is_some_and(|found| pins.iter().any(|pin| found.contains(pin)))
}

/// Whether the server was asked for by its address, and its certificate, which has no alternative names, has the
/// address as its name. OpenSSL compares names with names and addresses with addresses; a certificate of that time has
/// one field.
fn is_address_in_name(context: &mut X509StoreContextRef, address: Option<IpAddr>) -> bool {
    let Some(address) = address.filter(|_| context.error().as_raw() == refusal::IP_ADDRESS_MISMATCH) else {
        return false;
    };
    let has_it = |leaf: &X509Ref| {
        let mut names = leaf.subject_name().entries_by_nid(Nid::COMMONNAME);
        let name = names.next().and_then(|name| name.data().to_string().ok());
        leaf.subject_alt_names().is_none()
            && names.next().is_none()
            && name.and_then(|name| name.parse().ok()) == Some(address)
    };
    let fits = context.current_cert().is_some_and(has_it);
    if fits {
        context.set_error(X509VerifyResult::OK);
    }
    fits
}

fn context(
    tls: &config::UpstreamTls,
    authorities: Option<&[Vec<u8>]>,
    identity: Option<&Identity>,
) -> Result<SslContext, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::tls_client())?;
    let (oldest, ciphers) = match tls.legacy {
        false => (SslVersion::TLS1_2, CIPHERS),
        true => (SslVersion::TLS1, LEGACY_CIPHERS),
    };
    context.set_min_proto_version(Some(oldest))?;
    context.set_max_proto_version(None)?;
    context.set_cipher_list(ciphers)?;
    if tls.legacy {
        context.set_options(LEGACY_SERVER_CONNECT);
    }
    match authorities {
        Some(authorities) => {
            let mut store = X509StoreBuilder::new()?;
            for authority in authorities {
                store.add_cert(X509::from_der(authority)?)?;
            }
            // Certificates in the file are trusted, whatever their issuer is.
            store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
            context.set_cert_store(store.build());
        }
        None if tls.verify && tls.pin.is_empty() => context.set_default_verify_paths()?,
        None => {}
    }
    if let Some((chain, key)) = identity {
        for (index, certificate) in chain.iter().enumerate() {
            let certificate = X509::from_der(certificate)?;
            if index == 0 {
                context.set_certificate(&certificate)?;
            } else {
                context.add_extra_chain_cert(certificate)?;
            }
        }
        context.set_private_key(&*PKey::private_key_from_der(key)?)?;
        context.check_private_key()?;
    }
    Ok(context.build())
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terms")
    }
}
