//! The configuration files of the demo: one node alone, or one of several.
//!
//! Must not know: how pollcast is built from them.

use std::net::SocketAddr;

/// The routes: three resources of the legacy API.
const ROUTES: &str = "\
passthrough: legacy

routes:
  - path: /auction/{lot}
    upstream: legacy
    poll: { interval: 500ms }
    share: public
    # Its bodies are so small that patches seldom pay; here they are to be seen.
    delta: { patch_max_ratio: 1 }

  - path: /chat/messages
    upstream: legacy
    poll: { interval: 500ms }
    share: public

  - path: /document
    upstream: legacy
    poll: { interval: 500ms }
    share: public
";

/// Milliseconds from one poll to the next, as the routes say it.
pub(super) const INTERVAL_MS: u64 = 500;

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

{ROUTES}"
    )
}

/// What a node needs to find the others.
#[derive(Debug, Clone)]
pub(super) struct Meeting {
    /// Where the engine listens.
    pub(super) engine: SocketAddr,
    /// Its password.
    pub(super) password: String,
    /// Names and seals what the nodes tell each other.
    pub(super) secret: String,
}

/// The same for one node of several.
pub(super) fn node_text(
    legacy: SocketAddr,
    listen: SocketAddr,
    admin: SocketAddr,
    node: &str,
    meeting: &Meeting,
) -> String {
    let Meeting { engine, password, secret } = meeting;
    let alone = config_text(legacy, listen, admin);
    format!(
        "\
{alone}
cluster:
  engine: redis
  servers: [\"{engine}\"]
  password: {password}
  secret: {secret}
  node: {node}

log: {{ access: false }}
drain: {{ delay: 0s, window: 1s }}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn the_config_names_every_address_and_route() {
        let text = config_text(at(40123), at(8080), at(9090));
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
        assert_eq!(text.matches(&format!("interval: {INTERVAL_MS}ms")).count(), 3);
        assert_eq!(text.matches("share: public").count(), 3);
    }

    #[test]
    fn ipv6_addresses_stay_one_scalar() {
        let v6: SocketAddr = "[::1]:8080".parse().expect("an address");
        assert!(config_text(v6, v6, v6).contains("address: \"[::1]:8080\""));
    }

    #[test]
    fn a_node_s_configuration_loads_and_has_the_engine() {
        let meeting = Meeting { engine: at(6380), password: "ab".repeat(16), secret: "cd".repeat(32) };
        let text = node_text(at(40123), at(8081), at(9091), "node-1", &meeting);
        let config = crate::config::load_str(&text, "demo.yaml", std::path::Path::new("."))
            .unwrap_or_else(|problems| panic!("{problems}\n{text}"));
        let cluster = config.cluster.expect("a cluster");
        assert_eq!(
            (cluster.node.as_deref(), &cluster.servers[..]),
            (Some("node-1"), &["127.0.0.1:6380".to_owned()][..])
        );
    }
}
