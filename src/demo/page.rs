//! The files of the demo's page, embedded in the binary.
//!
//! Owns their paths, types and security headers. Must not know: the API beside them.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const FILES: [(&str, &str, &str); 11] = [
    ("/", HTML, include_str!("page/page.html")),
    ("/demo/page.css", CSS, include_str!("page/page.css")),
    ("/demo/parts.css", CSS, include_str!("page/parts.css")),
    ("/demo/icon.svg", SVG, include_str!("page/icon.svg")),
    ("/demo/main.js", JS, include_str!("page/main.js")),
    ("/demo/follow.js", JS, include_str!("page/follow.js")),
    ("/demo/cards.js", JS, include_str!("page/cards.js")),
    ("/demo/charts.js", JS, include_str!("page/charts.js")),
    ("/demo/load.js", JS, include_str!("page/load.js")),
    ("/demo/nodes.js", JS, include_str!("page/nodes.js")),
    ("/demo/rooms.js", JS, include_str!("page/rooms.js")),
];

/// `connect-src` names the WebSocket schemes because older browsers do not count them as `'self'`.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The answer to a GET of one of the page's files; `None` for any other path.
pub fn file(path: &str) -> Option<Response<Full<Bytes>>> {
    let (_, media_type, content) = FILES.into_iter().find(|(own, _, _)| *own == path)?;
    let mut response = Response::new(Full::new(Bytes::from_static(content.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
    // The files belong to this binary: after an upgrade an old copy must not be used.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_the_page_names_is_embedded() {
        for (path, _, content) in FILES {
            for opening in ["\"/demo/", "\"./"] {
                for (at, _) in content.match_indices(opening) {
                    let rest = &content[at + 1..];
                    let name = rest.split('"').next().unwrap_or_default().replace("./", "/demo/");
                    assert!(file(&name).is_some(), "{path} names {name}");
                }
            }
        }
    }

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        for (path, _, content) in FILES {
            for foreign in ["src=\"http", "href=\"http", "url(http", "@import", "from \"http"] {
                assert!(!content.contains(foreign), "{path} contains {foreign}");
            }
        }
    }

    #[test]
    fn other_paths_are_not_files() {
        assert!(file("/demo/").is_none());
        assert!(file("/demo/../Cargo.toml").is_none());
    }
}
