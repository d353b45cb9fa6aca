//! Servers as intranets have them, made with OpenSSL: their certificates, their protocols.
//!
//! Must not know: what the tests claim.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{AlpnError, Ssl, SslContext, SslContextBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509NameBuilder};

/// A certificate and its key.
#[derive(Clone)]
pub struct Made {
    pub cert: X509,
    pub key: PKey<Private>,
}

/// What a certificate says.
#[derive(Clone, Copy)]
pub struct Says<'a> {
    /// X.509 v1 has no extensions.
    pub version_1: bool,
    pub name: &'a str,
    /// The alternative name; `None`: the common name is all there is.
    pub alternative: Option<&'a str>,
    /// CA:TRUE or CA:FALSE; `None`: nothing.
    pub authority: Option<bool>,
    /// Bits of an RSA key; `None`: P-256.
    pub rsa: Option<u32>,
    pub expired: bool,
}

impl<'a> Says<'a> {
    pub fn name(name: &'a str) -> Says<'a> {
        Says { version_1: false, name, alternative: None, authority: None, rsa: None, expired: false }
    }
}

/// A certificate by this issuer; `None`: by itself.
pub fn made(says: Says<'_>, issuer: Option<&Made>) -> Made {
    let key = match says.rsa {
        Some(bits) => PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
        None => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        }
    };
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", says.name).unwrap();
    let name = name.build();
    let mut cert = X509::builder().unwrap();
    cert.set_version(if says.version_1 { 0 } else { 2 }).unwrap();
    let serial = BigNum::from_u32(fastrand::u32(1..)).unwrap().to_asn1_integer().unwrap();
    cert.set_serial_number(&serial).unwrap();
    cert.set_subject_name(&name).unwrap();
    cert.set_issuer_name(issuer.map_or(&name, |issuer| issuer.cert.subject_name())).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let at = |days: i64| Asn1Time::from_unix(now + days * 86_400).unwrap();
    cert.set_not_before(&at(-10)).unwrap();
    cert.set_not_after(&at(if says.expired { -1 } else { 10 })).unwrap();
    cert.set_pubkey(&key).unwrap();
    if !says.version_1 {
        if let Some(is_authority) = says.authority {
            let mut constraints = BasicConstraints::new();
            if is_authority {
                constraints.ca();
            }
            cert.append_extension(constraints.critical().build().unwrap()).unwrap();
        }
        if let Some(alternative) = says.alternative {
            let names = SubjectAlternativeName::new()
                .dns(alternative)
                .build(&cert.x509v3_context(None, None))
                .unwrap();
            cert.append_extension(names).unwrap();
        }
    }
    cert.sign(issuer.map_or(&key, |issuer| &issuer.key), MessageDigest::sha256()).unwrap();
    Made { cert: cert.build(), key }
}

impl Made {
    pub fn pem(&self) -> String {
        String::from_utf8(self.cert.to_pem().unwrap()).unwrap()
    }

    pub fn key_pem(&self) -> String {
        String::from_utf8(self.key.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    /// `sha256/…` of the key and `cert:sha256/…` of the certificate, as `openssl` computes them.
    pub fn pins(&self) -> [String; 2] {
        let digest = |der: Vec<u8>| openssl::base64::encode_block(&openssl::sha::sha256(&der));
        [
            format!("sha256/{}", digest(self.key.public_key_to_der().unwrap())),
            format!("cert:sha256/{}", digest(self.cert.to_der().unwrap())),
        ]
    }
}

/// What a server speaks.
#[derive(Clone, Default)]
pub struct Speaks {
    pub chain: Vec<X509>,
    pub newest: Option<SslVersion>,
    pub ciphers: Option<&'static str>,
    /// Clients have to show a certificate of this authority.
    pub asks: Option<X509>,
    /// After this path's answer, which says no length, the connection ends without a word of TLS.
    pub cuts_off: Option<&'static str>,
}

/// A server that answers each request with a small JSON document, and a WebSocket handshake with 101.
pub struct OldServer {
    /// Of one on a Unix socket: nothing that could be connected to.
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    /// Bytes of what is said in TLS, or without.
    bytes: Arc<AtomicUsize>,
    handshakes: Arc<AtomicUsize>,
}

/// A connection of whatever kind.
trait Connection: Read + Write + Send {}
impl<C: Read + Write + Send> Connection for C {}

impl OldServer {
    pub fn start(made: &Made, speaks: Speaks) -> OldServer {
        OldServer::on_port(Some((context(made, &speaks), speaks.cuts_off)))
    }

    /// Without TLS.
    pub fn start_plain() -> OldServer {
        OldServer::on_port(None)
    }

    /// On a Unix socket; with TLS if there is a certificate.
    pub fn start_unix(path: &Path, made: Option<&Made>) -> OldServer {
        let listener = UnixListener::bind(path).unwrap();
        let tls = made.map(|made| (context(made, &Speaks::default()), None));
        let accept = move || Some(Box::new(listener.accept().ok()?.0) as Box<dyn Connection>);
        OldServer::serve(SocketAddr::from(([0, 0, 0, 0], 0)), tls, accept)
    }

    fn on_port(tls: Option<(SslContext, Option<&'static str>)>) -> OldServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let accept = move || Some(Box::new(listener.accept().ok()?.0) as Box<dyn Connection>);
        OldServer::serve(address, tls, accept)
    }

    fn serve(
        address: SocketAddr,
        tls: Option<(SslContext, Option<&'static str>)>,
        mut accept: impl FnMut() -> Option<Box<dyn Connection>> + Send + 'static,
    ) -> OldServer {
        let (heads, handshakes) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicUsize>::default());
        let bytes = Arc::<AtomicUsize>::default();
        let (seen, read, shaken) = (heads.clone(), bytes.clone(), handshakes.clone());
        thread::spawn(move || {
            while let Some(mut stream) = accept() {
                let (seen, read, shaken, tls) = (seen.clone(), read.clone(), shaken.clone(), tls.clone());
                thread::spawn(move || {
                    let Some((context, cuts_off)) = tls else {
                        serve(&mut stream, &seen, &read, None);
                        return;
                    };
                    let Ok(mut stream) = Ssl::new(&context).unwrap().accept(stream) else { return };
                    shaken.fetch_add(1, Ordering::SeqCst);
                    if serve(&mut stream, &seen, &read, cuts_off) {
                        let _ = stream.shutdown();
                    }
                });
            }
        });
        OldServer { address, heads, bytes, handshakes }
    }

    /// The heads of the requests.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// How much was said to it above TLS.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// The lines that requests began with.
    pub fn requests(&self) -> Vec<String> {
        self.heads().iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }

    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }
}

fn context(made: &Made, speaks: &Speaks) -> SslContext {
    let mut context = SslContextBuilder::new(SslMethod::tls_server()).unwrap();
    context.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
    context.set_max_proto_version(speaks.newest).unwrap();
    context.set_cipher_list(speaks.ciphers.unwrap_or("ALL:@SECLEVEL=0")).unwrap();
    context.set_certificate(&made.cert).unwrap();
    context.set_private_key(&made.key).unwrap();
    for above in &speaks.chain {
        context.add_extra_chain_cert(above.clone()).unwrap();
    }
    if let Some(asked) = &speaks.asks {
        let mut store = X509StoreBuilder::new().unwrap();
        store.add_cert(asked.clone()).unwrap();
        context.set_cert_store(store.build());
        context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    context.set_alpn_select_callback(|_, offered| {
        openssl::ssl::select_next_proto(b"\x08http/1.1", offered).ok_or(AlpnError::NOACK)
    });
    context.build()
}

/// Answers until the connection ends; `false` if it is cut off.
fn serve(
    stream: &mut impl Connection,
    seen: &Mutex<Vec<String>>,
    read: &AtomicUsize,
    cuts_off: Option<&str>,
) -> bool {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while let Ok(1) = stream.read(&mut byte) {
        read.fetch_add(1, Ordering::SeqCst);
        head.push(byte[0]);
        if !head[0].is_ascii_alphabetic() {
            // What speaks TLS to it, as nginx has it.
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            return false;
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        head.clear();
        let line = text.lines().next().unwrap_or_default().to_owned();
        let lower = text.to_lowercase();
        seen.lock().unwrap().push(text);
        let length =
            lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        if stream.read_exact(&mut body).is_err() {
            return false;
        }
        let is_cut_off = cuts_off.is_some_and(|path| line.contains(path));
        let answer = if lower.contains("upgrade: websocket") {
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_owned()
        } else if is_cut_off {
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nhalf of it".to_owned()
        } else {
            let body = if line.contains("/batch") { BATCH } else { "{\"a\":1}" };
            let length = body.len();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        };
        if stream.write_all(answer.as_bytes()).is_err() || is_cut_off {
            return false;
        }
    }
    true
}

/// What a request for several resources gets, whichever they are.
const BATCH: &str = "{\"items\":[{\"id\":\"x\"},{\"id\":\"y\"}]}";
