//! The servers that a client trusts.

use std::path::PathBuf;

use pingora::tls::{CertificateDer, PrivateKeyDer, ServerConfig, TlsAcceptor};

use super::super::NewError;
use super::*;

struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

fn authority() -> Authority {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    // One of its own: a certificate that names itself as its issuer is a self-signed one.
    params.distinguished_name.push(rcgen::DnType::CommonName, format!("{:016x}", fastrand::u64(..)));
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { pem, issuer: rcgen::Issuer::new(params, key) }
}

/// A server with a certificate for `name` that says "ok" to the first request of each connection.
async fn start(authority: &Authority, name: &str) -> String {
    pingora::tls::install_default_crypto_provider();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = CertificateDer::from(params.signed_by(&key, &authority.issuer).unwrap());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let acceptor = TlsAcceptor::from(Arc::new(config.unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let _ = stream.read(&mut [0; 1000]).await;
            let _ = stream.write_all(OK.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

/// A file that goes when the test ends.
struct Bundle(PathBuf);

impl Bundle {
    fn holding(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pollcast-ca-{:016x}.pem", fastrand::u64(..)));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn upstream(address: &str, sni: Option<&str>, ca: Option<&Bundle>, verify: bool) -> Arc<config::Upstream> {
    let ca = ca.map(|it| it.0.clone());
    let sni = sni.map(str::to_owned);
    let (pin, legacy) = (Vec::new(), false);
    let tls = config::UpstreamTls { sni, ca, verify, pin, legacy, identity: None, reload: None };
    Arc::new(config::Upstream { tls: Some(tls), ..upstream_of(&[address]) })
}

#[tokio::test]
async fn a_server_is_believed_for_the_name_and_by_the_authority_configured() {
    let (ours, other) = (authority(), authority());
    let (our_ca, other_ca) = (Bundle::holding(&ours.pem), Bundle::holding(&other.pem));
    let both = Bundle::holding(&format!("{}\n{}", other.pem, ours.pem));
    let named = start(&ours, "api.example.com").await;
    let by_address = start(&ours, "127.0.0.1").await;
    let name = Some("api.example.com");
    for (address, sni, ca, verify, believed) in [
        (&named, name, &our_ca, true, true),
        (&named, name, &both, true, true),
        (&by_address, None, &our_ca, true, true),
        (&named, name, &other_ca, true, false),
        (&named, None, &our_ca, true, false),
        (&named, Some("www.example.com"), &our_ca, true, false),
        (&named, Some("www.example.com"), &other_ca, false, true),
    ] {
        let client = Client::new(upstream(address, sni, Some(ca), verify)).unwrap();
        let outcome = client.fetch(&get("/")).await;
        match outcome {
            Ok(answer) => assert!(believed && answer.body == "ok", "{sni:?} {verify}"),
            Err(error) => {
                assert!(!believed, "{sni:?} {verify}: {error}");
                assert_eq!(error.class(), "tls", "{error}");
            }
        }
    }
}

#[test]
fn a_bundle_that_is_none_is_refused_with_its_path() {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for text in ["", "not a bundle", garbage, &key] {
        let bundle = Bundle::holding(text);
        let error = Client::new(upstream("127.0.0.1:1", None, Some(&bundle), true)).err().unwrap();
        assert!(matches!(error, NewError::CaContent { .. }), "{text:?}: {error}");
        assert!(error.to_string().contains(bundle.0.to_str().unwrap()), "{error}");
    }
    let path = {
        let bundle = Bundle::holding("");
        Bundle(bundle.0.with_extension("missing"))
    };
    let error = Client::new(upstream("127.0.0.1:1", None, Some(&path), true)).err().unwrap();
    assert!(matches!(error, NewError::CaFile { .. }), "{error}");
}

#[cfg(feature = "openssl")]
#[tokio::test]
async fn the_reason_of_a_refusal_says_what_to_write() {
    let (ours, other) = (authority(), authority());
    let (our_ca, other_ca) = (Bundle::holding(&ours.pem), Bundle::holding(&other.pem));
    let named = start(&ours, "api.example.com").await;
    let cleartext = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clear = cleartext.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = cleartext.accept().await {
            let _ = stream.read(&mut [0; 1000]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    let name = Some("api.example.com");
    for (address, sni, ca, reason) in [
        (&named, name, Some(&other_ca), "is not in tls.ca: add it there or pin it: pin: [sha256/"),
        (&named, name, None, "is not in tls.ca: add it there or pin it: pin: [sha256/"),
        (
            &named,
            Some("www.test"),
            Some(&our_ca),
            "the certificate is for api.example.com, not www.test: set tls.sni",
        ),
        (&named, None, Some(&our_ca), "the certificate is for api.example.com, not 127.0.0.1: set tls.sni"),
        (&clear, name, Some(&our_ca), "this port does not speak TLS"),
        (&clear, name, None, "this port does not speak TLS"),
    ] {
        let client = Client::new(upstream(address, sni, ca, true)).unwrap();
        let told = client.fetch(&get("/")).await.unwrap_err();
        assert_eq!(told.class(), "tls", "{told}");
        let told = told.to_string();
        assert!(told.contains(reason), "{sni:?} {}: {told}", ca.is_some());
    }
}
