//! `pollcast demo`: a legacy API that can only be polled, the proxy in front of it with defaults, and a
//! page that shows one auction through every technique side by side.
//!
//! The path of a bid: `auction` → `legacy` → (the proxy) → `page`, `crowd`. This file owns the demo's
//! configuration and what it prints; it must not know how the proxy is built from it.

mod answer;
mod auction;
mod crowd;
mod ledger;
mod legacy;
mod page;
mod room;

use std::net::SocketAddr;

pub use crowd::CROWD_CLIENTS_MAX;
pub use legacy::{LegacyHandle, Pace, serve_legacy};

/// The demo's configuration file: the proxy on `listen`, its admin surface on `admin`, everything
/// forwarded to the legacy API at `legacy`, its three resources covered.
pub fn config_text(legacy: SocketAddr, listen: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "\
listeners:
  - address: \"{listen}\"

admin:
  address: \"{admin}\"

upstreams:
  legacy:
    servers: [\"{legacy}\"]

passthrough: legacy

routes:
  - path: /auction/{{lot}}
    upstream: legacy
    poll: {{ interval: 500ms }}
    share: public
    # Its bodies are so small that patches seldom pay; here they are to be seen.
    delta: {{ patch_max_ratio: 1 }}

  - path: /chat/messages
    upstream: legacy
    poll: {{ interval: 500ms }}
    share: public

  - path: /document
    upstream: legacy
    poll: {{ interval: 500ms }}
    share: public
"
    )
}

/// What the demo prints when it is ready: the addresses, and a line to paste for each technique.
///
/// The lines need a curl not older than 7.68 (2020) and no other tool.
pub fn banner(legacy: SocketAddr, listen: SocketAddr, admin: SocketAddr) -> String {
    let auction = format!("http://{listen}/auction/1");
    format!(
        "\
pollcast demo

  Page        http://{listen}/
  Admin       http://{admin}/
  Legacy API  http://{legacy}/auction/1   (can only be polled)

One auction, one URL, four techniques:

  Ordinary poll
    curl -i {auction}

  Held long-poll: run it twice, the second answers when somebody bids
    curl -i --etag-save /tmp/lot1 --etag-compare /tmp/lot1 -H 'Prefer: wait=30' {auction}

  Server-Sent Events
    curl -N -H 'Accept: text/event-stream' {auction}

  WebSocket
    curl -N --http1.1 -o - -H 'Connection: Upgrade' -H 'Upgrade: websocket' \\
      -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: cG9sbGNhc3QtZGVtby0wMQ==' {auction}

Writes pass through, and everyone who follows sees them:
    curl -d 'Hello from a terminal' http://{listen}/chat/messages

Ctrl-C ends the demo.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> (SocketAddr, SocketAddr, SocketAddr) {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        (at(40123), at(8080), at(9090))
    }

    #[test]
    fn the_config_names_every_address_and_route() {
        let (legacy, listen, admin) = addresses();
        let text = config_text(legacy, listen, admin);
        for wanted in [
            "address: \"127.0.0.1:8080\"",
            "address: \"127.0.0.1:9090\"",
            "servers: [\"127.0.0.1:40123\"]",
            "passthrough: legacy",
            "path: /auction/{lot}",
            "path: /chat/messages",
            "path: /document",
        ] {
            assert!(text.contains(wanted), "{wanted} is missing in\n{text}");
        }
        assert_eq!(text.matches("interval: 500ms").count(), 3);
        assert_eq!(text.matches("share: public").count(), 3);
    }

    #[test]
    fn ipv6_addresses_stay_one_scalar() {
        let v6: SocketAddr = "[::1]:8080".parse().expect("an address");
        assert!(config_text(v6, v6, v6).contains("address: \"[::1]:8080\""));
    }

    #[test]
    fn the_banner_has_a_line_for_each_technique() {
        let (legacy, listen, admin) = addresses();
        let text = banner(legacy, listen, admin);
        for address in ["http://127.0.0.1:8080/", "http://127.0.0.1:9090/", "http://127.0.0.1:40123/"] {
            assert!(text.contains(address), "{address} is missing");
        }
        for technique in ["Prefer: wait=30", "Accept: text/event-stream", "Upgrade: websocket"] {
            assert!(text.contains(technique), "{technique} is missing");
        }
        assert_eq!(text.matches("    curl ").count(), 5);
    }
}
