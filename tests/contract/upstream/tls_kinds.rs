//! Kinds of TLS servers × ways of asking: what `curl` reaches is reached, and nothing is said to anybody else
//! (contract §10).

use std::net::SocketAddr;

use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::ssl::SslVersion;
use openssl::stack::Stack;
use openssl::symm::Cipher;
use pollcast::app::App;

use super::ways::WEBSOCKET;
use crate::support::app;
use crate::support::client::{Http, connect};
use crate::support::h2::H2;
use crate::support::openssl::{Made, OldServer, Says, Speaks, made};
use crate::support::process::Folder;
use crate::support::wire::within;

/// pollcast in front of one server, which is reached with these keys of `tls`.
fn stand(server: SocketAddr, tls: &str, upstream: &str) -> App {
    app::start(&yaml(server, tls, upstream))
}

fn yaml(server: SocketAddr, tls: &str, upstream: &str) -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0'}}]\n\
         upstreams: {{old: {{servers: ['{server}'], host: legacy.test, tls: {{{tls}}}{upstream}}}}}\n\
         passthrough: old\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         log: {{access: false}}\n\
         routes: [{{path: '/r/{{name}}', upstream: old, poll: {{interval: 1h}}}}]\n"
    )
}

/// What each way of asking gets: a poll, a request that passes through, a write, a WebSocket.
async fn ways(app: &App) -> [u16; 4] {
    let address = app.addresses()[0];
    let poll = Http::connect(address).await.get("/r/a", &[]).await.status;
    let passed = Http::connect(address).await.get("/x", &[("Cookie", "session=1")]).await.status;
    let write = Http::connect(address).await.request("POST", "/x", &[], b"secret").await.status;
    let websocket = Http::connect(address).await.get("/ws", WEBSOCKET).await.status;
    [poll, passed, write, websocket]
}

const REACHED: [u16; 4] = [200, 200, 200, 101];
const REFUSED: [u16; 4] = [502; 4];

/// All ways reach the server, or not one byte of a request does.
async fn expect(server: &OldServer, tls: &str, is_reached: bool, kind: &str) {
    let app = stand(server.address, tls, "");
    let before = server.requests().len();
    let found = ways(&app).await;
    assert_eq!(found, if is_reached { REACHED } else { REFUSED }, "{kind}: {tls}");
    let said = server.requests().len() - before;
    assert_eq!(said > 0, is_reached, "{kind}: {tls}: {:?}", server.requests());
}

const NAME: &str = "legacy.test";

fn plain() -> Says<'static> {
    Says::name(NAME)
}

/// What it is, the server's files and `ca`, and whether it is believed.
type Kind = (&'static str, (Made, Option<String>), bool);

#[tokio::test]
async fn certificates_of_intranets_are_verified_with_the_file_that_curl_takes() {
    let folder = Folder::new();
    let authority = made(Says { authority: Some(true), ..Says::name("Internal CA") }, None);
    let between = made(Says { authority: Some(true), ..Says::name("Between") }, Some(&authority));
    let full = Says { alternative: Some(NAME), ..plain() };
    let signed = |says| made(says, Some(&authority));
    let own = |says| (made(says, None), None);
    let both = format!("{}{}", authority.pem(), between.pem());
    let kinds: [Kind; 14] = [
        ("as openssl makes it", own(Says { authority: Some(true), ..full }), true),
        ("no extension at all", own(plain()), true),
        ("CA:TRUE, name in CN only", own(Says { authority: Some(true), ..plain() }), true),
        ("CA:FALSE", own(Says { authority: Some(false), ..full }), true),
        ("X.509 v1", own(Says { version_1: true, ..plain() }), true),
        ("internal CA", (signed(full), Some(authority.pem())), true),
        ("internal CA, name in CN only", (signed(plain()), Some(authority.pem())), true),
        ("intermediate in ca alone", (made(full, Some(&between)), Some(both)), true),
        ("another one of the same name", (made(full, None).clone(), Some(made(full, None).pem())), false),
        (
            "another authority of the same name",
            {
                let other = made(Says { authority: Some(true), ..Says::name("Internal CA") }, None);
                (made(full, Some(&other)), Some(authority.pem()))
            },
            false,
        ),
        (
            "another name",
            (signed(Says { alternative: Some("other.test"), ..plain() }), Some(authority.pem())),
            false,
        ),
        ("another name, in ca", own(Says::name("other.test")), false),
        ("expired", (signed(Says { expired: true, ..full }), Some(authority.pem())), false),
        (
            "issued by a server",
            {
                let server = signed(Says { authority: Some(false), ..Says::name("other.test") });
                (made(full, Some(&server)), Some(authority.pem()))
            },
            false,
        ),
    ];
    for (kind, (made, ca), is_reached) in kinds {
        let ca = folder.write("ca.pem", &ca.unwrap_or_else(|| made.pem()));
        let server = OldServer::start(&made, Speaks::default());
        expect(&server, &format!("ca: '{}', sni: {NAME}", ca.display()), is_reached, kind).await;
    }
}

#[tokio::test]
async fn a_certificate_for_an_address_is_one_whichever_field_has_it() {
    let folder = Folder::new();
    for (name, alternative, is_reached) in
        [("127.0.0.1", None, true), ("127.0.0.2", None, false), ("127.0.0.1", Some("other.test"), false)]
    {
        let made = made(Says { alternative, ..Says::name(name) }, None);
        let ca = folder.write("ca.pem", &made.pem());
        let server = OldServer::start(&made, Speaks::default());
        let kind = format!("{name} {alternative:?}");
        expect(&server, &format!("ca: '{}'", ca.display()), is_reached, &kind).await;
    }
}

#[tokio::test]
async fn a_pin_decides_alone_and_before_anything_is_said() {
    let (stranger, old) =
        (made(plain(), None), made(Says { expired: true, ..Says::name("other.test") }, None));
    let short = made(Says { rsa: Some(1024), ..plain() }, None);
    let issuer = made(Says { authority: Some(true), ..Says::name("Internal CA") }, None);
    let issued = made(Says { alternative: Some("other.test"), ..plain() }, Some(&issuer));
    for made in [&old, &short, &issued] {
        let server = OldServer::start(made, Speaks { chain: vec![issuer.cert.clone()], ..Speaks::default() });
        let [key, cert] = made.pins();
        let [other_key, other_cert] = stranger.pins();
        for (pins, is_reached) in [
            (key.clone(), true),
            (cert.clone(), true),
            (format!("{other_key}, {key}"), true),
            (format!("{other_cert}, {cert}"), true),
            (other_key.clone(), false),
            (other_cert.clone(), false),
            // A digest of the one kind is none of the other.
            (format!("cert:{key}"), false),
            (cert.trim_start_matches("cert:").to_owned(), false),
            // Any authority may have issued it, but the certificate has to be this server's.
            (issuer.pins()[0].clone(), false),
        ] {
            expect(&server, &format!("pin: [{pins}]"), is_reached, "pin").await;
        }
    }
}

#[tokio::test]
async fn old_protocols_are_spoken_to_those_that_need_it_alone() {
    let folder = Folder::new();
    let made = made(Says { rsa: Some(2048), ..plain() }, None);
    let ca = folder.write("ca.pem", &made.pem());
    let ca = format!("ca: '{}', sni: {NAME}", ca.display());
    for (kind, speaks) in [
        ("TLS 1.0", Speaks { newest: Some(SslVersion::TLS1), ..Speaks::default() }),
        ("TLS 1.1", Speaks { newest: Some(SslVersion::TLS1_1), ..Speaks::default() }),
        (
            "RSA key exchange",
            Speaks {
                newest: Some(SslVersion::TLS1_2),
                ciphers: Some("AES256-SHA:AES128-GCM-SHA256:@SECLEVEL=0"),
                ..Speaks::default()
            },
        ),
        (
            "CBC",
            Speaks {
                newest: Some(SslVersion::TLS1_2),
                ciphers: Some("ECDHE-RSA-AES128-SHA:@SECLEVEL=0"),
                ..Speaks::default()
            },
        ),
    ] {
        let server = OldServer::start(&made, speaks);
        let [pin, _] = made.pins();
        expect(&server, &ca, false, kind).await;
        expect(&server, &format!("pin: [{pin}]"), false, kind).await;
        expect(&server, &format!("{ca}, legacy: true"), true, kind).await;
        expect(&server, &format!("pin: [{pin}], legacy: true"), true, kind).await;
        expect(&server, "verify: false, legacy: true", true, kind).await;
        // The system's authorities do not know it, in an old protocol as in a new one.
        expect(&server, &format!("sni: {NAME}, legacy: true"), false, kind).await;
    }
}

#[tokio::test]
async fn short_keys_are_believed_where_they_are_asked_for() {
    let folder = Folder::new();
    let made = made(Says { rsa: Some(1024), ..plain() }, None);
    let ca = folder.write("ca.pem", &made.pem());
    let ca = format!("ca: '{}', sni: {NAME}", ca.display());
    let server = OldServer::start(&made, Speaks::default());
    expect(&server, &ca, false, "RSA 1024").await;
    expect(&server, &format!("{ca}, legacy: true"), true, "RSA 1024").await;
}

#[tokio::test]
async fn a_server_without_authenticated_ciphers_is_refused() {
    let made = made(plain(), None);
    let speaks = Speaks {
        newest: Some(SslVersion::TLS1_2),
        ciphers: Some("aNULL:eNULL:@SECLEVEL=0"),
        ..Speaks::default()
    };
    let server = OldServer::start(&made, speaks);
    expect(&server, &format!("pin: [{}], legacy: true", made.pins()[0]), false, "aNULL").await;
    expect(&server, "verify: false, legacy: true", false, "aNULL").await;
}

/// Waits until nothing passes through: a connection is given back a moment after its answer has reached the client.
async fn is_given_back(app: &App) {
    let mut admin = Http::connect(app.admin_address().expect("configured")).await;
    let idle = async {
        while !admin.get("/metrics", &[]).await.expect(200).text().contains("pollcast_passthrough_active 0\n")
        {
        }
    };
    within("the end of what passes through", idle).await;
}

#[tokio::test]
async fn connections_are_used_again_and_one_handshake_serves_many_requests() {
    let made = made(plain(), None);
    let server = OldServer::start(&made, Speaks::default());
    let app = stand(server.address, &format!("pin: [{}]", made.pins()[0]), "");
    let address = app.addresses()[0];
    for _ in 0..20 {
        assert_eq!(Http::connect(address).await.get("/x", &[]).await.status, 200);
        is_given_back(&app).await;
    }
    assert_eq!((server.requests().len(), server.handshakes()), (20, 1));
    for number in 0..20 {
        assert_eq!(Http::connect(address).await.get(&format!("/r/{number}"), &[]).await.status, 200);
    }
    assert_eq!(server.handshakes(), 2, "polls have connections of their own");
}

#[tokio::test]
async fn requests_of_new_http2_connections_use_one_connection_again() {
    let made = made(plain(), None);
    let server = OldServer::start(&made, Speaks::default());
    let yaml = yaml(server.address, &format!("pin: [{}]", made.pins()[0]), "");
    let app =
        app::start(&yaml.replace("[{address: '127.0.0.1:0'}]", "[{address: '127.0.0.1:0', http2: true}]"));
    for _ in 0..60 {
        let mut h2 = H2::over(connect(app.addresses()[0]).await, NAME).await;
        assert_eq!(h2.get("/x", &[]).await.status, 200);
        is_given_back(&app).await;
    }
    assert_eq!((server.requests().len(), server.handshakes()), (60, 1));
}

#[tokio::test]
async fn a_server_that_speaks_no_http2_is_asked_in_http1() {
    let made = made(plain(), None);
    let server = OldServer::start(&made, Speaks::default());
    let app = stand(server.address, &format!("pin: [{}]", made.pins()[0]), ", http2: true");
    assert_eq!(ways(&app).await, REACHED);
}

#[tokio::test]
async fn an_answer_that_is_cut_off_does_not_look_whole() {
    let made = made(plain(), None);
    let server = OldServer::start(&made, Speaks { cuts_off: Some("/half"), ..Speaks::default() });
    let app = stand(server.address, &format!("pin: [{}]", made.pins()[0]), "");
    let mut http = Http::connect(app.addresses()[0]).await;
    http.send("GET", "/half", &[], b"").await;
    let head = http.read_head().await;
    let body = http.read_body(&head).await;
    assert!(body.is_err(), "{head:?} {body:?}");
}

#[tokio::test]
async fn pkcs12_and_encrypted_keys_are_shown_to_servers_that_ask() {
    let folder = Folder::new();
    let authority = made(Says { authority: Some(true), ..Says::name("Clients") }, None);
    let (client, server) = (made(Says::name("pollcast"), Some(&authority)), made(plain(), None));
    let pin = format!("pin: [{}]", server.pins()[0]);
    let asking = |newest| Speaks { asks: Some(authority.cert.clone()), newest, ..Speaks::default() };
    let archive = |old: bool| {
        let mut builder = Pkcs12::builder();
        builder.name("pollcast").pkey(&client.key).cert(&client.cert);
        let mut above = Stack::new().unwrap();
        above.push(authority.cert.clone()).unwrap();
        builder.ca(above);
        if old {
            builder.key_algorithm(Nid::PBE_WITHSHA1AND3_KEY_TRIPLEDES_CBC);
            builder.cert_algorithm(Nid::PBE_WITHSHA1AND3_KEY_TRIPLEDES_CBC);
        }
        builder.build2("pass word").unwrap().to_der().unwrap()
    };
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.write(name, "");
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let encrypted =
        client.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"pass word").unwrap();
    let (new, old) = (write("new.p12", &archive(false)), write("old.p12", &archive(true)));
    let (cert, key) = (write("own.crt", client.pem().as_bytes()), write("own.key", &encrypted));
    for newest in [None, Some(SslVersion::TLS1_2)] {
        let server = OldServer::start(&server, asking(newest));
        for shown in [
            format!("cert: '{new}', password: pass word"),
            format!("cert: '{old}', password: pass word"),
            format!("cert: '{cert}', key: '{key}', password: pass word"),
        ] {
            expect(&server, &format!("{pin}, {shown}"), true, "a client's certificate").await;
        }
        expect(&server, &pin, false, "no certificate").await;
    }
}
