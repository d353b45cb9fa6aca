//! `pollcast demo`: a legacy API that can only be polled, the proxy in front of it with defaults, and a
//! page that shows one auction through every technique side by side.
//!
//! The path of a bid: `auction` → `legacy` → (the proxy) → `page`, `crowd`. With several nodes, `engine` is between
//! them and `balancer` in front of them, each a process that `process` ends with the demo. This file owns what the demo
//! prints; it must not know how the proxy is built from its configuration.

mod answer;
mod auction;
mod balancer;
mod config;
mod crowd;
mod engine;
mod ledger;
mod legacy;
mod nodes;
mod page;
mod process;
mod room;

use std::net::SocketAddr;

pub use balancer::Balancer;
pub use config::config_text;
pub use crowd::CROWD_CLIENTS_MAX;
pub use legacy::{LegacyHandle, Pace, serve_legacy};
pub use nodes::Nodes;

/// What the demo prints when it is ready: the addresses, and a line to paste for each technique.
///
/// The lines need a curl not older than 7.68 (2020) and no other tool.
pub fn banner(legacy: SocketAddr, listen: SocketAddr, admin: SocketAddr) -> String {
    techniques(legacy, listen, admin) + END
}

/// The last line of what the demo prints.
const END: &str = "Ctrl-C ends the demo.\n";

fn techniques(legacy: SocketAddr, listen: SocketAddr, admin: SocketAddr) -> String {
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

"
    )
}

/// The same of several nodes, with where each is.
pub fn banner_of_nodes(nodes: &Nodes, legacy: SocketAddr, listen: SocketAddr, admin: SocketAddr) -> String {
    let lines = nodes.addresses().map(|(name, address, admin)| {
        format!("  {name}      http://{address}/, operators http://{admin}/resources\n")
    });
    let lines: String = lines.collect();
    let techniques = techniques(legacy, listen, admin);
    format!(
        "\
{techniques}\
Several nodes poll as one, behind a load balancer at the address of the page:

{lines}
One of them killed, and started again; the page has buttons for it:
    curl -X POST 'http://{listen}/nodes?kill=node-1'
    curl -X POST 'http://{listen}/nodes?start=node-1'

{END}"
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
