//! Contract §12: where the address of a client is found, which peers are believed, and what limits count.

use super::support::{Extra, start_with};
use crate::contract::Stand;
use crate::support::legacy::{Legacy, Reply};
use crate::support::sse::Sse;
use crate::support::wire::within;

/// pollcast with one client of each address, and a listener that says this.
fn stand(listener: &str) -> Stand {
    let legacy = Legacy::start();
    legacy.set("/r/a", Reply::json(r#"{"n":1}"#));
    let top = "limits: {clients_per_address: 1}";
    let app = start_with(&legacy, Extra { listener, top, ..Extra::default() });
    Stand { legacy, app }
}

/// Whether a second client comes in while the first one follows; each by what its X-Forwarded-For says.
async fn second_comes_in(stand: &Stand, first: &str, second: &str) -> bool {
    let said = [("x-forwarded-for", first)];
    // A client counts until its connection is let go, which is after it is counted out.
    let free = async {
        loop {
            if let Ok(sse) = Sse::try_open(stand.address(), "/r/a", &said).await {
                return sse;
            }
        }
    };
    let mut sse = within("the place of the client before", free).await;
    sse.next_event().await;
    let came_in = Sse::try_open(stand.address(), "/r/a", &[("x-forwarded-for", second)]).await.is_ok();
    drop(sse);
    stand.clients("sse", 0).await;
    came_in
}

#[tokio::test]
async fn behind_a_trusted_proxy_clients_are_told_apart_by_what_it_wrote() {
    let stand = stand(", trusted_proxies: [127.0.0.1, 10.0.0.0/8], client_address: forwarded");
    for (first, second, other) in [
        ("1.2.3.4", "1.2.3.5", true),
        ("1.2.3.4", "1.2.3.4", false),
        ("1.2.3.4", "[::ffff:1.2.3.4]:80", false),
        // What a client writes stands left of what the proxy wrote.
        ("6.6.6.6, 1.2.3.4", "7.7.7.7, 1.2.3.4", false),
        ("6.6.6.6, 1.2.3.4, 10.0.0.1", "7.7.7.7, 1.2.3.4", false),
        // Clients whose address cannot be known count as one.
        ("unknown", "1.2.3.4, garbage", false),
        // A network of 64 bits is one client's.
        ("2001:db8::1", "2001:db8::2", false),
        ("2001:db8::1", "2001:db8:0:1::1", true),
    ] {
        assert_eq!(second_comes_in(&stand, first, second).await, other, "{first} and {second}");
    }
}

#[tokio::test]
async fn no_other_peer_is_believed() {
    for listener in [
        ", client_address: peer",
        ", trusted_proxies: [127.0.0.1], client_address: peer",
        ", trusted_proxies: [10.0.0.0/8], client_address: forwarded",
        ", client_address: forwarded",
    ] {
        assert!(!second_comes_in(&stand(listener), "1.2.3.4", "1.2.3.5").await, "{listener}");
    }
}
