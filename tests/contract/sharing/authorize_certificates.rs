//! Contract §11, §12: `share: authorize` where clients are known by certificates: the API is asked by what pass-through
//! would say of the certificate, and what it says counts for that certificate alone.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::DEFAULT_VERSIONS;

use crate::contract::Stand;
use crate::contract::edge::support::{Extra, start_with};
use crate::support::client::Http;
use crate::support::legacy::{Legacy, Reply, Seen};
use crate::support::process::Folder;
use crate::support::sse::Sse;
use crate::support::tls::{Authority, Identity};
use crate::support::ws::Ws;

const SERVICE: &str = "x-service-key";
const ALL: &str = r#"{"secret":"everything"}"#;
const SOME: &str = r#"{"rows":[]}"#;
const PATH: &str = "/r/a";

/// The fields by which pollcast names a client that it knows.
const SAID: [&str; 3] = ["x-pollcast-subject", "x-pollcast-way", "x-pollcast-issuer"];

/// pollcast with a listener that asks for certificates of these authorities. The API is told of their owners by pollcast
/// alone; one of the staff named ann or carol may see all.
struct Door {
    stand: Stand,
    servers: Authority,
    _folder: Folder,
}

impl Door {
    fn open(clients: &[&Authority]) -> Door {
        let (servers, folder) = (Authority::new(), Folder::new());
        let Identity { cert_pem, key_pem } = servers.certify(&["localhost"]);
        let (cert, key) = (folder.write("site.crt", &cert_pem), folder.write("site.key", &key_pem));
        let ca: String = clients.iter().map(|authority| &*authority.pem).collect();
        let ca = folder.write("clients.pem", &ca);
        let listener = format!(
            ", tls: {{certificates: [{{cert: '{}', key: '{}'}}], client_ca: '{}'}}",
            cert.display(),
            key.display(),
            ca.display()
        );
        let route = format!(
            ", poll: {{interval: 100ms, headers: {{{SERVICE}: service-secret}}}}, credentials: [{SERVICE}], \
             hosts: [localhost], share: authorize, authorize: {{recheck: 5m}}, \
             authenticate: {{client_certificate: true}}"
        );
        let legacy = Legacy::start();
        legacy.answer_with(PATH, answer);
        let app = start_with(&legacy, Extra { listener: &listener, route: &route, ..Extra::default() });
        Door { stand: Stand { legacy, app }, servers, _folder: folder }
    }

    async fn connect(&self, client: &Identity) -> TlsStream<TcpStream> {
        let tcp = TcpStream::connect(self.stand.address()).await.expect("a connection");
        let stream = self.servers.try_secure(tcp, "localhost", &[], DEFAULT_VERSIONS, Some(client)).await;
        stream.expect("a handshake")
    }

    async fn plain(&self, client: &Identity) -> String {
        let mut http = Http::over(self.connect(client).await, "localhost");
        http.get(PATH, &[]).await.expect(200).text()
    }

    /// The first event, or the status of a refusal.
    async fn sse(&self, client: &Identity) -> Result<String, u16> {
        let stream = self.connect(client).await;
        let sse = Sse::over(stream, "localhost", "HTTP/1.1", PATH, &[]).await;
        match sse {
            Ok(mut sse) => Ok(sse.next_event().await.data),
            Err(refused) => Err(refused.status),
        }
    }
}

fn answer(seen: &Seen) -> Reply {
    let subjects = seen.headers("x-pollcast-subject");
    let is_staff = seen.header("x-pollcast-issuer").is_none_or(|issuer| issuer == "CN=Staff");
    match (seen.header(SERVICE), &subjects[..]) {
        (Some(_), []) | (None, ["CN=ann" | "CN=carol"]) if is_staff => Reply::json(ALL),
        (None, [_]) => Reply::json(SOME),
        // A check that asks as no client in particular would let every client in.
        (None, []) => Reply::json(ALL),
        _ => Reply::empty(500),
    }
}

fn said(seen: &Seen) -> [Option<String>; 3] {
    SAID.map(|name| seen.header(name).map(str::to_owned))
}

#[tokio::test]
async fn a_check_says_of_a_certificate_what_passes_through_would_say() {
    let clients = Authority::named("Staff");
    let door = Door::open(&[&clients]);
    let [ann, bob, carol] = ["ann", "bob", "carol"].map(|name| clients.certify_client(name));
    assert_eq!(door.sse(&ann).await.as_deref(), Ok(ALL));
    assert_eq!(door.plain(&ann).await, ALL);
    // Ann's yes is not Bob's, on any way.
    assert_eq!(door.sse(&bob).await, Err(403));
    assert_eq!(door.plain(&bob).await, SOME);
    let protocol = [("sec-websocket-protocol", "pollcast.v1")];
    let ws = Ws::over(door.connect(&bob).await, "localhost", PATH, &protocol).await;
    let mut ws = ws.unwrap_or_else(|refused| panic!("{refused:?}"));
    assert_eq!(ws.next_close().await.0, 4403);
    // Carol gets the same by herself, and is asked about by herself.
    assert_eq!(door.sse(&carol).await.as_deref(), Ok(ALL));
    let legacy = &door.stand.legacy;
    for (client, name) in [(&ann, "CN=ann"), (&bob, "CN=bob"), (&carol, "CN=carol")] {
        let mut http = Http::over(door.connect(client).await, "localhost");
        http.request("POST", PATH, &[], b"{}").await;
        let seen = legacy.all_seen();
        let of_client = |seen: &&Seen| seen.headers("x-pollcast-subject") == [name];
        let passed = seen.iter().filter(of_client).find(|seen| seen.method == "POST").expect(name);
        let checks: Vec<_> = seen.iter().filter(of_client).filter(|seen| seen.method == "GET").collect();
        assert!(!checks.is_empty(), "{name} was not asked about");
        for check in checks {
            assert_eq!(said(check), said(passed), "{name}");
            assert_eq!(check.header(SERVICE), None, "{name} borrows the poller's key");
        }
    }
    let as_none =
        |seen: &&Seen| seen.header(SERVICE).is_none() && seen.headers("x-pollcast-subject").is_empty();
    assert_eq!(
        legacy.all_seen().iter().filter(as_none).count(),
        0,
        "a check asked as no client in particular"
    );
}

#[tokio::test]
async fn one_name_under_two_authorities_is_asked_about_twice() {
    let (staff, public) = (Authority::named("Staff"), Authority::named("Public"));
    let door = Door::open(&[&staff, &public]);
    let (ann, namesake) = (staff.certify_client("ann"), public.certify_client("ann"));
    assert_eq!(door.sse(&ann).await.as_deref(), Ok(ALL));
    assert_eq!(door.sse(&namesake).await, Err(403));
    assert_eq!(door.plain(&namesake).await, SOME);
    assert_eq!(door.plain(&ann).await, ALL);
}
