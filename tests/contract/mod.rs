//! The wire, as clients and upstreams see it: one folder a part of the contract.
//!
//! | folder | what it is about |
//! |---|---|
//! | `version` | §2, §13: names of states |
//! | `plain` | §1, §3: plain requests, of covered URLs and of others |
//! | `push` | §4 to §7: long-polls, event streams, WebSockets |
//! | `presence` | §5, §10: who follows a resource, as clients and the upstream are told |
//! | `feeds` | §8: lists that are told item by item |
//! | `writes` | §9: writes, and what is polled after them |
//! | `upstream` | §10: how an API is asked |
//! | `sharing` | §11: which clients are let in, and which may share a poll |
//! | `edge` | §12: connections, framing, limits, addresses of clients |
//! | `process` | commands, the log, the operators' view, the start and the end of the process |
//! | `field_faults` | faults from the field that fit under no section |

pub mod edge;
pub mod feeds;
pub mod field_faults;
pub mod plain;
pub mod presence;
pub mod process;
pub mod push;
pub mod sharing;
pub mod upstream;
pub mod version;
pub mod writes;

use std::net::SocketAddr;
use std::time::Duration;

use pollcast::app::App;

use crate::support::app;
use crate::support::client::Http;
use crate::support::legacy::Legacy;
use crate::support::tls::{Authority, Identity};
use crate::support::wire::{GUARD, within};

/// The shortest interval there is.
pub const FAST: &str = "poll: {interval: 100ms}";

/// Polls and failures follow each other as fast as they may, and followers hear of failures at once.
pub const FAST_FAILING: &str = "poll: {interval: 100ms, backoff: {min: 100ms, max: 100ms}}, stale_after: 0s";

/// No second poll within any test, unless somebody asks for it.
pub const ONCE: &str = "poll: {interval: 1h}";

/// One upstream, the covered route `/prices/{symbol}`, everything else passed through. `route`:
/// more keys of the route; `top`: more keys of the file.
pub fn config(legacy: &Legacy, route: &str, top: &str) -> String {
    listening("", legacy, route, top)
}

fn listening(listener: &str, legacy: &Legacy, route: &str, top: &str) -> String {
    format!(
        "listeners: [{{address: '127.0.0.1:0'{listener}}}]\n\
         admin: {{address: '127.0.0.1:0'}}\n\
         upstreams: {{legacy: {{servers: ['{}']}}}}\n\
         passthrough: legacy\n\
         log: {{access: false}}\n\
         drain: {{delay: 0s, window: 100ms}}\n\
         routes: [{{path: '/prices/{{symbol}}', upstream: legacy, {route}}}]\n\
         {top}\n",
        legacy.address()
    )
}

/// pollcast in front of a legacy API.
pub struct Stand {
    pub legacy: Legacy,
    pub app: App,
}

impl Stand {
    pub fn start(route: &str) -> Stand {
        Stand::with(route, "")
    }

    pub fn with(route: &str, top: &str) -> Stand {
        let legacy = Legacy::start();
        let app = app::start(&config(&legacy, route, top));
        Stand { legacy, app }
    }

    pub fn address(&self) -> SocketAddr {
        self.app.addresses()[0]
    }

    pub async fn http(&self) -> Http {
        Http::connect(self.address()).await
    }

    /// The sum of all series of a metric whose labels contain `label`.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let admin = self.app.admin_address().expect("the admin listener");
        let text = Http::connect(admin).await.get("/metrics", &[]).await.text();
        let of_name = |line: &&str| {
            let rest = line.strip_prefix(name).unwrap_or("-");
            rest.starts_with(['{', ' ']) && rest.contains(label)
        };
        let values = text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    }

    /// Waits until a metric has this value. There is no event to wait for: it is read again.
    pub async fn metric_becomes(&self, name: &str, label: &str, wanted: f64) {
        let mut last = f64::NAN;
        let reached = async {
            loop {
                last = self.metric(name, label).await;
                if last == wanted {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(GUARD, reached).await.is_err() {
            panic!("{name}{{{label}}} is {last}, not {wanted}");
        }
    }

    /// Waits until the push clients of a transport are this many.
    pub async fn clients(&self, transport: &str, wanted: usize) {
        self.metric_becomes("pollcast_subscribers", transport, wanted as f64).await;
    }
}

/// A certificate's files, gone when dropped.
pub struct TlsStand {
    pub stand: Stand,
    pub authority: Authority,
    folder: std::path::PathBuf,
}

impl TlsStand {
    /// pollcast with TLS for `localhost`.
    pub fn start(route: &str) -> TlsStand {
        TlsStand::with(route, "")
    }

    pub fn with(route: &str, top: &str) -> TlsStand {
        TlsStand::saying("", route, top)
    }

    /// `tls`: more keys of the listener's `tls`, each behind a comma.
    pub fn saying(tls: &str, route: &str, top: &str) -> TlsStand {
        let authority = Authority::new();
        let Identity { cert_pem, key_pem } = authority.certify(&["localhost"]);
        let folder = std::env::temp_dir().join(format!("pollcast-contract-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&folder).expect("a folder for certificates");
        let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&cert, cert_pem).expect("a certificate file");
        std::fs::write(&key, key_pem).expect("a key file");
        let listener = format!(
            ", tls: {{certificates: [{{cert: '{}', key: '{}'}}]{tls}}}",
            cert.display(),
            key.display()
        );
        let legacy = Legacy::start();
        let app = app::start(&listening(&listener, &legacy, route, top));
        TlsStand { stand: Stand { legacy, app }, authority, folder }
    }

    /// A TLS connection; `alpn` may be empty.
    pub async fn connect(&self, alpn: &[&str]) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        self.authority.connect(self.stand.address(), "localhost", alpn).await
    }
}

impl Drop for TlsStand {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The version of a JSON body, as any process names it: learnt from another resource.
pub async fn version_of(stand: &Stand, body: &str) -> String {
    stand.legacy.set("/prices/ELSEWHERE", crate::support::legacy::Reply::json(body));
    let mut http = stand.http().await;
    let tag = http.get("/prices/ELSEWHERE", &[]).await.expect(200).etag().to_owned();
    tag.trim_matches('"').to_owned()
}

/// A client whose kernel takes little, so that one that does not read is noticed soon.
pub async fn narrow(address: SocketAddr) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 * 1024).expect("SO_RCVBUF");
    within("a connection", socket.connect(address)).await.expect("a connection")
}
