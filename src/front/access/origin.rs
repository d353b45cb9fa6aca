//! Whether a WebSocket handshake comes from a page that may make it (`websocket.origins`, contract §6).
//!
//! Must not know: what the socket is for.

use crate::config::Route;

/// Whether a WebSocket handshake with this Origin is let in (contract §6).
pub(in crate::front) fn origin_allowed(route: &Route, origin: Option<&str>, authority: Option<&str>) -> bool {
    match (&route.websocket.origins, origin) {
        (Some(allowed), Some(origin)) => allowed.iter().any(|a| a == "*" || a.eq_ignore_ascii_case(origin)),
        (_, None) => true,
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some_and(|host| authority.is_some_and(|a| a.eq_ignore_ascii_case(host)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(share: &str) -> std::sync::Arc<Route> {
        let text = format!(
            "listeners: [{{address: '127.0.0.1:0'}}]\nupstreams: {{a: {{servers: ['127.0.0.1:1']}}}}\n\
             routes: [{{path: /a, upstream: a, {share}}}]\n"
        );
        let config = crate::config::load_str(&text, "test.yaml", std::path::Path::new(".")).unwrap();
        config.routes[0].clone()
    }

    #[test]
    fn an_origin_is_the_same_host_or_listed() {
        let same = route("");
        assert!(origin_allowed(&same, None, Some("a.example")));
        assert!(origin_allowed(&same, Some("https://a.example"), Some("A.example")));
        assert!(!origin_allowed(&same, Some("https://evil.example"), Some("a.example")));
        assert!(!origin_allowed(&same, Some("null"), Some("a.example")));
        let listed = route("websocket: {origins: ['https://shop.example']}");
        assert!(origin_allowed(&listed, Some("https://shop.example"), Some("a.example")));
        assert!(!origin_allowed(&listed, Some("https://a.example"), Some("a.example")));
    }
}
