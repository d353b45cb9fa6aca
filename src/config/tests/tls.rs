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
