//! What stands around pollcast in a case: the legacy API, the server that says which user a credential belongs to, and the
//! certificates of all.
//!
//! Must not know: what anybody does, what must not be seen.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_rustls::rustls::DEFAULT_VERSIONS;

use super::matrix::{Case, Sharing};
use super::people::{EVERYBODY, Person, Place, USERS, askers};
use super::upstream;
use crate::support::legacy::{Legacy, Reply, Seen};
use crate::support::process::Folder;
use crate::support::tls::{Authority, Identity};
use crate::support::wire::Io;

/// Everything but pollcast.
pub struct World {
    pub legacy: Legacy,
    /// Asked by `authenticate: {forward: …}`.
    pub oracle: Legacy,
    pub papers: Option<Papers>,
}

impl World {
    pub fn of(case: &Case) -> World {
        let oracle = Legacy::start();
        oracle.answer_with("*", identified);
        let papers = case.tls.then(|| Papers::new(case.place == Place::Certificate));
        let legacy = upstream::start(case.style, case.sharing == Sharing::Authorize);
        World { legacy, oracle, papers }
    }

    /// What was asked about two at once.
    pub fn mixed_questions(&self) -> impl Iterator<Item = String> {
        let seen = self.oracle.all_seen().into_iter();
        seen.filter(|seen| askers(seen).len() > 1)
            .map(|seen| format!("a question about two: {}", String::from_utf8_lossy(&seen.head)))
    }
}

/// The name of a user, and rows that must not reach even them.
fn identified(seen: &Seen) -> Reply {
    match askers(seen)[..] {
        [person] => Reply::text(person.mark()).header("x-auth-request-user", person.name()),
        _ => Reply::text(format!("who is it, {}?", Person::Nobody.mark())).status(401),
    }
}

/// The certificates of pollcast and of its clients, in files and as they are shown.
pub struct Papers {
    servers: Authority,
    folder: Folder,
    /// Alice's and Robert's; empty if no certificate is asked for.
    clients: Vec<Identity>,
}

impl Papers {
    fn new(of_clients: bool) -> Papers {
        let (servers, authority, folder) = (Authority::new(), Authority::new(), Folder::new());
        let own = servers.certify(&["pollcast.test"]);
        folder.write("site.crt", &own.cert_pem);
        folder.write("site.key", &own.key_pem);
        folder.write("clients.pem", &authority.pem);
        let clients = match of_clients {
            true => USERS.map(|user| authority.certify_client(user.name())).to_vec(),
            false => Vec::new(),
        };
        Papers { servers, folder, clients }
    }

    /// What the listener says of it; begins with a comma.
    pub fn listener(&self) -> String {
        let at = |name: &str| self.folder.path.join(name).display().to_string();
        let asks = match self.clients.is_empty() {
            true => String::new(),
            false => format!(", client_ca: '{}'", at("clients.pem")),
        };
        let pair = format!("{{cert: '{}', key: '{}'}}", at("site.crt"), at("site.key"));
        format!(", tls: {{certificates: [{pair}]{asks}}}")
    }

    /// A connection of this person's; the anonymous client has no certificate.
    pub async fn connect(&self, address: SocketAddr, who: Person, alpn: &[&str]) -> Box<dyn Io> {
        let tcp = TcpStream::connect(address).await.expect("a connection");
        let shown = EVERYBODY.iter().position(|person| *person == who).and_then(|at| self.clients.get(at));
        let stream = self.servers.try_secure(tcp, "pollcast.test", alpn, DEFAULT_VERSIONS, shown).await;
        Box::new(stream.expect("a handshake"))
    }
}
