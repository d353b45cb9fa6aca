//! Contract §12: revocation lists of the authorities that certify clients (`tls.client_crl`), made with OpenSSL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::contract::edge::support::{Extra, start_with, yaml};
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::Folder;
use crate::support::tls::{Authority, Identity};
use crate::support::wire::within;

/// An authority of OpenSSL's, in a folder of its own.
struct Issuer(PathBuf);

impl Issuer {
    fn new(folder: &Folder, name: &str) -> Issuer {
        let at = folder.path.join(name);
        fs::create_dir(&at).expect("a folder");
        let conf = format!(
            "[ca]\ndefault_ca = own\n[own]\ndir = {0}\ndatabase = {0}/index\nnew_certs_dir = {0}\nserial = {0}/serial\n\
             crlnumber = {0}/number\ncertificate = {0}/ca.pem\nprivate_key = {0}/ca.key\ndefault_md = sha256\n\
             default_days = 30\npolicy = any\nx509_extensions = client\ncrl_extensions = list\n[any]\ncommonName = supplied\n\
             [client]\nbasicConstraints = CA:FALSE\nextendedKeyUsage = clientAuth\n\
             [list]\nauthorityKeyIdentifier = keyid:always\n[req]\ndistinguished_name = none\n[none]\n",
            at.display()
        );
        let issuer = Issuer(at);
        for (file, text) in [("conf", conf.as_str()), ("index", ""), ("serial", "01\n"), ("number", "01\n")] {
            fs::write(issuer.at(file), text).expect("a file");
        }
        let subject = format!("/CN={name}");
        issuer.openssl(&[
            "req",
            "-x509",
            "-config",
            "conf",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            &subject,
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            "30",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-addext",
            "subjectKeyIdentifier=hash",
        ]);
        issuer
    }

    fn at(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    fn openssl(&self, arguments: &[&str]) {
        let done = Command::new("openssl").args(arguments).current_dir(&self.0).output();
        let done = done.expect("Debian's package openssl");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    fn certify(&self, name: &str) -> Identity {
        let (subject, [key, request, cert]) =
            (format!("/CN={name}"), ["key", "csr", "pem"].map(|kind| format!("{name}.{kind}")));
        self.openssl(&[
            "req",
            "-new",
            "-config",
            "conf",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        self.openssl(&["ca", "-config", "conf", "-batch", "-notext", "-in", &request, "-out", &cert]);
        let read = |file: &str| fs::read_to_string(self.at(file)).expect("OpenSSL wrote it");
        Identity { cert_pem: read(&cert), key_pem: read(&key) }
    }

    fn revoke(&self, name: &str) {
        self.openssl(&["ca", "-config", "conf", "-revoke", &format!("{name}.pem")]);
    }

    /// Writes the list of what is revoked by now. `more`: further arguments.
    fn list(&self, file: &str, more: &[&str]) -> PathBuf {
        let usual = ["ca", "-config", "conf", "-gencrl", "-out", file];
        self.openssl(&[&usual[..], if more.is_empty() { &["-crldays", "30"] } else { more }].concat());
        self.at(file)
    }
}

/// A list that should have been replaced years ago.
const OUT_OF_DATE: [&str; 4] = ["-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20210101000000Z"];

/// A listener whose clients are certified by these.
struct Stand {
    servers: Authority,
    app: pollcast::app::App,
    _legacy: Legacy,
}

/// The keys of a listener.
fn listener(folder: &Folder, servers: &Authority, issuers: &[&Issuer], lists: &[PathBuf]) -> String {
    let site = servers.certify(&["localhost"]);
    let [cert, key] = [("site.crt", &site.cert_pem), ("site.key", &site.key_pem)]
        .map(|(name, pem)| folder.write(name, pem).display().to_string());
    let bundle: String = issuers
        .iter()
        .map(|issuer| fs::read_to_string(issuer.at("ca.pem")).expect("a certificate"))
        .collect();
    let ca = folder.write("clients.pem", &bundle).display().to_string();
    let lists: Vec<String> = lists.iter().map(|list| format!("'{}'", list.display())).collect();
    format!(
        ", tls: {{certificates: [{{cert: '{cert}', key: '{key}'}}], client_ca: '{ca}', client_crl: [{}], reload: 1s}}",
        lists.join(", ")
    )
}

impl Stand {
    fn start(folder: &Folder, issuers: &[&Issuer], lists: &[PathBuf]) -> Stand {
        let (servers, legacy) = (Authority::new(), Legacy::start());
        legacy.set("/x", Reply::text("x"));
        let listener = listener(folder, &servers, issuers, lists);
        let app = start_with(&legacy, Extra { listener: &listener, ..Extra::default() });
        Stand { servers, app, _legacy: legacy }
    }

    /// Whether a client that shows this certificate gets an answer.
    async fn lets_in(&self, client: &Identity) -> bool {
        let asked = async {
            let tcp = TcpStream::connect(self.app.addresses()[0]).await.ok()?;
            let versions = tokio_rustls::rustls::DEFAULT_VERSIONS;
            let stream = self.servers.try_secure(tcp, "localhost", &[], versions, Some(client)).await.ok()?;
            let mut http = Http::over(stream, "localhost");
            http.wire.write(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n").await.ok()?;
            within("an answer or an end", http.wire.head()).await.ok()?
        };
        asked.await.is_some()
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_the_others_are_let_in() {
    let folder = Folder::new();
    let issuer = Issuer::new(&folder, "Staff");
    let (ann, bob) = (issuer.certify("ann"), issuer.certify("bob"));
    issuer.revoke("bob");
    let pem = issuer.list("staff.crl", &[]);
    issuer.openssl(&["crl", "-in", "staff.crl", "-outform", "DER", "-out", "staff.der"]);
    for list in [pem, issuer.at("staff.der")] {
        let stand = Stand::start(&folder, &[&issuer], &[list]);
        assert!(stand.lets_in(&ann).await);
        assert!(!stand.lets_in(&bob).await);
    }
}

#[tokio::test]
async fn a_new_list_counts_without_a_restart() {
    let folder = Folder::new();
    let issuer = Issuer::new(&folder, "Staff");
    let (ann, bob) = (issuer.certify("ann"), issuer.certify("bob"));
    let stand = Stand::start(&folder, &[&issuer], &[issuer.list("staff.crl", &[])]);
    assert!(stand.lets_in(&ann).await && stand.lets_in(&bob).await);
    issuer.revoke("bob");
    issuer.list("next.crl", &[]);
    fs::rename(issuer.at("next.crl"), issuer.at("staff.crl")).expect("a file in its place");
    let refused = async {
        while stand.lets_in(&bob).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("the new list to count", refused).await;
    assert!(stand.lets_in(&ann).await);
    // One that is none changes nothing.
    fs::write(issuer.at("staff.crl"), "no list").expect("a file");
    let metrics = async {
        let mut admin = crate::contract::edge::support::admin(&stand.app).await;
        let bad = "pollcast_certificate_reloads_total{outcome=\"bad\"} 1";
        while !admin.get("/metrics", &[]).await.text().contains(bad) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within("the bad file to be noticed", metrics).await;
    assert!(stand.lets_in(&ann).await && !stand.lets_in(&bob).await);
}

#[tokio::test]
async fn an_authority_without_a_list_that_is_up_to_date_lets_nobody_in() {
    let folder = Folder::new();
    let (staff, public) = (Issuer::new(&folder, "Staff"), Issuer::new(&folder, "Public"));
    let (ann, eve) = (staff.certify("ann"), public.certify("eve"));
    let stand = Stand::start(&folder, &[&staff, &public], &[staff.list("staff.crl", &[])]);
    assert!(stand.lets_in(&ann).await && !stand.lets_in(&eve).await, "Public has no list");
    let lists = [staff.at("staff.crl"), public.list("public.crl", &OUT_OF_DATE)];
    let stand = Stand::start(&folder, &[&staff, &public], &lists);
    assert!(stand.lets_in(&ann).await && !stand.lets_in(&eve).await, "that of Public is out of date");
    let lists = [staff.at("staff.crl"), public.list("public.crl", &[])];
    let stand = Stand::start(&folder, &[&staff, &public], &lists);
    assert!(stand.lets_in(&ann).await && stand.lets_in(&eve).await);
}

#[tokio::test]
async fn lists_that_say_nothing_are_told_when_the_file_is_read() {
    let folder = Folder::new();
    let issuer = Issuer::new(&folder, "Staff");
    let servers = Authority::new();
    let legacy = Legacy::start();
    let load = |list: PathBuf| {
        let listener = listener(&folder, &servers, &[&issuer], &[list]);
        let text = yaml(&legacy, Extra { listener: &listener, ..Extra::default() });
        pollcast::config::load_str(&text, "test.yaml", Path::new("."))
    };
    let config = load(issuer.list("old.crl", &OUT_OF_DATE)).expect("it can be used");
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings.iter().any(|one| one.contains("client_crl") && one.contains("CN=Staff is out of date")),
        "{warnings:?}"
    );
    assert!(load(issuer.list("new.crl", &[])).expect("it is good").warnings.is_empty());
    for (wrong, why) in [
        (issuer.at("ca.pem"), "no revocation list"),
        (folder.write("cut.crl", "-----BEGIN X509 CRL-----\nMIIB\n"), "PEM"),
        (issuer.at("none.crl"), "cannot be read"),
    ] {
        let problems = load(wrong).expect_err("it has no list").to_string();
        assert!(problems.contains("tls.client_crl[0]") && problems.contains(why), "{problems}");
    }
}
