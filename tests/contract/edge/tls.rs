//! Listeners with TLS: which versions are spoken, which certificate is shown, which client has to show one. What is sent
//! over it is tested with each transport.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::DEFAULT_VERSIONS;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::support::{Extra, process_yaml, start_with};
use crate::contract::{ONCE, Stand, TlsStand};
use crate::support::client::{Http, long_poll};
use crate::support::h2::H2;
use crate::support::legacy::{Legacy, Reply};
use crate::support::process::{Folder, Process};
use crate::support::sse::Sse;
use crate::support::tls::{Authority, Identity};
use crate::support::wire::within;

#[tokio::test]
async fn a_listener_speaks_no_version_below_its_least() {
    for (least, tls12) in [("1.2", true), ("1.3", false)] {
        let stand = TlsStand::saying(&format!(", min_version: '{least}'"), ONCE, "");
        for (version, spoken) in [(&TLS12, tls12), (&TLS13, true)] {
            let tcp = TcpStream::connect(stand.stand.address()).await.expect("a connection");
            let handshake = stand.authority.try_secure(tcp, "localhost", &[], &[version], None).await;
            assert_eq!(handshake.is_ok(), spoken, "{least}: {version:?}");
        }
        let refused = if tls12 { 0.0 } else { 1.0 };
        stand.stand.metric_becomes("pollcast_refusals_total", "tls-handshake", refused).await;
    }
}

/// Writes a pair of files, and gives what a list of certificates says of it.
fn written(folder: &Folder, name: &str, identity: &Identity) -> String {
    let cert = folder.write(&format!("{name}.crt"), &identity.cert_pem);
    let key = folder.write(&format!("{name}.key"), &identity.key_pem);
    format!("{{cert: '{}', key: '{}'}}", cert.display(), key.display())
}

/// pollcast with a listener that says this of TLS, and a route `/r/{name}`.
fn stand(tls: &str, route: &str) -> Stand {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json(r#"{"n":1}"#));
    legacy.set("/x", Reply::text("through"));
    let listener = format!(", tls: {{{tls}}}");
    let app = start_with(&legacy, Extra { listener: &listener, route, ..Extra::default() });
    Stand { legacy, app }
}

/// The certificate that the server has shown.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec()
}

fn der(identity: &Identity) -> Vec<u8> {
    identity.der().0.to_vec()
}

/// Seconds since 1970.
fn ends_at(der: &[u8]) -> i64 {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).expect("a certificate");
    certificate.validity.not_after.timestamp()
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_for_the_name_it_asks_for() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let first = authority.certify(&["first.example", "127.0.0.1"]);
    let shop = authority.certify(&["shop.example", "*.shop.example"]);
    let exact = authority.certify(&["a.shop.example"]);
    let pairs = [("first", &first), ("shop", &shop), ("exact", &exact)];
    let pairs = pairs.map(|(name, identity)| written(&folder, name, identity)).join(", ");
    let stand = stand(&format!("certificates: [{pairs}]"), "");
    for (name, wanted) in [
        ("first.example", Some(&first)),
        // An address is no name to ask for.
        ("127.0.0.1", Some(&first)),
        ("shop.example", Some(&shop)),
        ("b.shop.example", Some(&shop)),
        ("a.shop.example", Some(&exact)),
        ("A.SHOP.example", Some(&exact)),
        // They get the first one, which is not theirs.
        ("b.a.shop.example", None),
        ("other.example", None),
    ] {
        let tcp = TcpStream::connect(stand.address()).await.expect("a connection");
        let stream = authority.try_secure(tcp, name, &[], DEFAULT_VERSIONS, None).await;
        let found = stream.as_ref().ok().map(shown);
        assert_eq!(found, wanted.map(der), "{name}: {:?}", stream.err());
    }
    let stream = authority.connect(stand.address(), "shop.example", &["h2"]).await;
    H2::over(stream, "shop.example").await.get("/x", &[]).await.expect(200);
}

#[tokio::test]
async fn new_certificates_are_for_new_connections_and_end_none() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let [old, new] = [(); 2].map(|()| authority.certify(&["localhost"]));
    let pair = written(&folder, "site", &old);
    let stand = stand(&format!("certificates: [{pair}], reload: off"), "");
    let connect = || authority.connect(stand.address(), "localhost", &[]);
    let stream = connect().await;
    assert_eq!(shown(&stream), der(&old));
    let mut sse = Sse::over(stream, "localhost", "HTTP/1.1", "/r/a", &[]).await.expect("a stream");
    assert_eq!(sse.next_event().await.data, r#"{"n":1}"#);
    let mut http = Http::over(connect().await, "localhost");
    http.get("/x", &[]).await.expect(200);

    // Half of it, as a look in the middle of a renewal finds it.
    folder.write("site.crt", &new.cert_pem);
    stand.app.reload();
    stand.metric_becomes("pollcast_certificate_reloads_total", "bad", 1.0).await;
    assert_eq!(shown(&connect().await), der(&old));
    folder.write("site.key", &new.key_pem);
    stand.app.reload();
    stand.metric_becomes("pollcast_certificate_reloads_total", "new", 1.0).await;
    assert_eq!(shown(&connect().await), der(&new));
    // When it runs out is to be seen, and nothing of what there is none of.
    let end = ends_at(&der(&new)) as f64;
    stand.metric_becomes("pollcast_certificate_not_after_seconds", "kind=\"certificate\"", end).await;
    assert_eq!(stand.metric("pollcast_certificate_not_after_seconds", "kind=\"client").await, 0.0);

    stand.legacy.set("/r/a", Reply::json(r#"{"n":2}"#));
    assert_eq!(sse.next_event().await.data, r#"{"n":2}"#);
    http.get("/x", &[]).await.expect(200);
    assert_eq!(stand.metric("pollcast_certificate_reloads_total", "bad").await, 1.0);
}

#[tokio::test]
async fn files_are_looked_at_without_being_told() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let [old, new] = [(); 2].map(|()| authority.certify(&["localhost"]));
    let pair = written(&folder, "site", &old);
    let stand = stand(&format!("certificates: [{pair}], reload: 1s"), "");
    written(&folder, "site", &new);
    stand.metric_becomes("pollcast_certificate_reloads_total", "new", 1.0).await;
    assert_eq!(shown(&authority.connect(stand.address(), "localhost", &[]).await), der(&new));
}

#[tokio::test]
async fn sighup_ends_nothing_and_has_the_files_looked_at() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let [old, new] = [(); 2].map(|()| authority.certify(&["localhost"]));
    let pair = written(&folder, "site", &old);
    let legacy = Legacy::start();
    let listener = format!(", tls: {{certificates: [{pair}], reload: off}}");
    let yaml = process_yaml(&legacy, Extra { listener: &listener, ..Extra::default() });
    let process = Process::start(&yaml).await;
    written(&folder, "site", &new);
    process.signal("HUP");
    process.wait_stderr("the next handshakes use them").await;
    assert_eq!(shown(&authority.connect(process.address, "localhost", &[]).await), der(&new));
}

/// Asks for a path over a new connection that shows this certificate. Returns `None` if the server ended it.
async fn asked(stand: &Stand, servers: &Authority, client: Option<&Identity>, path: &str) -> Option<u16> {
    let tcp = TcpStream::connect(stand.address()).await.expect("a connection");
    let stream = servers.try_secure(tcp, "localhost", &[], DEFAULT_VERSIONS, client).await.ok()?;
    let mut http = Http::over(stream, "localhost");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    http.wire.write(request.as_bytes()).await.ok()?;
    let head = within("an answer or an end", http.wire.head()).await.ok()??;
    String::from_utf8_lossy(&head).split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn a_certificate_that_is_shown_has_to_be_of_the_listeners_authority() {
    let (servers, clients, others, folder) =
        (Authority::new(), Authority::new(), Authority::new(), Folder::new());
    let pair = written(&folder, "site", &servers.certify(&["localhost"]));
    let ca = folder.write("clients.pem", &clients.pem);
    let (known, unknown) = (clients.certify_client("robot"), others.certify_client("robot"));
    let expired = clients.certify_expired(&["robot"]);
    for (mode, without) in [("", Some(200)), (", client_certificates: required", None)] {
        let tls = format!("certificates: [{pair}], client_ca: '{}'{mode}", ca.display());
        let stand = stand(&tls, "");
        assert_eq!(asked(&stand, &servers, None, "/x").await, without, "{mode}: without one");
        assert_eq!(asked(&stand, &servers, Some(&known), "/x").await, Some(200), "{mode}: a good one");
        assert_eq!(asked(&stand, &servers, Some(&unknown), "/x").await, None, "{mode}: of others");
        assert_eq!(asked(&stand, &servers, Some(&expired), "/x").await, None, "{mode}: too old");
        let refused = if without.is_some() { 2.0 } else { 3.0 };
        stand.metric_becomes("pollcast_refusals_total", "tls-handshake", refused).await;
    }
}

#[tokio::test]
async fn the_subject_of_a_certificate_is_known_on_every_request_of_its_connection() {
    let (servers, clients, folder) = (Authority::new(), Authority::new(), Folder::new());
    let pair = written(&folder, "site", &servers.certify(&["localhost"]));
    let ca = folder.write("clients.pem", &clients.pem);
    let tls = format!("certificates: [{pair}], client_ca: '{}'", ca.display());
    let stand = stand(&tls, ", authenticate: {client_certificate: true}, share: {by: ['identity:subject']}");
    assert_eq!(asked(&stand, &servers, None, "/r/a").await, Some(401));
    let robot = clients.certify_client("robot, O=Shop");
    for alpn in ["http/1.1", "h2"] {
        let tcp = TcpStream::connect(stand.address()).await.expect("a connection");
        let stream = servers.try_secure(tcp, "localhost", &[alpn], DEFAULT_VERSIONS, Some(&robot)).await;
        let stream = stream.expect("a handshake");
        if alpn == "h2" {
            H2::over(stream, "localhost").await.get("/r/a", &[]).await.expect(200);
            continue;
        }
        let mut http = Http::over(stream, "localhost");
        let etag = http.get("/r/a", &[]).await.expect(200).etag().to_owned();
        // The connection leaves Pingora and comes back.
        for _ in 0..2 {
            long_poll(&mut http, "/r/a", Some(&etag), Duration::from_secs(1)).await.expect(304);
        }
        http.get("/r/b", &[]).await.expect(404);
        http.get("/r/a", &[]).await.expect(200);
    }
    let polls = stand.legacy.all_seen();
    assert!(polls.len() >= 2);
    for poll in polls {
        assert_eq!(poll.headers("x-pollcast-subject"), ["CN=robot\\, O=Shop"]);
    }
}

#[tokio::test]
async fn a_certificate_is_a_credential_on_a_route_without_share() {
    let (servers, clients, folder) = (Authority::new(), Authority::new(), Folder::new());
    let pair = written(&folder, "site", &servers.certify(&["localhost"]));
    let ca = folder.write("clients.pem", &clients.pem);
    let tls = format!("certificates: [{pair}], client_ca: '{}'", ca.display());
    let stand = stand(&tls, ", authenticate: {client_certificate: true}");
    stand
        .legacy
        .answer_with("/r/a", |seen| Reply::text(seen.header("x-pollcast-subject").unwrap_or("nobody")));
    for name in ["ann", "bob"] {
        let client = clients.certify_client(name);
        let tcp = TcpStream::connect(stand.address()).await.expect("a connection");
        let stream = servers.try_secure(tcp, "localhost", &[], DEFAULT_VERSIONS, Some(&client)).await;
        let mut http = Http::over(stream.expect("a handshake"), "localhost");
        assert_eq!(http.get("/r/a", &[]).await.expect(200).text(), format!("CN={name}"));
        http.get("/r/a?_push=sse", &[]).await.expect(403);
    }
}

#[tokio::test]
async fn the_same_name_under_two_authorities_is_two_clients() {
    let (servers, folder) = (Authority::new(), Folder::new());
    let (staff, public) = (Authority::named("Staff"), Authority::named("Public"));
    let pair = written(&folder, "site", &servers.certify(&["localhost"]));
    let ca = folder.write("clients.pem", &format!("{}{}", staff.pem, public.pem));
    let tls = format!("certificates: [{pair}], client_ca: '{}'", ca.display());
    let stand = stand(&tls, ", authenticate: {client_certificate: true}, share: {by: ['identity:subject']}");
    stand.legacy.answer_with("/r/a", |seen| {
        let said = ["x-pollcast-subject", "x-pollcast-way", "x-pollcast-issuer"];
        Reply::text(said.map(|name| seen.header(name).unwrap_or_default()).join("|"))
    });
    // An authority below the one, with the name of the other: that name proves nothing.
    let posing = public.under_it("Staff");
    let mut posed = posing.certify_client("root");
    posed.cert_pem += &posing.pem;
    for (client, issuer) in [
        (staff.certify_client("root"), "Staff"),
        (public.certify_client("root"), "Public"),
        (posed, "Public"),
        (staff.certify_client("root"), "Staff"),
    ] {
        let tcp = TcpStream::connect(stand.address()).await.expect("a connection");
        let stream = servers.try_secure(tcp, "localhost", &[], DEFAULT_VERSIONS, Some(&client)).await;
        let mut http = Http::over(stream.expect("a handshake"), "localhost");
        let said = http.get("/r/a", &[]).await.expect(200).text();
        assert_eq!(said, format!("CN=root|client_certificate|CN={issuer}"));
    }
    assert!(stand.legacy.count("/r/a") >= 2, "two clients were one");
}
