//! Listeners with TLS: which versions are spoken. What is sent over it is tested with each transport.

use tokio::net::TcpStream;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::{ONCE, TlsStand};

#[tokio::test]
async fn a_listener_speaks_no_version_below_its_least() {
    for (least, tls12) in [("1.2", true), ("1.3", false)] {
        let stand = TlsStand::saying(&format!(", min_version: '{least}'"), ONCE, "");
        for (version, spoken) in [(&TLS12, tls12), (&TLS13, true)] {
            let tcp = TcpStream::connect(stand.stand.address()).await.expect("a connection");
            let handshake = stand.authority.try_secure(tcp, "localhost", &[], &[version]).await;
            assert_eq!(handshake.is_ok(), spoken, "{least}: {version:?}");
        }
    }
}
