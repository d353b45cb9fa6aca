//! Claims about certificates, keys and authorities: only what Pingora can use gets past.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::load::load_with;

/// Files in a directory of their own, gone with the value.
pub struct Files(PathBuf);

impl Files {
    pub fn new(name: &str) -> Files {
        let path = std::env::temp_dir().join(format!("pollcast-config-{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("tls")).expect("a directory for the test");
        Files(path)
    }

    pub fn directory(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).expect("a file for the test");
    }

    pub fn pair(&self, cert: &str, key: &str) {
        let made =
            rcgen::generate_simple_self_signed(vec!["site.example".to_owned()]).expect("a certificate");
        self.write(cert, &made.cert.pem());
        self.write(key, &made.signing_key.serialize_pem());
    }

    /// An empty revocation list of an authority of its own.
    pub fn revocation_list(&self, name: &str) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let now = std::time::SystemTime::now();
        let list = rcgen::CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + std::time::Duration::from_secs(86_400)).into(),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let issuer = rcgen::Issuer::new(rcgen::CertificateParams::default(), key);
        self.write(name, &list.signed_by(&issuer).expect("a list").pem().expect("PEM"));
    }

    pub fn certificate(&self, name: &str) {
        self.pair(name, "tls/unused.key");
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn outcome(files: &Files, cert: &str, key: &str, ca: &str) -> String {
    let text = format!(
        "listeners:
  - address: 0.0.0.0:8443
    tls:
      certificates:
        - cert: {cert}
          key: {key}
upstreams: {{ api: {{ servers: [127.0.0.1:3000], tls: {{ ca: {ca} }} }} }}
passthrough: api
"
    );
    match load_with(&text, "pollcast.yaml", files.directory(), &|_| None) {
        Ok(config) => {
            let tls = config.listeners[0].tls.as_ref().expect("the listener has TLS");
            assert_eq!(tls.certificates[0].cert, files.directory().join(cert));
            "loads".to_owned()
        }
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn files_that_fit_together_load() {
    let files = Files::new("fit");
    files.pair("a.crt", "a.key");
    assert_eq!(outcome(&files, "a.crt", "a.key", "a.crt"), "loads");
}

#[test]
fn files_that_would_stop_the_start_are_told() {
    let files = Files::new("told");
    files.pair("a.crt", "a.key");
    files.pair("b.crt", "b.key");
    files.write("empty", "");
    files.write("torn", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    files.write("lies.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let both =
        ["a.crt", "a.key"].map(|name| fs::read_to_string(files.directory().join(name)).expect("a file"));
    files.write("both.pem", &both.concat());
    let missing = files.directory().join("missing");
    for (cert, key, ca, wanted) in [
        (
            "a.crt",
            "b.key",
            "a.crt",
            "5: listeners[0].tls.certificates[0].cert: certificate and key cannot be used together: ",
        ),
        (
            "a.key",
            "a.key",
            "a.crt",
            "5: listeners[0].tls.certificates[0].cert: the file has no certificate (\"BEGIN CERTIFICATE\")",
        ),
        (
            "a.crt",
            "a.crt",
            "a.crt",
            "6: listeners[0].tls.certificates[0].key: the file has no private key (\"BEGIN PRIVATE KEY\")",
        ),
        (
            "torn",
            "a.key",
            "a.crt",
            "5: listeners[0].tls.certificates[0].cert: \"torn\" is not a whole PEM file",
        ),
        (
            "lies.crt",
            "a.key",
            "a.crt",
            "5: listeners[0].tls.certificates[0].cert: certificate and key cannot be used together: ",
        ),
        ("a.crt", "tls", "a.crt", "6: listeners[0].tls.certificates[0].key: \"tls\" is not a file"),
        (
            "a.crt",
            "a.key",
            "empty",
            "7: upstreams.api.tls.ca: the file has no certificate (\"BEGIN CERTIFICATE\")",
        ),
        (
            "a.crt",
            "a.key",
            "both.pem",
            "7: upstreams.api.tls.ca: the file has other things than certificates",
        ),
        ("a.crt", "a.key", "lies.crt", "7: upstreams.api.tls.ca: certificate 1 of the file cannot be used: "),
        (
            "a.crt",
            "a.key",
            "missing",
            &format!("7: upstreams.api.tls.ca: {missing:?} cannot be read: No such file"),
        ),
    ] {
        let told = outcome(&files, cert, key, ca);
        assert!(told.starts_with(&format!("pollcast.yaml:{wanted}")), "wanted {wanted}\ntold {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

/// What is told of an upstream with these keys of `tls`: "loads", or the problems, with the warnings of one that loads.
fn told(files: &Files, tls: &str) -> String {
    let text = format!(
        "listeners: [{{ address: 127.0.0.1:0 }}]
upstreams: {{ api: {{ servers: [127.0.0.1:3000], host: api.example, tls: {{ {tls} }} }} }}
passthrough: api
"
    );
    match load_with(&text, "pollcast.yaml", files.directory(), &|_| None) {
        Ok(config) => {
            let warnings = config.warnings.iter().map(|warning| format!("\n{warning}"));
            format!("loads{}", warnings.collect::<String>())
        }
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn what_proves_a_server_is_said_once_and_what_it_costs_is_told() {
    const PIN: &str = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let files = Files::new("proof");
    files.pair("a.crt", "a.key");
    for (tls, wanted) in [
        (format!("pin: [{PIN}]"), "loads"),
        (format!("pin: [{PIN}, 'cert:{PIN}']"), "loads"),
        (format!("pin: ['{}']", PIN.replace("/47", "//47")), "loads"),
        (format!("pin: [{PIN}], ca: a.crt"), "2: upstreams.api.tls.ca: goes with no pin: "),
        (format!("pin: [{PIN}], verify: false"), "2: upstreams.api.tls.verify: goes with no pin, "),
        ("pin: []".to_owned(), "2: upstreams.api.tls.pin: is empty; at least one pin is needed"),
        (
            "pin: [sha1/abc]".to_owned(),
            "2: upstreams.api.tls.pin[0]: \"sha1/abc\" is not a pin; write sha256/",
        ),
        (format!("pin: [{PIN}, {PIN}]"), "2: upstreams.api.tls.pin[1]: "),
        ("ca: a.crt".to_owned(), "loads"),
        (
            "legacy: true, ca: a.crt".to_owned(),
            "loads\npollcast.yaml:2: upstreams.api.tls.legacy: TLS 1.0 and 1.1, ",
        ),
        ("cert: a.crt, key: a.key".to_owned(), "loads"),
        (
            "cert: a.crt".to_owned(),
            "2: upstreams.api.tls.cert: \"a.crt\": is PEM, which needs `key` beside it",
        ),
        (
            "cert: a.key, key: a.key".to_owned(),
            "2: upstreams.api.tls.cert: \"a.key\": the file has no certificate",
        ),
        (
            "cert: a.crt, key: a.crt".to_owned(),
            "2: upstreams.api.tls.key: \"a.crt\": the file has no private key",
        ),
        ("key: a.key".to_owned(), "2: upstreams.api.tls.key: has no effect without cert"),
        ("password: x".to_owned(), "2: upstreams.api.tls.password: has no effect without cert"),
    ] {
        let told = told(&files, &tls);
        let told = told.strip_prefix("pollcast.yaml:").unwrap_or(&told);
        assert!(told.starts_with(wanted), "{tls}\nwanted {wanted}\ntold {told}");
    }
}

#[cfg(feature = "openssl")]
#[test]
fn keys_that_are_encrypted_need_their_password() {
    use openssl::symm::Cipher;
    use openssl::{pkcs12::Pkcs12, pkey::PKey, x509::X509};
    let files = Files::new("encrypted");
    files.pair("a.crt", "a.key");
    let read = |name: &str| fs::read(files.directory().join(name)).expect("a file");
    let key = PKey::private_key_from_pem(&read("a.key")).expect("a key");
    let cert = X509::from_pem(&read("a.crt")).expect("a certificate");
    let encrypted = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret word");
    fs::write(files.directory().join("b.key"), encrypted.expect("a key")).expect("a file");
    let archive = Pkcs12::builder().pkey(&key).cert(&cert).build2("secret word").expect("an archive");
    fs::write(files.directory().join("a.p12"), archive.to_der().expect("DER")).expect("a file");
    fs::write(files.directory().join("c.p12"), b"0 nothing").expect("a file");
    for (tls, wanted) in [
        ("cert: a.p12, password: secret word", "loads"),
        ("cert: a.p12, password: another", "2: upstreams.api.tls.cert: \"a.p12\": the password is wrong"),
        ("cert: a.p12", "2: upstreams.api.tls.cert: \"a.p12\": the password is wrong"),
        ("cert: c.p12", "2: upstreams.api.tls.cert: \"c.p12\": is neither PKCS#12 nor PEM"),
        ("cert: a.crt, key: b.key, password: secret word", "loads"),
        (
            "cert: a.crt, key: b.key",
            "2: upstreams.api.tls.key: \"b.key\": the key is encrypted: set `password` beside it",
        ),
        (
            "cert: a.crt, key: b.key, password: another",
            "2: upstreams.api.tls.key: \"b.key\": the key cannot be decrypted: the password is wrong",
        ),
    ] {
        let told = told(&files, tls);
        let told = told.strip_prefix("pollcast.yaml:").unwrap_or(&told);
        assert!(told.starts_with(wanted), "{tls}\nwanted {wanted}\ntold {told}");
        assert!(!told.contains("secret word"), "{told}");
    }
}
