//! TLS of a listener: handshakes with the certificates that its files hold now, whatever they held when the
//! listener began. Connections that are through their handshake are not touched by new ones.
//!
//! Must not know: what is in the files, HTTP.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use pingora::Result;
use pingora::listeners::tls::{Acceptor, TlsSettings};
use pingora::protocols::{Stream, l4};
use tokio::sync::watch;
use tokio::time::sleep;

use super::certificates::{BadFile, Material};
use super::client_certificate::Keep;
use crate::config::{Crl, ListenerTls};
use crate::metrics::{CERTIFICATE_KINDS, Metrics};

/// TLS of one listener.
pub(super) struct Tls {
    current: RwLock<Arc<Acceptor>>,
    looked: Mutex<Looked>,
}

/// The files that count, and what they held when they were last looked at, good or bad. The lock is held for as long as a
/// look takes: none of files that a reload has replaced ends after it.
struct Looked {
    rules: ListenerTls,
    seen: blake3::Hash,
    /// The revocation lists that are not known to be out of date.
    lists: Vec<Crl>,
    /// When the first of each kind runs out.
    ends: Vec<(&'static str, i64)>,
}

/// Other files, read and found good, that are to count from a reload on.
pub(super) struct NewTls {
    acceptor: Acceptor,
    looked: Looked,
}

impl NewTls {
    /// # Errors
    /// A file cannot be used.
    pub(super) fn read(rules: &ListenerTls) -> std::result::Result<NewTls, BadFile> {
        let material = Material::read(rules)?;
        let lists = material.revocation_lists(rules)?;
        let ends = material.ends(&lists);
        let looked = Looked { rules: rules.clone(), seen: material.fingerprint(), lists, ends };
        Ok(NewTls { acceptor: acceptor(&material, rules)?, looked })
    }
}

/// What a look at the files found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// New handshakes are done with it.
    New,
    /// What was there before stays.
    Bad(BadFile),
}

impl Tls {
    /// # Errors
    /// A file cannot be used.
    pub(super) fn new(rules: &ListenerTls) -> std::result::Result<Tls, BadFile> {
        let NewTls { acceptor, looked } = NewTls::read(rules)?;
        Ok(Tls { current: RwLock::new(Arc::new(acceptor)), looked: Mutex::new(looked) })
    }

    /// Has handshakes done with these from now on.
    pub(super) fn renew(&self, new: NewTls) {
        let mut looked = self.looked.lock();
        *looked = new.looked;
        *self.current.write() = Arc::new(new.acceptor);
    }

    /// The server's side of a handshake.
    ///
    /// # Errors
    /// It failed, or the client's certificate did not do.
    pub(super) async fn handshake(&self, socket: l4::stream::Stream) -> Result<Stream> {
        let acceptor = self.current.read().clone();
        Ok(Box::new(acceptor.tls_handshake(socket).await?))
    }

    /// Looks at the files. Reads them, so this blocks.
    pub(super) fn look(&self) -> Found {
        let mut looked = self.looked.lock();
        let read = Material::read(&looked.rules);
        let fingerprint = match &read {
            Ok(material) => material.fingerprint(),
            Err(bad) => blake3::hash(bad.to_string().as_bytes()),
        };
        if looked.seen == fingerprint {
            return Found::Nothing;
        }
        looked.seen = fingerprint;
        let made = read.and_then(|material| {
            let lists = material.revocation_lists(&looked.rules)?;
            Ok((acceptor(&material, &looked.rules)?, material.ends(&lists), lists))
        });
        match made {
            Ok((acceptor, ends, lists)) => {
                (looked.lists, looked.ends) = (lists, ends);
                *self.current.write() = Arc::new(acceptor);
                Found::New
            }
            Err(bad) => Found::Bad(bad),
        }
    }

    /// Says which revocation lists have run out since this was called last.
    fn tell_out_of_date(&self) {
        let now = SystemTime::now();
        self.looked.lock().lists.retain(|list| {
            if list.is_out_of_date(now) {
                let issuer = &list.issuer;
                tracing::error!(
                    "the revocation list of {issuer} is out of date: its certificates are refused"
                );
            }
            !list.is_out_of_date(now)
        });
    }

    /// Shows when the first of each kind runs out. What a reload has taken away has no end any more.
    fn show_ends(&self, listener: &str, metrics: &Metrics) {
        let looked = self.looked.lock();
        for kind in CERTIFICATE_KINDS {
            match looked.ends.iter().find(|(known, _)| *known == kind) {
                Some((_, end)) => {
                    metrics.certificate_not_after.with_label_values(&[listener, kind]).set(*end)
                }
                // It fails if there was none.
                None => drop(metrics.certificate_not_after.remove_label_values(&[listener, kind])),
            }
        }
    }

    /// How often the files are looked at, and the first of them, for messages.
    fn habits(&self) -> (Option<Duration>, String) {
        let looked = self.looked.lock();
        let first = looked.rules.certificates.first().map(|files| files.cert.display().to_string());
        (looked.rules.reload, first.unwrap_or_default())
    }

    /// Looks at the files every `reload`, and whenever `told`; never returns.
    pub(super) async fn keep(
        self: Arc<Self>,
        listener: String,
        mut told: watch::Receiver<()>,
        metrics: Metrics,
    ) {
        // They are there before they count, so that their growth can be watched.
        let [new, bad] =
            ["new", "bad"].map(|outcome| metrics.certificate_reloads.with_label_values(&[outcome]));
        loop {
            self.tell_out_of_date();
            self.show_ends(&listener, &metrics);
            tokio::select! {
                () = pause(self.habits().0) => {}
                // The other end is gone: the process ends.
                told = told.changed() => if told.is_err() { std::future::pending().await },
            }
            let tls = self.clone();
            let Ok(found) = tokio::task::spawn_blocking(move || tls.look()).await else { continue };
            let (_, first) = self.habits();
            match found {
                Found::Nothing => {}
                Found::New => {
                    new.inc();
                    tracing::info!(first, "new certificates: the next handshakes use them");
                }
                Found::Bad(file) => {
                    bad.inc();
                    tracing::error!(first, "new certificates cannot be used, the old ones stay: {file}");
                }
            }
        }
    }
}

async fn pause(reload: Option<Duration>) {
    match reload {
        Some(reload) => sleep(reload).await,
        None => std::future::pending().await,
    }
}

fn acceptor(material: &Material, rules: &ListenerTls) -> std::result::Result<Acceptor, BadFile> {
    let config = material.server_config(rules)?;
    let first = rules.certificates.first().map(|files| files.cert.clone()).unwrap_or_default();
    let mut settings = TlsSettings::with_callbacks(Box::new(Keep(material.anchors(rules)?)))
        .map_err(|error| BadFile::new(&first, error))?;
    settings.set_cert_resolver(config.cert_resolver.clone());
    let mut acceptor = settings.build();
    // Pingora's own configuration has no minimum version; what it keeps beside it are the callbacks.
    acceptor.acceptor = Arc::new(config).into();
    Ok(acceptor)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::config::{CertificateFiles, ClientCertificates, TlsVersion};

    struct Files(PathBuf);

    impl Files {
        fn new() -> Files {
            let folder = std::env::temp_dir().join(format!("pollcast-tls-{:016x}", fastrand::u64(..)));
            fs::create_dir(&folder).unwrap();
            Files(folder)
        }

        fn rules(&self) -> ListenerTls {
            let files = CertificateFiles { cert: self.0.join("cert.pem"), key: self.0.join("key.pem") };
            ListenerTls {
                certificates: vec![files],
                min_version: TlsVersion::Tls12,
                client_ca: None,
                client_crl: Vec::new(),
                client_certificates: ClientCertificates::Optional,
                reload: None,
            }
        }

        fn write(&self, cert: &str, key: &str) {
            fs::write(self.0.join("cert.pem"), cert).unwrap();
            fs::write(self.0.join("key.pem"), key).unwrap();
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn only_what_is_new_and_good_replaces_what_is_there() {
        let (files, (cert, key), (other_cert, other_key)) = (Files::new(), pair(), pair());
        files.write(&cert, &key);
        let tls = Tls::new(&files.rules()).unwrap();
        let current = || Arc::as_ptr(&tls.current.read());
        let began = current();
        assert_eq!(tls.look(), Found::Nothing);
        // Half of a new pair, as a look in the middle of a renewal sees it.
        files.write(&other_cert, &key);
        assert!(matches!(tls.look(), Found::Bad(bad) if bad.file.ends_with("cert.pem")));
        assert_eq!((tls.look(), current()), (Found::Nothing, began), "told once");
        fs::remove_file(files.0.join("key.pem")).unwrap();
        assert!(matches!(tls.look(), Found::Bad(bad) if bad.file.ends_with("key.pem")));
        assert_eq!((tls.look(), current()), (Found::Nothing, began));
        files.write(&other_cert, &other_key);
        assert_eq!(tls.look(), Found::New);
        assert_ne!(current(), began);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let (files, (cert, key)) = (Files::new(), pair());
        for (cert, key, wanted) in [
            (cert.as_str(), "", "key.pem"),
            ("", key.as_str(), "cert.pem"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", key.as_str(), "cert.pem"),
        ] {
            files.write(cert, key);
            let bad = Tls::new(&files.rules()).err().unwrap();
            assert!(bad.file.ends_with(wanted), "{bad}");
        }
        files.write(&cert, &key);
        let long = fs::File::create(files.0.join("cert.pem")).unwrap();
        long.set_len(2 << 20).unwrap();
        assert_eq!(Tls::new(&files.rules()).err().unwrap().reason, "is longer than 1MiB");
        let folder = ListenerTls { client_ca: Some(files.0.clone()), ..files.rules() };
        files.write(&cert, &key);
        assert_eq!(Tls::new(&folder).err().unwrap().reason, "is not a file");
    }
}
